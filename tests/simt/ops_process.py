"""pytest in a process whose compiled library is the one given, with the ops of csrc/cuda.

python tests/simt/ops_process.py LIBRARY [pytest's arguments]
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from typing import Any

import pytest


def use_library(path: str) -> None:
    """Import dldl_fast with the compiled library at `path` in place of its own."""
    find_spec = importlib.util.find_spec

    def find(name: str, *arguments: Any) -> ModuleSpec | None:
        if name == "dldl_fast._C":
            return ModuleSpec(name, None, origin=path)
        return find_spec(name, *arguments)

    importlib.util.find_spec = find
    import torch

    import dldl_fast  # noqa: F401  (loads the library)

    print(torch.ops.dldl_fast.cuda_build_info(), flush=True)


if __name__ == "__main__":
    use_library(sys.argv[1])
    sys.exit(pytest.main(sys.argv[2:]))

"""pytest in a process whose compiled library is the one given, with the ops of csrc/cuda.

python tests/simt/ops_process.py LIBRARY [pytest's arguments]
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from typing import Any

import pytest

_find_spec = importlib.util.find_spec


def find_spec(name: str, *arguments: Any) -> ModuleSpec | None:
    """As ever, but for the compiled library."""
    if name == "dldl_fast._C":
        return ModuleSpec(name, None, origin=sys.argv[1])
    return _find_spec(name, *arguments)


if __name__ == "__main__":
    importlib.util.find_spec = find_spec
    import torch

    import dldl_fast  # noqa: F401  (loads the library)

    print(torch.ops.dldl_fast.cuda_build_info())
    sys.exit(pytest.main(sys.argv[2:]))

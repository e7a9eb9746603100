"""pytest in a process whose compiled library has the ops of csrc/cuda, over interpreted PTX.

python tests/ptx/ops_process.py OPS LAUNCHERS [pytest's arguments]
"""

from __future__ import annotations

import ctypes
import sys

import pytest

from tests.ptx.host_runtime import HostRuntime
from tests.simt.ops_process import use_library

if __name__ == "__main__":
    ops, launchers, *arguments = sys.argv[1:]
    use_library(ops)
    runtime = HostRuntime(ctypes.CDLL(launchers), ctypes.CDLL(ops))
    status = pytest.main(arguments)
    print(f"{len(runtime.launches)} launches, the last error: {runtime.error}")
    sys.exit(status)

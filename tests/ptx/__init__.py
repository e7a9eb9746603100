"""An interpreter of PTX on numpy, to run compiled kernels where there is no GPU.

    module = ptx.Module(text)
    memory = ptx.Memory()
    x = memory.upload(array, "x")
    y = memory.allocate(array.shape, array.dtype, "y", must_write=True)
    counters = module.launch("kernel", grid, block, (x, y, array.size), memory)
    result = memory.download(y)

Read in this order: `module.py` (the launch), `syntax.py` (text to instructions), `program.py`
(a kernel as one list of them), `machine.py` (the scheduler), `steps.py` (instructions as functions
of all threads), `jumps.py` and `synchronisation.py` (those that decide where threads go on, or make
them wait), `opcodes/` (what each allowed spelling means). `memory.py`, `spaces.py`, `races.py`
and `accesses.py` are the memories and their checks; `traffic.py` and `counters.py` the figures.

What is executed is PTX, not the machine code that ptxas makes of it. Approximate instructions are
closer to the mathematical value than on any GPU. Time, caches and occupancy are not modelled.
Needs numpy 2, for its rules of promotion.
"""

from __future__ import annotations

from tests.ptx.counters import Counters as Counters
from tests.ptx.errors import BadLaunch as BadLaunch
from tests.ptx.errors import DivergentBarrier as DivergentBarrier
from tests.ptx.errors import DivergentShuffle as DivergentShuffle
from tests.ptx.errors import Endless as Endless
from tests.ptx.errors import Fault as Fault
from tests.ptx.errors import Misaligned as Misaligned
from tests.ptx.errors import OutOfBounds as OutOfBounds
from tests.ptx.errors import PtxError as PtxError
from tests.ptx.errors import SharedRace as SharedRace
from tests.ptx.errors import StaleRead as StaleRead
from tests.ptx.errors import SyntaxNotUnderstood as SyntaxNotUnderstood
from tests.ptx.errors import Trapped as Trapped
from tests.ptx.errors import UndefinedResult as UndefinedResult
from tests.ptx.errors import UninitialisedMemory as UninitialisedMemory
from tests.ptx.errors import UninitialisedRegister as UninitialisedRegister
from tests.ptx.errors import UnknownOpcode as UnknownOpcode
from tests.ptx.errors import Unwritten as Unwritten
from tests.ptx.memory import Memory as Memory
from tests.ptx.memory import Pointer as Pointer
from tests.ptx.module import Module as Module
from tests.ptx.scalar_types import bfloat16_from_float32 as bfloat16_from_float32
from tests.ptx.scalar_types import float32_from_bfloat16 as float32_from_bfloat16

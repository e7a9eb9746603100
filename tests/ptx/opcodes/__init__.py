"""What every allowed opcode means. Importing this fills the table."""

from __future__ import annotations

from tests.ptx.opcodes import (  # noqa: F401  (each defines its opcodes)
    bits,
    comparison,
    control,
    conversion,
    floating,
    half,
    integer,
    memory,
    warp,
)
from tests.ptx.opcodes.table import OPCODES as OPCODES
from tests.ptx.opcodes.table import lookup as lookup

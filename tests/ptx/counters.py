"""What a launch is measured by: figures that come out the same on every machine."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Counters:
    """Counts over all warps of a launch.

    Args:
        warp_instructions: Instructions issued, each once for a warp however many of its lanes take
            part. Those of a called function and those that a predicate switches off are among them.
        opcodes: The same by opcode.
        requests: Memory instructions of a warp with at least one lane taking part, by kind and bits
            per lane, such as `ld.global.128`.
        bytes_loaded: Bytes of global memory that the lanes of loads ask for, also the same ones.
        bytes_stored: The same of stores.
        sectors_loaded: 32-byte sectors of global memory that loads ask for, each once a request.
        sectors_stored: The same of stores.
        shuffles: `shfl.sync` instructions of a warp.
        bank_conflicts: Passes over shared memory beyond the least that the requests' widths need.
    """

    warp_instructions: int = 0
    opcodes: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    bytes_loaded: int = 0
    bytes_stored: int = 0
    sectors_loaded: int = 0
    sectors_stored: int = 0
    shuffles: int = 0
    bank_conflicts: int = 0

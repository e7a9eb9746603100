"""An H100 SXM as two limits, bytes and instructions, and how many blocks fit into an SM of it.

Latency, caches and the time that a launch takes are left out, so that the times are the least ones.
"""

from __future__ import annotations

ARCHITECTURE = 90
BYTES_PER_US = 3.35e6  # 3.35 TB/s, of NVIDIA's data sheet
SMS = 132
# Warp instructions that an SM issues per clock, one in each of its four parts.
ISSUES_PER_CLOCK = 4
# Below the highest, 1,980 MHz, at which every issue time would be 11 % less.
CLOCKS_PER_US = 1755

# Of compute capability 9.0, as in CUDA's `cuda_occupancy.h`.
_WARP = 32
_PARTS = 4
_MAX_WARPS = 64
_MAX_BLOCKS = 32
_REGISTERS_PER_PART = 65536 // _PARTS
_REGISTER_UNIT = 256
_SHARED_BYTES = 228 * 1024
_RESERVED_SHARED_BYTES = 1024  # of every block
_SHARED_UNIT = 128


def memory_us(bytes_moved: float) -> float:
    """Least time to move bytes between memory and the chip."""
    return bytes_moved / BYTES_PER_US


def issue_us(warp_instructions: float, blocks: float) -> float:
    """Least time to issue instructions, which blocks do on no more SMs than there are blocks."""
    return warp_instructions / (min(blocks, SMS) * ISSUES_PER_CLOCK * CLOCKS_PER_US)


def blocks_per_sm(registers: int, threads: int, shared_bytes: int) -> int:
    """How many blocks an SM holds at once.

    Args:
        registers: Of a thread.
        threads: Of a block.
        shared_bytes: Of a block, static and dynamic.
    """
    warps = _up(threads, _WARP) // _WARP
    warps_of_registers = _REGISTERS_PER_PART // _up(registers * _WARP, _REGISTER_UNIT) * _PARTS
    blocks_of_shared = _SHARED_BYTES // _up(shared_bytes + _RESERVED_SHARED_BYTES, _SHARED_UNIT)
    return min(warps_of_registers // warps, blocks_of_shared, _MAX_WARPS // warps, _MAX_BLOCKS)


def occupancy(registers: int, threads: int, shared_bytes: int) -> float:
    """Warps that an SM holds at once, of those that it could."""
    warps = _up(threads, _WARP) // _WARP
    return blocks_per_sm(registers, threads, shared_bytes) * warps / _MAX_WARPS


def _up(value: int, unit: int) -> int:
    return -(-value // unit) * unit

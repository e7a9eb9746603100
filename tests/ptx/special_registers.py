"""The registers that tell a thread where it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from tests.ptx.scalar_types import Array

if TYPE_CHECKING:
    from tests.ptx.machine import Machine

Specials: TypeAlias = dict[str, "Callable[[Machine], Array]"]

_WARP = 32


def _coordinates(name: str, extents: str, number: Callable[[Machine], Array]) -> Specials:
    """The three components of an index and of its extents."""
    specials: Specials = {}
    for axis, letter in enumerate("xyz"):

        def index(machine: Machine, axis: int = axis) -> Array:
            shape: tuple[int, int, int] = getattr(machine.shape, extents)
            return number(machine) // math.prod(shape[:axis]) % shape[axis]

        def extent(machine: Machine, axis: int = axis) -> Array:
            return np.asarray(getattr(machine.shape, extents)[axis])

        specials[f"%{name}.{letter}"] = index
        specials[f"%n{name}.{letter}"] = extent
    return specials


SPECIAL_REGISTERS: Specials = {
    **_coordinates("tid", "block", lambda machine: machine.in_block),
    **_coordinates("ctaid", "grid", lambda machine: machine.block + machine.first_block),
    "%laneid": lambda machine: machine.places % _WARP,
    "%warpid": lambda machine: machine.in_block // _WARP,
    "%nwarpid": lambda machine: np.asarray(-(-machine.shape.block_size // _WARP)),
    "%lanemask_eq": lambda machine: 1 << machine.places % _WARP,
    "%lanemask_lt": lambda machine: (1 << machine.places % _WARP) - 1,
    "%lanemask_le": lambda machine: (2 << machine.places % _WARP) - 1,
    "%lanemask_gt": lambda machine: (1 << _WARP) - (2 << machine.places % _WARP),
    "%lanemask_ge": lambda machine: (1 << _WARP) - (1 << machine.places % _WARP),
    "%dynamic_smem_size": lambda machine: np.asarray(machine.shape.dynamic_shared),
}

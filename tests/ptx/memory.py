"""Global memory, as the host sees it: allocate, upload, download."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.ptx.addresses import ROOM_BITS, ROOM_MIDDLE
from tests.ptx.errors import BadLaunch, OutOfBounds, UninitialisedMemory, Unwritten
from tests.ptx.scalar_types import Array
from tests.ptx.store import Store
from tests.ptx.syntax import Variable

_ALIGNMENT = 256  # of what cudaMalloc gives


@dataclass(frozen=True)
class Pointer:
    """Where an array lies in global memory; an argument of a launch."""

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """In bytes."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


@dataclass(frozen=True)
class _Allocation:
    name: str
    place: int
    size: int
    must_write: bool


class Memory:
    """Allocations in global memory, each byte with a note whether it was written."""

    def __init__(self) -> None:
        self.store = Store(1 << 12)
        self._used = 0
        self._allocations: list[_Allocation] = []
        self._variables: dict[int, int] = {}
        # By number of allocation; 0 is one of no bytes, so that a null pointer is outside.
        self._bases: Array = np.zeros(1, np.int64)
        self._places: Array = np.zeros(1, np.int64)
        self._sizes: Array = np.zeros(1, np.int64)

    def allocate(
        self,
        shape: int | tuple[int, ...],
        dtype: npt.DTypeLike,
        name: str = "",
        *,
        must_write: bool = False,
        offset: int = 0,
    ) -> Pointer:
        """Allocate without a value.

        Args:
            shape: Of the array.
            dtype: Of its elements; bfloat16 travels as uint16.
            name: What error messages call it.
            must_write: Each launch with this memory fails unless all bytes are written by its end.
            offset: How many bytes past an aligned address it begins, as a view of a tensor may.
        """
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        pointer = Pointer(0, shape, np.dtype(dtype))
        number = len(self._allocations) + 1
        name = name or f"allocation {number}"
        place = -(-self._used // _ALIGNMENT) * _ALIGNMENT + offset
        self._used = place + pointer.size
        self.store.grow(self._used)
        self._allocations.append(_Allocation(name, place, pointer.size, must_write))
        base = (number << ROOM_BITS) + ROOM_MIDDLE + offset
        self._bases = np.append(self._bases, base)
        self._places = np.append(self._places, place)
        self._sizes = np.append(self._sizes, pointer.size)
        return Pointer(base, pointer.shape, pointer.dtype)

    def upload(self, array: npt.ArrayLike, name: str = "", *, offset: int = 0) -> Pointer:
        """Allocate a copy of an array."""
        values = np.ascontiguousarray(array)
        pointer = self.allocate(values.shape, values.dtype, name, offset=offset)
        self.store.fill(self._allocation(pointer).place, values.tobytes())
        return pointer

    def fill(self, address: int, data: bytes) -> None:
        """Write bytes from the host at any address."""
        place = int(self.locate(np.zeros(1, np.int64), np.array([address]), len(data))[0])
        self.store.fill(place, data)

    def download(self, pointer: Pointer) -> Array:
        """A copy of an array; all of it must have been written."""
        allocation = self._allocation(pointer)
        written = self.store.is_written(allocation.place, pointer.size)
        if not written.all():
            raise UninitialisedMemory(
                f"download of {allocation.name!r}: {_describe_gap(written, pointer)}"
            )
        data = self.store.data[allocation.place : allocation.place + pointer.size]
        return data.copy().view(pointer.dtype).reshape(pointer.shape)

    def locate(self, threads: Array, addresses: Array, size: int) -> Array:
        """Places in the store of the threads' accesses to `size` bytes at int64 addresses."""
        numbers = addresses >> ROOM_BITS
        numbers = np.where((numbers >= 1) & (numbers < len(self._bases)), numbers, 0)
        relative = addresses - self._bases[numbers]
        outside = (relative < 0) | (relative + size > self._sizes[numbers])
        if outside.any():
            i = int(np.argmax(outside))
            number, thread = int(numbers[i]), int(threads[i])
            if number == 0:
                raise OutOfBounds(f"address 0x{int(addresses[i]):x} is in no allocation", thread)
            allocation = self._allocations[number - 1]
            raise OutOfBounds(
                f"{size} bytes at byte {int(relative[i])} of {allocation.name!r}, "
                f"which has {allocation.size} bytes",
                thread,
            )
        return np.asarray(self._places[numbers] + relative)

    def name_at(self, address: int) -> str:
        """The allocation's name and the byte in it, for messages."""
        number = address >> ROOM_BITS
        offset = address - int(self._bases[number])
        return f"byte {offset} of {self._allocations[number - 1].name!r}"

    def check_written(self) -> None:
        """Fail unless every allocation with `must_write` is written."""
        for allocation in self._allocations:
            if allocation.must_write:
                written = self.store.is_written(allocation.place, allocation.size)
                if not written.all():
                    first = int(np.argmin(written))
                    raise Unwritten(
                        f"{int((~written).sum())} of {allocation.size} bytes of "
                        f"{allocation.name!r} were never written, byte {first} first"
                    )

    def address_of_variable(self, variable: Variable) -> int:
        """A module's variable is placed when it is first asked for and stays."""
        key = id(variable)
        if key not in self._variables:
            data = np.frombuffer(variable.data or b"", np.uint8)
            self._variables[key] = self.upload(data, variable.name).address
        return self._variables[key]

    def _allocation(self, pointer: Pointer) -> _Allocation:
        number = pointer.address >> ROOM_BITS
        if not (1 <= number < len(self._bases)) or int(self._bases[number]) != pointer.address:
            raise BadLaunch(f"{pointer} is not a pointer into this memory")
        return self._allocations[number - 1]


def _describe_gap(written: Array, pointer: Pointer) -> str:
    size = max(pointer.dtype.itemsize, 1)
    elements = written.reshape(-1, size).all(axis=1)
    first = np.unravel_index(int(np.argmin(elements)), pointer.shape)
    index = tuple(int(i) for i in first)
    return f"{int((~elements).sum())} of {elements.size} elements were never written, {index} first"

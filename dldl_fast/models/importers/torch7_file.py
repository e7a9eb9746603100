"""A reader for binary files of Torch7 (``.t7``): data only, no code is run."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dldl_fast.models.checkpoint import CheckpointError

_NIL, _NUMBER, _STRING, _TABLE, _TORCH, _BOOLEAN, _FUNCTION = range(7)
_RECURSIVE_FUNCTIONS = (7, 8)

_NUMPY_DTYPES = {
    "Byte": "u1",
    "Char": "i1",
    "Short": "<i2",
    "Int": "<i4",
    "Long": "<i8",
    "Half": "<f2",
    "Float": "<f4",
    "Double": "<f8",
}
_TENSOR_OR_STORAGE = re.compile(rf"torch\.(Cuda)?({'|'.join(_NUMPY_DTYPES)})?(Tensor|Storage)")

# Networks nest a few levels per container; Python's own stack holds several times as many.
_MAX_DEPTH = 100
_MAX_DIMENSIONS = 16


class Torch7Object(dict[Any, Any]):
    """The fields of an object of a Lua class, such as a module of nn.

    Attributes:
        class_name: its class in Lua, such as ``"nn.Linear"``; ``"function"`` for a function,
            which is left out.
    """

    def __init__(self, class_name: str) -> None:
        super().__init__()
        self.class_name = class_name


def read_torch7(path: Path | str) -> Any:
    """Read the object that ``torch.save`` of Torch7 wrote into a binary file on a 64-bit machine.

    Args:
        path: the file; all of it is read into memory, and little more is needed.

    Returns:
        None, bool, float, str (UTF-8, other bytes as surrogates), dict for a table (integral
        numbers as int keys), `Torch7Object` for an object, a tensor on the CPU for a tensor or,
        one-dimensional, a storage. What is the same object in Lua is the same object here.
        Functions are not read.

    Raises:
        CheckpointError: naming file and byte, if the file is damaged, nests deeper than 100
            levels, or holds what this reader does not know.
        OSError: if the file cannot be read.

    Source:
        File.lua, generic/Storage.c and generic/Tensor.c of torch7.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "number.t7"
        ...     _ = file.write_bytes(struct.pack("<id", 1, 2.5))
        ...     read_torch7(file)
        2.5
    """
    return _Reader(Path(path)).read_file()


class _Reader:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._data = path.read_bytes()
        self._position = 0
        self._objects: dict[int, Any] = {}

    def read_file(self) -> Any:
        value = self._object(0)
        left = len(self._data) - self._position
        if left:
            raise self._error(self._position, f"{left:,} bytes after the end of the object")
        return value

    def _error(self, position: int, problem: str) -> CheckpointError:
        return CheckpointError(
            f"{self._path}: not a binary Torch7 file: byte {position}, {problem}"
        )

    def _take(self, count: int, what: str) -> int:
        """Position of the next `count` bytes, which are there."""
        start = self._position
        left = len(self._data) - start
        if not 0 <= count <= left:
            raise self._error(start, f"{what} of {count:,} bytes, but {left:,} are left")
        self._position += count
        return start

    def _number(self, code: str, what: str) -> Any:
        start = self._take(struct.calcsize(code), what)
        return struct.unpack_from(code, self._data, start)[0]

    def _int(self, what: str) -> int:
        value: int = self._number("<i", what)
        return value

    def _longs(self, count: int, what: str) -> tuple[int, ...]:
        start = self._take(8 * count, what)
        return struct.unpack_from(f"<{count}q", self._data, start)

    def _string(self, what: str) -> str:
        count = self._int(f"length of {what}")
        start = self._take(count, what)
        return self._data[start : start + count].decode("utf-8", "surrogateescape")

    def _object(self, depth: int) -> Any:
        start = self._position
        if depth > _MAX_DEPTH:
            raise self._error(start, f"nests deeper than {_MAX_DEPTH} levels")
        kind = self._int("type of an object")
        if kind == _NIL:
            return None
        if kind == _NUMBER:
            return self._number("<d", "number")
        if kind == _STRING:
            return self._string("a string")
        if kind == _BOOLEAN:
            return self._int("boolean") == 1
        if kind == _FUNCTION:
            return self._function(Torch7Object("function"), depth)
        if kind not in (_TABLE, _TORCH, *_RECURSIVE_FUNCTIONS):
            raise self._error(start, f"unknown type {kind}")
        index = self._int("number of an object")
        if index in self._objects:
            return self._objects[index]
        if kind == _TABLE:
            table: dict[Any, Any] = {}
            self._objects[index] = table
            return self._table(table, depth)
        if kind == _TORCH:
            return self._torch(index, depth)
        function = Torch7Object("function")
        self._objects[index] = function
        return self._function(function, depth)

    def _function(self, function: Torch7Object, depth: int) -> Torch7Object:
        self._string("a function")
        self._object(depth + 1)  # the variables that it refers to
        return function

    def _table(self, table: dict[Any, Any], depth: int) -> dict[Any, Any]:
        start = self._position
        size = self._int("size of a table")
        left = len(self._data) - self._position
        # A key and a value take 4 bytes each at least.
        if not 0 <= 8 * size <= left:
            raise self._error(start, f"table of {size:,} entries, but {left:,} bytes are left")
        for _ in range(size):
            start = self._position
            key = self._object(depth + 1)
            if not isinstance(key, (bool, float, str)):
                raise self._error(start, f"{type(key).__name__} as the key of a table")
            if isinstance(key, float) and key.is_integer():
                key = int(key)
            table[key] = self._object(depth + 1)
        return table

    def _torch(self, index: int, depth: int) -> Any:
        start = self._position
        class_name = self._string("a version")
        if class_name.startswith("V "):  # files from before versions have none
            class_name = self._string("the name of a class")
        match = _TENSOR_OR_STORAGE.fullmatch(class_name)
        if match is None or not (match[1] or match[2]):
            instance = Torch7Object(class_name)
            self._objects[index] = instance
            payload_start = self._position
            fields = self._object(depth + 1)
            if type(fields) is not dict:
                raise self._error(payload_start, f"{class_name} does not consist of its fields")
            instance.update(fields)
            return instance
        dtype = np.dtype(_NUMPY_DTYPES[match[2] or "Float"])  # CudaTensor is float
        is_storage = match[3] == "Storage"
        value = self._storage(dtype) if is_storage else self._tensor(start, dtype, depth)
        self._objects[index] = value
        return value

    def _storage(self, dtype: np.dtype[Any]) -> Tensor:
        (count,) = self._longs(1, "size of a storage")
        start = self._take(count * dtype.itemsize, f"storage of {count:,} elements")
        values = np.frombuffer(self._data, dtype, count, start)
        return torch.from_numpy(values.astype(dtype.newbyteorder("=")))

    def _tensor(self, start: int, dtype: np.dtype[Any], depth: int) -> Tensor:
        dimensions = self._int("number of dimensions")
        if not 0 <= dimensions <= _MAX_DIMENSIONS:
            raise self._error(start, f"tensor of {dimensions} dimensions")
        sizes = self._longs(dimensions, "sizes of a tensor")
        strides = self._longs(dimensions, "strides of a tensor")
        (first,) = self._longs(1, "offset of a tensor")
        storage = self._object(depth + 1)
        if storage is None:
            storage = torch.from_numpy(np.empty(0, dtype.newbyteorder("=")))
        if not isinstance(storage, Tensor) or storage.dim() != 1:
            raise self._error(start, "tensor without a storage")
        if min((*sizes, *strides, first - 1), default=0) < 0:
            raise self._error(start, f"tensor of sizes {sizes}, strides {strides}, offset {first}")
        if dimensions == 0 or 0 in sizes:
            return storage.new_empty(sizes or 0)
        count = 1
        for size in sizes:
            count *= size
        last = first - 1 + sum((n - 1) * step for n, step in zip(sizes, strides, strict=True))
        # The first bound is for strides of 0, which repeat elements.
        if count > len(storage) or last >= len(storage):
            raise self._error(
                start,
                f"tensor of sizes {sizes}, strides {strides}, offset {first} on a storage of "
                f"{len(storage):,} elements",
            )
        return storage.as_strided(sizes, strides, first - 1)

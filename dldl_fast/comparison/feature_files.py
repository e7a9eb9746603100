"""Features from files: CSV tables and MATLAB files. Nothing in them is unpickled."""

from __future__ import annotations

import math
import zlib
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat, whosmat
from scipy.io.matlab import MatReadError
from torch import Tensor

from dldl_fast.data.base import DataError, memory_limit
from dldl_fast.data.folder import finite_number, read_fields
from dldl_fast.labels import label_grid

SIGMA_COLUMN = "sigma"

_NUMERIC = {"double", "single", "logical"} | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}
_COMPRESSED = 15  # miCOMPRESSED in the MAT-file format, level 5
_CHUNK = 1 << 20


class FeatureRows(NamedTuple):
    """Features and values of N rows."""

    features: NDArray[np.float32]
    """[N, F]."""
    target: NDArray[np.float64]
    """[N]."""
    sigma: NDArray[np.float64] | None = None
    """[N], where the data say it."""
    group: NDArray[np.int64] | None = None
    """[N]."""
    labels: Tensor | None = None
    """The label grid, where the data say it."""
    note: str = ""


def group_numbers(names: Sequence[str] | NDArray[np.float64]) -> NDArray[np.int64]:
    """Numbers from 0 for the groups that rows belong to.

    Example:
        >>> group_numbers(["ann", "bob", "ann"])
        array([0, 1, 0])
    """
    return np.unique(np.asarray(names), return_inverse=True)[1].astype(np.int64).ravel()


def read_csv(path: Path, label_column: str, group_column: str | None = None) -> FeatureRows:
    """Read a table whose header names the columns.

    The label column holds the values, ``sigma`` (optional) their standard deviations, the group
    column (any text) what must stay together; every other column is a feature, and a number.

    Raises:
        DataError: naming the file and the row.
    """
    _check_size(path, path.stat().st_size)
    special = [label_column, *([] if group_column is None else [group_column])]
    names: list[str] = []
    features, target, sigma, groups = array("f"), array("d"), array("d"), []
    expected = f"{','.join(special)} and the features"
    for number, fields in read_fields(path, special, expected):
        where = f"{path}, row {number}"
        if not names:
            names = [name for name in fields if name not in (*special, SIGMA_COLUMN)]
            if not names:
                raise DataError(f"{path}: no column is left for features besides {special}")
        target.append(finite_number(fields[label_column], label_column, where))
        if SIGMA_COLUMN in fields and SIGMA_COLUMN not in special:
            sigma.append(_deviation(fields[SIGMA_COLUMN], where))
        if group_column is not None:
            groups.append(fields[group_column])
        features.extend(finite_number(fields[name], name, where) for name in names)
    if not target:
        raise DataError(f"{path}: the table has no rows below its header")
    values = np.array(features, dtype=np.float32).reshape(len(target), len(names))
    _require_finite(values, path, "the features, as 32-bit numbers,")
    return FeatureRows(
        features=values,
        target=np.array(target),
        sigma=np.array(sigma) if sigma else None,
        group=group_numbers(groups) if groups else None,
    )


def _deviation(text: str, where: str) -> float:
    value = finite_number(text, SIGMA_COLUMN, where)
    if value < 0:
        raise DataError(f"{where}: {SIGMA_COLUMN} must be >= 0, got {value:g}")
    return value


def read_mat(
    path: Path,
    labels: Tensor | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
) -> FeatureRows:
    """Read a MATLAB file up to version 7 with numeric arrays.

    ``features`` is [N, F]. Values are ``age`` or, without that, ``labels`` (or what `label_column`
    names): either numbers, [N], or label distributions, [N, J]. Of a distribution the expectation
    is the value and the standard deviation its sigma; its J columns stand for J equally spaced
    values from the first to the last of the given labels, or for 1, 2, ..., J.

    Args:
        path: the file.
        labels: label grid, [K], or None.
        label_column: name of the array of values.
        group_column: name of an array of group numbers, [N].

    Raises:
        DataError: naming the file and the array.
    """
    arrays = _MatFile(path)
    features = arrays.read("features")
    if features.ndim != 2 or 0 in features.shape:
        raise DataError(f"{path}: 'features' must be [N, F], got {list(features.shape)}")
    count = len(features)
    name = label_column or ("age" if "age" in arrays.shapes else "labels")
    values = arrays.read(name)
    group = None if group_column is None else arrays.read(group_column)
    if group is not None and group.size != count:
        raise DataError(
            f"{path}: {group_column!r} must hold one number for each of {count} rows, "
            f"got {list(group.shape)}"
        )
    sigma, grid, note = None, labels, ""
    if values.size == count:
        target = values.ravel()
    elif values.ndim == 2 and len(values) == count:
        target, sigma = _moments(values, labels, path, name)
        note = (
            f"The value of a row is the expectation of its distribution over {values.shape[1]} "
            "labels, and sigma its standard deviation."
        )
        if grid is None:
            grid = label_grid(1.0, float(values.shape[1]))
    else:
        raise DataError(
            f"{path}: {name!r} must be [N] or [N, J] with N = {count} as in 'features', "
            f"got {list(values.shape)}"
        )
    small = features.astype(np.float32)
    _require_finite(small, path, "the features, as 32-bit numbers,")
    return FeatureRows(
        features=small,
        target=target,
        sigma=sigma,
        group=None if group is None else group_numbers(group.ravel()),
        labels=grid,
        note=note,
    )


def _moments(
    distribution: NDArray[np.float64], labels: Tensor | None, path: Path, name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means and standard deviations of rows [N, J], which are normalised first."""
    count = distribution.shape[1]
    first, last = (1.0, float(count)) if labels is None else (float(labels[0]), float(labels[-1]))
    total = distribution.sum(1, keepdims=True)
    bad = (distribution < 0).any(1) | (total[:, 0] <= 0)
    if bad.any():
        raise DataError(
            f"{path}: row {int(bad.argmax())} of {name!r} is no distribution: expected numbers "
            ">= 0 that are not all 0"
        )
    values = np.linspace(first, last, count)
    p = distribution / total
    mean = np.clip(p @ values, first, last)
    variance = (p * (values - mean[:, None]) ** 2).sum(1)
    return mean, np.sqrt(variance)


class _MatFile:
    """The numeric arrays of a file; their sizes are checked before they are read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            for size in _element_sizes(file):
                _check_size(path, size)
        try:
            listed = whosmat(path)
        except _READ_ERRORS as error:
            raise DataError(f"{path}: not a MATLAB file up to version 7 ({error})") from error
        self.shapes = {name: shape for name, shape, _ in listed}
        self.kinds = {name: kind for name, _, kind in listed}

    def read(self, name: str) -> NDArray[np.float64]:
        """One array in float64, finite."""
        if name not in self.shapes:
            raise DataError(f"{self.path}: no array {name!r}; it has {', '.join(self.shapes)}")
        if self.kinds[name] not in _NUMERIC:
            raise DataError(
                f"{self.path}: {name!r} must be a numeric array, got {self.kinds[name]!r}"
            )
        _check_size(self.path, math.prod(self.shapes[name]) * 8)
        try:
            value = loadmat(self.path, variable_names=[name])[name]
        except _READ_ERRORS as error:
            raise DataError(f"{self.path}: {name!r} cannot be read ({error})") from error
        if value.dtype.kind not in "fiub":
            raise DataError(f"{self.path}: {name!r} must be real, got dtype {value.dtype}")
        _require_finite(value, self.path, repr(name))
        numbers: NDArray[np.float64] = value.astype(np.float64)
        return numbers


_READ_ERRORS = (
    ValueError,
    TypeError,
    KeyError,
    NotImplementedError,
    MatReadError,
    OSError,
    EOFError,
    zlib.error,
)


def _element_sizes(file: BinaryIO) -> Iterable[int]:
    """Sizes in bytes of a MAT-file's elements, as unpacked; a few bytes can stand for gigabytes.

    Nothing for files of another kind: what they are is for the reader to say.
    """
    header = file.read(128)
    orders = {b"IM": "little", b"MI": "big"}
    if len(header) < 128 or header[126:] not in orders:
        return
    order = orders[header[126:]]
    while len(tag := file.read(8)) == 8:
        kind = int.from_bytes(tag[:4], order)  # type: ignore[arg-type]  # one of the two
        size = int.from_bytes(tag[4:], order)  # type: ignore[arg-type]
        if kind == _COMPRESSED:
            yield _unpacked_size(file.read(min(size, memory_limit())))
        else:
            yield size
            file.seek(size, 1)


def _unpacked_size(packed: bytes) -> int:
    limit = memory_limit()
    unpacker, total = zlib.decompressobj(), 0
    try:
        while packed and not unpacker.eof and total <= limit:
            total += len(unpacker.decompress(packed, _CHUNK))
            packed = unpacker.unconsumed_tail
    except zlib.error:
        return total  # for the reader to say
    return total


def _check_size(path: Path, size: int) -> None:
    limit = memory_limit()
    if size > limit:
        raise DataError(
            f"{path}: holds {size / 2**30:.1f} GiB, more than half of the memory "
            f"({limit / 2**30:.1f} GiB); use fewer rows or features"
        )


def _require_finite(values: NDArray[Any], path: Path, what: str) -> None:
    if not np.isfinite(values).all():
        raise DataError(f"{path}: {what} must be finite numbers")

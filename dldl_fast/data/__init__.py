"""Data sets: head roll and teacher ages on the ORL faces, public ones, and the user's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dldl_fast.data.base import DataError, FaceData, MissingExtraError, Progress, Split
from dldl_fast.data.face_table import FaceTable
from dldl_fast.data.head_roll import load_head_roll
from dldl_fast.data.label_spec import AGES, LabelSpec
from dldl_fast.data.orl_age import load_orl_age
from dldl_fast.data.protocols import split_rows
from dldl_fast.data.sets import open_source, public_set
from dldl_fast.data.table_data import default_protocol, hold_out_validation, load_table

__all__ = [
    "BUILT_IN",
    "DataError",
    "FaceData",
    "FaceTable",
    "LabelSpec",
    "MissingExtraError",
    "Split",
    "label_spec_of",
    "load_data",
    "load_head_roll",
    "load_orl_age",
    "load_table",
]

BUILT_IN = {
    "head-roll": (LabelSpec(-45, 45, 1, sigma=3.0, unit="degrees"), load_head_roll),
    "orl-age": (AGES, load_orl_age),
}
"""Labels and loaders of the data sets that packages bring, by name."""


def label_spec_of(source: str) -> LabelSpec:
    """The labels of a data set, known before it is read.

    Args:
        source: as for `load_data`.

    Example:
        >>> label_spec_of("cfd:/data/CFD").label_max
        7
    """
    if source in BUILT_IN:
        return BUILT_IN[source][0]
    data_set = public_set(source)
    if data_set is not None:
        return data_set.spec
    return replace(AGES, unit="label units")


def load_data(
    source: str,
    spec: LabelSpec,
    *,
    image_size: int,
    aligned: Path | None = None,
    protocol: str | None = None,
    fold: int = 0,
    test_fraction: float = 0.2,
    validation_fraction: float = 0.0,
    seed: int = 0,
    augmentation: str = "light",
    mirror: bool | None = None,
    allow_zero_sigma: bool = True,
    workers: int | None = None,
    progress: Progress | None = None,
) -> FaceData:
    """Load a data set by name, or the user's own by its path.

    Args:
        source: ``"head-roll"``, ``"orl-age"``, a folder with ``labels.csv``, a CSV file, a folder
            of folders named by their labels, or ``NAME:PATH`` of a public data set
            (`dldl_fast.data.sets.DATA_SETS`).
        spec: the labels to learn; `label_spec_of` has the usual ones.
        image_size: height and width of the images, in pixels.
        aligned: folder that ``dldl-fast align`` wrote, whose crops stand for the pictures.
        protocol: see `split_rows`; None: `default_protocol`.
        fold: of a protocol with several.
        test_fraction: share of the persons (of the rows of a table) to hold out.
        validation_fraction: share of the rest to choose the best epoch by; 0: none.
        seed: selects both.
        augmentation: ``"light"`` or ``"official"``, see `load_table`.
        mirror: whether training images may be mirrored; None: for public data sets they may.
        allow_zero_sigma: whether a table may hold a sigma of 0.
        workers: processes that decode; None: as many as cores, but for a few pictures.
        progress: told about every picture.

    Raises:
        DataError: if the data cannot be used, naming the file and the row.
        MissingExtraError: naming the extra to install.
        ValueError: if an argument makes no sense.
    """
    if source in BUILT_IN:
        for name, given in (
            ("--aligned", aligned is not None),
            ("--protocol", protocol is not None),
            ("--validation-fraction", validation_fraction != 0),
            ("the official augmentation", augmentation != "light"),
        ):
            if given:
                raise ValueError(f"{source} makes its own images and parts; leave out {name}")
        load = BUILT_IN[source][1]
        return load(spec.grid(), image_size=image_size, test_fraction=test_fraction, seed=seed)
    table = open_source(source, spec=spec, allow_zero_sigma=allow_zero_sigma)
    if aligned is not None:
        from dldl_fast.faces.manifest import aligned_table

        table = aligned_table(table, aligned)
    parts = split_rows(
        table,
        protocol or default_protocol(source, table),
        fold=fold,
        seed=seed,
        fraction=test_fraction,
    )
    if validation_fraction != 0:
        parts = hold_out_validation(table, parts, validation_fraction, seed)
    return load_table(
        table,
        parts,
        spec.grid(),
        image_size=image_size,
        augmentation=augmentation,
        mirror=public_set(source) is not None if mirror is None else mirror,
        workers=workers,
        progress=progress,
    )

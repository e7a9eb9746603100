"""Public data sets, read in their official layout, and the user's own pictures.

Nothing is downloaded. ``docs/datasets.md`` says where to get each data set; the docstring of its
reader shows the layout.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dldl_fast.data.base import DataError
from dldl_fast.data.face_table import FaceTable
from dldl_fast.data.folder import TABLE_NAME
from dldl_fast.data.label_spec import AGES, LabelSpec
from dldl_fast.data.sets.adience import EIGHT_GROUPS, read_adience
from dldl_fast.data.sets.cfd import POINTS_TO_7, read_cfd
from dldl_fast.data.sets.chalearn import read_appa_real, read_chalearn15, read_chalearn16
from dldl_fast.data.sets.fbp5500 import read_fbp5500
from dldl_fast.data.sets.generic import read_csv, read_folder
from dldl_fast.data.sets.morph import read_morph
from dldl_fast.data.sets.names import (
    AGES_TO_101,
    AGES_TO_116,
    read_agedb,
    read_fg_net,
    read_utkface,
)
from dldl_fast.data.sets.scut_fbp import POINTS_TO_5, read_scut_fbp

__all__ = [
    "DATA_SETS",
    "DataSet",
    "open_source",
    "public_set",
    "read_adience",
    "read_agedb",
    "read_appa_real",
    "read_cfd",
    "read_chalearn15",
    "read_chalearn16",
    "read_csv",
    "read_data_set",
    "read_fbp5500",
    "read_fg_net",
    "read_folder",
    "read_morph",
    "read_scut_fbp",
    "read_utkface",
]


@dataclass(frozen=True)
class DataSet:
    """What is known of a data set before it is read.

    Attributes:
        name: its key in `DATA_SETS`.
        spec: its labels.
        read: makes the table from the data set's folder (for ``"csv"``, from the file).
        protocols: for `split_rows`; the first is the paper's, where the paper uses the data set,
            else the usual one.
        images: official number of pictures, or None.
        where: where to get it.
        citation: what to cite; empty for the user's own pictures.
    """

    name: str
    spec: LabelSpec
    read: Callable[[Path], FaceTable]
    protocols: tuple[str, ...]
    images: int | None = None
    where: str = ""
    citation: str = ""


_OWN = ("random-80-20", "five-fold", "official", "subject-exclusive", "leave-one-person-out")

DATA_SETS = {
    data.name: data
    for data in (
        DataSet(
            "chalearn15",
            AGES,
            read_chalearn15,
            ("official-validation", "official"),
            images=4691,
            where="https://chalearnlap.cvc.uab.cat/dataset/18/description/",
            citation="Escalera et al., ICCV workshops 2015",
        ),
        DataSet(
            "chalearn16",
            AGES,
            read_chalearn16,
            ("official-merged", "official"),
            images=7591,
            where="https://chalearnlap.cvc.uab.cat/dataset/19/description/",
            citation="Escalera et al., CVPR workshops 2016",
        ),
        DataSet(
            "morph",
            AGES,
            read_morph,
            ("random-80-20", "subject-exclusive", "five-fold"),
            images=55_134,
            where="https://uncw.edu/oic/tech/morph.html",
            citation="Ricanek and Tesafaye, FG 2006",
        ),
        DataSet(
            "scut-fbp",
            POINTS_TO_5,
            read_scut_fbp,
            ("random-80-20", "five-fold"),
            images=500,
            where="http://www.hcii-lab.net/data/SCUT-FBP/EN/introduce.html",
            citation="Xie et al., SMC 2015",
        ),
        DataSet(
            "fbp5500",
            POINTS_TO_5,
            read_fbp5500,
            ("official", "five-fold", "random-80-20"),
            images=5500,
            where="https://github.com/HCIILAB/SCUT-FBP5500-Database-Release",
            citation="Liang et al., ICPR 2018",
        ),
        DataSet(
            "cfd",
            POINTS_TO_7,
            read_cfd,
            ("random-80-20", "five-fold"),
            images=597,
            where="https://www.chicagofaces.org",
            citation="Ma, Correll and Wittenbrink, Behavior Research Methods 2015",
        ),
        DataSet(
            "utkface",
            AGES_TO_116,
            read_utkface,
            ("random-80-20", "five-fold"),
            images=23_708,
            where="https://susanqq.github.io/UTKFace/",
            citation="Zhang et al., CVPR 2017",
        ),
        DataSet(
            "fg-net",
            AGES,
            read_fg_net,
            ("leave-one-person-out", "subject-exclusive", "five-fold"),
            images=1002,
            where="https://yanweifu.github.io/FG_NET_data/",
            citation="Panis et al., IET Biometrics 2016",
        ),
        DataSet(
            "agedb",
            AGES_TO_101,
            read_agedb,
            ("subject-exclusive", "five-fold", "random-80-20"),
            images=16_488,
            where="https://ibug.doc.ic.ac.uk/resources/agedb/",
            citation="Moschoglou et al., CVPR workshops 2017",
        ),
        DataSet(
            "appa-real",
            AGES,
            read_appa_real,
            ("official", "official-merged"),
            images=7591,
            where="https://chalearnlap.cvc.uab.cat/dataset/26/description/",
            citation="Agustsson et al., FG 2017",
        ),
        DataSet(
            "adience",
            EIGHT_GROUPS,
            read_adience,
            ("five-fold", "subject-exclusive"),
            images=19_370,
            where="https://talhassner.github.io/home/projects/Adience/Adience-data.html",
            citation="Eidinger, Enbar and Hassner, IEEE TIFS 2014",
        ),
        DataSet("csv", AGES, read_csv, _OWN),
        DataSet("folder", AGES, read_folder, ("random-80-20", "five-fold")),
    )
}
"""Every data set by its name."""


def public_set(source: str) -> DataSet | None:
    """The public data set that ``NAME:PATH`` names; None for anything else.

    Example:
        >>> public_set("morph:/data/morph").images, public_set("csv:faces.csv")
        (55134, None)
    """
    data_set = DATA_SETS.get(source.partition(":")[0])
    return data_set if data_set is not None and data_set.citation else None


def read_data_set(name: str, root: Path) -> FaceTable:
    """Read a data set from its folder.

    Args:
        name: a key of `DATA_SETS`.
        root: the folder (for ``"csv"``, the file).

    Raises:
        ValueError: if there is no data set of the name.
        DataError: if the folder is laid out in another way, saying what was expected.
        MissingExtraError: if a package is missing that its tables need.
    """
    if name not in DATA_SETS:
        raise ValueError(f"no data set {name!r}; expected one of {', '.join(DATA_SETS)}")
    return DATA_SETS[name].read(root)


def open_source(
    text: str, *, spec: LabelSpec = AGES, allow_zero_sigma: bool = True, allow_outside: bool = False
) -> FaceTable:
    """Read what a user names: a data set and its folder, or a path.

    Args:
        text: ``NAME:PATH``, such as ``morph:/data/morph``; or a CSV file, a folder with
            ``labels.csv``, or a folder of folders that are named by their label.
        spec: labels of a CSV file or of folders; a data set has its own.
        allow_zero_sigma: whether a CSV file may hold a sigma of 0.
        allow_outside: whether a CSV file may name pictures outside its folder.

    Raises:
        DataError: if there is nothing of the kind, listing the names; or if it cannot be read.
        MissingExtraError: if a package is missing that its tables need.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     Path(folder, "001A02.JPG").touch()
        ...     table = open_source(f"fg-net:{folder}")
        >>> table.paths, table.target.tolist(), table.person
        (('001A02.JPG',), [2.0], ('001',))
    """
    name, colon, rest = text.partition(":")
    if colon and name in DATA_SETS:
        path = Path(rest).expanduser()
        if name not in ("csv", "folder"):
            return read_data_set(name, path)
    else:
        path = Path(text).expanduser()
        if not path.exists():
            raise DataError(
                f"{text}: no such file or folder; expected one, or NAME:PATH, where NAME is one of "
                f"{', '.join(DATA_SETS)}"
            )
        name = "csv" if path.is_file() or (path / TABLE_NAME).exists() else "folder"
    if name == "folder":
        return read_folder(path, spec)
    return read_csv(path, spec, allow_zero_sigma=allow_zero_sigma, allow_outside=allow_outside)

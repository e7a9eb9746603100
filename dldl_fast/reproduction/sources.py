"""The data of a reproduction, and what is said about them."""

from __future__ import annotations

from collections.abc import Sequence

from dldl_fast.data import BUILT_IN, DataError, FaceData, LabelSpec, label_spec_of, load_data
from dldl_fast.data.sets import public_set
from dldl_fast.reproduction.job import Job
from dldl_fast.reproduction.paper import DATA_TITLES


def load_faces(
    job: Job, source: str, *, image_size: int | None = None, spec: LabelSpec | None = None
) -> FaceData:
    """Pictures to learn from and to test on: a data set's own parts where it has some.

    Args:
        job: what for; its recipe says how large pictures are and how they are changed.
        source: as for `load_data`.
        image_size: instead of the recipe's.
        spec: labels of pictures that say nothing of their own.

    Raises:
        DataError: if the data hold features, or cannot be used.
        MissingExtraError: naming the extra to install.
    """
    if source == "diabetes" or source.endswith(".mat"):
        raise DataError(
            f"{job.name} needs pictures, and {source} holds features; give orl-age, a folder or a "
            "CSV file of pictures, or NAME:PATH of a public data set (table5, table6, table7 and "
            "fig1 take features)"
        )
    built_in = source in BUILT_IN
    named = label_spec_of(source)
    own = built_in or public_set(source) is not None
    return load_data(
        source,
        named if own or spec is None else spec,
        image_size=image_size or job.recipe.image_size,
        augmentation="light" if built_in else job.recipe.augmentation,
        mirror=job.recipe.mirror,
        progress=job.watch.on_work(f"reading {source}"),
    )


def differing_data(
    names_and_notes: Sequence[tuple[str, str]], paper_sets: Sequence[str]
) -> list[str]:
    """What is to be said of each data set.

    Args:
        names_and_notes: of the data that were measured on.
        paper_sets: names of the data sets that the paper measures on.

    Example:
        >>> differing_data([("faces", "12 images.")], ["morph", "cfd"])
        ["Data: faces is none of the paper's (Morph, CFD): its numbers do not compare. 12 images."]
    """
    papers = ", ".join(DATA_TITLES[name] for name in paper_sets)
    lines = []
    for name, note in names_and_notes:
        text = f"{name} is a data set of the paper's."
        if name not in paper_sets:
            text = f"{name} is none of the paper's ({papers}): its numbers do not compare."
        lines.append(f"Data: {text} {note}".strip())
    return lines

"""The networks of the paper's Tables 2 and 3, with the sizes and times that it prints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from dldl_fast.labels import label_grid
from dldl_fast.models import VGG16, ResNet50, ThinAgeNet, ThinAttNet, TinyAgeNet, TinyAttNet
from dldl_fast.models.label_distribution_net import LabelDistributionNet
from dldl_fast.models.thin_age_net import SCUT_FBP
from dldl_fast.reproduction.paper import TABLES, TINY_MEGABYTES, Column


class PaperNetwork(NamedTuple):
    """One network and what the paper says about it.

    Args:
        make: the network, with the label grid that it has in the table.
        table: of the paper.
        millions: parameters.
        milliseconds: forward, 32 images of 224x224, one NVIDIA M40 with cuDNN 5.1.
        megabytes: on disk, where the paper says it.
    """

    make: Callable[[], LabelDistributionNet]
    table: int
    millions: float
    milliseconds: float
    megabytes: float | None = None


def _printed(
    make: Callable[[], LabelDistributionNet], table: int, row: str, megabytes: float | None = None
) -> PaperNetwork:
    printed = [TABLES[f"table{table}"].value(row, Column("", name)) for name in _SIZES]
    millions, milliseconds = (value for value in printed if value is not None)
    return PaperNetwork(make, table, millions, milliseconds, megabytes)


_SIZES = ("parameters", "milliseconds")

PAPER = {
    "VGG16": _printed(VGG16, 2, "DLDL"),
    "ResNet50": _printed(lambda: ResNet50(label_grid(*SCUT_FBP)), 3, "LDL (ResNet50)"),
    "ThinAgeNet": _printed(ThinAgeNet, 2, "DLDL-v2 (ThinAgeNet)"),
    "TinyAgeNet": _printed(TinyAgeNet, 2, "DLDL-v2 (TinyAgeNet)", TINY_MEGABYTES),
    "ThinAttNet": _printed(ThinAttNet, 3, "DLDL-v2 (ThinAttNet)"),
    "TinyAttNet": _printed(TinyAttNet, 3, "DLDL-v2 (TinyAttNet)"),
}


def parameters(name: str) -> int:
    """How many parameters the network of this library has."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in PAPER[name].make().parameters())


def bytes_on_disk(name: str, folder: Path) -> int:
    """What ``save_pretrained`` writes into a folder, weights and configuration."""
    PAPER[name].make().save_pretrained(folder)
    return sum(file.stat().st_size for file in folder.iterdir())

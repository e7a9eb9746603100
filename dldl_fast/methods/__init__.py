"""Methods of predicting an ordered value, under one interface: `make_method` knows them by name.

docs/methods.md has them all in a table.
"""

from __future__ import annotations

from typing import Any

from dldl_fast.methods.base import Labels, Method
from dldl_fast.methods.metric_regression import MRL1, MRL2
from dldl_fast.methods.softmax import (
    DEX,
    DLDL,
    ERL1,
    ERL2,
    SORD,
    DEXReleased,
    DLDLv2,
    DLDLv2Official,
    ERSmooth,
    HLGauss,
    MeanVariance,
    TwoHot,
)
from dldl_fast.methods.thresholds import CORAL, CORN, ORCNN, Ranking
from dldl_fast.methods.unimodal import Unimodal

__all__ = [
    "CORAL",
    "CORN",
    "DEX",
    "DLDL",
    "ERL1",
    "ERL2",
    "METHODS",
    "MRL1",
    "MRL2",
    "ORCNN",
    "SORD",
    "DEXReleased",
    "DLDLv2",
    "DLDLv2Official",
    "ERSmooth",
    "HLGauss",
    "MeanVariance",
    "Method",
    "Ranking",
    "TwoHot",
    "Unimodal",
    "make_method",
    "method_names",
]

METHODS: dict[str, type[Method]] = {
    cls.name: cls
    for cls in (
        MRL2,
        MRL1,
        DEX,
        DEXReleased,
        Ranking,
        ERL1,
        ERL2,
        ERSmooth,
        DLDL,
        DLDLv2,
        DLDLv2Official,
        MeanVariance,
        ORCNN,
        SORD,
        CORAL,
        CORN,
        HLGauss,
        TwoHot,
        Unimodal,
    )
}
"""The class of each method by its name."""


def method_names() -> tuple[str, ...]:
    """Names that `make_method` knows.

    Example:
        >>> "dldl-v2" in method_names()
        True
    """
    return tuple(METHODS)


def make_method(name: str, labels: Labels, **settings: Any) -> Method:
    """A method by its name: number of outputs, loss, and decoder.

    The training loop is the same for all, if it also gives ``method.parameters()`` to the
    optimiser (only ``coral`` has any).

    Args:
        name: one of `method_names`; see docs/methods.md.
        labels: label grid, K increasing numbers, equally spaced or not.
        settings: keyword arguments of the method's class, listed in its ``settings``.

    Returns:
        A `Method` with ``out_features``, ``loss(outputs, target, sigma=None, weight=None)``,
        ``decode(outputs)`` and ``distribution(outputs)``.

    Raises:
        ValueError: if there is no method of that name, or for a bad grid or value of a setting.
        TypeError: for a setting that the method does not have.

    Example:
        >>> import torch
        >>> method = make_method("ranking", labels=range(101))
        >>> net = torch.nn.Linear(8, method.out_features)
        >>> optimizer = torch.optim.Adam([*net.parameters(), *method.parameters()])
        >>> method.loss(net(torch.zeros(4, 8)), torch.tensor([3, 20, 55, 100])).backward()
        >>> optimizer.step()
        >>> method.decode(net(torch.zeros(4, 8))).shape
        torch.Size([4])
    """
    if name not in METHODS:
        raise ValueError(f"name must be one of {', '.join(method_names())}, got {name!r}")
    return METHODS[name](labels, **settings)

"""Recipes: trainings as small files."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dldl_fast.data.base import DataError, MissingExtraError
from dldl_fast.data.table_data import AUGMENTATIONS, cores
from dldl_fast.models import (
    ALResNet,
    LabelDistributionNet,
    ThinAgeNet,
    ThinAttNet,
    TinyAgeNet,
    TinyAttNet,
)
from dldl_fast.training.settings import Stage, TrainSettings

NETWORKS: dict[str, type[LabelDistributionNet]] = {
    network.__name__: network
    for network in (ThinAgeNet, TinyAgeNet, ThinAttNet, TinyAttNet, ALResNet)
}
"""Networks by name, for recipes and the command line."""

_FOLDER = Path(__file__).parent / "recipes"
_MAX_BYTES = 100_000

# The names of a file, and what they are in DLDLv2Loss; "mean_over_labels" makes ld_weight 1 / K.
_LOSS = {
    "sigma": "sigma",
    "lambda": "lambda_",
    "ld_weight": "ld_weight",
    "variance_weight": "variance_weight",
    "kind": "kind",
    "divergence": "divergence",
    "regression": "regression",
    "mean_over_labels": "mean_over_labels",
}


@dataclass(frozen=True)
class Recipe:
    """What a recipe file says.

    Attributes:
        name: of the file, without ``.toml``.
        description: one sentence.
        network: a name of `NETWORKS`.
        image_size: height and width of the images, in pixels.
        augmentation: ``"light"``: small changes that fit the data; ``"official"``: those of the
            released code.
        mirror: whether a mirror image has the same label; None: what the data say.
        loss: arguments of `DLDLv2Loss`, and ``"mean_over_labels"`` for ``ld_weight = 1 / K``.
        training: how to train.
    """

    name: str
    description: str
    network: str
    image_size: int
    augmentation: str
    mirror: bool | None
    loss: dict[str, Any]
    training: TrainSettings


def recipe_names() -> list[str]:
    """The recipes that come with the package.

    Example:
        >>> recipe_names()
        ['default', 'official-staged', 'paper-age', 'paper-attractiveness']
    """
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def load_recipe(name: str) -> Recipe:
    """Read a recipe of the package by its name, or any other by the path of its file.

    Args:
        name: one of `recipe_names`, or a path that ends in ``.toml``.

    Raises:
        DataError: naming the file and what is wrong with it.
        MissingExtraError: on Python 3.10, if tomli is not installed.

    Example:
        >>> load_recipe("paper-age").training.step_epochs
        30
    """
    path = Path(name) if name.endswith(".toml") else _FOLDER / f"{name}.toml"
    if not name.endswith(".toml") and name not in recipe_names():
        raise DataError(
            f"recipe must be one of {', '.join(recipe_names())} or a .toml file, got {name!r}"
        )
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"larger than {_MAX_BYTES:,} bytes")
        return _recipe(path.stem, _parse(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        text = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise DataError(f"{path}: not a recipe ({text})") from error


def training_settings(recipe: Recipe, **options: Any) -> TrainSettings:
    """The recipe's settings, but for the options that are given.

    Args:
        recipe: has all of them.
        options: attributes of `TrainSettings`; None where the recipe decides. ``epochs`` are those
            of every stage.

    Raises:
        ValueError: naming the setting that makes no sense.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if "epochs" in given:
        epochs = given.pop("epochs")
        given["stages"] = tuple(
            dataclasses.replace(stage, epochs=epochs) for stage in recipe.training.stages
        )
    # The official augmentation takes the time of a core or more; the rest is done in one go.
    given.setdefault("workers", cores() if recipe.augmentation == "official" else 0)
    return dataclasses.replace(recipe.training, **given)


def _recipe(name: str, content: dict[str, Any]) -> Recipe:
    loss = _known(content.pop("loss", {}), _LOSS, "loss")
    settings = {
        field.name: field.name
        for field in dataclasses.fields(TrainSettings)
        if field.name not in ("epochs", "stages", "seed", "device", "precision", "workers")
    }
    training = _known(content.pop("training", {}), settings, "training")
    stages = [
        Stage(**_known(stage, {"lambda": "lambda_", **_fields(Stage)}, "stages"))
        for stage in content.pop("stages")
    ]
    recipe = Recipe(
        name=name,
        description=str(content.pop("description")),
        network=str(content.pop("network")),
        image_size=int(content.pop("image_size")),
        augmentation=str(content.pop("augmentation")),
        mirror=content.pop("mirror", None),
        loss=loss,
        training=TrainSettings(**training, stages=tuple(stages)),
    )
    if content:
        raise ValueError(f"unknown {', '.join(sorted(content))}")
    if not stages:
        raise ValueError("no [[stages]]")
    for key, valid in (("network", tuple(NETWORKS)), ("augmentation", AUGMENTATIONS)):
        if getattr(recipe, key) not in valid:
            raise ValueError(f"{key} must be one of {valid}, got {getattr(recipe, key)!r}")
    return recipe


def _fields(kind: type[Stage]) -> dict[str, str]:
    return {f.name: f.name for f in dataclasses.fields(kind) if f.name != "lambda_"}


def _known(table: dict[str, Any], names: dict[str, str], where: str) -> dict[str, Any]:
    unknown = sorted(table.keys() - names.keys())
    if unknown:
        raise ValueError(
            f"unknown {', '.join(unknown)} in {where}; known are {', '.join(sorted(names))}"
        )
    return {names[key]: value for key, value in table.items()}


def _parse(text: str) -> dict[str, Any]:
    name = "tomllib" if sys.version_info >= (3, 11) else "tomli"
    try:
        content: dict[str, Any] = importlib.import_module(name).loads(text)
    except ImportError as error:
        raise MissingExtraError(
            f"recipes need the package {name!r}; run: pip install 'dldl_fast[cli]'"
        ) from error
    return content

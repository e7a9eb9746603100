"""How to train: what the recipe says, but for the options that are given."""

from __future__ import annotations

import dataclasses
from typing import Any

from dldl_fast.data.table_data import cores
from dldl_fast.training import TrainSettings
from dldl_fast.training.recipe import Recipe


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

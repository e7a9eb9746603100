from __future__ import annotations

import re

import pytest

from dldl_fast.data import DataError
from dldl_fast.training import Stage
from dldl_fast.training.recipe import load_recipe, recipe_names


def test_the_papers_training():
    for name, network in (("paper-age", "ThinAgeNet"), ("paper-attractiveness", "ThinAttNet")):
        recipe = load_recipe(name)
        training = recipe.training
        assert (recipe.network, recipe.image_size, recipe.augmentation) == (
            network,
            224,
            "official",
        )
        assert recipe.loss == {"lambda_": 1.0}
        assert (training.learning_rate, training.adam_epsilon) == (1e-3, 1e-8)
        assert (training.schedule, training.step_epochs, training.step_factor) == ("step", 30, 0.1)
        assert (training.batch_size, training.all_stages) == (128, (Stage(60),))


def test_the_released_codes_training():
    recipe = load_recipe("official-staged")
    assert recipe.loss == {"lambda_": 1.0, "mean_over_labels": True}
    assert recipe.training.adam_epsilon == 1e-7
    first, second = recipe.training.all_stages
    assert first == Stage(60, lambda_=0.0)
    assert second == Stage(60, zero_head_bias=True)


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_says_what_it_is(name):
    assert load_recipe(name).description.endswith(".")
    assert load_recipe(name).name == name


GOOD = """
description = "Mine."
network = "TinyAgeNet"
image_size = 64
augmentation = "light"
[[stages]]
epochs = 2
"""


def test_a_recipe_of_ones_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD + "[training]\nema = 0.5\n", encoding="utf-8")
    recipe = load_recipe(str(path))
    assert (recipe.name, recipe.training.ema, recipe.mirror) == ("mine", 0.5, None)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("epochs = 2", "epochs = 0", "epochs must be at least 1, got 0"),
        ("epochs = 2", "epoch = 2", "unknown epoch in stages; known are epochs, lambda"),
        ("epochs = 2", "epochs = 2\n[training]\nlr = 1", "unknown lr in training"),
        ("epochs = 2", "epochs = 2\n[loss]\nlambada = 1", "unknown lambada in loss"),
        ("image_size = 64", "image_size = 64\ncolour = 1", "unknown colour"),
        ("TinyAgeNet", "HugeAgeNet", "network must be one of"),
        ("light", "heavy", "augmentation must be one of"),
        ('description = "Mine."', "", "no 'description'"),
        ("[[stages]]", "[[stages", "not a recipe"),
    ],
)
def test_errors_name_the_file(tmp_path, old, new, message):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD.replace(old, new), encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(message)) as error:
        load_recipe(str(path))
    assert str(path) in str(error.value)


def test_unknown_and_missing_recipes(tmp_path):
    with pytest.raises(DataError, match="recipe must be one of default, official-staged"):
        load_recipe("paper")
    with pytest.raises(DataError, match="not a recipe .*No such file"):
        load_recipe(str(tmp_path / "none.toml"))

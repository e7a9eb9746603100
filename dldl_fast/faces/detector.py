"""Finds faces and five landmarks in each with MTCNN."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dldl_fast.faces.face import Face
from dldl_fast.faces.mtcnn.networks import ONet, PNet, PNetScan, RNet
from dldl_fast.faces.mtcnn.proposals import proposals, squares
from dldl_fast.faces.mtcnn.sums import SummedPictures
from dldl_fast.faces.mtcnn.suppression import suppress
from dldl_fast.faces.mtcnn.weights import read_networks, weights_folder

# Pixels of pictures that are worked on together: 8 bytes each.
_PICTURE_PIXELS = 64_000_000
# Faces that go through RNet and ONet at once.
_BATCH = {"cpu": 64}
_BATCH_ELSEWHERE = 4096


class FaceDetector:
    """MTCNN: a network looks everywhere at many scales, two more tell which windows are faces.

    Boxes, landmarks and scores are those of facenet-pytorch's MTCNN, up to rounding. As there,
    boxes may reach beyond the picture.

    Args:
        networks: with weights, as `read_networks` returns them.
        min_face_size: side of the smallest faces that are looked for, in pixels, >= 1. Half of it
            takes four times the time.
        thresholds: scores in [0, 1] that a face has to reach in each of the three networks.
        device: where to compute.

    Source:
        Zhang et al., Joint Face Detection and Alignment using Multi-task Cascaded Convolutional
        Networks, IEEE SPL 2016; the details (thresholds, scales, rounding) as in facenet-pytorch
        2.6.0, whose weights it uses.

    Example:
        ``dldl-fast weights mtcnn`` fetches the weights once. Then::

            detector = FaceDetector.from_cache()
            faces, = detector([numpy.asarray(picture)])
            faces[0].box, faces[0].landmarks
    """

    def __init__(
        self,
        networks: tuple[PNet, RNet, ONet],
        *,
        min_face_size: float = 20.0,
        thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7),
        device: torch.device | str = "cpu",
    ) -> None:
        if not min_face_size >= 1.0:
            raise ValueError(f"min_face_size must be at least 1 pixel, got {min_face_size}")
        if len(thresholds) != 3 or not all(0.0 <= value <= 1.0 for value in thresholds):
            raise ValueError(f"thresholds must be three numbers in [0, 1], got {thresholds}")
        self.device = torch.device(device)
        self.min_face_size = float(min_face_size)
        self.thresholds = thresholds
        for network in networks:
            network.requires_grad_(False).eval()
            network.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._pnet, self._rnet, self._onet = PNetScan(networks[0]), networks[1], networks[2]
        self._batch = _BATCH.get(self.device.type, _BATCH_ELSEWHERE)

    @classmethod
    def from_folder(
        cls,
        folder: Path | str,
        *,
        min_face_size: float = 20.0,
        thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7),
        device: torch.device | str = "cpu",
    ) -> FaceDetector:
        """A detector with the weights pnet.pt, rnet.pt and onet.pt of a folder.

        Raises:
            CheckpointError: naming the file that is missing or cannot be used.
        """
        return cls(
            read_networks(Path(folder)),
            min_face_size=min_face_size,
            thresholds=thresholds,
            device=device,
        )

    @classmethod
    def from_cache(
        cls,
        *,
        min_face_size: float = 20.0,
        thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7),
        device: torch.device | str = "cpu",
    ) -> FaceDetector:
        """A detector with the weights that ``dldl-fast weights mtcnn`` has fetched.

        Raises:
            CheckpointError: if it has not, saying so.
        """
        return cls.from_folder(
            weights_folder(), min_face_size=min_face_size, thresholds=thresholds, device=device
        )

    def __call__(self, pictures: Sequence[NDArray[np.uint8]]) -> list[list[Face]]:
        """Find the faces in pictures of any sizes; those of one size are worked on together.

        Args:
            pictures: uint8 [H, W, 3] each, RGB, upright.

        Returns:
            One list per picture, the face with the largest box first; empty if there is none.

        Raises:
            ValueError: for anything else than such pictures.
        """
        _require_pictures(pictures)
        faces: list[list[Face]] = [[] for _ in pictures]
        # Pictures of one size follow each other.
        order = sorted(range(len(pictures)), key=lambda i: pictures[i].shape)
        for part in _parts_of_bounded_size(order, pictures):
            boxes, scores, landmarks, picture = self._detect([pictures[i] for i in part])
            for box, score, points, i in zip(
                boxes.tolist(), scores.tolist(), landmarks, picture.tolist(), strict=True
            ):
                # A copy: one face must not keep all landmarks in memory, nor be of inference mode.
                faces[part[i]].append(Face(tuple(box), points.clone(), score))
        # Of equal areas the highest score first, as they come.
        return [sorted(some, key=lambda face: -face.area) for some in faces]

    @torch.inference_mode()
    def _detect(
        self, pictures: Sequence[NDArray[np.uint8]]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Boxes, scores, landmarks and pictures of the faces, on the CPU, highest score first."""
        sums = SummedPictures(pictures, self.device)
        boxes, picture = proposals(sums, self._pnet, self.min_face_size, self.thresholds[0])
        boxes, picture = self._refined(sums, boxes, picture)
        boxes, scores, landmarks, picture = self._final(sums, boxes, picture)
        return boxes.cpu(), scores.cpu(), landmarks.cpu(), picture.cpu()

    def _refined(
        self, sums: SummedPictures, boxes: Tensor, picture: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Those of the squares that pass the RNet, moved as it says."""
        boxes, picture, crops = _inside(boxes, picture, sums)
        outputs = [self._rnet(images) for images in self._images(sums, crops, picture, RNet.size)]
        if not outputs:
            return boxes, picture
        scores, offsets = (torch.cat(parts) for parts in zip(*outputs, strict=True))
        passed = scores > self.thresholds[1]
        boxes, scores, offsets, picture = (x[passed] for x in (boxes, scores, offsets, picture))
        kept = suppress(boxes, scores, picture, 0.7)
        return squares(_moved(boxes[kept], offsets[kept])), picture[kept]

    def _final(
        self, sums: SummedPictures, boxes: Tensor, picture: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Boxes, scores, landmarks and pictures of the faces, highest score first."""
        boxes, picture, crops = _inside(boxes, picture, sums)
        outputs = [self._onet(images) for images in self._images(sums, crops, picture, ONet.size)]
        if not outputs:
            return boxes, boxes[:, 0], boxes.new_zeros(0, 5, 2), picture
        scores, offsets, landmarks = (torch.cat(parts) for parts in zip(*outputs, strict=True))
        passed = scores > self.thresholds[2]
        boxes, scores, picture = boxes[passed], scores[passed], picture[passed]
        size = boxes[:, 2:] - boxes[:, :2] + 1
        landmarks = landmarks[passed] * size[:, None] + boxes[:, None, :2] - 1
        boxes = _moved(boxes, offsets[passed])
        kept = suppress(boxes, scores, picture, 0.7, part_of="smaller")
        return boxes[kept], scores[kept], landmarks[kept], picture[kept]

    def _images(
        self, sums: SummedPictures, crops: Tensor, picture: Tensor, size: int
    ) -> Iterator[Tensor]:
        for some, pictures in zip(
            crops.split(self._batch), picture.split(self._batch), strict=True
        ):
            if len(some):
                yield sums.crops(pictures, some, size)


def _require_pictures(pictures: object) -> None:
    if not isinstance(pictures, (list, tuple)):
        raise ValueError(
            f"pictures must be a list, got {type(pictures).__name__}; for one picture: [picture]"
        )
    for i, picture in enumerate(pictures):
        expected = f"pictures[{i}] must be a NumPy array of uint8 [H, W, 3] (RGB)"
        if not isinstance(picture, np.ndarray):
            raise ValueError(f"{expected}, got {type(picture).__name__}")
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise ValueError(f"{expected}, got {picture.dtype} {list(picture.shape)}")
        if not picture.size:
            raise ValueError(f"{expected} with pixels, got {list(picture.shape)}")


def _parts_of_bounded_size(
    order: Sequence[int], pictures: Sequence[NDArray[np.uint8]]
) -> Iterator[list[int]]:
    """Pictures that are worked on together: one at least, and not too many pixels."""
    part: list[int] = []
    pixels = 0
    for i in order:
        height, width, _ = pictures[i].shape
        if part and pixels + height * width > _PICTURE_PIXELS:
            yield part
            part, pixels = [], 0
        part.append(i)
        pixels += height * width
    if part:
        yield part


def _inside(boxes: Tensor, picture: Tensor, sums: SummedPictures) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes that have pixels in their picture, their pictures, and these pixels, int64 [K, 4].

    MTCNN counts pixels from 1, and the right and lower edge among them.
    """
    corners = boxes.trunc().long()
    first = corners[:, :2].clamp(min=1) - 1
    last = torch.minimum(corners[:, 2:], sums.sizes[picture].flip(1))
    there = (last > first).all(1)
    return boxes[there], picture[there], torch.cat((first, last), 1)[there]


def _moved(boxes: Tensor, offsets: Tensor) -> Tensor:
    """Boxes with corrections in sides of the box."""
    size = boxes[:, 2:] - boxes[:, :2] + 1
    return boxes + offsets * size.repeat(1, 2)

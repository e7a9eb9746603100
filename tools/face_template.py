"""Derives the five points that faces are aligned to, `dldl_fast.faces.alignment.TEMPLATE`.

    python tools/face_template.py [folder with pnet.pt, rnet.pt and onet.pt]

Landmarks that MTCNN finds on the ORL faces are taken as vectors z of five complex numbers, moved to
the mean 0 and scaled to the norm 1, together with those of the mirror images. Their full Procrustes
mean is the shape m, |m| = 1, that is closest to all of them when each may be rotated and scaled:
the one with the largest sum of |<z, m>|^2, which is the first eigenvector of the sum of z z^H
(Kent 1994). It is turned until the eyes are level, scaled until they are `EYES` apart, and its mean
is put into the middle of the crop, where the released code (face-detection/demo.m) has it too.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch import Tensor

from dldl_fast.data.orl import orl_paths
from dldl_fast.faces import TEMPLATE, FaceDetector, open_picture

EYES = 0.25
"""Distance of the eyes, as a share of the crop's width.

On average the hairline is 1.25 such distances above the eyes, and the chin 1.75 below them. So 6 %
of the crop are above the hairline and 19 % below the chin, and the face stays in the crop when the
augmentation turns it by up to 15 degrees.
"""

# Left and right eye, nose, left and right corner of the mouth, seen in a mirror.
MIRRORED = [1, 0, 2, 4, 3]


def mean_shape(landmarks: Tensor) -> Tensor:
    """Landmarks [N, 5, 2] to their symmetric mean, float64 [5, 2], eyes level and 1 apart."""
    z = torch.view_as_complex(landmarks.to(torch.float64).contiguous())
    z = torch.cat([z, -z[:, MIRRORED].conj()])
    z = z - z.mean(1, keepdim=True)
    z = z / torch.linalg.vector_norm(z, dim=1, keepdim=True)
    mean = torch.linalg.eigh(z.T @ z.conj()).eigenvectors[:, -1]
    return torch.view_as_real(mean / (mean[1] - mean[0]))


def main() -> None:
    """Print the template, and how far the one in use is from it."""
    detector = FaceDetector.from_folder(sys.argv[1]) if sys.argv[1:] else FaceDetector.from_cache()
    faces = detector([np.asarray(open_picture(path)) for path in orl_paths()])
    landmarks = torch.stack([found[0].landmarks for found in faces if found])
    template = 0.5 + EYES * mean_shape(landmarks)
    print(f"{len(landmarks)} of {len(faces)} faces found")
    print(template)
    print(f"largest difference from TEMPLATE: {(template - TEMPLATE).abs().max():.1e}")


if __name__ == "__main__":
    main()

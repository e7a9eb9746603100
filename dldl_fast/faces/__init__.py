"""Faces in photos: found, and brought into the position that the networks were trained on."""

from dldl_fast.data.images import open_picture
from dldl_fast.faces.alignment import TEMPLATE, align_face, similarity
from dldl_fast.faces.crops import Crop, NoFace, NoFaceError, Several, crops_of
from dldl_fast.faces.detector import FaceDetector
from dldl_fast.faces.face import Face

__all__ = [
    "TEMPLATE",
    "Crop",
    "Face",
    "FaceDetector",
    "NoFace",
    "NoFaceError",
    "Several",
    "align_face",
    "crops_of",
    "open_picture",
    "similarity",
]

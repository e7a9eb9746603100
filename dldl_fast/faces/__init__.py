"""Faces in photos: found, and brought into the position that the networks were trained on."""

from dldl_fast.faces.detector import FaceDetector
from dldl_fast.faces.face import Face

__all__ = ["Face", "FaceDetector"]

"""Faces in photos: found, and brought into the position that the networks were trained on."""

from dldl_fast.data.images import open_picture
from dldl_fast.faces.align_job import AlignSummary, align_photos
from dldl_fast.faces.alignment import TEMPLATE, align_face, similarity
from dldl_fast.faces.crops import NO_FACE, Crop, NoFace, NoFaceError, Several, crops_of
from dldl_fast.faces.detector import FaceDetector
from dldl_fast.faces.face import Face
from dldl_fast.faces.manifest import ManifestRow, aligned_table, read_manifest

__all__ = [
    "NO_FACE",
    "TEMPLATE",
    "AlignSummary",
    "Crop",
    "Face",
    "FaceDetector",
    "ManifestRow",
    "NoFace",
    "NoFaceError",
    "Several",
    "align_face",
    "align_photos",
    "aligned_table",
    "crops_of",
    "open_picture",
    "read_manifest",
    "similarity",
]

"""Weights of other implementations."""

from dldl_fast.models.importers.puneal import load_puneal
from dldl_fast.models.importers.torch7 import load_torch7
from dldl_fast.models.importers.torch7_file import Torch7Object, read_torch7

__all__ = ["Torch7Object", "load_puneal", "load_torch7", "read_torch7"]

"""Which implementation computes the loss: `backend=` argument > DLDL_FAST_BACKEND > automatic.

A backend that is named and cannot serve raises with the reason; the automatic choice falls back to
the plain-torch reference, which runs everywhere.
"""

from __future__ import annotations

import functools
import os
from typing import NamedTuple

import torch

from dldl_fast import ops

BACKENDS = ("cpp", "cuda", "triton", "reference")
"""Known backends in the order of the automatic choice."""

OPS = {"cpp": ops.compiled_ops, "cuda": ops.compiled_ops, "triton": ops.triton_ops}
"""What each of them calls; the reference is no op."""

VARIABLE = "DLDL_FAST_BACKEND"

# Read once: looking an unset variable up takes longer than checking all arguments of a loss.
requested_by_environment = os.environ.get(VARIABLE) or "auto"


class BackendStatus(NamedTuple):
    """Whether a backend works in this installation, and if not, why and what to do."""

    name: str
    available: bool
    reason: str


def status() -> list[BackendStatus]:
    """Status of every backend, in the order of the automatic choice.

    Example:
        >>> [s.name for s in status()]
        ['cpp', 'cuda', 'triton', 'reference']
    """
    found = []
    for name in BACKENDS:
        reason = _missing(name)
        if not reason and _DEVICES.get(name) == ("cuda",) and not torch.cuda.is_available():
            reason = "torch finds no CUDA device: install its driver"
        found.append(BackendStatus(name, not reason, reason))
    return found


_DEVICES = {"cpp": ("cpu",), "cuda": ("cuda",), "triton": ops.TRITON_DEVICES}
_DEVICE_NAMES = {"cpu": "the CPU", "cuda": "CUDA devices"}


def _missing(name: str) -> str:
    errors = {
        "cpp": ops.load_error,
        "cuda": ops.cuda_load_error,
        "triton": ops.triton_load_error,
    }
    return errors.get(name) or ""


def _cannot_serve(name: str, device_type: str) -> str:
    if name in _DEVICES and device_type not in _DEVICES[name]:
        where = " and ".join(_DEVICE_NAMES[device] for device in _DEVICES[name])
        return (
            f"it runs on {where}, got a tensor on {device_type}; use backend='reference' or 'auto'"
        )
    return _missing(name)


def check_name(name: str, origin: str = "backend") -> None:
    """Raise ValueError if `name` is neither 'auto' nor a known backend."""
    if name != "auto" and name not in BACKENDS:
        known = ", ".join(repr(known) for known in ("auto", *BACKENDS))
        raise ValueError(f"{origin} must be one of {known}, got {name!r}")


def resolve(requested: str, device_type: str) -> str:
    """Name of the backend that computes for logits on this device.

    Raises:
        ValueError: if an unknown backend was named.
        RuntimeError: if the one that was named cannot serve, with the reason.
    """
    origin = "backend"
    if requested == "auto":
        requested, origin = requested_by_environment, VARIABLE
    # torch.compile evaluates this while it traces, and warns of caches.
    choose = _choose if torch.compiler.is_compiling() else _choose_cached
    load_errors = (ops.load_error, ops.cuda_load_error, ops.triton_load_error)
    return choose(requested, origin, device_type, load_errors)


def _choose(
    requested: str,
    origin: str,
    device_type: str,
    _load_errors: tuple[str | None, ...],
) -> str:
    check_name(requested, origin)
    if requested != "auto":
        if reason := _cannot_serve(requested, device_type):
            raise RuntimeError(f"{origin}={requested!r} cannot be used: {reason}")
        return requested
    # Nobody who leaves the choice means Triton's interpreter.
    names = (name for name in BACKENDS if name != "triton" or device_type == "cuda")
    return next(name for name in names if not _cannot_serve(name, device_type))


_choose_cached = functools.lru_cache(_choose)

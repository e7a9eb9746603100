"""What the processor is, and what it computes in."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import torch


def usable_device(name: str) -> torch.device:
    """The device of a name; ``"auto"`` is a CUDA device if there is one, else the CPU.

    Raises:
        ValueError: if torch does not know it or cannot use it here.

    Example:
        >>> usable_device("cpu")
        device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    # torch without CUDA raises AssertionError.
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        first_line = str(error).splitlines()[0]
        raise ValueError(f"device {name!r} cannot be used: {first_line}") from error
    return device


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16: AVX512-BF16, AMX, CUDA from 8.0.

    Elsewhere bfloat16 is emulated: with AVX2 alone a step takes many times as long.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
    return False


def processor_name() -> str:
    """The processor's name where the system tells it, else its architecture."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()

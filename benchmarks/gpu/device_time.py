"""Time as the device sees it, and the state of the device before a step is timed."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from ..variants import Step


class Instant:
    """A point in the current stream's work; the difference of two is in seconds.

    As the ``timer`` of pytest-benchmark it times what the device does between two calls of it.
    """

    def __init__(self) -> None:
        self.event = torch.cuda.Event(enable_timing=True)
        self.event.record()

    def __sub__(self, start: Instant) -> float:
        """Wait for this point and return the seconds since ``start``."""
        self.event.synchronize()
        return start.event.elapsed_time(self.event) / 1e3


def host_seconds(step: Step) -> float:
    """What a step takes Python, its kernels queued and not waited for: the median of seven."""
    seconds = []
    for _ in range(7):
        torch.cuda.synchronize()
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    torch.cuda.synchronize()
    return sorted(seconds)[3]


def hold(seconds: float) -> Callable[[], None]:
    """A function that keeps the device busy for about so long, and returns at once.

    A step that is queued meanwhile runs without a gap between its kernels, so that its time is the
    device's and not Python's.
    """
    probe = 10_000_000
    torch.cuda._sleep(probe)  # the first one loads the kernel
    start = Instant()
    torch.cuda._sleep(probe)
    cycles = int(probe / (Instant() - start) * seconds)
    return lambda: torch.cuda._sleep(cycles)


def flush() -> Callable[[], None]:
    """A function that leaves nothing of a step's tensors in the L2 cache.

    It overwrites four times as much as the cache holds, and reads that again: a cache full of
    lines that wait to be written back would slow the step down.
    """
    size = 4 * torch.cuda.get_device_properties().L2_cache_size
    buffer = torch.empty(size // 4, dtype=torch.float32, device="cuda")

    def run() -> None:
        buffer.zero_()
        buffer.sum()

    return run

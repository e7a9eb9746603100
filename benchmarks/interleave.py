"""Variants timed side by side: short blocks of calls in an order drawn anew in every round."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

import torch

from .variants import Step

Clock = Callable[[], float]

BLOCK_SECONDS = 0.03
# The caches do not remember what was before such a call: neither it nor its block needs warming up.
LONG_SECONDS = 0.3


def interleave(
    steps: Sequence[tuple[int, Step]], rounds: int, clock: Clock = time.perf_counter
) -> list[list[float]]:
    """Time steps so that a change of the machine's speed meets all of them alike.

    Args:
        steps: number of threads and step of each variant.
        rounds: blocks of about 30 ms, or of one call, per variant.
        clock: seconds since some moment.

    Returns:
        Seconds of every counted call, per variant. The first call of a block is not counted, except
        where a call takes longer than 0.3 s; the call that shows this is counted too.
    """
    before = torch.get_num_threads()
    calls, seconds = [], []
    for threads, step in steps:
        torch.set_num_threads(threads)
        in_block, counted = _calls_of_block(step, clock)
        calls.append(in_block)
        seconds.append(counted)
    order = list(range(len(steps)))
    generator = random.Random(0)
    for _ in range(rounds):
        generator.shuffle(order)
        for i in order:
            threads, step = steps[i]
            torch.set_num_threads(threads)
            if calls[i]:
                step()
            for _ in range(max(1, calls[i])):
                seconds[i].append(_seconds(step, clock))
    torch.set_num_threads(before)
    return seconds


def _calls_of_block(step: Step, clock: Clock) -> tuple[int, list[float]]:
    """Counted calls of a block after one that is not, and none yet; 0 and one for a long step."""
    step()  # compiles, and loads the libraries
    for _ in range(3):
        last = _seconds(step, clock)
        if last > LONG_SECONDS:
            return 0, [last]
    return max(1, int(BLOCK_SECONDS / last)), []


def _seconds(step: Step, clock: Clock) -> float:
    start = clock()
    step()
    return clock() - start

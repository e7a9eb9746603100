"""One process of a gloo group: feeds its rows to every metric and saves what they compute.

Run as ``python -m tests.metrics.gloo_process RANK WORLD_SIZE RENDEZVOUS_FILE RESULT_FILE``.
"""

from __future__ import annotations

import sys

import torch
from torch import distributed

from tests.metrics.streams import CASES, batches, make_rows

SIZES = [[3, 0, 14], [2, 1]]
"""Sizes of the batches of each process."""


def main(rank: int, world_size: int, rendezvous: str, result: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world_size
    )
    sizes = [size for of_rank in SIZES for size in of_rank]
    first = sum(len(of_rank) for of_rank in SIZES[:rank])
    mine = slice(first, first + len(SIZES[rank]))
    values = {}
    for case in CASES:
        metric = case.make()
        for batch in batches(case, make_rows(sum(sizes)), sizes)[mine]:
            metric.update(*batch)
        values[case.name] = metric.compute()

        only_first = case.make()
        if rank == 0:
            rows = make_rows(5)
            only_first.update(*(rows[name] for name in case.arguments))
        values[f"{case.name}, rows in the first process only"] = only_first.compute()
    torch.save(values, result)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])

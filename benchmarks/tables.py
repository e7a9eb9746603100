"""Write the tables of the newest runs, pooling and networks: ``python -m benchmarks.tables``."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from .network_tables import network_tables
from .network_variants import NetworkMeasurement
from .paper import PAPER, bytes_on_disk, parameters
from .pool_variants import PoolMeasurement, pool_tables
from .record import RESULTS, read_newest_run, render

_HEAD = """\
# Hybrid pooling and the networks

Made by `python -m benchmarks.tables` from `hybrid_pool2d.csv` and `networks.csv`;
[README.md](../README.md) says how each figure comes about.
"""


def sizes_table() -> str:
    """Parameters and bytes on disk, counted anew, beside the paper's."""
    lines = []
    for name, entry in PAPER.items():
        with tempfile.TemporaryDirectory() as folder:
            on_disk = bytes_on_disk(name, Path(folder))
        printed = "-" if entry.megabytes is None else entry.megabytes
        count = f"{parameters(name):,}"
        line = (name, f"Table {entry.table}", count, entry.millions, f"{on_disk / 1e6:.2f}")
        lines.append((*line, printed))
    headers = ["network", "paper", "parameters", "paper, millions", "MB on disk", "paper, MB"]
    return render(headers, lines)


def made_by(run: dict[str, str]) -> str:
    """The machine and the command, in a sentence."""
    return (
        f"{run['cpu']} ({run['instruction_set']}), {run['cores']} cores, torch {run['torch']}, "
        f"dldl_fast {run['dldl_fast']}, {run['date'][:10]}, load {run['load_1min'] or 'unknown'}: "
        f"`{run['command']}`."
    )


def page() -> str:
    """Everything, as Markdown."""
    pool_run, pool = read_newest_run(RESULTS / "hybrid_pool2d.csv", PoolMeasurement)
    network_run, networks = read_newest_run(RESULTS / "networks.csv", NetworkMeasurement)
    sections = [
        _HEAD,
        f"## Hybrid pooling, forward and backward\n\n{made_by(pool_run)}\n\n{pool_tables(pool)}\n",
        f"## Sizes\n\n{sizes_table()}\n",
        f"## Times and memory\n\n{made_by(network_run)}\n\n{network_tables(networks)}\n",
    ]
    return "\n".join(sections)


def main() -> None:
    """Read the CSV files and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS / "tables.md", help="file to write")
    args = parser.parse_args()
    args.out.write_text(page(), encoding="utf-8")
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()

"""Break the CUDA kernels in fourteen ways, one at a time, and see that the tests notice each.

    python tools/mutate_cuda_kernels.py

Works on a copy of this checkout; needs g++, takes about a quarter of an hour. Exits with 1 if any
survives.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
TESTS = [
    "tests/simt/test_label_distribution_loss.py",
    "tests/simt/test_bad_rows.py",
    "tests/simt/test_hybrid_pool2d.py",
]


class Mutation(NamedTuple):
    """One place in a file of csrc/cuda, and what it becomes."""

    what: str
    file: str
    before: str
    after: str


MUTATIONS = [
    Mutation(
        "an index: labels of a lane begin one later",
        "row_group.cuh",
        "const int k = lane() + j * kLanes;",
        "const int k = lane() + 1 + j * kLanes;",
    ),
    Mutation(
        "a mask: one label too many",
        "row_group.cuh",
        "if (j < kFull || k < n_labels) f(j, k);",
        "if (j < kFull || k <= n_labels) f(j, k);",
    ),
    Mutation(
        "a barrier: rows are computed before the tile is there",
        "label_distribution_loss_kernel.cuh",
        "  __syncthreads();\n#pragma unroll 1\n  for (int r = Group::index()",
        "#pragma unroll 1\n  for (int r = Group::index()",
    ),
    Mutation(
        "a reduction: the last exchange between lanes is left out",
        "row_group.cuh",
        "offset > 0; offset /= 2) {\n    value += ",
        "offset > 1; offset /= 2) {\n    value += ",
    ),
    Mutation(
        "the sign of the error",
        "row_loss.cuh",
        "error > 0 ? A(1) : error < 0 ? A(-1) : error",
        "error > 0 ? A(-1) : error < 0 ? A(1) : error",
    ),
    Mutation(
        "lambda is left out of the loss",
        "row_loss.cuh",
        "row.loss += by.lambda * row.regression;",
        "row.loss += row.regression;",
    ),
    Mutation(
        "ld_weight is left out of the gradient",
        "row_loss.cuh",
        "row.grad_target = by.grad_scale * by.ld_weight * scale;",
        "row.grad_target = by.grad_scale * scale;",
    ),
    Mutation(
        "the clamp goes to the wrong end",
        "row_checks.cuh",
        "row.target = row.target < first ? first : last;",
        "row.target = row.target < first ? last : first;",
    ),
    Mutation(
        "rows of weight 0 count if their loss is not finite",
        "row_loss.cuh",
        "share = {weight == 0 ? A(0) : weight * row.loss, weight};",
        "share = {weight * row.loss, weight};",
    ),
    Mutation(
        "the peeled end of a tile is off by one",
        "row_tile.cuh",
        "f(i < span.head ? i : i - span.head + span.tail);",
        "f(i < span.head ? i : i - span.head + span.tail - 1);",
    ),
    Mutation(
        "of equal maxima the last one is chosen",
        "pool_window.cuh",
        "const bool taken = next > value || next != next;",
        "const bool taken = next >= value || next != next;",
    ),
    Mutation(
        "a column that no window has is left as it was",
        "hybrid_pool2d_tiles.cuh",
        "    if (is_odd && at.j == in.out_width - 1) top[2] = bottom[2] = 0;\n",
        "",
    ),
    Mutation(
        "windows that share a byte with the plane before are taken from its beginning",
        "hybrid_pool2d_tiles.cuh",
        "windows - n_before + thread);",
        "thread);",
    ),
    Mutation(
        "a barrier: sums over windows are read before all are there",
        "hybrid_pool2d_channels.cuh",
        "  __syncthreads();\n  if (!at.has_result(in)) return;",
        "  if (!at.has_result(in)) return;",
    ),
]


def tests_notice(checkout: Path) -> bool:
    """Whether any test fails, or the kernels do not compile."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *TESTS]
    return subprocess.run(command, cwd=checkout, capture_output=True, check=False).returncode != 0


def main() -> None:
    """Try all of them and print a line for each."""
    with tempfile.TemporaryDirectory() as folder:
        checkout = Path(folder) / "checkout"
        ignored = shutil.ignore_patterns(".git", "*.so", "runs")
        shutil.copytree(ROOT, checkout, ignore=ignored)
        if tests_notice(checkout):
            sys.exit("the tests fail without any change: nothing can be learned")
        survivors = 0
        for mutation in MUTATIONS:
            path = checkout / "csrc" / "cuda" / mutation.file
            text = path.read_text()
            if text.count(mutation.before) != 1:
                sys.exit(
                    f"{mutation.file} holds {mutation.before!r} {text.count(mutation.before)} times"
                )
            path.write_text(text.replace(mutation.before, mutation.after))
            noticed = tests_notice(checkout)
            path.write_text(text)
            survivors += not noticed
            print(f"{'noticed ' if noticed else 'SURVIVED'}  {mutation.what}", flush=True)
    sys.exit(survivors > 0)


if __name__ == "__main__":
    main()

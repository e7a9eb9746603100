"""Peak memory of a network in a fresh process: ``python -m benchmarks.network_memory``.

What the process takes during one forward, less what it took before the network was made: weights,
in whatever forms the path keeps them, activations, and the libraries that the path loads. See
`benchmarks.memory` for how it is measured; Linux only.
"""

from __future__ import annotations

import argparse

import torch

from dldl_fast.inference import PATHS, optimize

from .memory import number_of_process, peak_bytes, resident_bytes
from .network_variants import NETWORKS, forward_step, make_images, make_network


def peak_megabytes(network: str, path: str, batch: int, size: int) -> float:
    """Peak of a forward in float32, in 1e6 bytes; the path of `optimize`, or ``none``."""
    arguments = [network, path, str(batch), str(size)]
    return number_of_process("benchmarks.network_memory", arguments, torch.get_num_threads())


def _measure(network: str, path: str, batch: int, size: int) -> float:
    images = make_images(batch, size)
    before = resident_bytes()
    run = make_network(network)
    if path != "none":
        run = optimize(run, images[:2], path=path, precision="float32")
    return (peak_bytes(forward_step(run, images)) - before) / 1e6


def main() -> None:
    """Measure one network in this process and print the number."""
    parser = argparse.ArgumentParser(description="Peak memory of a forward, in 1e6 bytes.")
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("path", choices=["none", *PATHS])
    parser.add_argument("batch", type=int)
    parser.add_argument("size", type=int)
    args = parser.parse_args()
    print(_measure(args.network, args.path, args.batch, args.size))


if __name__ == "__main__":
    main()

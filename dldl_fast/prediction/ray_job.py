"""Predictions on the machines of a Ray cluster, in the order of the photos."""

from __future__ import annotations

import logging
import os
import socket
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import torch

from dldl_fast.data.base import DataError, MissingExtraError
from dldl_fast.data.photos import Photo
from dldl_fast.prediction.estimator import AgeEstimator, pictures_together
from dldl_fast.prediction.job import PredictMany
from dldl_fast.prediction.result import PictureResult

try:
    import ray
    import ray.data
    from ray.exceptions import RayError, RayTaskError
except ImportError as error:
    raise MissingExtraError(
        f"Ray Data needs the package {error.name!r}; run: pip install 'dldl_fast[ray]'"
    ) from error

# How often a group of photos is tried again whose process has died. Ray Data itself would go on for
# ever with a photo that kills every process.
_RETRIES = 2

# Ray Data keeps something of every group until it ends, so many photos are several of its jobs, one
# after the other. With 32 photos in a group each takes minutes; to start its processes, seconds.
_GROUPS_PER_PROCESS = 250

# What would go through the progress bar. Resources that it waits for are a warning of "ray.data".
_LOGGERS = {
    "ray.data": logging.WARNING,
    "ray.data._internal.tensor_extensions.arrow": logging.ERROR,  # that it leaves objects alone
    "ray.data._internal.progress": logging.ERROR,  # that we have a progress bar of our own
}

# Seconds to wait for an address. Ray waits for minutes, and then ends the process.
_PATIENCE = 10


@contextmanager
def ray_cluster(
    estimator: AgeEstimator, *, batch_size: int = 32, address: str | None = None
) -> Iterator[PredictMany]:
    """A Ray cluster that predicts as `AgeEstimator.predict_many` does, with the same results.

    They are the same to the last bit where torch has one thread, as the processes of the cluster
    have (``OMP_NUM_THREADS=1``). With more threads it adds some numbers in another order: values
    then differ by 1e-7 of themselves.

    Every CPU of the cluster has a process with the estimator, which is sent to it: no machine needs
    the folder of the model. The photos are not sent: each machine must have them under the same
    path. Where it does not, the result of a photo says that there is no such file.

    All machines need the same versions of Python, Ray and this library. A cluster that this process
    is connected to already is used if there is no address, and stays connected.

    Args:
        estimator: on the CPU.
        batch_size: faces that the model sees at once, >= 1.
        address: ``"auto"`` or ``"HOST:PORT"``: a cluster that this machine belongs to;
            ``"local"``: a new one, of this machine alone. None: what ``RAY_ADDRESS`` says, else a
            cluster that runs on this machine, else a new one. A new one ends with the context.

    Yields:
        What takes any number of photos, one after the other, and returns their results in order.

    Raises:
        ConnectionError: if there is no such cluster.

    Example:
        With the photos of a folder::

            estimator = AgeEstimator.from_pretrained("model", device="cpu")
            with ray_cluster(estimator) as predict_many:
                for result in predict_many(photos(Path("folder"))):
                    print(result.name, [prediction.value for prediction in result.predictions])
    """
    connected = ray.is_initialized()
    if connected and address is not None:
        raise ConnectionError("connected to a Ray cluster already; leave the address out")
    if not connected:
        _connect(address)
    try:
        yield partial(_predict_many, ray.put(estimator), batch_size)
    finally:
        if not connected:
            ray.shutdown()


def _connect(address: str | None) -> None:
    wanted = address or os.environ.get("RAY_ADDRESS") or None
    # Nothing is sent to Ray's makers.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        if wanted not in (None, "auto", "local"):
            host, _, port = str(wanted).rpartition(":")
            if "/" in host or not host or not port.isdecimal():
                raise ValueError("expected auto, local or HOST:PORT")
            socket.create_connection((host, int(port)), _PATIENCE).close()
        ray.init(address=wanted, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, OverflowError, RayError, RuntimeError, ValueError) as error:
        raise ConnectionError(
            f"no Ray cluster at the address {wanted or 'local'} ({error}); `ray status` on one of "
            "its machines shows it"
        ) from error
    for name, level in _LOGGERS.items():
        logging.getLogger(name).setLevel(level)


# Ray Data would make columns of what is in a tuple; objects of other classes it leaves alone.


@dataclass(frozen=True)
class _Photos:
    group: tuple[Photo, ...]


@dataclass(frozen=True)
class _Results:
    group: tuple[PictureResult, ...]


class _Process:
    """One of those that predict."""

    def __init__(self, estimator: Any, batch_size: int) -> None:
        torch.set_num_threads(1)  # every CPU has a process
        self._estimator: AgeEstimator = ray.get(estimator)
        self._batch_size = batch_size

    def __call__(self, batch: dict[str, Iterable[_Photos]]) -> dict[str, list[_Results]]:
        predict_many = partial(self._estimator.predict_many, batch_size=self._batch_size, workers=0)
        return {"item": [_Results(tuple(predict_many(one.group))) for one in batch["item"]]}


def _predict_many(
    estimator: Any, batch_size: int, photos: Iterable[Photo]
) -> Iterator[PictureResult]:
    processes = int(ray.cluster_resources().get("CPU", 0))
    if processes == 0:
        raise ConnectionError("the Ray cluster has no CPUs")
    stream = iter(photos)
    size = pictures_together(batch_size)
    groups = iter(lambda: tuple(islice(stream, size)), ())
    while job := [_Photos(group) for group in islice(groups, processes * _GROUPS_PER_PROCESS)]:
        done = 0
        try:
            for results in _run(job, min(processes, len(job)), estimator, batch_size):
                yield from results.group
                done += 1
        except RayTaskError:
            raise  # an error of the estimator
        except RayError as error:
            lines = str(error).strip().splitlines()
            reason = " ... ".join(dict.fromkeys((lines[0], lines[-1])))
            raise DataError(
                f"the Ray cluster gives up at the photos from {job[done].group[0].name!r} on: its "
                f"processes cannot begin, or one has died {1 + _RETRIES} times, of a photo that "
                f"takes all memory for instance ({reason})"
            ) from error


def _run(job: list[_Photos], processes: int, estimator: Any, batch_size: int) -> Iterator[_Results]:
    """Results in the order of the photos."""
    with warnings.catch_warnings():
        # In Ray 2.60 there is no other place for max_task_retries.
        warnings.filterwarnings("ignore", message=".*ray_remote_args")
        dataset = ray.data.from_items(job, override_num_blocks=len(job)).map_batches(
            _Process,
            batch_size=1,
            fn_constructor_args=(estimator, batch_size),
            compute=ray.data.ActorPoolStrategy(size=processes),
            num_cpus=1,
            max_task_retries=_RETRIES,
        )
    dataset.context.execution_options.preserve_order = True
    dataset.context.enable_progress_bars = False
    # Without reading ahead, or results would be held back until the next ones are there.
    for batch in dataset.iter_batches(batch_size=None, prefetch_batches=0):
        yield from batch["item"]

"""The tables and figures by name, and how one is reproduced from a job to files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import import_module
from typing import NamedTuple

import torch

from dldl_fast.figures import new_figure
from dldl_fast.processor import processor_name
from dldl_fast.reproduction.job import DEFAULT_DATA, Job
from dldl_fast.reproduction.report import Outcome, write_outcome
from dldl_fast.training.run import versions


@dataclass(frozen=True)
class Reproduction:
    """A table or figure of the paper.

    Attributes:
        title: what it is.
        module: of this package, that has a function of its name.
        data: whether it is made from data.
        one_source: whether it takes a single data set.
        networks: how many of its networks may begin with pre-trained features.
        model: whether it can look into a network that is trained already.
    """

    title: str
    module: str
    data: bool = True
    one_source: bool = False
    networks: int = 0
    model: bool = False


REPRODUCTIONS = {
    "table2": Reproduction("Table 2: age estimation", "trained", networks=2),
    "table3": Reproduction("Table 3: attractiveness estimation", "trained", networks=2),
    "table4": Reproduction("Table 4: data augmentation and pooling", "trained", networks=1),
    "table5": Reproduction("Table 5: two-stage methods", "compared", networks=1),
    "table6": Reproduction("Table 6: single-stage methods", "compared"),
    "table7": Reproduction("Table 7: lambda and the step of the labels", "compared"),
    "fig1": Reproduction("Fig. 1: distributions of the labels", "labels"),
    "fig2": Reproduction("Fig. 2: encodings of a label", "labels", data=False),
    "fig6": Reproduction(
        "Fig. 6: score maps by age", "looks", one_source=True, networks=1, model=True
    ),
    "fig7": Reproduction(
        "Fig. 7: score maps of the highest and lowest predictions",
        "looks",
        one_source=True,
        networks=1,
        model=True,
    ),
    "fig8": Reproduction(
        "Fig. 8: sensitivity to parts of the face", "looks", one_source=True, networks=1, model=True
    ),
}
"""Everything that can be reproduced, by name."""


class Written(NamedTuple):
    """What a reproduction wrote.

    Attributes:
        outcome: what was found.
        files: names of the files in the job's folder.
    """

    outcome: Outcome
    files: list[str]


def reproduce(job: Job, command: str = "") -> Written:
    """Measure a table or a figure anew, and write it beside what the paper prints.

    The job's folder receives ``NAME.md``, ``NAME.csv``, ``NAME.png`` and ``NAME.json``; ``work``
    below it what took long to make: the same job goes on from there after Ctrl-C.

    Args:
        job: what to reproduce; see `make_job`.
        command: what the user typed, for the record.

    Raises:
        ValueError: if there is no such table or figure, or the job has what it does not take.
        DataError: if its data cannot be used.
        ResumeError: if the work in the folder is of other data of the same name.
        MissingExtraError: naming the extra to install.
        KeyboardInterrupt: after Ctrl-C.
    """
    if job.name not in REPRODUCTIONS:
        raise ValueError(f"name must be one of {', '.join(REPRODUCTIONS)}, got {job.name!r}")
    item = REPRODUCTIONS[job.name]
    _require_fit(job, item)
    new_figure(1.0, 1.0)  # says now, not after all the training, if there can be no pictures
    run = getattr(import_module(f"{__package__}.{item.module}"), job.name)
    job.out.mkdir(parents=True, exist_ok=True)
    outcome: Outcome = run(job)
    made = {
        "command": command,
        "versions": ", ".join(f"{name} {number}" for name, number in versions().items()),
        "machine": f"{processor_name()}, {os.cpu_count()} cores, threads {torch.get_num_threads()}",
    }
    if job.settings.resolved_device().type == "cuda":
        made["GPU"] = torch.cuda.get_device_name(job.settings.resolved_device())
    return Written(outcome, write_outcome(job.out, job.name, item.title, outcome, made))


def _require_fit(job: Job, item: Reproduction) -> None:
    if not item.data and job.sources != (DEFAULT_DATA,):
        raise ValueError(f"{job.name} is made from no data, got {', '.join(job.sources)}")
    if item.one_source and len(job.sources) > 1:
        raise ValueError(f"{job.name} shows one data set, got {', '.join(job.sources)}")
    if job.model is not None and not item.model:
        able = ", ".join(name for name, other in REPRODUCTIONS.items() if other.model)
        raise ValueError(f"{job.name} takes no --model; {able} do")
    if job.model is not None and job.init:
        raise ValueError("give either --model, a trained network, or --init, to train one")
    if len(job.init) > item.networks:
        raise ValueError(
            f"{job.name} takes {item.networks or 'no'} --init, got {', '.join(map(str, job.init))}"
        )

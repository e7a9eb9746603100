"""What to reproduce, on what data, and with how much work."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dldl_fast.training import Callback, TrainSettings
from dldl_fast.training.recipe import Recipe, load_recipe, training_settings

if TYPE_CHECKING:
    from dldl_fast.comparison import Progress

DEFAULT_DATA = "orl-age"
"""The faces that come with a package, with ages that another model sees in them."""


@dataclass(frozen=True)
class Budget:
    """How much work a reproduction is given.

    Attributes:
        recipe: of trainings on pictures.
        epochs: of trainings on pictures; None: the recipe's.
        feature_epochs: of trainings on features.
        folds: of comparisons on data without parts of their own.
        seeds: of comparisons.
        hidden_faces: test faces of which parts are hidden, at most; None: all.
    """

    recipe: str
    epochs: int | None
    feature_epochs: int
    folds: int
    seeds: int
    hidden_faces: int | None


BUDGETS = {
    "quick": Budget("default", 12, 30, folds=3, seeds=1, hidden_faces=200),
    "paper": Budget("paper-age", None, 100, folds=5, seeds=2, hidden_faces=None),
}
"""``"quick"``: minutes on two cores. ``"paper"``: the paper's own training of networks on pictures,
which wants a GPU."""

_FEATURE_BATCH = 64


class Watch:
    """Told what a reproduction does; the methods do nothing unless overridden."""

    def on_training(self, title: str) -> Sequence[Callback]:
        """Callbacks of a training that begins."""
        return ()

    def on_comparison(self) -> Progress | None:
        """What is told about the runs of a comparison."""
        return None

    def on_work(self, title: str) -> Callable[[int, int], None]:
        """Told of other work, how much of it is done and how much there is."""
        return lambda done, total: None


@dataclass(frozen=True)
class Job:
    """What to reproduce.

    Attributes:
        name: of the table or figure.
        sources: data sets, as `dldl_fast.data.load_data` takes them, or files of features.
        out: folder for the results; what is finished there is not done again.
        effort: names budget, epochs and pre-training; what they led to is kept by this name.
        budget: how much work.
        recipe: of trainings on pictures.
        settings: of trainings on pictures.
        feature_settings: of trainings on features.
        init: pre-trained networks, see `dldl_fast.training.run_pretraining`; one for each network
            that is trained.
        model: folder of a trained network, for figures that look into one; None: train one.
        watch: told about the progress.
    """

    name: str
    sources: tuple[str, ...]
    out: Path
    effort: str
    budget: Budget
    recipe: Recipe
    settings: TrainSettings
    feature_settings: TrainSettings
    init: tuple[Path, ...] = ()
    model: Path | None = None
    watch: Watch = dataclasses.field(default_factory=Watch)

    def folder(self, *names: str) -> Path:
        """Where a part of the work is kept."""
        return self.out.joinpath("work", self.effort, *names)


def make_job(
    name: str,
    sources: Sequence[str],
    out: Path,
    *,
    budget: str = "quick",
    epochs: int | None = None,
    init: Sequence[Path] = (),
    model: Path | None = None,
    device: str = "auto",
    watch: Watch | None = None,
) -> Job:
    """A job from what a user says.

    Args:
        name: of the table or figure.
        sources: data sets; none: `DEFAULT_DATA`.
        out: folder for the results.
        budget: a key of `BUDGETS`.
        epochs: of every training, instead of the budget's.
        init: as for `Job`.
        model: as for `Job`.
        device: ``"auto"`` or any device that torch knows.
        watch: told about the progress.

    Raises:
        ValueError: naming the setting that makes no sense.
    """
    if budget not in BUDGETS:
        raise ValueError(f"budget must be one of {', '.join(BUDGETS)}, got {budget!r}")
    chosen = BUDGETS[budget]
    recipe = load_recipe(chosen.recipe)
    settings = training_settings(recipe, epochs=epochs or chosen.epochs, device=device)
    settings.resolved_device()  # says now if there is none
    effort = budget if epochs is None else f"{budget}-{epochs}-epochs"
    if init:
        effort += f"-init-{zlib.crc32(chr(0).join(map(str, init)).encode()):08x}"
    return Job(
        name=name,
        sources=tuple(sources) or (DEFAULT_DATA,),
        out=out,
        effort=effort,
        budget=chosen,
        recipe=recipe,
        settings=settings,
        feature_settings=TrainSettings(
            epochs=epochs or chosen.feature_epochs,
            batch_size=_FEATURE_BATCH,
            device="cpu",
            precision="float32",
        ),
        init=tuple(init),
        model=model,
        watch=watch or Watch(),
    )

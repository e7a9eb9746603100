"""The picture of a training: its curves, and what the model sees in a few test images."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dldl_fast import DLDLv2Loss, functional
from dldl_fast.data.base import FaceData
from dldl_fast.figures import new_figure, quiet
from dldl_fast.training.engine import EpochRecord
from dldl_fast.training.objective import decode

if TYPE_CHECKING:
    pass

_BLUE, _ORANGE, _GREY, _INK = "#2a6fbb", "#e07b27", "#9aa0a6", "#202124"

# Examples are picked by rank of their error, not by looks.
_QUANTILES = (0.1, 0.5, 0.75, 0.95)


def plot_training(
    path: Path,
    data: FaceData,
    criterion: DLDLv2Loss,
    history: list[EpochRecord],
    logits: Tensor,
    baseline_mae: float,
) -> None:
    """Draw loss curves, the error against the constant prediction, and four distributions.

    Args:
        path: PNG file to write.
        data: the data set.
        criterion: the loss that was used.
        history: one record per epoch; may be empty.
        logits: float32 [N, K] of the test images.
        baseline_mae: mean absolute error of the constant prediction.
    """
    figure = new_figure(11.0, 7.4)
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=(1.0, 1.25))[:, 0]
    loss_axes, error_axes = top.subplots(1, 2)
    epochs = [record.epoch for record in history]
    held_out = "test" if data.validation is None else "validation"
    loss_axes.plot(epochs, [r.train_loss for r in history], color=_ORANGE, label="training")
    loss_axes.plot(epochs, [r.scores["loss"] for r in history], color=_BLUE, label=held_out)
    loss_axes.set(title="Loss", xlabel="epoch", ylim=(0, None))
    error_axes.plot(epochs, [r.scores["mae"] for r in history], color=_BLUE, label="model")
    error_axes.axhline(baseline_mae, color=_GREY, linestyle="--", label="constant prediction")
    title = f"Mean absolute error on the {held_out} images ({data.unit})"
    error_axes.set(title=title, xlabel="epoch", ylim=(0, None))
    for axes in (loss_axes, error_axes):
        quiet(axes, grid="y")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(frameon=False)

    labels, probabilities = data.labels.numpy(), logits.double().softmax(1).numpy()
    prediction = decode(logits, data.labels)
    examples = _examples((prediction - data.test.target).abs())
    cells = bottom.subplots(2, len(examples), height_ratios=(1.0, 1.0), squeeze=False)
    for column, index in enumerate(examples):
        target = float(data.test.target[index])
        sigma = criterion.sigma if data.test.sigma is None else float(data.test.sigma[index])
        target_distribution = functional.label_distribution(
            data.test.target[index : index + 1], data.labels, sigma, criterion.options.kind
        )[0].numpy()
        picture, curve = cells[0][column], cells[1][column]
        picture.imshow(
            data.test.picture(index).permute(1, 2, 0).numpy(),
            cmap="gray",
            vmin=0,
            vmax=255,
        )
        picture.set_axis_off()
        error = abs(float(prediction[index]) - target)
        picture.set_title(
            f"label {target:.1f}, predicted {float(prediction[index]):.1f}\n"
            f"error {error:.1f}, larger than {_QUANTILES[column]:.0%} of the errors",
            fontsize=9,
        )
        curve.fill_between(labels, probabilities[index], color=_BLUE, alpha=0.35, linewidth=0)
        curve.plot(labels, probabilities[index], color=_BLUE, label="predicted distribution")
        curve.plot(labels, target_distribution, color=_ORANGE, label="target distribution", lw=1.2)
        curve.axvline(target, color=_INK, linestyle=":", lw=1.2, label="label")
        quiet(curve, grid="y")
        curve.set(xlabel=data.unit, yticks=[], ylim=(0, None))
        curve.margins(x=0)
    handles, names = cells[1][0].get_legend_handles_labels()
    bottom.legend(handles, names, loc="outside lower center", ncols=3, frameon=False)
    if data.note:
        figure.suptitle(textwrap.fill(data.note, 150), fontsize=8, color=_INK)
    figure.savefig(path)


def _examples(errors: Tensor) -> list[int]:
    order = errors.argsort()
    ranks = torch.tensor(_QUANTILES, dtype=torch.float64) * (len(order) - 1)
    return [int(order[int(rank)]) for rank in ranks.round()]

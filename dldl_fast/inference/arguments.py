"""What models and images must be to be optimised or exported."""

from __future__ import annotations

from torch import Tensor, nn


def check_example(model: nn.Module, example_images: Tensor) -> None:
    """Check the example that a model is optimised or exported with.

    Raises:
        ValueError: if it is no [N, C, H, W] with N >= 1, or something is not on the CPU.
        TypeError: if it is not floating point.
    """
    if example_images.dim() != 4 or len(example_images) < 1:
        raise ValueError(
            "example_images must have shape [N, C, H, W] with N >= 1, "
            f"got {list(example_images.shape)}"
        )
    check_kind("example_images", example_images)
    for name, parameter in model.named_parameters():
        if parameter.device.type != "cpu":
            raise ValueError(
                f"model must be on the CPU, its parameter {name} is on {parameter.device}; "
                "move a copy: copy.deepcopy(model).cpu()"
            )


def check_kind(name: str, images: Tensor) -> None:
    """Check number format and device.

    Raises:
        TypeError: if the images are not floating point.
        ValueError: if they are not on the CPU.
    """
    if not images.is_floating_point():
        raise TypeError(f"{name} must be floating point, got {images.dtype}; normalise it first")
    if images.device.type != "cpu":
        raise ValueError(f"{name} must be on the CPU, got {images.device}; use {name}.cpu()")


def label_grid_of(model: nn.Module) -> Tensor | None:
    """The label grid that a model has as its attribute ``labels``, [K], or None."""
    labels = getattr(model, "labels", None)
    return labels if isinstance(labels, Tensor) else None

"""optimize: a model for inference, on the fastest path that is installed."""

from __future__ import annotations

import copy
import hashlib
import os
import time
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from dldl_fast import reference
from dldl_fast.functional import expectation
from dldl_fast.inference import remembered
from dldl_fast.inference.arguments import check_example, check_kind, label_grid_of
from dldl_fast.inference.paths import PATHS, Run, Source, require
from dldl_fast.inference.plain import plain_copy
from dldl_fast.processor import computes_in_bfloat16, processor_name

TOLERANCE = {"float32": 1e-5, "bfloat16": 5e-3}
"""By how much predicted values may differ from those of the float32 model.

A share of the range of the label grid: 0.001 and 0.5 years for the ages 0 to 100.
"""

_ROUNDS = 5


class OptimizedModel(nn.Module):
    """A model for inference, made by `optimize`.

    Attributes:
        path: how it runs: a name in `dldl_fast.inference.PATHS`.
        precision: what it computes in, ``"float32"`` or ``"bfloat16"``.
        milliseconds: time of the example on every path that was measured, now or in an earlier
            run; empty if the path was named by the caller.
        skipped: why paths that are installed were not taken, by name and precision.
        labels: label grid of the model, if it has one.

    Shape:
        images [N, C, H, W] of the size of the example, any N, floating point, to float32 logits
        [N, K].

    Raises:
        ValueError: if the images are of another size or not on the CPU.
        TypeError: if they are not floating point.
        RuntimeError: if gradients are asked for, by the images or by ``train()``.
    """

    def __init__(
        self,
        run: Run,
        *,
        name: str,
        path: str,
        precision: str,
        image_shape: Sequence[int],
        num_labels: int,
        labels: Tensor | None = None,
        milliseconds: dict[str, float] | None = None,
        skipped: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.path, self.precision = path, precision
        self.milliseconds, self.skipped = milliseconds or {}, skipped or {}
        self.labels = labels
        self._run, self._name = run, name
        self._image_shape, self._num_labels = list(image_shape), num_labels
        self._threads = torch.get_num_threads()
        self.training = False

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, K] of images [N, C, H, W]."""
        if images.dim() != 4 or list(images.shape[1:]) != self._image_shape:
            raise ValueError(
                f"images must have shape {self._shape()}, the size that the model was optimised "
                f"for, got {list(images.shape)}"
            )
        check_kind("images", images)
        if images.requires_grad and torch.is_grad_enabled():
            raise RuntimeError(
                "an optimised model has no gradients; call it under torch.no_grad(), or use the "
                "model that it was made from"
            )
        if len(images) == 0:
            return torch.empty(0, self._num_labels)
        return run_without_context(self._run, images)

    def predict(self, images: Tensor, *, flip: bool = False) -> Tensor:
        """Estimated values: the expectations of the predicted distributions (Eq. 10).

        Args:
            images: as for the call.
            flip: average the values of the images and of their mirror images.

        Returns:
            float64 [N], in the unit of the labels.

        Raises:
            RuntimeError: if the model that this one was made from has no ``labels``.
        """
        if self.labels is None:
            raise RuntimeError(
                "the model has no label grid; use functional.expectation(model(images), labels)"
            )
        values = self._values(images, self.labels)
        return (values + self._values(images.flip(-1), self.labels)) / 2 if flip else values

    def _values(self, images: Tensor, labels: Tensor) -> Tensor:
        return cast(Tensor, expectation(self(images.detach()), labels))

    def train(self, mode: bool = True) -> OptimizedModel:
        """Only for ``mode=False``, evaluation, in which the model always is.

        Raises:
            RuntimeError: for ``mode=True``.
        """
        if mode:
            raise RuntimeError(
                "an optimised model cannot be trained; train the model that it was made from and "
                "optimise it again"
            )
        return self

    def __repr__(self) -> str:
        return (
            f"OptimizedModel({self._name}, path={self.path!r}, precision={self.precision!r}, "
            f"images={self._shape()}, threads={self._threads})"
        )

    def _shape(self) -> str:
        return f"[N, {', '.join(map(str, self._image_shape))}]"


def optimize(
    model: nn.Module,
    example_images: Tensor,
    *,
    path: str = "auto",
    precision: str = "auto",
) -> OptimizedModel:
    """Make a model for inference on the CPU, on the fastest path that is installed.

    Batch normalisation is folded into the convolutions, and then the paths are measured, one after
    the other in several rounds, with the example:

    - ``"eager"``: torch's own kernels, channels last;
    - ``"compile"``: ``torch.compile`` with frozen weights, channels last; needs a C++ compiler, and
      half a minute or more;
    - ``"onnxruntime"``: float32 only; with the extra ``onnx``;
    - ``"openvino"``: with the extra ``openvino``.

    The fastest is remembered in ``$XDG_CACHE_HOME/dldl_fast/inference`` (``~/.cache`` by default)
    for the same processor, number of threads, packages, architecture, images and precision, so
    that only one is built the next time. Delete that folder to measure again.

    The number of threads is torch's (``torch.get_num_threads()``) at this call. Batch normalisation
    uses its running statistics, whatever the mode of the model, and nothing has gradients.

    Args:
        model: maps images [N, C, H, W] to logits [N, K]; on the CPU. It stays as it is, and later
            changes of it do not reach what is returned.
        example_images: [N, C, H, W], normalised images of the kind, the size and the number that
            will be common. Any other number works too (``"compile"`` compiles again for the
            numbers 1 and, after an example of 1, for the first other one).
        path: ``"auto"`` or one of the above, which is then taken or raises.
        precision: ``"float32"``, ``"bfloat16"`` or ``"auto"``: bfloat16 where the processor
            computes in it (AVX512-BF16, AMX).

    Returns:
        The model. Its predicted values of the example differ from those of the float32 model by
        at most a hundred-thousandth of the range of the label grid in float32 (0.001 years for the
        ages 0 to 100) and a two-hundredth in bfloat16 (0.5 years); a path beyond that is not taken.

    Raises:
        ValueError, TypeError: if an argument is not as described.
        MissingExtraError: if the path needs packages that are not installed.
        RuntimeError: if no path works, or the one that was named differs by more than that.

    Example:
        >>> from dldl_fast.models import ThinAgeNet
        >>> model = ThinAgeNet(rate=0.125)
        >>> fast = optimize(model, torch.randn(8, 3, 64, 64), path="eager", precision="float32")
        >>> fast  # doctest: +ELLIPSIS
        OptimizedModel(ThinAgeNet, path='eager', precision='float32', images=[N, 3, 64, 64], ...)
        >>> fast(torch.randn(2, 3, 64, 64)).shape
        torch.Size([2, 101])
    """
    require(path, precision)
    check_example(model, example_images)
    search = _Search(model, example_images.detach())
    if precision != "auto":
        return search.take(path, precision)
    if _computes_in_bfloat16() and (path == "auto" or "bfloat16" in PATHS[path].precisions):
        try:
            return search.take(path, "bfloat16")
        except RuntimeError as error:
            search.skipped[f"{path} bfloat16"] = str(error)
    return search.take(path, "float32")


def _computes_in_bfloat16() -> bool:
    return computes_in_bfloat16(torch.device("cpu"))


class _Search:
    """Builds paths of one model, and finds the fastest."""

    def __init__(self, model: nn.Module, example_images: Tensor) -> None:
        self.model, self.example_images = model, example_images
        self.source = Source(plain_copy(model, example_images), example_images)
        self.expected = run_without_context(
            copy.deepcopy(model).float().eval(), example_images.float()
        )
        if self.expected.dim() != 2:
            raise ValueError(f"model must give logits [N, K], gave {list(self.expected.shape)}")
        self.skipped: dict[str, str] = {}

    def take(self, path: str, precision: str) -> OptimizedModel:
        """The model on a path, or on the fastest one for ``"auto"``.

        Raises:
            RuntimeError: if it does not work, or none does.
        """
        milliseconds: dict[str, float] = {}
        if path == "auto":
            path, run, milliseconds = self._fastest(precision)
        else:
            run = self._build(path, precision)
        return OptimizedModel(
            run,
            name=type(self.model).__name__,
            path=path,
            precision=precision,
            image_shape=self.example_images.shape[1:],
            num_labels=self.expected.shape[1],
            labels=label_grid_of(self.model),
            milliseconds=milliseconds,
            skipped=self.skipped,
        )

    def _build(self, path: str, precision: str) -> Run:
        """Build a path and compare its values of the example.

        Raises:
            RuntimeError: if they differ too much.
        """
        with torch.inference_mode(False), torch.no_grad():
            run = PATHS[path].build(self.source, precision)
        logits = run_without_context(run, self.example_images)
        difference = float((_relative_value(logits) - _relative_value(self.expected)).abs().max())
        # Written so that NaN is too much.
        if not difference <= TOLERANCE[precision]:
            raise RuntimeError(
                f"path {path!r} in {precision} changes the predicted values by "
                f"{difference:.2g} of the range of the label grid, more than "
                f"{TOLERANCE[precision]:g}; use precision='float32' or another path"
            )
        return run

    def _fastest(self, precision: str) -> tuple[str, Run, dict[str, float]]:
        """Name and way of running of the fastest path, and what was measured.

        Raises:
            RuntimeError: if none works.
        """
        key = self._key(precision)
        known = remembered.recall(key)
        if (
            known is not None
            and known.path in key["paths"]
            and (run := self._try(known.path, precision))
        ):
            return known.path, run, known.milliseconds
        runs = {path: run for path in key["paths"] if (run := self._try(path, precision))}
        if not runs:
            reasons = "; ".join(f"{path}: {reason}" for path, reason in self.skipped.items())
            raise RuntimeError(f"no path works for this model: {reasons}")
        milliseconds = self._measure(runs)
        best = min(milliseconds, key=milliseconds.__getitem__)
        remembered.remember(key, remembered.Choice(best, milliseconds))
        return best, runs[best], milliseconds

    def _try(self, path: str, precision: str) -> Run | None:
        try:
            return self._build(path, precision)
        # Compilers and other people's converters may raise anything; the others still serve.
        except Exception as error:
            self.skipped[f"{path} {precision}"] = f"{type(error).__name__}: {error}"
            return None

    def _measure(self, runs: dict[str, Run]) -> dict[str, float]:
        # The smallest of interleaved times: what else runs on the machine only ever adds to them.
        times: dict[str, list[float]] = {path: [] for path in runs}
        for _ in range(_ROUNDS):
            for path, run in runs.items():
                run_without_context(run, self.example_images)  # wakes its threads up
                started = time.perf_counter()
                run_without_context(run, self.example_images)
                times[path].append(1e3 * (time.perf_counter() - started))
        return {path: round(min(values), 3) for path, values in times.items()}

    def _key(self, precision: str) -> dict[str, Any]:
        plain = self.source.plain
        tensors = [(name, list(t.shape)) for name, t in plain.state_dict().items()]
        architecture = f"{type(plain).__module__} {plain} {tensors}"
        paths = {
            name: path.versions()
            for name, path in PATHS.items()
            if precision in path.precisions and not path.missing()
        }
        return {
            "processor": processor_name(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "paths": paths,
            "architecture": hashlib.sha256(architecture.encode()).hexdigest(),
            "images": list(self.example_images.shape),
            "precision": precision,
        }


def run_without_context(run: Run, images: Tensor) -> Tensor:
    """Call a path in the same mode always: no gradients, no autocast, no inference mode.

    Autocast would change the precision, and torch.compile would compile again for the mode.
    """
    with torch.inference_mode(False), torch.no_grad(), torch.autocast("cpu", enabled=False):
        if images.is_inference():
            images = images.clone()
        return run(images).float()


def _relative_value(logits: Tensor) -> Tensor:
    """Expectation over a uniform label grid on [0, 1], float64."""
    grid = torch.linspace(0, 1, logits.shape[1], dtype=torch.float64)
    return reference.expectation(logits.double(), grid)[0]

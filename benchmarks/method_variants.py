"""The losses of all methods, those of public packages for the same methods, and the bars."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dldl_fast.methods import Method, make_method, method_names

from .judge import JUDGED_HEADERS, Judged, at_least
from .record import render
from .variants import SIGMA, Step

SIZES = ((128, 101), (1024, 101))
OURS = "dldl_fast"

Loss = Callable[[Tensor], Tensor]
Twin = Callable[[Method, Tensor], Loss]
"""Of a method and targets: the loss of outputs, with what it wants for targets made in advance."""


@dataclass(frozen=True)
class MethodMeasurement:
    """The time of one loss, forward and backward, float32."""

    method: str
    variant: str
    rows: int
    labels: int
    threads: int = 1
    calls: int = 0
    median_us: float = 0.0
    q20_us: float = 0.0
    q80_us: float = 0.0


def _coral(method: Method, target: Tensor) -> Loss:
    from coral_pytorch.dataset import levels_from_labelbatch
    from coral_pytorch.losses import coral_loss

    levels = levels_from_labelbatch(target.long(), len(method.labels))
    (bias,) = method.parameters()  # CoralLayer's, which makes one output K - 1 logits
    return lambda outputs: coral_loss(outputs + bias, levels)


def _or_cnn(method: Method, target: Tensor) -> Loss:
    from coral_pytorch.dataset import levels_from_labelbatch
    from coral_pytorch.losses import coral_loss

    levels = levels_from_labelbatch(target.long(), len(method.labels))
    return lambda outputs: coral_loss(outputs, levels)


def _corn(method: Method, target: Tensor) -> Loss:
    from coral_pytorch.losses import corn_loss

    classes = target.long()
    return lambda outputs: corn_loss(outputs, classes, len(method.labels))


def _hl_gauss(method: Method, target: Tensor) -> Loss:
    from hl_gauss_pytorch import HLGaussLoss

    labels = len(method.labels)
    criterion = HLGaussLoss(0, labels - 1, labels, SIGMA, min_max_value_on_bin_center=True)
    return lambda outputs: criterion(outputs, target)


def _cross_entropy(method: Method, target: Tensor) -> Loss:
    classes = target.long()
    return lambda outputs: F.cross_entropy(outputs, classes)


TWINS: dict[str, tuple[str, Twin, float | None]] = {
    "or-cnn": ("coral_pytorch", _or_cnn, 1.0),
    "coral": ("coral_pytorch", _coral, 1.0),
    "corn": ("coral_pytorch", _corn, 1.0),
    "hl-gauss": ("hl_gauss_pytorch", _hl_gauss, 1.0),
    "dex": ("torch", _cross_entropy, None),
}
"""Package, loss, and least speed-up: torch's own cross-entropy has no bar."""


def missing_packages() -> list[str]:
    """Packages of twins that are not installed; they are left out."""
    packages = dict.fromkeys(package for package, _, _ in TWINS.values())
    return [package for package in packages if importlib.util.find_spec(package) is None]


def contenders(rows: int, labels: int) -> list[tuple[MethodMeasurement, Step]]:
    """Every method, followed by its twin; raises if they disagree."""
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(labels, (rows,), generator=generator).float()
    missing = missing_packages()
    found: list[tuple[MethodMeasurement, Step]] = []
    for name in method_names():
        method = make_method(name, range(labels))
        outputs = torch.randn(rows, method.out_features, generator=generator).requires_grad_()
        inputs = [outputs, *method.parameters()]
        ours = _loss_of(method, target)
        found.append(
            (MethodMeasurement(name, OURS, rows, labels), _training_step(ours, outputs, inputs))
        )
        if name in TWINS and TWINS[name][0] not in missing:
            package, twin, _ = TWINS[name]
            theirs = twin(method, target)
            _verify(name, ours, theirs, outputs, inputs)
            step = _training_step(theirs, outputs, inputs)
            found.append((MethodMeasurement(name, package, rows, labels), step))
    return found


def _loss_of(method: Method, target: Tensor) -> Loss:
    return lambda outputs: method.loss(outputs, target)


def _training_step(loss: Loss, outputs: Tensor, inputs: list[Tensor]) -> Step:
    def step() -> None:
        for tensor in inputs:
            tensor.grad = None
        loss(outputs).backward()

    return step


def _verify(name: str, ours: Loss, theirs: Loss, outputs: Tensor, inputs: list[Tensor]) -> None:
    values = [
        (loss(outputs), torch.autograd.grad(loss(outputs), inputs)) for loss in (ours, theirs)
    ]
    torch.testing.assert_close(*values, rtol=1e-3, atol=1e-6, msg=lambda text: f"{name}: {text}")


def bars_table(measurements: list[MethodMeasurement]) -> str:
    """Speed-up over the twins, beside the bars."""
    us = {(m.method, m.rows, m.labels, m.variant): m.median_us for m in measurements}
    lines: list[Judged] = []
    for (name, rows, labels, variant), twin_us in us.items():
        if variant == OURS:
            continue
        ratio = twin_us / us[name, rows, labels, OURS]
        where = f"{name} {rows} x {labels}"
        lines.append(at_least(where, f"times faster than {variant}", ratio, TWINS[name][2]))
    return render(["method", *JUDGED_HEADERS], lines)


def times_table(measurements: list[MethodMeasurement]) -> str:
    """All times."""
    lines = [
        (
            f"{m.method} {m.rows} x {m.labels}",
            m.variant,
            *(f"{us:.1f}" for us in (m.median_us, m.q20_us, m.q80_us)),
            m.calls,
        )
        for m in measurements
    ]
    return render(["method", "variant", "median us", "20 %", "80 %", "calls"], lines)


def method_tables(measurements: list[MethodMeasurement]) -> str:
    """Both."""
    return f"{bars_table(measurements)}\n\n{times_table(measurements)}"

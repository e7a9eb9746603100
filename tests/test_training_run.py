"""A small training run: kernel and reference take the same way down."""

from __future__ import annotations

import pytest
import torch

from dldl_fast import DLDLv2Loss, functional
from tests.cases import needs_cpp


def loss_curve(backend: str, kind: str, dtype: torch.dtype) -> tuple[list[float], float]:
    """100 steps of a small network that reads an angle off noisy coordinates."""
    generator = torch.Generator().manual_seed(3)
    angle = 90 * torch.rand(256, generator=generator) - 45
    x = torch.stack([angle.deg2rad().sin(), angle.deg2rad().cos()], 1)
    x = x + 0.02 * torch.randn(x.shape, generator=generator)
    torch.manual_seed(4)
    model = torch.nn.Sequential(
        torch.nn.Linear(2, 32), torch.nn.ReLU(), torch.nn.Linear(32, 91)
    ).to(dtype)
    criterion = DLDLv2Loss(-45, 45, sigma=3.0, kind=kind, backend=backend)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    x = x.to(dtype)
    curve = []
    for _ in range(100):
        optimiser.zero_grad()
        loss = criterion(model(x), angle)
        loss.backward()
        optimiser.step()
        curve.append(loss.item())
    with torch.no_grad():
        y_hat = functional.expectation(model(x), criterion.labels, backend=backend)
    return curve, float((y_hat - angle).abs().mean())


@needs_cpp
@pytest.mark.parametrize("kind", ["gaussian", "two_hot"])
def test_curves_agree_and_the_task_is_learnt(kind: str) -> None:
    fused, fused_mae = loss_curve("cpp", kind, torch.float64)
    reference, reference_mae = loss_curve("reference", kind, torch.float64)
    assert fused == pytest.approx(reference, rel=1e-6)
    assert fused[-1] < 0.2 * fused[0]
    assert fused_mae == pytest.approx(reference_mae, rel=1e-5)
    assert fused_mae < 4  # 22.5 for a constant


@needs_cpp
def test_curves_agree_in_single_precision() -> None:
    fused, fused_mae = loss_curve("cpp", "gaussian", torch.float32)
    reference, reference_mae = loss_curve("reference", "gaussian", torch.float32)
    assert fused[:20] == pytest.approx(reference[:20], rel=1e-3)
    assert fused[-1] == pytest.approx(reference[-1], rel=0.1)
    assert max(fused_mae, reference_mae) < 4

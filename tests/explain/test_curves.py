from __future__ import annotations

import pytest
import torch

from dldl_fast.explain import risk_coverage


def test_every_point_is_the_mean_of_the_rows_with_the_smallest_spread():
    generator = torch.Generator().manual_seed(3)
    errors = torch.rand(40, generator=generator, dtype=torch.float64)
    spread = torch.randint(12, (40,), generator=generator).float()
    coverage, risk = risk_coverage(errors, spread)
    bounds = spread.unique()
    assert len(bounds) > 8
    for bound, share, mean in zip(bounds, coverage, risk, strict=True):
        kept = spread <= bound
        assert share == kept.double().mean()
        torch.testing.assert_close(mean, errors[kept].mean(), rtol=1e-12, atol=0)
    assert coverage[-1] == 1


@pytest.mark.parametrize(
    ("errors", "spread", "message"),
    [
        (torch.zeros(3), torch.zeros(2), r"must be \[N\], N >= 1, got \[3\] and \[2\]"),
        (torch.zeros(0), torch.zeros(0), r"got \[0\]"),
        (torch.zeros(1, 2), torch.zeros(1, 2), r"got \[1, 2\]"),
        (torch.tensor([torch.nan]), torch.zeros(1), "must be finite"),
        (torch.zeros(1), torch.tensor([torch.inf]), "must be finite"),
    ],
)
def test_what_cannot_be_ordered(errors, spread, message):
    with pytest.raises(ValueError, match=message):
        risk_coverage(errors, spread)

"""Bad input: each row of the table of bad and extreme input that ends in an error or in NaN."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
from torch import Tensor

from dldl_fast import DLDLv2Loss, functional
from tests.cases import KINDS, loss_and_grad, needs_cpp, uniform_grid

NAN, INF = math.nan, math.inf
AGES = uniform_grid(101)


def call(backend: str, **changes: Any) -> Any:
    arguments = {
        "logits": torch.zeros(4, 101),
        "target": torch.tensor([10.0, 20.0, 30.0, 40.0]),
        "labels": AGES,
        "backend": backend,
        **changes,
    }
    return functional.label_distribution_loss(**arguments)


def row_values(bad: float, row: int = 2, good: float = 1.0) -> Tensor:
    values = torch.full((4,), good, dtype=torch.float64)
    values[row] = bad
    return values


SIGMA = "sigma must be finite and >= 0, got {} at row 2"
SIGMA_PDF = "sigma must be finite and > 0 for kind='gaussian_pdf', got {} at row 2"
OUTSIDE = (
    "target must lie on the label grid [0, 100] "
    "(out_of_range='clamp' or 'keep' accepts others), got {} at row 2"
)
NOT_FINITE = (
    "target must be finite; ignore_nan=True leaves rows with a NaN target out, got {} at row 2"
)
WEIGHT = "weight must be finite and >= 0, got {} at row 2"
VOTE = "target_distribution must hold finite values >= 0, got {} at row 2"
VOTES = "target_distribution rows must have a positive finite sum, got {} at row 2"
NO_MASS = (
    "kind='gaussian_pdf' has no mass on the label grid (S = 0; kind='gaussian' is normalised) "
    "for this target, got {} at row 2"
)


def votes(value: float, rest: float = 1.0) -> Tensor:
    q = torch.ones(4, 101, dtype=torch.float64)
    q[2] = rest
    q[2, 50] = value
    return q


BAD_VALUES = {
    "sigma -1": ({"sigma": row_values(-1)}, SIGMA.format("-1")),
    "sigma NaN": ({"sigma": row_values(NAN)}, SIGMA.format("nan")),
    "sigma inf": ({"sigma": row_values(INF)}, SIGMA.format("inf")),
    "sigma -1 bins": ({"sigma": row_values(-1), "kind": "gaussian_bin"}, SIGMA.format("-1")),
    "sigma -1 unused": ({"sigma": row_values(-1), "kind": "one_hot"}, SIGMA.format("-1")),
    "sigma 0 pdf": ({"sigma": row_values(0), "kind": "gaussian_pdf"}, SIGMA_PDF.format("0")),
    "sigma NaN pdf": ({"sigma": row_values(NAN), "kind": "gaussian_pdf"}, SIGMA_PDF.format("nan")),
    "no mass": (
        {"sigma": row_values(1e-3), "target": row_values(50.5), "kind": "gaussian_pdf"},
        NO_MASS.format("50.5"),
    ),
    "no mass far away": (
        {"target": row_values(1e6), "kind": "gaussian_pdf", "out_of_range": "keep"},
        NO_MASS.format("1e+06"),
    ),
    "target above": ({"target": row_values(100.5)}, OUTSIDE.format("100.5")),
    "target below": ({"target": row_values(-3)}, OUTSIDE.format("-3")),
    "target NaN": ({"target": row_values(NAN)}, NOT_FINITE.format("nan")),
    "target NaN clamp": (
        {"target": row_values(NAN), "out_of_range": "clamp"},
        NOT_FINITE.format("nan"),
    ),
    "target inf": (
        {"target": row_values(INF), "out_of_range": "keep"},
        NOT_FINITE.format("inf"),
    ),
    "target -inf ignore_nan": (
        {"target": row_values(-INF), "out_of_range": "keep", "ignore_nan": True},
        "target must be finite, got -inf at row 2",
    ),
    "weight -0.5": ({"weight": row_values(-0.5)}, WEIGHT.format("-0.5")),
    "weight NaN": ({"weight": row_values(NAN)}, WEIGHT.format("nan")),
    "weight inf": ({"weight": row_values(INF)}, WEIGHT.format("inf")),
    "vote -2": ({"target_distribution": votes(-2)}, VOTE.format("-2")),
    "vote NaN": ({"target_distribution": votes(NAN)}, VOTE.format("nan")),
    "vote inf": ({"target_distribution": votes(INF)}, VOTE.format("inf")),
    "no votes": ({"target_distribution": votes(0, rest=0)}, VOTES.format("0")),
    "votes and target": (
        {"target_distribution": votes(1), "target": row_values(500)},
        OUTSIDE.format("500"),
    ),
}


@pytest.mark.parametrize("case", BAD_VALUES)
def test_bad_value_names_argument_row_and_value(backend: str, case: str) -> None:
    changes, message = BAD_VALUES[case]
    for requires_grad in (False, True):
        logits = torch.zeros(4, 101, requires_grad=requires_grad)
        with pytest.raises(ValueError) as error:
            call(backend, logits=logits, **changes)
        assert str(error.value) == message


@pytest.mark.parametrize("case", BAD_VALUES)
def test_without_validation_only_the_bad_row_is_nan(backend: str, case: str) -> None:
    changes, _ = BAD_VALUES[case]
    settings = {
        "labels": AGES, "validate": False, "reduction": "none", "backend": backend, **changes,
    }  # fmt: skip
    target = settings.pop("target", torch.tensor([10.0, 20.0, 30.0, 40.0]))
    x = torch.randn(4, 101)
    loss, grad = loss_and_grad(x, target, **settings)
    assert loss.isnan().tolist() == [False, False, True, False]
    assert bool(grad[2].isnan().all())

    good = [0, 1, 3]
    rows = {
        name: value[good] if isinstance(value, Tensor) and len(value) == 4 else value
        for name, value in settings.items()
    }
    x_good = x[good].detach().requires_grad_()
    want = functional.label_distribution_loss(x_good, target[good], **rows)
    want.backward(torch.tensor([0.5, 1.5, 0.5]))
    torch.testing.assert_close(loss[good], want)
    torch.testing.assert_close(grad[good], x_good.grad)

    # A mean over all rows would not be the loss of the good ones: it is NaN, and so is the sum.
    for reduction in ("mean", "sum"):
        reduced, grad = loss_and_grad(x, target, **{**settings, "reduction": reduction})
        assert reduced.isnan()
        assert grad.isnan().any(-1).tolist() == [False, False, True, False]


def test_first_bad_row_is_named(backend: str) -> None:
    """In a batch of several blocks and chunks of rows, with two bad arguments."""
    n = 700
    target, sigma = torch.full((n,), 50.0), torch.ones(n)
    target[651], sigma[333], sigma[340], target[699] = 101, -3, -4, NAN
    with pytest.raises(ValueError, match=r"^sigma .* got -3 at row 333$"):
        call(backend, logits=torch.zeros(n, 101), target=target, sigma=sigma)
    sigma[333] = sigma[340] = 1
    with pytest.raises(ValueError, match=r"^target .* got 101 at row 651$"):
        call(backend, logits=torch.zeros(n, 101), target=target, sigma=sigma)


def test_row_of_flattened_leading_dimensions_is_counted_row_by_row(backend: str) -> None:
    target = torch.full((2, 3), 50.0)
    target[1, 1] = -1
    with pytest.raises(ValueError, match=r"got -1 at row 4$"):
        call(backend, logits=torch.zeros(2, 3, 101), target=target)


@pytest.mark.parametrize("bad", [-1.0, NAN, INF])
def test_bad_sigma_as_a_number(backend: str, bad: float) -> None:
    message = re.escape(f"sigma must be finite and >= 0, got {bad:g}")
    with pytest.raises(ValueError, match=message):
        call(backend, sigma=bad)
    with pytest.raises(ValueError, match=message):
        DLDLv2Loss(sigma=bad)
    with pytest.raises(ValueError, match=message):
        DLDLv2Loss(backend=backend)(torch.zeros(1, 101), torch.zeros(1), bad)
    with pytest.raises(ValueError, match="sigma must be finite and > 0 for kind='gaussian_pdf'"):
        DLDLv2Loss(sigma=0, kind="gaussian_pdf")


WRONG_SHAPES = {
    "target [N, 1]": (
        {"target": torch.zeros(4, 1)},
        "target must have shape [4] to match logits [4, 101], got [4, 1]; use target.squeeze(-1)",
    ),
    "target of other N": (
        {"target": torch.zeros(5)},
        "target must have shape [4] to match logits [4, 101], got [5]",
    ),
    "target of higher rank": (
        {"target": torch.zeros(2, 2)},
        "target must have shape [4] to match logits [4, 101], got [2, 2]",
    ),
    "sigma [N, 1]": (
        {"sigma": torch.ones(4, 1)},
        "sigma must have shape [4] to match logits [4, 101], got [4, 1]; use sigma.squeeze(-1)",
    ),
    "weight of other N": (
        {"weight": torch.ones(1)},
        "weight must have shape [4] to match logits [4, 101], got [1]",
    ),
    "target_distribution of other K": (
        {"target_distribution": torch.ones(4, 100)},
        "target_distribution must have shape [4, 101] to match logits [4, 101], got [4, 100]",
    ),
    "logits of other K": (
        {"logits": torch.zeros(4, 100)},
        "logits must have shape [..., 101] to match the 101 labels, got [4, 100]",
    ),
    "logits without dimensions": (
        {"logits": torch.tensor(1.0)},
        "logits must have shape [..., 101] to match the 101 labels, got []",
    ),
    "no target": (
        {"target": None},
        "target is missing: give target [...] or target_distribution [..., K]",
    ),
}


@pytest.mark.parametrize("case", WRONG_SHAPES)
def test_wrong_shape_says_what_was_expected(backend: str, case: str) -> None:
    changes, message = WRONG_SHAPES[case]
    with pytest.raises(ValueError) as error:
        call(backend, **changes)
    assert str(error.value) == message


WRONG_TYPES = {
    "integer logits": ({"logits": torch.zeros(4, 101, dtype=torch.int64)}, "got torch.int64"),
    "bool logits": ({"logits": torch.zeros(4, 101, dtype=torch.bool)}, "logits .* got torch.bool"),
    "no tensor": ({"logits": [[0.0] * 101]}, "logits must be a tensor, got list"),
    "list as target": ({"target": [1.0] * 4}, r"target must be a tensor of shape \[4\], got list"),
    "number as weight": ({"weight": 2.0}, r"weight must be a tensor of shape \[4\], got float"),
    "complex target": ({"target": torch.zeros(4) * 1j}, "target must be real, got torch.complex64"),
    "complex labels": ({"labels": AGES * 1j}, "labels must be real numbers"),
}


@pytest.mark.parametrize("case", WRONG_TYPES)
def test_wrong_type(backend: str, case: str) -> None:
    changes, message = WRONG_TYPES[case]
    with pytest.raises(TypeError, match=message):
        call(backend, **changes)


@pytest.mark.parametrize("name", ["target", "sigma", "weight", "target_distribution"])
def test_arguments_that_get_no_gradient_must_not_ask_for_one(backend: str, name: str) -> None:
    shape = (4, 101) if name == "target_distribution" else (4,)
    with pytest.raises(ValueError, match=f"^{name} must not require grad.*{name}.detach"):
        call(backend, **{name: torch.ones(shape, requires_grad=True)})
    with torch.no_grad(), pytest.raises(ValueError, match=f"^{name} must not require grad"):
        call(backend, **{name: torch.ones(shape, requires_grad=True)})


@pytest.mark.parametrize("name", ["target", "sigma", "weight", "target_distribution"])
def test_mixed_devices(backend: str, name: str) -> None:
    shape = (4, 101) if name == "target_distribution" else (4,)
    with pytest.raises(ValueError, match=f"^{name} must be on cpu like logits, got meta$"):
        call(backend, **{name: torch.ones(shape, device="meta")})


def test_module_survives_logits_on_another_device(backend: str) -> None:
    criterion = DLDLv2Loss(0, 4, backend=backend)
    x, y = torch.randn(2, 5), torch.tensor([1.0, 3.0])
    want = criterion(x, y)
    with pytest.raises((ValueError, RuntimeError)):
        criterion(x.to("meta"), y)
    assert torch.equal(criterion(x, y), want)
    assert criterion.labels.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("kind", "normal", "kind must be one of 'gaussian', .*'laplace', got 'normal'"),
        ("divergence", "js", "divergence must be one of 'kl', 'ce', 'likelihood', got 'js'"),
        ("regression", "huber", "regression must be one of 'l1', 'l2', 'smooth_l1', got 'huber'"),
        ("reduction", "batchmean", "reduction must be one of 'none', 'mean', 'sum', got"),
        ("out_of_range", "clip", "out_of_range must be one of 'error', 'clamp', 'keep', got"),
        ("validate", "yes", "validate must be one of 'auto', True, False, got 'yes'"),
        ("lambda_", -1.0, "lambda_ must be finite and >= 0, got -1"),
        ("lambda_", NAN, "lambda_ must be finite and >= 0, got nan"),
        ("ld_weight", INF, "ld_weight must be finite and >= 0, got inf"),
        ("variance_weight", -0.1, "variance_weight must be finite and >= 0, got -0.1"),
        ("smooth_l1_beta", 0.0, "smooth_l1_beta must be finite and > 0, got 0.*regression='l1'"),
        (
            "backend",
            "cuda13",
            "backend must be one of 'auto', 'cpp', 'cuda', 'triton', 'reference', got 'cuda13'",
        ),
    ],
)
def test_bad_setting(setting: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DLDLv2Loss(**{setting: value})
    with pytest.raises(ValueError, match=message):
        call(**{"backend": "reference", setting: value})


def test_label_distribution_checks_its_values() -> None:
    y = torch.tensor([1.0, NAN])
    with pytest.raises(ValueError, match="target must be finite"):
        functional.label_distribution(y, range(3))
    with pytest.raises(ValueError, match="sigma must be finite and >= 0"):
        functional.label_distribution(y[:1], range(3), torch.tensor([-1.0]))
    with pytest.raises(ValueError, match="> 0"):
        functional.label_distribution(y[:1], range(3), torch.tensor([0.0]), "gaussian_pdf")
    with pytest.raises(ValueError, match="kind must be one of"):
        functional.label_distribution(y[:1], range(3), 1.0, "normal")


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.float16, torch.float64])
def test_target_of_any_real_dtype(backend: str, dtype: torch.dtype) -> None:
    x = torch.randn(4, 101)
    y = torch.tensor([10, 20, 0, 100])
    want, want_grad = loss_and_grad(x, y.float(), labels=AGES, backend=backend)
    got, got_grad = loss_and_grad(x, y.to(dtype), labels=AGES, backend=backend)
    assert torch.equal(got, want)
    assert torch.equal(got_grad, want_grad)


def test_integer_targets_beyond_the_digits_of_float32(backend: str) -> None:
    labels = uniform_grid(5) + 2**24
    y = torch.tensor([2**24 + 1, 2**24 + 3])
    terms = functional.label_distribution_loss(
        torch.zeros(2, 5), y, labels=labels, return_terms=True, backend=backend
    )
    assert terms.regression.tolist() == [1, 1]


def test_sigma_as_number_and_per_row(backend: str) -> None:
    x, y = torch.randn(4, 101), torch.tensor([10.0, 20.0, 30.0, 40.0])
    want = loss_and_grad(x, y, labels=AGES, sigma=3.0, backend=backend)
    for sigma in (3, torch.full((4,), 3), torch.full((4,), 3.0), torch.full((4,), 3.0).double()):
        loss, grad = loss_and_grad(x, y, labels=AGES, sigma=sigma, backend=backend)
        assert torch.equal(loss, want[0])
        assert torch.equal(grad, want[1])
    criterion = DLDLv2Loss(sigma=2.0, backend=backend)
    assert torch.equal(criterion(x, y, 3.0), criterion(x, y, torch.full((4,), 3.0)))
    assert not torch.equal(criterion(x, y, 3.0), criterion(x, y))


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("kind", KINDS)
def test_ignored_rows_are_left_out_whatever_they_hold(
    backend: str, kind: str, reduction: str
) -> None:
    x = torch.randn(40, 101)
    y = 100 * torch.rand(40)
    sigma, weight = 1 + torch.rand(40), torch.rand(40)
    y[[1, 7, 20, 33, 39]] = NAN
    x[1], x[7], x[20, 3] = NAN, INF, -INF
    sigma[1], sigma[7], sigma[39] = NAN, -1, INF
    weight[1], weight[7], weight[20], weight[33] = NAN, -2, INF, -INF
    used = ~y.isnan()

    settings = {
        "labels": AGES, "kind": kind, "reduction": reduction, "ignore_nan": True,
        "backend": backend,
    }  # fmt: skip
    loss, grad = loss_and_grad(x, y, sigma=sigma, weight=weight, **settings)
    assert torch.equal(grad[~used], torch.zeros(5, 101))
    x_used = x[used].requires_grad_()
    want = functional.label_distribution_loss(
        x_used, y[used], sigma=sigma[used], weight=weight[used], **settings
    )
    if reduction == "none":
        assert torch.equal(loss[~used], torch.zeros(5))
        loss = loss[used]
        want.backward((0.5 + torch.arange(40) % 3)[used])
    else:
        (0.5 * want).backward()
    torch.testing.assert_close(loss, want.detach())
    torch.testing.assert_close(grad[used], x_used.grad)

    terms = functional.label_distribution_loss(
        x, y, sigma=sigma, weight=weight, return_terms=True, **settings
    )
    assert not terms.divergence[~used].any() and not terms.regression[~used].any()
    assert bool(terms.expectation[~used].isnan().all())
    assert bool(terms.expectation[used].isfinite().all())


def test_ignored_rows_with_a_given_distribution(backend: str) -> None:
    x, y = torch.randn(3, 5), torch.tensor([1.0, NAN, 3.0])
    q = torch.rand(3, 5)
    q[1] = -1
    settings = {"labels": range(5), "ignore_nan": True, "backend": backend}
    loss, grad = loss_and_grad(x, y, target_distribution=q, **settings)
    keep = [0, 2]
    want, want_grad = loss_and_grad(x[keep], y[keep], target_distribution=q[keep], **settings)
    torch.testing.assert_close(loss, want)
    torch.testing.assert_close(grad[keep], want_grad)
    assert torch.equal(grad[1], torch.zeros(5))


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_all_rows_ignored(backend: str, reduction: str) -> None:
    x, y = torch.full((20, 101), NAN), torch.full((20,), NAN)
    loss, grad = loss_and_grad(
        x, y, labels=AGES, ignore_nan=True, reduction=reduction, backend=backend
    )
    assert torch.equal(loss, torch.zeros(20) if reduction == "none" else torch.tensor(0.0))
    assert torch.equal(grad, torch.zeros(20, 101))


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_rows_of_weight_zero_are_left_out_whatever_their_logits(
    backend: str, reduction: str
) -> None:
    x, y = torch.randn(20, 101), 100 * torch.rand(20)
    x[4], x[17, 50] = NAN, INF
    weight = torch.ones(20)
    weight[4] = weight[17] = 0
    used = weight > 0
    settings = {"labels": AGES, "reduction": reduction, "backend": backend}
    loss, grad = loss_and_grad(x, y, weight=weight, **settings)
    assert torch.equal(grad[~used], torch.zeros(2, 101))
    assert bool(loss.isfinite().all()) and bool(grad.isfinite().all())
    if reduction != "none":
        want, want_grad = loss_and_grad(x[used], y[used], **settings)
        torch.testing.assert_close(loss, want)
        torch.testing.assert_close(grad[used], want_grad)


@needs_cpp
def test_both_backends_say_the_same_about_every_bad_value() -> None:
    for changes, _ in BAD_VALUES.values():
        texts = []
        for backend in ("cpp", "reference"):
            with pytest.raises(ValueError) as error:
                call(backend, **changes)
            texts.append(str(error.value))
        assert texts[0] == texts[1]


@needs_cpp
def test_first_bad_row_is_named_also_among_rows_of_other_faults() -> None:
    """Eq. 1 without mass is seen after everything else."""
    y = torch.tensor([1.0, 2.0, 3.5, 4.0, 99.0])
    sigma = torch.tensor([1.0, 1.0, 1e-3, 1.0, 1.0])
    with pytest.raises(ValueError, match=r"no mass on the label grid.*got 3\.5 at row 2"):
        functional.label_distribution_loss(
            torch.zeros(5, 11), y, labels=range(11), sigma=sigma, kind="gaussian_pdf", backend="cpp"
        )

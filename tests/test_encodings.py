"""The encodings of section 3.2, and what Eqs. 3 to 6 say of them."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dldl_fast.encodings import (
    cdf,
    cumulative_to_distribution,
    decode_ranking,
    distribution_to_cumulative,
    distribution_to_ranking,
    pdf,
    ranking_code,
    ranking_to_distribution,
    transformation_matrix,
)
from dldl_fast.labels import label_grid
from tests.cases import bent_grid

AGES = label_grid(0, 100)
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def distributions(n_labels: int = 7, dtype: torch.dtype = torch.float64) -> Tensor:
    """[2, 3, K], some of it zero."""
    p = torch.rand(2, 3, n_labels, dtype=torch.float64)
    p[0, 0, :-1] = 0
    p[1, 2, 2:4] = 0
    return (p / p.sum(-1, keepdim=True)).to(dtype)


# Eqs. 2 to 6


def test_cdf_is_eq_2() -> None:
    y = torch.tensor([[31.0, 50.25], [-3.0, 107.0]], dtype=torch.float64)
    sigma = torch.tensor([[0.5, 2.0], [10.0, 30.0]], dtype=torch.float64)
    want = [
        [
            [0.5 * (1 + math.erf((label - m) / (s * math.sqrt(2)))) for label in AGES.tolist()]
            for m, s in zip(means, sigmas, strict=True)
        ]
        for means, sigmas in zip(y.tolist(), sigma.tolist(), strict=True)
    ]
    torch.testing.assert_close(cdf(y, AGES, sigma), torch.tensor(want, dtype=torch.float64))
    torch.testing.assert_close(cdf(y[0], AGES, 2.0), cdf(y[0], AGES, torch.full((2,), 2.0)))


def test_cdf_differentiates_also_at_the_labels() -> None:
    y = torch.tensor([2.0, 3.3], dtype=torch.float64, requires_grad=True)
    sigma = torch.tensor([0.7, 2.0], dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda y, s: cdf(y, [0, 2, 3, 7], s), (y, sigma))


def test_cdf_of_sigma_0_is_flat() -> None:
    y = torch.tensor([2.0, 3.3], requires_grad=True)
    sigma = torch.zeros(2, requires_grad=True)
    cdf(y, [0, 2, 3, 7], sigma).sum().backward()
    assert y.grad is not None and y.grad.tolist() == [0, 0]
    assert sigma.grad is not None and sigma.grad.tolist() == [0, 0]


def test_eq_3_the_code_is_where_more_than_half_of_the_mass_lies_above() -> None:
    labels = bent_grid(12)
    y = torch.cat([labels, (labels[1:] + labels[:-1]) / 2, labels[:1] - 1, labels[-1:] + 1])
    for sigma in (0.1, 1.0, 25.0):
        above = 1 - cdf(y, labels, sigma)[..., :-1]
        assert torch.equal(ranking_code(y, labels).bool(), above > 0.5)
        assert bool((above[:11].diagonal() == 0.5).all())  # l_k = y


def test_eq_4_holds_in_the_limit_except_at_the_label_itself() -> None:
    y = torch.tensor([50.0, 50.3], dtype=torch.float64)
    code, at_y = ranking_code(y, AGES), AGES[:-1] == y.unsqueeze(-1)
    assert at_y.sum() == 1
    errors = []
    for sigma in (1.0, 0.5, 0.2, 0.1, 0.01, 0.0):
        error = (code - (1 - cdf(y, AGES, sigma)[..., :-1])).abs()
        assert error[at_y].item() == 0.5  # for every sigma
        assert code[at_y].item() == 0
        errors.append(error[~at_y].max().item())
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.3
    assert errors[-2] < 1e-15
    assert errors[-1] == 0


def test_eq_6_holds_exactly_for_sigma_0_and_a_target_on_the_grid() -> None:
    p = pdf(AGES, AGES, sigma=0.0)
    assert torch.equal(distribution_to_ranking(p), ranking_code(AGES, AGES))
    assert torch.equal(ranking_to_distribution(ranking_code(AGES, AGES)), p)


def test_triangle_of_eq_5() -> None:
    """The lower one sums up to k as Eq. 2 asks; the printed one, T_ij = 1 for i <= j, from k on."""
    y, sigma = torch.tensor(50.0), 2.0
    p, c = pdf(y, AGES, sigma), cdf(y, AGES, sigma)
    bound = 1 / (2 * math.sqrt(2 * math.pi) * sigma)
    ours = transformation_matrix(101)
    assert ours.tolist() == [[float(j <= i) for j in range(101)] for i in range(101)]
    assert (ours @ p - c).abs().max() < 1.01 * bound

    index = torch.arange(101)
    printed = (index[:, None] <= index[None, :]).to(p.dtype)
    assert torch.equal(printed, ours.T)
    assert (printed @ p - c).abs().max() > 0.999
    # It gives P(y >= l_k): the ranking probabilities, one label on.
    torch.testing.assert_close((printed @ p)[1:], distribution_to_ranking(p))


@pytest.mark.parametrize("kind", ["gaussian", "gaussian_bin"])
@pytest.mark.parametrize(("sigma", "step"), [(1.0, 1.0), (2.0, 1.0), (5.0, 0.5), (0.3, 0.1)])
def test_eq_5_is_half_a_cell_off_eq_2(kind: str, sigma: float, step: float) -> None:
    labels = label_grid(-100 * step, 100 * step, step)
    y = torch.linspace(-step, step, 401, dtype=torch.float64)
    p = pdf(y, labels, sigma, kind)
    excess = distribution_to_cumulative(p) - cdf(y, labels, sigma)
    bound = step / (2 * math.sqrt(2 * math.pi) * sigma)
    slack = 0.0 if kind == "gaussian_bin" else (step / sigma) ** 2 / 64
    assert excess.min() > -1e-10  # mass below 1e-11 of the peak is left out of p
    assert excess.max() < bound * (1 + slack)
    assert excess.max() > bound * (1 - (step / sigma) ** 2 / 64)
    if kind == "gaussian_bin":
        border = cdf(y, labels + step / 2, sigma)
        torch.testing.assert_close(distribution_to_cumulative(p), border, rtol=0, atol=1e-10)


# Conversions


@pytest.mark.parametrize("dtype", DTYPES)
def test_conversions_are_the_matrix_and_its_inverse(dtype: torch.dtype) -> None:
    p = distributions(dtype=dtype)
    atol = 8 * torch.finfo(dtype).eps
    matrix = transformation_matrix(7)
    c, r = distribution_to_cumulative(p), distribution_to_ranking(p)
    want = p.double() @ matrix.T
    for got, expected in (
        (c, want),
        (r, 1 - want[..., :-1]),
        (cumulative_to_distribution(c), p.double()),
        (ranking_to_distribution(r), p.double()),
    ):
        assert got.dtype == dtype
        torch.testing.assert_close(got.double(), expected, rtol=0, atol=atol)
        assert (got >= 0).all()
    inverse = c.double() @ torch.linalg.inv(matrix).T
    got = cumulative_to_distribution(c).double()
    torch.testing.assert_close(got, inverse, rtol=0, atol=atol)


def test_survival_keeps_its_digits_where_little_is_left() -> None:
    p = torch.tensor([1.0, 1e-12, 1e-20])
    torch.testing.assert_close(distribution_to_ranking(p), torch.tensor([1e-12, 1e-20]))


@pytest.mark.parametrize(
    "convert",
    [
        lambda p: distribution_to_cumulative(p),
        lambda p: distribution_to_ranking(p),
        lambda p: cumulative_to_distribution(distribution_to_cumulative(p)),
        lambda p: ranking_to_distribution(distribution_to_ranking(p)),
    ],
)
def test_conversions_differentiate(convert: Callable[[Tensor], Tensor]) -> None:
    x = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda x: convert(x.softmax(-1)), x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_of_this_dtype_is_a_distribution(dtype: torch.dtype) -> None:
    p = (3 * torch.randn(50, 401)).to(dtype).softmax(-1)
    cumulative_to_distribution(distribution_to_cumulative(p))
    ranking_to_distribution(distribution_to_ranking(p))


def test_rounding_makes_no_negative_probability() -> None:
    c = torch.tensor([0.5, 0.5 - 1e-5, 1.0])
    assert cumulative_to_distribution(c)[1] == 0
    assert ranking_to_distribution(1 - c[:-1])[1] == 0


def test_two_labels_and_no_rows() -> None:
    assert ranking_to_distribution(torch.tensor([0.25])).tolist() == [0.75, 0.25]
    assert distribution_to_ranking(torch.tensor([0.75, 0.25])).tolist() == [0.25]
    empty = torch.empty(0, 3)
    assert distribution_to_cumulative(empty).shape == (0, 3)
    assert cumulative_to_distribution(empty).shape == (0, 3)
    assert distribution_to_ranking(empty).shape == (0, 2)
    assert ranking_to_distribution(empty).shape == (0, 4)
    assert decode_ranking(empty, range(4)).shape == (0,)
    assert ranking_code(torch.empty(0), range(4)).shape == (0, 3)


# Decoding


def test_decode_counts_what_exceeds_a_half() -> None:
    r = torch.tensor([[0.9, 0.5, 0.1], [0.2, 0.8, 0.6], [0.51, 1.0, 1.0], [0.0, 0.1, 0.5]])
    got = decode_ranking(r, [1, 2, 4, 8])
    assert got.dtype == torch.float64
    assert got.tolist() == [2, 4, 8, 1]  # 0.5 does not count, order does not matter


def test_decoded_code_is_the_first_label_not_below_the_target() -> None:
    labels = bent_grid(9)
    y = torch.cat([labels, labels[:-1] + 0.01, labels[:1] - 5])
    want = torch.cat([labels, labels[1:], labels[:1]])
    assert torch.equal(decode_ranking(ranking_code(y, labels), labels), want)
    assert decode_ranking(ranking_code(labels[-1] + 5, labels), labels) == labels[-1]


# Errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cdf(torch.tensor([1.0, math.nan]), AGES), r"target must be finite, got nan at"),
        (lambda: cdf(torch.tensor(1.0), AGES, -1), "sigma must be finite and >= 0, got -1"),
        (
            lambda: cdf(torch.zeros(2), AGES, torch.tensor([1.0, -2.0])),
            r"sigma must be finite and >= 0, got -2 at index \[1\]",
        ),
        (lambda: ranking_code(torch.tensor(math.inf), AGES), "target must be finite, got inf"),
        (lambda: ranking_code(torch.tensor(1.0), [1, 0]), "labels must be strictly increasing"),
        (lambda: transformation_matrix(0), "n_labels must be at least 1, got 0"),
        (
            lambda: distribution_to_cumulative(torch.tensor([[0.5, 0.5], [1.5, -0.5]])),
            r"distribution must hold values >= 0, got -0.5 at index \[1, 1\]",
        ),
        (
            lambda: distribution_to_ranking(torch.tensor([[0.5, 0.5], [0.5, 0.4]])),
            r"distribution must sum to 1, got 0.9 at index \[1\]",
        ),
        (
            lambda: distribution_to_ranking(torch.tensor([0.5, math.nan])),
            "distribution must hold values >= 0, got nan",
        ),
        (lambda: distribution_to_cumulative(torch.tensor(1.0)), "must have a last dimension"),
        (lambda: distribution_to_cumulative(torch.zeros(3, 0)), "must have a last dimension"),
        (
            lambda: cumulative_to_distribution(torch.tensor([0.5, 0.4, 1.0])),
            r"not decrease along the labels, got a difference of -0.1 at index \[1\]",
        ),
        (
            lambda: cumulative_to_distribution(torch.tensor([-0.5, 0.4, 1.0])),
            r"must start at 0 or more .*, got a difference of -0.5 at index \[0\]",
        ),
        (
            lambda: cumulative_to_distribution(cdf(torch.tensor(99.0), AGES)),
            "cumulative must end in 1 .*, got 0.691",
        ),
        (
            lambda: ranking_to_distribution(torch.tensor([0.5, 0.6])),
            r"must not increase along the labels .*, got an increase of 0.1 at index \[1\]",
        ),
        (
            lambda: ranking_to_distribution(torch.tensor([1.5, 0.6])),
            r"must lie in \[0, 1\] \(logits need a sigmoid first\), got 1.5",
        ),
        (
            lambda: decode_ranking(torch.tensor([2.0, -1.0]), range(3)),
            "logits need a sigmoid first",
        ),
        (lambda: decode_ranking(torch.tensor([0.5, math.nan]), range(3)), "got nan"),
        (
            lambda: decode_ranking(torch.zeros(2, 3), range(3)),
            r"must have shape \[..., 2\], one less than the 3 labels, got \[2, 3\]",
        ),
    ],
)
def test_what_is_no_encoding(call: Callable[[], Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cdf(1.0, AGES), "target must be a tensor, got float"),
        (lambda: ranking_code([1.0], AGES), "target must be a tensor, got list"),
        (
            lambda: distribution_to_cumulative(torch.tensor([0, 1])),
            "distribution must be a floating-point tensor, got torch.int64",
        ),
        (lambda: cumulative_to_distribution([1.0]), "cumulative must be .*, got list"),
        (lambda: ranking_to_distribution(torch.tensor([True])), "probabilities must be"),
        (lambda: decode_ranking(torch.tensor([True]), [0, 1]), "probabilities must be"),
    ],
)
def test_what_has_no_fitting_type(call: Callable[[], Tensor], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call()


def test_what_independent_classifiers_say_can_be_made_monotone() -> None:
    r = torch.tensor([0.9, 0.4, 0.6, 0.1])
    p = ranking_to_distribution(torch.cummin(r, -1).values)
    torch.testing.assert_close(p, torch.tensor([0.1, 0.5, 0.0, 0.3, 0.1]))

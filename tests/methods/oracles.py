"""The loss of each method as its source prints it: loops over rows and labels, one number each."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Row = list[Tensor]
RowLoss = Callable[[Row, float, float, list[float]], Tensor]
"""Outputs, target and sigma of a row, and the labels, to the row's loss."""


def softmax(x: Row) -> Row:
    total = sum(torch.exp(value) for value in x)
    return [torch.exp(value) / total for value in x]


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


def expectation(x: Row, labels: list[float]) -> Tensor:
    return sum(p * label for p, label in zip(softmax(x), labels, strict=True))


def nearest(y: float, labels: list[float]) -> int:
    return min(range(len(labels)), key=lambda k: (abs(labels[k] - y), k))


def gaussian(y: float, sigma: float, labels: list[float]) -> list[float]:
    mass = [math.exp(-((label - y) ** 2) / (2 * sigma**2)) for label in labels]
    return [m / sum(mass) for m in mass]


def bins(y: float, sigma: float, labels: list[float]) -> list[float]:
    inner = [(a + b) / 2 for a, b in zip(labels, labels[1:], strict=False)]
    borders = [2 * labels[0] - inner[0], *inner, 2 * labels[-1] - inner[-1]]
    cdf = [0.5 * (1 + math.erf((border - y) / (sigma * math.sqrt(2)))) for border in borders]
    mass = [b - a for a, b in zip(cdf, cdf[1:], strict=False)]
    return [m / sum(mass) for m in mass]


def two_hot(y: float, labels: list[float]) -> list[float]:
    p = [0.0] * len(labels)
    k = max(k for k in range(len(labels) - 1) if labels[k] <= y)
    p[k + 1] = (y - labels[k]) / (labels[k + 1] - labels[k])
    p[k] = 1 - p[k + 1]
    return p


def cross_entropy(p: list[float], x: Row) -> Tensor:
    return -sum(p_k * torch.log(p_hat) for p_k, p_hat in zip(p, softmax(x), strict=True))


def kl(p: list[float], x: Row) -> Tensor:
    # Target mass below 1e-11 of the largest counts as 0, as documented.
    p = [p_k if p_k > 1e-11 * max(p) else 0.0 for p_k in p]
    return cross_entropy(p, x) + sum(p_k * math.log(p_k) for p_k in p if p_k > 0)


def binary_cross_entropies(x: Row, y: float, labels: list[float]) -> list[Tensor]:
    return [
        -torch.log(sigmoid(x[k])) if y > labels[k] else -torch.log(1 - sigmoid(x[k]))
        for k in range(len(labels) - 1)
    ]


def scaled(y: float, labels: list[float]) -> float:
    return 2 * (y - labels[0]) / (labels[-1] - labels[0]) - 1


def huber(error: Tensor, beta: float = 1.0) -> Tensor:
    return error**2 / (2 * beta) if abs(error) < beta else abs(error) - beta / 2


def ranking(x: Row, y: float, sigma: float, labels: list[float]) -> Tensor:
    terms = binary_cross_entropies(x, y, labels)
    return sum(terms) / len(terms)


def binomial(x: Row, y: float, sigma: float, labels: list[float]) -> Tensor:
    n, k, p = len(labels) - 1, nearest(y, labels), sigmoid(x[0])
    return -torch.log(math.comb(n, k) * p**k * (1 - p) ** (n - k))


def laplace(y: float, alpha: float, labels: list[float]) -> list[float]:
    mass = [math.exp(-alpha * abs(label - y)) for label in labels]
    return [m / sum(mass) for m in mass]


def mean_variance(x: Row, y: float, sigma: float, labels: list[float]) -> Tensor:
    p, mean = softmax(x), expectation(x, labels)
    variance = sum(p_k * (label - mean) ** 2 for p_k, label in zip(p, labels, strict=True))
    return -torch.log(p[nearest(y, labels)]) + 0.2 * (mean - y) ** 2 / 2 + 0.05 * variance


def dldl_v2(x: Row, y: float, sigma: float, labels: list[float]) -> Tensor:
    return kl(gaussian(y, sigma, labels), x) + abs(expectation(x, labels) - y)


def dldl_v2_official(x: Row, y: float, sigma: float, labels: list[float]) -> Tensor:
    return kl(gaussian(y, sigma, labels), x) / len(labels) + abs(expectation(x, labels) - y)


ROW_LOSSES: dict[str, RowLoss] = {
    "mr-l2": lambda x, y, sigma, labels: (torch.tanh(x[0]) - scaled(y, labels)) ** 2,
    "mr-l1": lambda x, y, sigma, labels: abs(torch.tanh(x[0]) - scaled(y, labels)),
    "dex": lambda x, y, sigma, labels: -torch.log(softmax(x)[nearest(y, labels)]),
    "dex-released": lambda x, y, sigma, labels: -softmax(x)[nearest(y, labels)],
    "ranking": ranking,
    "er-l1": lambda x, y, sigma, labels: abs(expectation(x, labels) - y),
    "er-l2": lambda x, y, sigma, labels: (expectation(x, labels) - y) ** 2,
    "er-smooth": lambda x, y, sigma, labels: huber(expectation(x, labels) - y),
    "dldl": lambda x, y, sigma, labels: kl(gaussian(y, sigma, labels), x),
    "dldl-v2": dldl_v2,
    "dldl-v2-official": dldl_v2_official,
    "mean-variance": mean_variance,
    "or-cnn": lambda x, y, sigma, labels: sum(binary_cross_entropies(x, y, labels)),
    "sord": lambda x, y, sigma, labels: cross_entropy(laplace(y, 1.0, labels), x),
    "hl-gauss": lambda x, y, sigma, labels: cross_entropy(bins(y, sigma, labels), x),
    "two-hot": lambda x, y, sigma, labels: cross_entropy(two_hot(y, labels), x),
    "unimodal": binomial,
}


def loss(
    name: str,
    outputs: Tensor,
    target: Tensor,
    sigma: Tensor,
    weight: Tensor,
    labels: list[float],
    bias: Tensor | None = None,
) -> Tensor:
    """Weighted mean over rows; bias belongs to coral."""
    total, count = outputs.new_zeros(()), 0.0
    for row, y, s, w in zip(outputs, target.tolist(), sigma.tolist(), weight.tolist(), strict=True):
        x = list(row)
        if name == "corn":  # the mean is over rows and thresholds
            each = binary_cross_entropies(x, y, labels)
            learns = [k for k in range(len(each)) if k == 0 or y > labels[k - 1]]
            total = total + w * sum(each[k] for k in learns)
            count += w * len(learns)
            continue
        if name == "coral":
            assert bias is not None
            value = sum(binary_cross_entropies([x[0] + b for b in bias], y, labels))
        else:
            value = ROW_LOSSES[name](x, y, s, labels)
        total = total + w * value
        count += w
    return total / count

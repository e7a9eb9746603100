"""Methods that ask at every label but the last one whether the value is greater."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dldl_fast.labels import on_device
from dldl_fast.methods.base import ROW_SETTINGS, Labels, Method
from dldl_fast.methods.rows import Rows, check_rows, weighted_mean
from dldl_fast.options import LossOptions
from dldl_fast.reference import accumulation_dtype


def _log_likelihood(logits: Tensor, signs: Tensor) -> Tensor:
    """Negative binary cross-entropy of sigmoid(logits); unlike torch's, of infinite ones too."""
    return F.logsigmoid(logits * signs)


class _Thresholds(Method):
    settings: ClassVar[tuple[str, ...]] = ROW_SETTINGS

    def __init__(self, labels: Labels, **settings: Any) -> None:
        super().__init__(labels, settings)
        self.out_features = len(self.labels) - 1
        self.options = LossOptions(**settings)
        # A target that is a label must not exceed that label because of its last digit: 0.1 in
        # float32 is greater than 0.1 in float64.
        above = self.labels[:-1] + 1e-6 * (self.labels[1:] - self.labels[:-1])
        self._thresholds = {
            dtype: torch.nextafter(above.to(dtype), above.new_tensor(math.inf, dtype=dtype))
            for dtype in (torch.float32, torch.float64)
        }

    def forward(
        self,
        outputs: Tensor,
        target: Tensor,
        sigma: float | Tensor | None = None,
        weight: Tensor | None = None,
    ) -> Tensor:
        """See `Method.loss`; sigma is ignored."""
        self._check_outputs(outputs)
        rows = check_rows(outputs, target, weight, self.labels, self._ends, self.options)
        y = rows.target.unsqueeze(-1)
        difference = y - on_device(self._thresholds[y.dtype], y.device)
        # In place of y > threshold, as comparing and selecting take torch twice the time.
        signs = torch.copysign(y.new_ones(()), difference).to(rows.outputs.dtype)
        return self._mean_loss(rows, signs)

    def decode(self, outputs: Tensor) -> Tensor:
        """The label after as many thresholds as have a probability above 1/2."""
        self._check_outputs(outputs)
        passed = self._passed(outputs)
        labels = on_device(self.labels, outputs.device)
        value = labels[passed.sum(-1)]
        # Nothing is greater than NaN: without this it would look like the first label.
        return torch.where(torch.isnan(outputs).any(-1), math.nan, value)

    def distribution(self, outputs: Tensor) -> Tensor:
        """Differences of the probabilities of neighbouring thresholds, [..., K].

        Raises:
            ValueError: if those need not decrease, so that there would be negative ones.
        """
        self._check_outputs(outputs)
        if not self.has_distribution:
            raise ValueError(
                f"method {self.name!r} predicts no distribution, since its probabilities need not "
                "decrease along the labels; make it with consistent=True"
            )
        greater = self._log_greater(outputs).exp()
        one, zero = torch.ones_like(greater[..., :1]), torch.zeros_like(greater[..., :1])
        return torch.cat([one, greater], -1) - torch.cat([greater, zero], -1)

    def _mean_loss(self, rows: Rows, signs: Tensor) -> Tensor:
        """Loss of the batch, the sum over thresholds; signs are 1 where y > l_k, else -1."""
        return -weighted_mean(_log_likelihood(self._logits(rows.outputs), signs), rows)

    def _logits(self, outputs: Tensor) -> Tensor:
        """Log-odds of y > l_k, [..., K - 1]."""
        return outputs.to(accumulation_dtype(outputs))

    def _passed(self, outputs: Tensor) -> Tensor:
        """Whether y > l_k is more likely than not, [..., K - 1]."""
        return self._logits(outputs) > 0

    def _log_greater(self, outputs: Tensor) -> Tensor:
        """Log-probability of y > l_k, which does not increase with k."""
        return F.logsigmoid(self._logits(outputs).cummin(-1).values)


class _Classifiers(_Thresholds):
    settings = ("consistent", *ROW_SETTINGS)

    def __init__(self, labels: Labels, *, consistent: bool = False, **settings: Any) -> None:
        super().__init__(labels, **settings)
        self.consistent = self.has_distribution = consistent

    def _passed(self, outputs: Tensor) -> Tensor:
        logits = self._logits(outputs)
        return (logits.cummin(-1).values if self.consistent else logits) > 0


class Ranking(_Classifiers):
    r"""K - 1 binary classifiers, trained together: ``ranking``.

    .. math::
        L = \frac{1}{K - 1} \sum_{k=1}^{K-1} \mathrm{BCE}(\mathrm{sigmoid}(o_k), [y > l_k]), \quad
        \hat y = l_{1 + \sum_k [\mathrm{sigmoid}(o_k) > 1/2]}

    Args:
        labels: label grid, K increasing numbers.
        consistent: take the running minimum of the probabilities along the labels, as y > l_k
            implies y > l_j for j < k. The prediction is then the first label whose classifier says
            no, and there is a distribution, of which it is the median.
        settings: ``out_of_range``, ``ignore_nan``, ``validate``, as for `dldl_fast.DLDLv2Loss`.

    Source:
        Section 4.5.4, Ranking; averaged over labels and rows as in the released code. That counts
        probabilities >= 1/2 where the paper, and this class, count those > 1/2.

    Example:
        >>> outputs = torch.tensor([[2.0, -1.0, 1.0]])
        >>> Ranking(range(4)).decode(outputs)
        tensor([2.], dtype=torch.float64)
        >>> Ranking(range(4), consistent=True).decode(outputs)
        tensor([1.], dtype=torch.float64)
    """

    name = "ranking"

    def _mean_loss(self, rows: Rows, signs: Tensor) -> Tensor:
        return super()._mean_loss(rows, signs) / self.out_features


class ORCNN(_Classifiers):
    r"""Ordinal regression with several outputs: ``or-cnn``.

    .. math::
        L = \sum_{k=1}^{K-1} \mathrm{BCE}(\mathrm{sigmoid}(o_k), [y > l_k])

    Arguments and decoder are those of `Ranking`, of whose loss this is K - 1 times.

    Source:
        Niu et al., Ordinal Regression with Multiple Output CNN for Age Estimation, CVPR 2016, with
        equal importance of all tasks and one logit in place of a softmax over two.

    Example:
        >>> round(ORCNN(range(4)).loss(torch.zeros(1, 3), torch.tensor([2.0])).item(), 4)  # 3 ln 2
        2.0794
    """

    name = "or-cnn"


class CORAL(_Thresholds):
    r"""Consistent rank logits: ``coral``.

    .. math::
        L = \sum_{k=1}^{K-1} \mathrm{BCE}(\mathrm{sigmoid}(o + b_k), [y > l_k]), \quad
        \hat y = l_{1 + \sum_k [o + b_k > 0]}

    One output o is shared by all thresholds, which is how they share their weights; the biases
    :math:`b_k` are parameters of this module. **Train them**: give the optimiser
    ``[*net.parameters(), *method.parameters()]``, and move the method to the device of the network.
    They begin evenly spaced, falling from 1 to 1 / (K - 1). The bias of the network's last layer
    shifts them all and is not needed.

    Where the biases decrease, as they do at a minimum of the loss, so do the probabilities;
    `distribution` takes their running minimum, so that it is one before as well.

    Args:
        labels: label grid, K increasing numbers.
        settings: ``out_of_range``, ``ignore_nan``, ``validate``, as for `dldl_fast.DLDLv2Loss`.

    Source:
        Cao et al., Rank Consistent Ordinal Regression for Neural Networks with Application to Age
        Estimation, Pattern Recognition Letters 2020, with equal importance of all tasks.

    Example:
        >>> method = CORAL(range(4))
        >>> method.out_features, method.bias.tolist()
        (1, [1.0, 0.6666666865348816, 0.3333333432674408])
        >>> method.decode(torch.tensor([[-0.5]]))
        tensor([2.], dtype=torch.float64)
    """

    name = "coral"

    def __init__(self, labels: Labels, **settings: Any) -> None:
        super().__init__(labels, **settings)
        self.out_features = 1
        count = len(self.labels) - 1
        self.bias = nn.Parameter(torch.arange(count, 0, -1) / count)

    def _logits(self, outputs: Tensor) -> Tensor:
        if self.bias.device != outputs.device:
            raise ValueError(
                f"outputs must be on {self.bias.device} like the biases of method {self.name!r}, "
                f"got {outputs.device}; use method.to(outputs.device)"
            )
        dtype = accumulation_dtype(outputs)
        return outputs.to(dtype) + self.bias.to(dtype)


class CORN(_Thresholds):
    r"""Conditional probabilities of K - 1 thresholds: ``corn``.

    .. math::
        \mathrm{sigmoid}(o_k) = \Pr(y > l_k \mid y > l_{k-1}), \quad
        L = \frac{\sum_i w_i \sum_{k \in T_i} \mathrm{BCE}(\mathrm{sigmoid}(o_{ik}), [y_i > l_k])}
        {\sum_i w_i |T_i|}, \quad T_i = \{1\} \cup \{k : y_i > l_{k-1}\}

    Each threshold learns from the rows that pass the one before; the mean is taken over all such
    pairs of row and threshold, not over rows, so that a row of weight 2 still counts as two rows.
    The prediction is the label after as many thresholds as have
    :math:`\Pr(y > l_k) = \prod_{j \le k} \mathrm{sigmoid}(o_j) > 1/2`.

    Args:
        labels: label grid, K increasing numbers.
        settings: ``out_of_range``, ``ignore_nan``, ``validate``, as for `dldl_fast.DLDLv2Loss`.

    Source:
        Shi et al., Deep Neural Networks for Rank-Consistent Ordinal Regression Based On Conditional
        Probabilities, 2021.

    Example:
        >>> method = CORN(range(4))
        >>> method.distribution(torch.zeros(1, 3))
        tensor([[0.5000, 0.2500, 0.1250, 0.1250]])
    """

    name = "corn"

    def _mean_loss(self, rows: Rows, signs: Tensor) -> Tensor:
        learns = torch.cat([torch.ones_like(signs[:, :1]), signs[:, :-1]], -1) > 0
        terms = torch.where(learns, _log_likelihood(rows.outputs, signs), 0.0)
        return -weighted_mean(terms, rows, count=learns.sum(-1))

    def _passed(self, outputs: Tensor) -> Tensor:
        return self._log_greater(outputs) > -math.log(2)

    def _log_greater(self, outputs: Tensor) -> Tensor:
        return F.logsigmoid(self._logits(outputs)).cumsum(-1)

"""What all methods share: the interface, and the checks of settings and outputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from torch import Tensor, nn

from dldl_fast.functional import LOGITS_DTYPES
from dldl_fast.labels import as_label_grid

Labels = Tensor | Sequence[float]

ROW_SETTINGS = ("out_of_range", "ignore_nan", "validate")
"""Settings of every method, with the meaning that they have for `dldl_fast.DLDLv2Loss`."""


class Method(nn.Module):
    """A way to predict an ordered value: number of outputs, loss, and decoder.

    As a module it is its loss: ``method(outputs, target)`` is ``method.loss(outputs, target)``.
    Of all methods only `CORAL` has parameters.
    """

    name: ClassVar[str]
    """What `make_method` knows it by."""

    settings: ClassVar[tuple[str, ...]]
    """The keyword arguments of its class."""

    out_features: int
    """How many outputs a network must give each row."""

    labels: Tensor
    """Label grid, float64 [K]."""

    has_distribution: bool = True
    """Whether `distribution` has an answer."""

    def __init__(self, labels: Labels, given: Iterable[str]) -> None:
        super().__init__()
        unknown = [setting for setting in given if setting not in self.settings]
        if unknown:
            raise TypeError(
                f"method {self.name!r} has no setting {unknown[0]!r}; "
                f"it has {', '.join(self.settings)}"
            )
        # Not a buffer: .half() would round the grid.
        self.labels = as_label_grid(labels)
        self.out_features = len(self.labels)
        self._ends = float(self.labels[0]), float(self.labels[-1])

    def loss(
        self,
        outputs: Tensor,
        target: Tensor,
        sigma: float | Tensor | None = None,
        weight: Tensor | None = None,
    ) -> Tensor:
        """Loss of a batch, a scalar: the mean over the rows, weighted where weights are given.

        Args:
            outputs: [..., out_features], float32, float64, bfloat16 or float16; computed in
                float32 (float64 for float64).
            target: [...], any real dtype, in the unit of the labels.
            sigma: standard deviation of the target distribution, a number or [...]. Methods
                without a setting ``sigma`` ignore it.
            weight: row weights w, [...]: the loss is sum(w L) / sum(w), 0 where all are 0. A row
                of weight 0 is left out, whatever its outputs are.

        Returns:
            float32 (float64 for float64 outputs).

        Raises:
            ValueError: for a wrong shape; for a target that is NaN or outside the label grid, a
                negative sigma or weight, naming the first bad row (see ``validate``).
            TypeError: for arguments that are not real-valued tensors.
        """
        loss: Tensor = self(outputs, target, sigma, weight)
        return loss

    def decode(self, outputs: Tensor) -> Tensor:
        """Predicted values [...] in float64, from outputs [..., out_features]."""
        raise NotImplementedError

    def distribution(self, outputs: Tensor) -> Tensor:
        """Predicted distribution over the labels, [..., K], from outputs [..., out_features].

        Raises:
            ValueError: if the method has none (``has_distribution`` is False).
        """
        raise ValueError(
            f"method {self.name!r} predicts no distribution; use decode(), or another method"
        )

    def extra_repr(self) -> str:
        """Name, size of the output, label grid."""
        grid = f"labels=[{self.labels[0]:g} .. {self.labels[-1]:g}], K={len(self.labels)}"
        return f"{self.name!r}, out_features={self.out_features}, {grid}"

    def _check_outputs(self, outputs: Tensor) -> None:
        if not isinstance(outputs, Tensor):
            raise TypeError(f"outputs must be a tensor, got {type(outputs).__name__}")
        if outputs.dtype not in LOGITS_DTYPES:
            raise TypeError(
                f"outputs must be float32, float64, bfloat16 or float16, got {outputs.dtype}"
            )
        if outputs.dim() == 0 or outputs.shape[-1] != self.out_features:
            raise ValueError(
                f"outputs must have shape [..., {self.out_features}] for method {self.name!r} and "
                f"{len(self.labels)} labels, got {list(outputs.shape)}"
            )

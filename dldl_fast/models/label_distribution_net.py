"""LabelDistributionNet: any backbone with a label distribution on top."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from dldl_fast.functional import expectation
from dldl_fast.labels import as_label_grid
from dldl_fast.models.checkpoint import (
    CONFIG_NAME,
    WEIGHTS_NAME,
    CheckpointError,
    bad_config,
    grid_from_json,
    grid_to_json,
    read_config,
    read_weights,
    require_fit,
    weights_of,
    write_checkpoint,
)
from dldl_fast.models.feature_net import POOLINGS, FeatureNet
from dldl_fast.models.hub import HubMixin, local_folder

if TYPE_CHECKING:
    from dldl_fast.inference import OptimizedModel

Net = TypeVar("Net", bound="LabelDistributionNet")


class LabelDistributionNet(FeatureNet, HubMixin):
    r"""Any backbone, with a linear layer whose K outputs are the logits of a label distribution.

    .. math::
        x = W f(I) + b, \quad \hat p = \mathrm{softmax}(x), \quad \hat y = \sum_k \hat p_k l_k

    ``forward`` gives x, for `dldl_fast.DLDLv2Loss`; ``predict`` gives :math:`\hat y`. The label
    grid l belongs to the model: ``.half()`` and ``.to()`` leave it alone, ``state_dict()`` and
    checkpoints hold it.

    Args:
        backbone: images [N, 3, H, W] to features [N, C] or maps [N, C, h, w], without the layers
            that classify. For a torchvision ResNet: ``backbone.fc = nn.Identity()``; for timm:
            ``timm.create_model(..., num_classes=0)``.
        labels: label grid, K increasing numbers in the unit of the target.
        num_features: C; default what timm's models say: ``backbone.head_hidden_size``, or else
            ``backbone.num_features``.
        pooling: for maps: ``"hybrid"`` (2x2 maximum, then mean), ``"gap"`` (mean) or ``"gmp"``
            (maximum). Features [N, C] are taken as they are.

    Attributes:
        features: the backbone. ``model.pool(model.features(images))`` are pooled features [N, C].
        labels: the label grid, float64 [K].
        config: more JSON values that `save_pretrained` writes and `from_pretrained` reads, such as
            image size and normalisation. ``model`` and ``label_grid`` are taken.

    Shape:
        images [N, 3, H, W] to logits [N, K].

    Raises:
        ValueError: if an argument or the features are not as described.

    Source:
        Sections 3.3 and 3.4, Eqs. 7, 8 and 10.

    Example:
        >>> backbone = nn.Conv2d(3, 8, 3, stride=2)
        >>> model = LabelDistributionNet(backbone, range(5), num_features=8)
        >>> images = torch.randn(2, 3, 32, 32)
        >>> model(images).shape, model.predict(images).shape
        (torch.Size([2, 5]), torch.Size([2]))
    """

    def __init__(
        self,
        backbone: nn.Module,
        labels: Tensor | Sequence[float],
        *,
        num_features: int | None = None,
        pooling: str = "hybrid",
    ) -> None:
        if isinstance(labels, int):
            raise ValueError(
                f"labels must be the label grid, got the number {labels}; pass range({labels}) for "
                f"the labels 0..{labels - 1}"
            )
        if pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {tuple(POOLINGS)}, got {pooling!r}")
        for name in ("head_hidden_size", "num_features"):
            if num_features is None:
                num_features = getattr(backbone, name, None)
        if not isinstance(num_features, int) or num_features < 1:
            raise ValueError(
                f"num_features must be the number of the backbone's features, got {num_features!r}"
            )
        grid = as_label_grid(labels)
        super().__init__(backbone, POOLINGS[pooling](), num_features, len(grid))
        self.pooling = pooling
        # Neither parameter nor buffer: .half() would round the grid, and float64 cannot live on
        # every device. The state dictionary has it as extra state.
        self.labels = grid
        self.config: dict[str, Any] = {}

    def architecture(self) -> dict[str, Any]:
        """Arguments, other than backbone and labels, that make this network again."""
        return {"num_features": self.head.in_features, "pooling": self.pooling}

    def predict(self, images: Tensor, *, flip: bool = False) -> Tensor:
        """Estimated values: the expectations of the predicted distributions (Eq. 10).

        Computed without gradients and with the running statistics of batch normalisation, whatever
        the mode of the model, which stays as it is. For gradients use
        ``functional.expectation(model(images), model.labels)``.

        Args:
            images: normalised, [N, 3, H, W], on the device of the model.
            flip: average the values of the images and of their mirror images, as the authors'
                released code does.

        Returns:
            float64 [N], in the unit of the labels.
        """
        with torch.no_grad(), evaluating(self):
            values = self._values(images)
            return (values + self._values(images.flip(-1))) / 2 if flip else values

    def load_features(self, other: LabelDistributionNet, source: object) -> None:
        """Take the features of another network of the same architecture; the head stays as it is.

        Args:
            other: for example a network that was pre-trained on face recognition.
            source: where it came from, for the error.

        Raises:
            CheckpointError: listing everything that does not fit.

        Source:
            Section 4.1: after pre-training, only the layers below the classifier are kept.

        Example:
            >>> from dldl_fast.models import TinyAgeNet, TinyAttNet
            >>> pretrained, beauty = TinyAgeNet(), TinyAttNet()
            >>> beauty.load_features(pretrained, "pretrained")
            >>> torch.equal(beauty.features[0].weight, pretrained.features[0].weight)
            True
        """
        weights = other.features.state_dict()
        require_fit(weights, self.features.state_dict(), source)
        self.features.load_state_dict(weights)

    def optimize(self, example_images: Tensor, **options: Any) -> OptimizedModel:
        """This network for inference: see `dldl_fast.inference.optimize`, which has the options.

        Example:
            >>> from dldl_fast.models import TinyAgeNet
            >>> images = torch.zeros(2, 3, 64, 64)
            >>> fast = TinyAgeNet().eval().optimize(images, path="eager")
            >>> fast.predict(images).shape
            torch.Size([2])
        """
        # Imported late: networks are used without it, and it takes some of torch's slower modules.
        from dldl_fast.inference import optimize

        return optimize(self, example_images, **options)

    def _values(self, images: Tensor) -> Tensor:
        values = expectation(self(images), self.labels)
        assert isinstance(values, Tensor)  # for the type checker: a tuple only with return_std
        return values

    def get_extra_state(self) -> Tensor:
        """The label grid, for the state dictionary."""
        return self.labels

    def set_extra_state(self, state: Tensor) -> None:
        """Take the label grid of a state dictionary, unless its length does not fit."""
        # Then load_state_dict raises, since the last layer does not fit either.
        if len(state) == len(self.labels):
            self.labels = as_label_grid(state)

    def extra_repr(self) -> str:
        """The label grid."""
        return f"labels=[{self.labels[0]:g} .. {self.labels[-1]:g}], K={len(self.labels)}"

    def save_pretrained(self, save_directory: Path | str, **hub_options: Any) -> str | None:
        """Write ``model.safetensors`` and ``config.json``; make the folder if it is missing.

        Args:
            save_directory: the folder; both files are replaced.
            hub_options: with any of PyTorchModelHubMixin's (``push_to_hub=True``, ``repo_id``,
                ``model_card_kwargs``) its model card is written as well.

        Returns:
            The address of the commit, if the model was pushed to the hub.

        Raises:
            MissingExtraError: if safetensors, or huggingface_hub for its options, is missing.
            ValueError: if `config` holds what JSON cannot.

        Example:
            >>> import tempfile
            >>> from dldl_fast.models import TinyAgeNet
            >>> model = TinyAgeNet(range(18, 70)).eval()
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     model.save_pretrained(folder)
            ...     again = TinyAgeNet.from_pretrained(folder)
            >>> images = torch.randn(1, 3, 64, 64)
            >>> torch.equal(again.predict(images), model.predict(images))
            True
        """
        if hub_options:
            return super().save_pretrained(save_directory, **hub_options)
        Path(save_directory).mkdir(parents=True, exist_ok=True)
        self._save_pretrained(Path(save_directory))
        return None

    def _save_pretrained(self, save_directory: Path) -> None:
        # PyTorchModelHubMixin calls this as well.
        entries = {
            "model": {"name": type(self).__name__, **self.architecture()},
            "label_grid": grid_to_json(self.labels),
            **self.config,
        }
        write_checkpoint(save_directory, weights_of(self), entries)

    @classmethod
    def from_pretrained(
        cls: type[Net], path: Path | str, *, backbone: nn.Module | None = None, **hub_options: Any
    ) -> Net:
        """Load what `save_pretrained` wrote; nothing is unpickled.

        Args:
            path: folder, or the name of a repository on the hub (needs the extra ``hub``).
            backbone: for a plain `LabelDistributionNet` only: a backbone of the same architecture;
                its weights are replaced.
            hub_options: ``revision``, ``token``, ``cache_dir``, ``force_download``,
                ``local_files_only``.

        Returns:
            The model, of the class that was saved, in evaluation mode, on the CPU, in the number
            formats that were saved.

        Raises:
            CheckpointError: naming the file that is missing, damaged, or does not fit.
            MissingExtraError: if safetensors, or huggingface_hub for a repository, is missing.
        """
        folder = local_folder(path, **hub_options)
        config = read_config(folder)
        file = folder / CONFIG_NAME
        try:
            architecture = dict(config.pop("model"))
            labels = grid_from_json(config.pop("label_grid"))
            net_class = _class_named(architecture.pop("name"), cls)
            architecture.pop("num_labels", None)  # written before the model had the grid
            if net_class is LabelDistributionNet:
                if backbone is None:
                    raise ValueError("this checkpoint needs the argument backbone=")
                architecture["backbone"] = backbone
            elif backbone is not None:
                raise ValueError(f"{net_class.__name__} makes its backbone itself: leave it out")
            # Without memory, until the sizes are known to be those of the weights.
            with torch.device("meta"):
                model = net_class(labels=labels, **architecture)
        except (ValueError, KeyError, TypeError, ArithmeticError, RuntimeError) as error:
            raise CheckpointError(bad_config(file, error)) from error
        path = folder / WEIGHTS_NAME
        model.load_weights(read_weights(path), path)
        model.config = config
        return model.eval()


def _class_named(name: object, base: type[Net]) -> type[Net]:
    """`base` or the class derived from it that has a name.

    Raises:
        ValueError: naming those that there are.
    """
    found: dict[str, type[Net]] = {}
    remaining = [base]
    while remaining:
        known = remaining.pop()
        found[known.__name__] = known
        remaining += known.__subclasses__()
    if not isinstance(name, str) or name not in found:
        raise ValueError(f"holds the model {name!r}, expected one of {', '.join(sorted(found))}")
    return found[name]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; afterwards every module is in the mode in which it was."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True

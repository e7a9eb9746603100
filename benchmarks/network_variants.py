"""The networks: what runs them forward, and a training step in its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dldl_fast.functional import expectation
from dldl_fast.inference import PATHS, TOLERANCE, export_onnx, optimize
from dldl_fast.processor import computes_in_bfloat16

from .paper import PAPER
from .pool_variants import eager_pool, make_maps, pool_step
from .variants import LOSSES, LossFn, Step, loss_step, make_problem, skip_reason

NETWORKS = ("VGG16", "ResNet50", "ThinAgeNet", "TinyAgeNet")
TIMED_ALONE = "ThinAgeNet"  # the one whose paths and rivals are measured as well


@dataclass(frozen=True)
class NetworkMeasurement:
    """A time of one network, of one part of a training step, or a memory figure.

    Args:
        part: ``forward``, ``training`` or ``memory``.
        variant: what ran it; for ``training`` also which part, as in ``eager loss``.
        path: of `dldl_fast.inference.optimize`.
        peak_mb: most that the process took during a forward, beyond what it took before the
            network was made; weights included.
    """

    part: str
    network: str
    variant: str
    precision: str
    batch: int
    size: int
    threads: int
    path: str = ""
    calls: int = 0
    median_us: float = 0.0
    q20_us: float = 0.0
    q80_us: float = 0.0
    peak_mb: float | None = None


Contender = tuple[NetworkMeasurement, Step]
Run = Callable[[Tensor], Any]  # images to logits


def make_network(name: str) -> nn.Module:
    """A network for ages with new weights, in evaluation mode."""
    torch.manual_seed(0)
    return PAPER[name].make().eval()


def make_images(batch: int, size: int) -> Tensor:
    """Random normalised images."""
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(0))


def precisions() -> list[str]:
    """float32, and bfloat16 where the processor computes in it."""
    return ["float32", *(["bfloat16"] if computes_in_bfloat16(torch.device("cpu")) else [])]


def forward_contenders(batch: int, size: int, path: str, folder: Path) -> list[Contender]:
    """Every network as it is and optimised, and what a user would run ThinAgeNet with instead.

    `optimize` chooses the path of ThinAgeNet (``path="auto"``); the other networks are optimised on
    the same path in the best precision, so that what their ratios compare are the networks.
    """
    images = make_images(batch, size)
    # With all 32 the choice alone would take minutes.
    example = images[:8]
    threads = torch.get_num_threads()
    contenders: list[Contender] = []

    def add(name: str, variant: str, precision: str, run: Run, path: str = "") -> None:
        blank = NetworkMeasurement("forward", name, variant, precision, batch, size, threads, path)
        contenders.append((blank, forward_step(run, images)))

    thin = make_network(TIMED_ALONE)
    for precision in precisions():
        fast = optimize(thin, example, path=path, precision=precision)
        add(TIMED_ALONE, "optimised", precision, fast, fast.path)
        if path == "auto" and not skip_reason("compile"):
            alone = optimize(thin, example, path="compile", precision=precision)
            add(TIMED_ALONE, "torch alone", precision, alone, alone.path)
    # The last one, in the best precision.
    taken, best = fast.path, fast.precision
    for name, run, precision in rivals(thin, example, folder):
        verify(thin, run, example, precision)
        add(TIMED_ALONE, name, precision, run)
    add(TIMED_ALONE, "eager", "float32", thin)
    for name in NETWORKS:
        if name != TIMED_ALONE:
            network = make_network(name)
            add(name, "eager", "float32", network)
            fast = optimize(network, example, path=taken, precision=best)
            add(name, "optimised", best, fast, fast.path)
    return contenders


def forward_step(run: Run, images: Tensor) -> Step:
    """Logits of the images, without gradients."""

    def step() -> None:
        with torch.no_grad():
            run(images)

    return step


def rivals(model: nn.Module, example: Tensor, folder: Path) -> Iterator[tuple[str, Run, str]]:
    """The exported model in the other programs that are installed, called as in their manuals."""
    if PATHS["onnxruntime"].missing() and PATHS["openvino"].missing():
        return
    file = folder / "model.onnx"
    export_onnx(model, file, example)
    if not PATHS["onnxruntime"].missing():
        yield "onnxruntime", _onnxruntime(file), "float32"
    if not PATHS["openvino"].missing():
        for precision in precisions():
            yield "openvino", _openvino(file, precision), precision


def _onnxruntime(file: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images.numpy()})[0]


def _openvino(file: Path, precision: str) -> Run:
    import openvino

    hints = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    compiled = openvino.Core().compile_model(file, "CPU", hints)
    return lambda images: compiled(images.numpy())[0]


def verify(model: nn.Module, run: Run, images: Tensor, precision: str) -> None:
    """Raise if another program estimates other ages than the model."""
    with torch.no_grad():
        ages, others = (
            expectation(torch.as_tensor(logits), model.labels)
            for logits in (model(images), run(images))
        )
    tolerance = 100 * TOLERANCE[precision]  # a share of the grid's range
    torch.testing.assert_close(others, ages, rtol=0, atol=tolerance)


class EagerPool(nn.Module):
    """Hybrid pooling in the usual two calls."""

    def forward(self, maps: Tensor) -> Tensor:
        """[N, C, H, W] to [N, C]."""
        return eager_pool(maps)


def training_contenders(batch: int, size: int) -> list[Contender]:
    """A step of ThinAgeNet with Adam, its loss alone, and its pooling alone; fused and eager."""
    contenders: list[Contender] = []
    images = make_images(batch, size)
    for variant, ours in (("fused", "dldl_fast"), ("eager", "eager")):
        model = make_network(TIMED_ALONE).train()
        if variant == "eager":
            model.pool = EagerPool()
        problem = make_problem(batch, len(model.labels), torch.float32)
        maps = make_maps((batch, model.head.in_features, size // 16, size // 16), "contiguous")
        parts = {
            "step": training_step(model, LOSSES[ours](problem), images, problem.target),
            "loss": loss_step(ours, problem, "forward+backward"),
            "pooling": pool_step(ours, maps),
        }
        for part, step in parts.items():
            blank = NetworkMeasurement(
                "training", TIMED_ALONE, f"{variant} {part}", "float32", batch, size,
                torch.get_num_threads(),
            )  # fmt: skip
            contenders.append((blank, step))
    return contenders


def training_step(model: nn.Module, loss: LossFn, images: Tensor, target: Tensor) -> Step:
    """Forward, loss, backward, and Adam as in the paper."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        loss(model(images), target).backward()
        optimizer.step()

    return step

"""The networks' figures as tables: beside the paper's and their bars, and parts of a step."""

from __future__ import annotations

from collections.abc import Callable

from .judge import JUDGED_HEADERS, Judged, at_least, not_judged
from .network_variants import NETWORKS, TIMED_ALONE, NetworkMeasurement
from .paper import PAPER
from .record import render

# Least ratio of the times of two networks: the paper's, on its GPU, rounded down.
RATIOS = {("VGG16", "ThinAgeNet"): 2.6, ("VGG16", "TinyAgeNet"): 5.5}
SPEEDUP_TORCH_ALONE, SPEEDUP_OPENVINO = 8.0, 14.0
# One path timed twice in a run differs by as much, and the path taken may be the rival itself.
NO_SLOWER = 0.95
NO_BFLOAT16 = "not judged: CPU without AMX/AVX512-BF16"

Measurements = list[NetworkMeasurement]


def network_tables(measurements: Measurements) -> str:
    """Every table that the measurements have lines for."""
    parts: list[tuple[str, Callable[[Measurements], str]]] = [
        ("forward", forward_table),
        ("forward", bars_table),
        ("training", training_table),
        ("memory", memory_table),
    ]
    found = [(table, [m for m in measurements if m.part == part]) for part, table in parts]
    return "\n\n".join(table(those) for table, those in found if those)


def forward_table(measurements: Measurements) -> str:
    """Times forward, and how many times VGG-16's they are, beside the same of the paper."""
    lines = []
    for m in sorted(measurements, key=lambda m: (-m.batch, NETWORKS.index(m.network), m.variant)):
        vgg16 = _find(measurements, m.batch, "VGG16", m.variant, m.precision)
        paper = PAPER[m.network].milliseconds
        as_in_paper = m.batch == 32 and m.size == 224 and m.variant == "eager"
        lines.append(
            (
                m.network,
                f"{m.variant} {m.precision}{f' ({m.path})' if m.path else ''}",
                f"{m.batch} x {m.size}",
                *(f"{us / 1e3:.1f}" for us in (m.median_us, m.q20_us, m.q80_us)),
                m.calls,
                f"{m.batch / m.median_us * 1e6:.1f}",
                f"{vgg16.median_us / m.median_us:.2f}" if vgg16 else "-",
                f"{paper:.2f}" if as_in_paper else "-",
                f"{PAPER['VGG16'].milliseconds / paper:.2f}" if as_in_paper else "-",
            )
        )
    headers = ["network", "run by", "images", "median ms", "20 %", "80 %", "calls", "images/s"]
    headers += ["VGG16 / this", "paper ms (M40)", "paper VGG16 / this"]
    return render(headers, lines)


def bars_table(measurements: Measurements) -> str:
    """Ratios of networks and of what runs them, for each number of images."""
    lines: list[Judged] = []
    for batch in sorted({m.batch for m in measurements}, reverse=True):
        those = [m for m in measurements if m.batch == batch]
        lines += [*_network_ratios(those), *_speedups(those), *_beside_rivals(those)]
    return render(["images", *JUDGED_HEADERS], lines)


def _network_ratios(those: Measurements) -> list[Judged]:
    lines = []
    for variant, precision in dict.fromkeys((m.variant, m.precision) for m in those):
        for slow, fast in (*RATIOS, ("ResNet50", "ThinAgeNet")):
            a, b = (_find(those, those[0].batch, name, variant, precision) for name in (slow, fast))
            if a and b:
                paper = PAPER[slow].milliseconds / PAPER[fast].milliseconds
                figure = f"{slow} / {fast}, {variant} {precision} (paper: {paper:.2f})"
                # The paper's setting, that of the bars, is a large batch.
                bar = RATIOS.get((slow, fast)) if a.batch > 1 else None
                lines.append(at_least(_images(a), figure, a.median_us / b.median_us, bar))
    return lines


def _speedups(those: Measurements) -> list[Judged]:
    lines = []
    eager = next(m for m in those if (m.network, m.variant) == (TIMED_ALONE, "eager"))
    can_bfloat16 = any(m.precision == "bfloat16" for m in those)
    for m in those:
        if m.network != TIMED_ALONE or m.variant == "eager":
            continue
        figure = f"{TIMED_ALONE} eager / {m.variant} {m.precision}"
        speedup = eager.median_us / m.median_us
        bar = None
        if m.batch > 1 and m.precision == ("bfloat16" if can_bfloat16 else "float32"):
            has_openvino = any(other.variant == "openvino" for other in those)
            optimised = SPEEDUP_OPENVINO if has_openvino else SPEEDUP_TORCH_ALONE
            bar = {"torch alone": SPEEDUP_TORCH_ALONE, "optimised": optimised}.get(m.variant)
        if bar is not None and not can_bfloat16:
            lines.append(not_judged(_images(m), figure, speedup, bar, NO_BFLOAT16))
        else:
            lines.append(at_least(_images(m), figure, speedup, bar))
    return lines


def _beside_rivals(those: Measurements) -> list[Judged]:
    lines = []
    for rival in those:
        if rival.variant not in ("onnxruntime", "openvino"):
            continue
        ours = _find(those, rival.batch, rival.network, "optimised", rival.precision)
        if ours:
            figure = f"{rival.network} {rival.variant} / optimised, {rival.precision}"
            ratio = rival.median_us / ours.median_us
            lines.append(at_least(_images(rival), figure, ratio, NO_SLOWER))
    return lines


def training_table(measurements: Measurements) -> str:
    """A training step, and the share of loss and pooling in it."""
    lines = []
    for size in sorted({m.size for m in measurements}):
        us = {m.variant: m for m in measurements if m.size == size}
        for variant in ("eager", "fused"):
            step, loss, pooling = (us[f"{variant} {part}"] for part in ("step", "loss", "pooling"))
            both = loss.median_us + pooling.median_us
            lines.append(
                (
                    variant,
                    f"{step.batch} x {size}",
                    *(f"{part.median_us / 1e3:.3f}" for part in (step, loss, pooling)),
                    f"{100 * both / step.median_us:.2f}",
                )
            )
    headers = ["training step", "images", "step ms", "loss ms", "pooling ms", "loss + pooling, %"]
    return render(headers, lines)


def memory_table(measurements: Measurements) -> str:
    """Peak memory of a forward."""
    lines = [
        (
            m.network,
            f"{m.variant} {m.precision}{f' ({m.path})' if m.path else ''}",
            f"{m.batch} x {m.size}",
            f"{m.peak_mb:.0f}",
        )
        for m in measurements
    ]
    return render(["network", "run by", "images", "peak MB"], lines)


def _find(
    measurements: Measurements, batch: int, network: str, variant: str, precision: str
) -> NetworkMeasurement | None:
    wanted = (batch, network, variant, precision)
    found = (m for m in measurements if (m.batch, m.network, m.variant, m.precision) == wanted)
    return next(found, None)


def _images(m: NetworkMeasurement) -> str:
    return f"{m.batch} x {m.size}"

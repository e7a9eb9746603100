"""Makes docs/figures/attention-regions.png anew: ``python -m tests.models.draw_regions``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dldl_fast.explain import region_overlay
from dldl_fast.models import ALResNet
from tests.models.planted_cue import LABELS, covered, distances, planted, train

FIGURE = Path(__file__).parents[2] / "docs" / "figures" / "attention-regions.png"
SHOWN, SEEDS, GAP = 6, 3, 6


def main() -> None:
    held_out = planted(500, seed=10**6)
    pixels = ((held_out.images[:SHOWN].clamp(-1.8, 1.8) + 1.8) * 70).to(torch.uint8)
    crops = pixels.permute(0, 2, 3, 1).numpy()
    rows: list[np.ndarray] = []

    def look(model: ALResNet, when: str) -> torch.Tensor:
        regions = model.regions(held_out.images)
        away, share = (score(regions, held_out.boxes).mean(0) for score in (distances, covered))
        error = (model.predict(held_out.images) - held_out.labels).abs().mean()
        print(when, [f"{x:.1f} px" for x in away], [f"{x:.2f}" for x in share], f"MAE {error:.3f}")
        return regions[:SHOWN]

    for seed in range(SEEDS):
        torch.manual_seed(seed)
        model = ALResNet(range(LABELS), depth=18, width=8, steps=2, region=0.375)
        for when in ("before", "after"):
            regions = look(model, f"seed {seed} {when}")
            if seed == 0:
                faces = [
                    np.pad(np.asarray(region_overlay(crop, boxes)), ((GAP,) * 2,) * 2 + ((0, 0),))
                    for crop, boxes in zip(crops, regions, strict=True)
                ]
                rows.append(np.concatenate(faces, 1))
            if when == "before":
                train(model, seed)
        centre = torch.full((500, 1, 4), 32.0)
    print("image centre", f"{distances(centre, held_out.boxes).mean():.1f} px")
    Image.fromarray(np.concatenate(rows)).resize((920, 307)).save(FIGURE, optimize=True)


if __name__ == "__main__":
    main()

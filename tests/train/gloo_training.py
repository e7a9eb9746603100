"""One process of a training in several; what it found goes to standard output as JSON."""

from __future__ import annotations

import json
import sys

import torch

from dldl_fast import DLDLv2Loss
from dldl_fast.data import FaceData, Split
from dldl_fast.labels import label_grid
from dldl_fast.models import TinyAgeNet
from dldl_fast.training import LabelObjective, Training, TrainSettings, joined_processes


def same(images, target, _generator):
    return images, target


def data() -> FaceData:
    """7 test images: an odd number, so that two processes have unequal shares."""
    generator = torch.Generator().manual_seed(0)

    def part(count: int) -> Split:
        images = torch.randint(256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
        target = 10 * torch.rand(count, generator=generator, dtype=torch.float64)
        weight = torch.rand(count, generator=generator, dtype=torch.float64)
        return Split(images, target, torch.full_like(target, 1.5), weight)

    return FaceData("noise", "years", label_grid(0, 10), part(22), part(7), same, 5.0)


def main(micro_batches: int) -> None:
    """Batches of 11: process 0 has six rows, process 1 five."""
    torch.set_num_threads(1)
    settings = TrainSettings(
        epochs=1,
        batch_size=11,
        micro_batches=micro_batches,
        freeze_batch_norm=True,
        device="cpu",
        precision="float32",
    )
    with joined_processes(torch.device("cpu")) as processes:
        torch.manual_seed(0)
        model = TinyAgeNet(range(11), rate=0.05)
        training = Training(
            model,
            data(),
            LabelObjective(DLDLv2Loss(0, 10)),
            settings,
            processes=processes,
        )
        network = training._network
        network.train()
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
        batch = next(iter(training._batches.epoch(1)))
        loss = training._backward(training._objective_now, batch)
        gradients = torch.cat([p.grad.flatten() for p in model.parameters()])
        scores = training.evaluate(data().test)
        history = training.run().history
        if processes.is_first:
            print(
                json.dumps(
                    {
                        "rows": len(batch.target),
                        "loss": loss,
                        "gradients": gradients.tolist(),
                        "scores": scores,
                        "curve": [[record.train_loss, record.scores] for record in history],
                    }
                )
            )


if __name__ == "__main__":
    main(int(sys.argv[1]))

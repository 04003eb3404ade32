"""``python -m benchmarks training``: what maps of fixed pictures at each epoch cost a training."""

from __future__ import annotations

import argparse
import tempfile
import time
from statistics import median

import torch
from torch import Tensor, nn

from benchmarks import machine, report
from cfcam.integrations import TrainingMaps

HOW = """\
A small residual network ({parameters:.2f} M parameters) on drawn pictures (3 x 64 x 64), batches of 32, Adam. At the
end of each epoch so many pictures are explained: Grad-CAM, a line with all numbers, overlays as PNG and the table on disk.
An epoch and its maps are timed one after the other, in seconds of the processor (all threads of this process), as other
work shared the machine; the first epoch, in which things are set up, is left out."""
LIMIT = 0.02


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.way = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        self.skip = nn.Conv2d(inputs, outputs, 1, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return (self.way(x) + self.skip(x)).relu()


def network() -> nn.Sequential:
    torch.manual_seed(0)
    blocks = [Block(3, 32), Block(32, 64), Block(64, 128), Block(128, 128)]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 2))


def epoch(net: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, labels: Tensor) -> None:
    net.train()
    for batch in torch.randperm(len(x)).split(32):
        nn.functional.cross_entropy(net(x[batch]), labels[batch]).backward()
        optimizer.step()
        optimizer.zero_grad()


def measured(shown: int, count: int, epochs: int, folder: str) -> tuple[list[float], list[float]]:
    """Returns the seconds of each epoch's training, and those of its maps."""
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    generator = torch.Generator().manual_seed(1)
    x, labels = torch.rand(count, 3, 64, 64, generator=generator), torch.arange(count) % 2
    x[labels == 1, :, 20:36, 20:36] += 1
    masks = torch.zeros(shown, 64, 64, dtype=torch.bool)
    masks[:, 20:36, 20:36] = True
    maps = TrainingMaps(x[:shown], labels[:shown], masks=masks, layer="3", to=folder)
    trained, explained = [], []
    for number in range(epochs + 1):
        start = time.process_time()
        epoch(net, optimizer, x, labels)
        between = time.process_time()
        maps(net, number)
        trained.append(between - start)
        explained.append(time.process_time() - between)
    assert not maps.failures, maps.failures
    return trained[1:], explained[1:]


def main(arguments: argparse.Namespace) -> None:
    machine.use_threads(arguments.threads)
    count, epochs, sizes = (64, 1, (1, 2)) if arguments.quick else (4000, 2, (1, 4, 8, 16))
    rows, data = [], []
    for shown in sizes:
        with tempfile.TemporaryDirectory() as folder:
            trained, explained = measured(shown, count, epochs, folder)
        share = median(explained) / median(trained)
        rows.append([str(shown), f"{median(trained):.2f}", f"{median(explained):.3f}", f"{share:.2%}",
                     "yes" if share <= LIMIT else "no"])  # fmt: skip
        data.append({"pictures": shown, "epoch_s": trained, "maps_s": explained, "share": share})
    columns = ("pictures explained", "epoch s", "maps s", "share of the epoch", f"<= {LIMIT:.0%}")
    how = HOW.format(parameters=sum(p.numel() for p in network().parameters()) / 1e6)
    body = f"{how}\n\n{report.table(columns, rows)}\n\n{count} pictures an epoch."
    report.write(arguments.out, "training", "Maps while a network is trained", body, {"epoch": count, "rows": data})

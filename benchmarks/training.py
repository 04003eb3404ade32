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
A small residual network ({parameters:.2f} M parameters) on drawn pictures (3 x 64 x 64), batches of 32, Adam. At each
epoch's end so many pictures are explained: Grad-CAM, a line with all numbers, overlays as PNG and the table on disk.
An epoch and its maps are timed one after the other, in seconds of the processor (all threads of this process), as
other work shared the machine; the first epoch, in which things are set up, is left out."""
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


def measured(sizes: tuple[int, ...], count: int, epochs: int, folder: str) -> tuple[list[float], list[list[float]]]:
    """Returns the seconds of each epoch's training, and for each number of pictures those of its maps."""
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    generator = torch.Generator().manual_seed(1)
    x, labels = torch.rand(count, 3, 64, 64, generator=generator), torch.arange(count) % 2
    x[labels == 1, :, 20:36, 20:36] += 1
    masks = torch.zeros(count, 64, 64, dtype=torch.bool)
    masks[:, 20:36, 20:36] = True
    every = [TrainingMaps(x[:n], labels[:n], masks=masks[:n], layer="3", to=f"{folder}/{n}") for n in sizes]
    trained: list[float] = []
    explained: list[list[float]] = [[] for _ in sizes]
    for number in range(epochs + 1):
        start = time.process_time()
        epoch(net, optimizer, x, labels)
        trained.append(time.process_time() - start)
        for maps, seconds in zip(every, explained, strict=True):
            start = time.process_time()
            maps(net, number)
            seconds.append(time.process_time() - start)
            assert not maps.failures, maps.failures
    return trained[1:], [seconds[1:] for seconds in explained]


def main(arguments: argparse.Namespace) -> None:
    machine.use_threads(arguments.threads)
    count, epochs, sizes = (64, 1, (1, 2)) if arguments.quick else (4000, 2, (1, 4, 8, 16))
    with tempfile.TemporaryDirectory() as folder:
        trained, explained = measured(sizes, count, epochs, folder)
    rows, data = [], []
    for shown, seconds in zip(sizes, explained, strict=True):
        share = median(seconds) / median(trained)
        within = "yes" if share <= LIMIT else "no"
        rows.append([str(shown), f"{median(trained):.2f}", f"{median(seconds):.3f}", f"{share:.2%}", within])
        data.append({"pictures": shown, "maps_s": seconds, "share": share})
    columns = ("pictures explained", "epoch s", "maps s", "share of the epoch", f"<= {LIMIT:.0%}")
    how = HOW.format(parameters=sum(p.numel() for p in network().parameters()) / 1e6)
    body = f"{how}\n\n{report.table(columns, rows)}\n\n{count} pictures an epoch."
    result = {"pictures_of_an_epoch": count, "epoch_s": trained, "rows": data}
    report.write(arguments.out, "training", "Maps while a network is trained", body, result)

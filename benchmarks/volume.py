"""``python -m benchmarks volume``: time and peak memory of a 128 x 128 x 128 volume with a layer of 512 channels."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from benchmarks import machine, memory, report
from cfcam.explainer import Explainer
from cfcam.explainer_windows import explain_windows

FORWARD = "forward"
METHODS = ("grad-cam", "grad-cam++", "cam", "cf-cam", "score-cam")
WINDOWED = "grad-cam, windows"
MOST_FOR_SCORE_CAM = 2 * 2**30  # issue 5


class VolumeNet(nn.Module):
    """Three convolutions to a map of an eighth of each side: as wide as a 3-D ResNet's last layer, and a cheap pass."""

    def __init__(self, channels: int = 512, classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv3d(1, 32, 4, stride=4), nn.ReLU(), nn.Conv3d(32, 128, 2, stride=2), nn.ReLU(),
            nn.Conv3d(128, channels, 1), nn.ReLU(),
        )  # fmt: skip
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3, 4)))


@dataclass(frozen=True)
class Row:
    """One line of the table; seconds, and bytes above what was resident when the call began."""

    what: str
    seconds: float
    used: int


def measure(what: str, size: int, channels: int, threads: int | None) -> Row:
    """Explains one volume once, in the process that calls this; a small volume before warms up what is lazy."""
    machine.use_threads(threads)
    torch.manual_seed(0)
    network = VolumeNet(channels).eval()
    x = torch.randn(1, 1, size, size, size)
    spent = 0.0

    def explained(volume: Tensor) -> None:
        if what == FORWARD:
            with torch.inference_mode():
                network(volume)
        elif what == WINDOWED:
            explain_windows(Explainer(network, "grad-cam", layer="features"), volume, size // 2, 0.5, 0)
        else:
            Explainer(network, what, layer="features")(volume, 0)

    def timed() -> None:
        nonlocal spent
        start = time.perf_counter()
        explained(x)
        spent = time.perf_counter() - start

    explained(torch.randn(1, 1, 32, 32, 32))
    peak = memory._peak_once(timed, "cpu")
    return Row(what, spent, peak.used)


def main(arguments: argparse.Namespace) -> None:
    size, channels = (32, 32) if arguments.quick else (128, 512)
    names = (FORWARD, *METHODS, WINDOWED)
    rows = [memory.in_fresh_process(measure, name, size, channels, arguments.threads) for name in names]
    lines = [[row.what, f"{row.seconds:.2f}", f"{row.used / 2**20:.0f}"] for row in rows]
    table = report.table(("method", "s", "MB above the model"), lines)
    score_cam = next(row for row in rows if row.what == "score-cam")
    verdict = "pass" if score_cam.used <= MOST_FOR_SCORE_CAM else "MISS"
    text = (
        f"One volume of {size} x {size} x {size}, one target, a layer of {channels} channels of"
        f" {size // 8} x {size // 8} x {size // 8}; {WINDOWED}: {size // 2} a side, overlapping by half. Each method"
        " once, in a process of its own: wall time, and the kernel's high-water mark of resident memory above what the"
        " model and the volume take.\n\n"
        f"Must: Score-CAM within 2048 MB: {score_cam.used / 2**20:.0f} MB, {verdict}."
    )
    machine.use_threads(arguments.threads)
    data = {"size": size, "channels": channels, "rows": [asdict(row) for row in rows], "score_cam": verdict}
    report.write(arguments.out, "volume", "Volumes: time and memory", f"{text}\n\n{table}", data)

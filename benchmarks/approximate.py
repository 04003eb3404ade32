"""``python -m benchmarks approximate``: Score-CAM's approximation against the exact map, on real pictures."""

from __future__ import annotations

import argparse
import os
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

import cfcam
from benchmarks import machine, report
from benchmarks.libraries import pearson
from benchmarks.timing import timed
from cfcam.imaging import Preprocess, list_images, read_image
from cfcam.methods import ScoreCAM
from cfcam.models import load

SCALE = (128 / 255,) * 3  # these networks take (pixel - 128) / 128
SUBJECTS = {
    "imagenet_mobilenet_v2": "imagenet-val-boxes/images",
    "busi_mobilenet_v2": "busi-breast-ultrasound/images",
}
GROUPS = (16, 32, 48, 64)


@dataclass(frozen=True)
class Point:
    """One picture with one number of groups, against the exact map of the same picture."""

    network: str
    picture: str
    groups: int
    agreement: float
    faster: float


def measure(network: str, folder: Path, count: int, groups: tuple[int, ...]) -> list[Point]:
    loaded = load(f"{folder}/networks.py:{network}")
    preprocess = Preprocess(mean=SCALE, std=SCALE)
    files = list(list_images(folder / SUBJECTS[network]))
    points = []
    _map(loaded.module, torch.randn(1, 3, 224, 224), max(groups))  # the first call is slower
    for path in files[:: max(1, len(files) // count)][:count]:
        x = preprocess(read_image(path))[None]
        exact, seconds = _map(loaded.module, x, None)
        for g in groups:
            approximate, short = _map(loaded.module, x, g)
            points.append(Point(network, path.name, g, pearson(exact, approximate), seconds / short))
    return points


def _map(model: torch.nn.Module, x: torch.Tensor, groups: int | None) -> tuple[torch.Tensor, float]:
    """Returns the map, and the seconds it took."""
    found = []
    method = ScoreCAM(approximate=groups)
    seconds = timed(lambda: found.append(cfcam.explain(model, x, {"map": method}, layer="features")))
    return found[0].maps["map"], seconds


def main(arguments: argparse.Namespace) -> None:
    data = os.environ.get("CFCAM_DATA")
    if not data:
        raise SystemExit("CFCAM_DATA is not set: the real pictures and networks are not here")
    machine.use_threads(arguments.threads)
    count, groups = (1, GROUPS[:1]) if arguments.quick else (arguments.images, GROUPS)
    points = [point for network in SUBJECTS for point in measure(network, Path(data), count, groups)]
    lines = []
    for network in (*SUBJECTS, "both"):
        for g in groups:
            these = [p for p in points if p.groups == g and network in (p.network, "both")]
            finite = sorted(p.agreement for p in these if p.agreement == p.agreement)
            faster = statistics.median(p.faster for p in these)
            below = f"{finite[0]:.3f}" if finite else "-"
            middle = f"{statistics.median(finite):.3f}" if finite else "-"
            lines.append([network, str(g), str(len(these)), middle, below, f"{faster:.1f}"])
    headers = ("network", "groups", "pictures", "Pearson (median)", "Pearson (least)", "times faster (median)")
    text = (
        "Predicted class, 1280 channels of 7 x 7. Issue 3: >= 20 times faster, median Pearson >= 0.95. A map that is 0"
    )
    body = f"{text} everywhere correlates with nothing and is left out.\n\n{report.table(headers, lines)}"
    report.write(arguments.out, "approximate", "Score-CAM, approximated", body, {"points": [asdict(p) for p in points]})

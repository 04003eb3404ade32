"""``python -m benchmarks views``: series of four views for each kind of input, beside the standard one.

Flips, turns and steps within the slices of a volume are compared with steps of one and two pixels along all axes, each
with as many passes, on tuning parts. Nothing is corrected for the number of comparisons: the table chooses a series,
and proves nothing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

import cfcam
from benchmarks import machine, report
from benchmarks.adrenal import adrenal
from benchmarks.datasets import Study, folder, study
from cfcam.methods import CFCAM, View
from cfcam.metrics import METRICS
from cfcam.metrics.scorecard.samples import batches

ONE = (View(shift=1), View(shift=-1))
STEPS = "steps"
SERIES: dict[str, tuple[View, ...]] = {
    STEPS: (*ONE, View(shift=2), View(shift=-2)),
    "flips": (*ONE, View(flip=(-1,)), View(shift=1, flip=(-1,))),
    "turns of 1": (*ONE, View(turn=1.0), View(turn=-1.0)),
    "turns of 2": (*ONE, View(turn=2.0), View(turn=-2.0)),
    "a flip and a turn": (*ONE, View(flip=(-1,)), View(turn=1.0)),
    "within slices": tuple(View(shift=(0, n, n)) for n in (1, -1, 2, -2)),
}
MEASURES = ("insertion-deletion-blur", "input-noise-soft-iou", "peak-shift")
BATCH = 4
HOW = """\
CF-CAM as in `CFCAM.steady()`, with series of four views: *steps* are the standard one (by one pixel and by two, back
and forth along all axes); the others have its two steps of one pixel, and in place of those of two a flip left-right
with and without a step (*flips*), turns by 1 or 2 degrees back and forth, or *a flip and a turn* of 1 degree; *within
slices* are its steps along the last two axes alone. Pictures of the tuning parts, the predicted class, 12 steps of
insertion and deletion. Differences from *steps* on the same pictures, 95 % bootstrap intervals, not corrected for their
number. *Left out*: of the last two views, the share that moved the network's answer beyond its test-retest. Slices
of 4: the volumes of AdrenalMNIST3D with four slices averaged into one, so that a voxel is four times as long along the
first axis as along the others, and a network trained on such volumes."""


@dataclass(frozen=True)
class Kind:
    """A set of pictures, and the series that are tried on it beside the standard one.

    Attributes:
        of: name of the study.
        series: names.
        thick: how many slices are averaged into one.
    """

    of: str
    series: tuple[str, ...]
    thick: int = 1

    @property
    def title(self) -> str:
        """What it is, in the table."""
        return self.of if self.thick == 1 else f"{self.of}, slices of {self.thick}"


TURNS = ("turns of 1", "turns of 2")
KINDS = (
    Kind("imagenet-v2", ("flips", *TURNS, "a flip and a turn")),
    Kind("chest", TURNS),
    Kind("ultrasound", ("flips", *TURNS)),
    Kind("adrenal", ("within slices",), 4),
)
QUICK = Kind("phantoms", ("flips",))


def main(arguments: argparse.Namespace) -> None:
    """Measures and writes the table."""
    machine.use_threads(arguments.threads)
    rows = list[dict[str, Any]]()
    for kind in (QUICK,) if arguments.quick else KINDS:
        started = time.perf_counter()
        rows += measured(kind, 1 if arguments.quick else arguments.pictures, arguments.skip)
        print(f"{kind.title}: {time.perf_counter() - started:.0f} s", flush=True)
        _write(arguments, rows)


def measured(kind: Kind, count: int, skip: int = 0) -> list[dict[str, Any]]:
    """Returns a row for each series: how it differs from the standard one, and how many views it loses."""
    subject = _study(kind, count, skip)
    methods = {name: replace(CFCAM.steady(), views=SERIES[name]) for name in (STEPS, *kind.series)}
    layer = subject.layer or None
    card = cfcam.evaluate(
        subject.model, subject.samples, methods, MEASURES, controls=False, layer=layer, batch_size=BATCH, steps=12
    )
    means = {(line.method, line.metric): line.mean for line in card.summary()}
    found = {(line.method, line.metric): line for line in card.compare(STEPS, list(kind.series))}
    rows = []
    for name, method in methods.items():
        differences = {
            metric: [line.difference, line.low, line.high]
            for metric in MEASURES
            if (line := found.get((name, metric))) is not None
        }
        rows.append({
            "of": kind.title,
            "pictures": card.images,
            "series": name,
            "left out": left_out(subject, method),
            "means": {metric: means[name, metric] for metric in MEASURES},
            "differences": differences,
        })  # fmt: skip
    return rows


def _study(kind: Kind, count: int, skip: int) -> Study:
    if kind.thick == 1:
        return study(kind.of, count, "tune", skip=skip)
    file = folder() / "adrenalmnist3d-64" / "adrenalmnist3d_64.npz"
    network, samples = adrenal(file, "tune", kind.thick)
    return Study(network, samples[skip : skip + count], "layer3", "adrenal glands in thick slices")


def left_out(subject: Study, method: CFCAM) -> float:
    """Returns which share of the last two views were left out."""
    assert isinstance(method.views, tuple)
    last, lost = [view.words for view in method.views[2:]], 0
    for some in batches(subject.samples, BATCH):
        x = torch.stack([one.image for one in some])
        found = cfcam.explain(subject.model, x, method, layer=subject.layer or None)
        lost += sum(f"the view {words} " in line for lines in found.said for line in lines for words in last)
    return lost / (2 * len(subject.samples))


def _write(arguments: argparse.Namespace, rows: Sequence[dict[str, Any]]) -> None:
    headers = ("pictures", "n", "series", "left out", *(METRICS[m].title for m in MEASURES))
    cells = [
        (row["of"], str(row["pictures"]), row["series"], f"{row['left out']:.0%}", *(_cell(row, m) for m in MEASURES))
        for row in rows
    ]
    report.write(
        arguments.out,
        "views",
        "Views for each kind of input",
        f"{HOW}\n\n{report.table(headers, cells)}",
        {"rows": rows},
    )


def _cell(row: dict[str, Any], metric: str) -> str:
    if metric not in row["differences"]:
        return f"{row['means'][metric]:.3f}"
    difference, low, high = row["differences"][metric]
    return f"{difference:+.3f} [{low:+.3f}, {high:+.3f}]"

"""``python -m benchmarks peaks``: how often the peak of a map moves when a reader sees no difference."""

from __future__ import annotations

import argparse
import statistics
from typing import Any

from benchmarks import report
from benchmarks.datasets import study
from cfcam import Explainer
from cfcam.clinical.checks.peak_stability import PeakStability, peak_stabilities
from cfcam.clinical.where import part_of

STUDIES = ("imagenet-v2", "ultrasound", "chest")
METHODS = ("grad-cam", "cf-cam")
_HEADERS = (
    "pictures",
    "method",
    "n",
    "motions",
    "median stays",
    "moves on average",
    "never moves",
    "moves to another third",
)


def measure(name: str, limit: int) -> list[dict[str, Any]]:
    """For each method what became of the peaks of the predicted classes' maps."""
    subject = study(name, limit)
    explainer = Explainer(subject.model, METHODS, layer=subject.layer)
    found: dict[str, list[tuple[PeakStability, bool]]] = {method: [] for method in METHODS}
    for sample in subject.samples:
        x = sample.image[None]
        first = explainer(x)
        several = peak_stabilities(explainer, x, first.targets[0], methods=METHODS, first=first)
        for (method, _), one in several.items():
            heat = first.heatmaps(method)[0, 0]
            own = part_of([int(at) for at in (heat == heat.max()).nonzero()[0]], heat.shape)
            found[method].append((one, any(part_of(at, heat.shape) != own for at in one.elsewhere)))
    return [
        {
            "pictures": name,
            "method": method,
            "n": len(each),
            "motions": each[0][0].motions,
            "median": statistics.median(one.stayed for one, _ in each),
            "moves": 1 - statistics.mean(one.share for one, _ in each),
            "never": statistics.mean(one.stayed == one.motions for one, _ in each),
            "third": statistics.mean(left for _, left in each),
        }
        for method, each in found.items()
    ]


def main(arguments: argparse.Namespace) -> None:
    limit = 2 if arguments.quick else 30
    rows = [row for name in (STUDIES[:1] if arguments.quick else STUDIES) for row in measure(name, limit)]
    cells = [
        [row["pictures"], row["method"], str(row["n"]), str(row["motions"]), f"{row['median']:g}",
         f"{row['moves']:.0%}", f"{row['never']:.0%}", f"{row['third']:.0%}"]
        for row in rows
    ]  # fmt: skip
    body = (
        "`python -m benchmarks peaks`. Maps of the predicted class; shifts by 1 and 2 pixels of the input in 8"
        " directions, and JPEG 90. The peak stays if the middle of its"
        " cell, moved back, lies within half a cell of where it was. *Moves on average*: share of the motions. *Never"
        " moves* and *moves to another third*: share of the pictures.\n\n" + report.table(_HEADERS, cells)
    )
    report.write(arguments.out, "peaks", "How often a peak moves", body, {"rows": rows})

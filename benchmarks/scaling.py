"""``python -m benchmarks scaling``: how the cost of CF-CAM and Score-CAM grows, one size at a time."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

import cfcam
from benchmarks import machine, report
from benchmarks.networks import OneLayer
from benchmarks.timing import interleaved


@dataclass(frozen=True)
class Shape:
    """A problem: one convolution's maps (batch, channels, map_size, map_size) of pictures of image_size pixels."""

    batch: int = 1
    channels: int = 512
    map_size: int = 14
    targets: int = 1
    image_size: int = 112


BASES = {"cf-cam": Shape(), "score-cam": Shape(channels=64)}
SWEEPS: dict[str, dict[str, tuple[int, ...]]] = {
    "cf-cam": {
        "batch": (1, 2, 4, 8, 16),
        "channels": (64, 128, 256, 512, 1024, 2048),
        "map_size": (7, 14, 28, 56),
        "targets": (1, 2, 4, 8, 16, 32),
        "image_size": (56, 112, 224, 448),
    },
    "score-cam": {
        "batch": (1, 2, 4, 8, 16),
        "channels": (32, 64, 128, 256, 512),
        "map_size": (7, 14, 28, 56),
        "targets": (1, 2, 4, 8, 16, 32),
        "image_size": (56, 112, 224, 448),
    },
}
TITLES = {
    "batch": "images in a batch",
    "channels": "channels",
    "map_size": "side of the map (positions)",
    "targets": "targets K",
    "image_size": "side of the picture (pixels)",
}
HOW = """\
One convolution (kernel = stride), its mean and a linear layer, random weights, random pictures. Cost is the median time
beyond the bare forward. In each line one size changes; the others are those of the base. The exponent p in
cost ~ size^p is fitted to the upper half of the sizes (at least three), where fixed costs no longer count."""


def sweep(method: str, size: str, *, quick: bool) -> list[dict[str, Any]]:
    """Measures one method over one size; returns a record for each point."""
    values = SWEEPS[method][size][: 3 if quick else None]
    calls, shapes = {}, {}
    for value in values:
        shapes[value] = replace(BASES[method], **{size: value})
        calls |= {(value, name): call for name, call in _calls(method, shapes[value]).items()}
    for call in calls.values():
        call()
    times = interleaved({str(key): call for key, call in calls.items()}, rounds=3 if quick else 15, budget=30)
    records = []
    for value, shape in shapes.items():
        bare, full = (times[str((value, name))].median for name in ("forward", method))
        records.append({**asdict(shape), "method": method, "size": size, "forward": bare, "seconds": full - bare})
    return records


def _calls(method: str, shape: Shape) -> dict[str, Any]:
    torch.manual_seed(0)
    network = OneLayer(shape.channels, shape.map_size, shape.image_size // shape.map_size).eval()
    x = torch.randn(shape.batch, 3, shape.image_size, shape.image_size)
    explainer = cfcam.Explainer(network, method, layer="features")
    targets = list(range(shape.targets))

    def forward() -> None:
        with torch.inference_mode():
            network(x)

    return {"forward": forward, method: lambda: explainer(x, targets)}


def exponent(sizes: list[int], seconds: list[float]) -> float:
    """Returns p of seconds ~ sizes^p over the upper half; NaN where noise exceeds the cost."""
    keep = max(3, math.ceil(len(sizes) / 2))
    if min(seconds[-keep:]) <= 0:
        return math.nan
    return float(np.polyfit(np.log(sizes[-keep:]), np.log(seconds[-keep:]), 1)[0])


def draw(records: list[dict[str, Any]], exponents: Mapping[tuple[str, str], float], path: Path) -> None:
    """Draws one log-log panel for each size, as PNG and SVG."""
    figure = Figure(figsize=(12, 7), layout="constrained")
    axes = figure.subplots(2, 3).flat
    colours = {"cf-cam": "#0072b2", "score-cam": "#d55e00"}
    for axis, size in zip(axes, TITLES, strict=False):
        for method, colour in colours.items():
            points = [r for r in records if (r["method"], r["size"]) == (method, size)]
            label = f"{method}: exponent {exponents[method, size]:.2f}"
            axis.loglog(
                [r[size] for r in points], [1e3 * r["seconds"] for r in points], "o-", color=colour, label=label
            )
        axis.set_xlabel(TITLES[size])
        axis.set_ylabel("ms beyond the forward")
        axis.grid(visible=True, which="both", alpha=0.25)
        axis.legend(fontsize=8, frameon=False)
    axes = figure.axes
    axes[-1].set_axis_off()
    bases = "\n".join(f"{method}: {_words(base)}" for method, base in BASES.items())
    axes[-1].text(0, 0.5, f"what does not change:\n\n{bases}", va="center", fontsize=9)
    for ending in ("png", "svg"):
        figure.savefig(path.with_suffix(f".{ending}"), dpi=120)


def _words(shape: Shape) -> str:
    return (
        f"{shape.batch} image of {shape.image_size} px,\n   {shape.channels} channels of"
        f" {shape.map_size} x {shape.map_size}, K = {shape.targets}"
    )


def main(arguments: argparse.Namespace) -> None:
    machine.use_threads(arguments.threads)
    records: list[dict[str, Any]] = []
    exponents: dict[tuple[str, str], float] = {}
    lines = []
    for method, sizes in SWEEPS.items():
        for size in sizes:
            found = sweep(method, size, quick=arguments.quick)
            records += found
            exponents[method, size] = exponent([r[size] for r in found], [r["seconds"] for r in found])
            points = ", ".join(f"{r[size]}: {1e3 * r['seconds']:.1f}" for r in found)
            lines.append([method, TITLES[size], points, f"{exponents[method, size]:.2f}"])
    arguments.out.mkdir(parents=True, exist_ok=True)
    draw(records, exponents, arguments.out / "scaling")
    bases = "\n".join(f"* base of {method}: {' '.join(_words(base).split())}" for method, base in BASES.items())
    table = report.table(("method", "size", "size: ms beyond the forward", "exponent"), lines)
    data = {"points": records, "exponents": [[*key, value] for key, value in exponents.items()]}
    report.write(arguments.out, "scaling", "Scaling", f"{HOW}\n\n{bases}\n\n{table}\n\n![](scaling.png)", data)

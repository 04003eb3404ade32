"""The scorecard's differences from Grad-CAM in one figure, from the committed tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.datasets import NAMES
from cfcam.metrics import METRICS

TITLES = {
    "adcc": "ADCC",
    "insertion-deletion-blur": "Insertion − Deletion",
    "enrichment": "Enrichment",
    "gradient-noise-soft-iou": "Gradient-noise\nstability",
    "input-noise-soft-iou": "Input-noise\nstability",
    "peak-shift": "Peak stays",
    "class-sensitivity": "Class\nsensitivity",
}
SECOND = ("adcc", "insertion-deletion-blur", "enrichment", "gradient-noise-soft-iou", "input-noise-soft-iou")
METHODS = {
    ("cf-cam", "grad-cam"): ("#0072B2", "o", "CFCAM()"),
    ("cf-cam-best", "grad-cam"): ("#D55E00", "s", "CFCAM.best()"),
    ("cf-cam-blocks", "grad-cam"): ("#009E73", "^", "CFCAM() at the last blocks, mean"),
}
"""Method and what it is compared with -> colour, marker, label."""
THIRD = (
    "insertion-deletion-blur",
    "adcc",
    "input-noise-soft-iou",
    "gradient-noise-soft-iou",
    "peak-shift",
    "class-sensitivity",
)
THIRD_METHODS = {
    ("cf-cam-steady", "grad-cam"): ("#D55E00", "s", "CFCAM.steady()"),
    ("cf-cam", "grad-cam"): ("#0072B2", "o", "CFCAM()"),
}


def draw(folder: Path, path: Path) -> Path:
    """Draws the second round's tables into an SVG: filled marks are significant after Holm's correction."""
    files = [folder / f"{name}-second.json" for name in sorted(NAMES)]
    records = {p.stem.removesuffix("-second"): json.loads(p.read_text(encoding="utf-8")) for p in files if p.exists()}
    pictures = {name: record["images"] for name, record in records.items()}
    lines = [{"set": name} | line for name, record in records.items() for line in record["comparison"]]
    return _draw(lines, pictures, SECOND, METHODS, "Difference from Grad-CAM", path)


def draw_third(table: Mapping[str, Any], path: Path) -> Path:
    """Draws the third round's table into an SVG: filled marks are significant after Holm's correction."""
    return _draw(table["comparisons"], table["pictures"], THIRD, THIRD_METHODS, "Difference from Grad-CAM", path)


def _draw(
    lines: Sequence[Mapping[str, Any]],
    pictures: Mapping[str, int],
    measures: Sequence[str],
    methods: Mapping[tuple[str, str], tuple[str, str, str]],
    title: str,
    path: Path,
) -> Path:
    height, step = 0.24 * (len(methods) + 1) * len(pictures) + 1.6, 0.6 / (len(methods) - 1)
    figure = Figure(figsize=(11, height), layout="constrained")
    axes = figure.subplots(1, len(measures), sharey=True)
    rows = {name: len(pictures) - 1 - row for row, name in enumerate(pictures)}
    for axis, measure in zip(axes, measures, strict=True):
        assert METRICS[measure].higher_is_better
        axis.axvline(0, color="0.5", linewidth=1)
        for between in range(1, len(pictures)):
            axis.axhline(between - 0.5, color="0.85", linewidth=0.8)
        axis.set_title(TITLES[measure], fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
        for line in lines:
            compared = (line["method"], line["reference"])
            if line["metric"] != measure or compared not in methods:
                continue
            colour, marker, _ = methods[compared]
            y = rows[line["set"]] + 0.3 - step * list(methods).index(compared)
            if line["low"] is not None:
                axis.plot([line["low"], line["high"]], [y, y], color=colour, linewidth=1.6)
            face = colour if line["p_holm"] < 0.05 else "white"
            axis.plot(line["difference"], y, marker, color=colour, markerfacecolor=face, markersize=6)
    axes[0].set_yticks(list(rows.values()), [f"{name} (n={pictures[name]})" for name in rows])
    handles = [axes[0].plot([], [], marker, color=colour, label=label)[0] for colour, marker, label in methods.values()]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(methods), 3), frameon=False)
    figure.suptitle(f"{title}, 95 % intervals; right is better; filled: p < 0.05 after Holm", fontsize=11)
    figure.savefig(path, metadata={"Date": None})
    return path

"""The scorecard's differences from Grad-CAM in one figure, from the committed tables."""

from __future__ import annotations

import json
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.datasets import NAMES
from cfcam.metrics import METRICS

SHOWN = ("adcc", "insertion-deletion-blur", "enrichment", "gradient-noise-soft-iou", "input-noise-soft-iou")
TITLES = ("ADCC", "Insertion − Deletion", "Enrichment", "Gradient-noise\nstability", "Input-noise\nstability")
METHODS = {
    "cf-cam": ("#0072B2", "o", "CFCAM()"),
    "cf-cam-best": ("#D55E00", "s", "CFCAM.best()"),
    "cf-cam-blocks": ("#009E73", "^", "CFCAM() at the last blocks, mean"),
}


def draw(folder: Path, path: Path) -> Path:
    """Draws the second round's tables into an SVG: filled marks are significant after Holm's correction."""
    files = [folder / f"{name}-second.json" for name in sorted(NAMES)]
    records = {p.stem: json.loads(p.read_text(encoding="utf-8")) for p in files if p.exists()}
    studies = list(records)
    figure = Figure(figsize=(11, 0.9 * len(studies) + 1.6), layout="constrained")
    axes = figure.subplots(1, len(SHOWN), sharey=True)
    for axis, metric, title in zip(axes, SHOWN, TITLES, strict=True):
        assert METRICS[metric].higher_is_better
        axis.axvline(0, color="0.5", linewidth=1)
        axis.set_title(title, fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
        for row, study in enumerate(studies):
            for shift, (method, (colour, marker, _)) in zip((-0.24, 0, 0.24), METHODS.items(), strict=True):
                for c in records[study]["comparison"]:
                    if c["method"] != method or c["metric"] != metric:
                        continue
                    y = len(studies) - 1 - row - shift
                    if c["low"] is not None:
                        axis.plot([c["low"], c["high"]], [y, y], color=colour, linewidth=1.6)
                    face = colour if c["p_holm"] < 0.05 else "white"
                    axis.plot(c["difference"], y, marker, color=colour, markerfacecolor=face, markersize=6)
    labels = [f"{name.removesuffix('-second')} (n={records[name]['images']})" for name in reversed(studies)]
    axes[0].set_yticks(range(len(studies)), labels)
    handles = [axes[0].plot([], [], marker, color=colour, label=label)[0] for colour, marker, label in METHODS.values()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(
        "Difference from Grad-CAM, 95 % intervals; right is better; filled: p < 0.05 after Holm", fontsize=11
    )
    figure.savefig(path, metadata={"Date": None})
    return path

"""Figures of a scorecard: bars with intervals for each group of metrics, and a radar of the headline numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cfcam.files import make_folder, write_whole
from cfcam.jobs.evaluate.findings import REFERENCE, Findings
from cfcam.metrics.scorecard.card import Summary, format_number
from cfcam.metrics.scorecard.catalogue import METRICS, MetricInfo

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe & Ito's colours for methods (told apart with every kind of colour vision), greys for controls.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)))
_METHOD, REFERENCE_COLOUR, _CONTROL = COLOURS[0], "#4d4d4d", "#b3b3b3"
_COLUMNS = 3
_DPI = 150
_OURS = ("bars-*.svg", "bars-*.png", "curves-*.svg", "curves-*.png", "radar.*", "example-*.jpg")


def bars(findings: Findings, infos: Sequence[MetricInfo]) -> Figure:
    """Draws a panel for each metric: a bar for each method with its 95 % interval, controls in grey.

    Args:
        findings: of a scorecard.
        infos: the metrics, of one group.
    """
    from matplotlib.figure import Figure

    methods = findings.card.methods
    columns = min(_COLUMNS, len(infos))
    rows = -(-len(infos) // columns)
    figure = Figure(figsize=(1.5 + 2.9 * columns, rows * (0.24 * len(methods) + 0.75)), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for number, ax in enumerate(axes.flat):
        if number >= len(infos):
            ax.set_axis_off()
            continue
        lines = [findings.cell(method, infos[number].name) for method in methods]
        _panel(ax, infos[number], lines, findings.card.controls)
        ax.set_yticks(range(len(methods)), methods if number % columns == 0 else [""] * len(methods), parse_math=False)
    return figure


def _panel(ax: Any, info: MetricInfo, lines: Sequence[Summary], controls: Sequence[str]) -> None:
    better = {True: "↑ higher is better", False: "↓ lower is better", None: ""}[info.higher_is_better]
    ax.set_title(info.title + (f", {info.unit}" if info.unit else ""), fontsize=9, loc="left", fontweight="bold")
    ax.set_xlabel(better, fontsize=7.5, color="#444444")
    ax.set_ylim(len(lines) - 0.4, -0.6)
    ax.tick_params(labelsize=8, length=2)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.axvline(0, color="#222222", linewidth=0.8)
    for place, line in enumerate(lines):
        if math.isnan(line.mean):
            ax.annotate(
                "not assessed",
                (0, place),
                xycoords=("axes fraction", "data"),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=7.5,
                color="#666666",
            )
            continue
        ax.barh(place, line.mean, 0.72, color=_colour(line.method, controls))
        if math.isfinite(line.low) and math.isfinite(line.high):
            ax.plot([line.low, line.high], [place, place], color="#111111", linewidth=1.1, solid_capstyle="butt")


def _colour(method: str, controls: Sequence[str]) -> str:
    if method == REFERENCE:
        return REFERENCE_COLOUR
    return _CONTROL if method in controls else _METHOD


def radar(findings: Findings) -> Figure | None:
    """Draws the headline metrics as axes from the worst method (centre) to the best (rim).

    Returns:
        The figure; None with fewer than three axes on which the methods differ, or with a single method.
    """
    from matplotlib.figure import Figure

    methods = radar_methods(findings)
    every = findings.card.methods
    axes = [name for name in findings.headlines() if _span(findings, every, name)]
    if len(axes) < 3 or len(methods) < 2:
        return None
    figure = Figure(figsize=(8.4, 4.8), layout="constrained")
    ax = figure.add_subplot(projection="polar")
    angles = np.linspace(0, 2 * np.pi, len(axes), endpoint=False)
    for number, method in enumerate(methods):
        values = [_scaled(findings, every, method, name) for name in axes]
        ax.plot(
            np.append(angles, angles[0]),
            [*values, values[0]],
            label=method,
            **_line(method, number, findings.card.controls),
        )
    ax.set_theta_offset(np.pi / 2)  # type: ignore[attr-defined]
    ax.set_theta_direction(-1)  # type: ignore[attr-defined]
    ax.set_ylim(-0.15, 1)
    ax.set_yticks([0, 0.5, 1], ["", "", ""])
    ax.set_xticks(angles, [_axis_label(findings, every, name) for name in axes], fontsize=8)
    for angle, label in zip(angles, ax.get_xticklabels(), strict=True):
        label.set_horizontalalignment(
            "center" if abs(np.sin(angle)) < 0.1 else "left" if np.sin(angle) > 0 else "right"
        )
    ax.tick_params(axis="x", pad=8)
    ax.grid(color="#dddddd", linewidth=0.7)
    ax.spines["polar"].set_color("#dddddd")
    legend = ax.legend(loc="center left", bbox_to_anchor=(1.3, 0.5), frameon=False, fontsize=8.5)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def radar_methods(findings: Findings) -> list[str]:
    """Returns the methods that the radar shows: as many as can be told apart, Grad-CAM, and one that knows nothing."""
    shown = [name for name in findings.subjects if name != REFERENCE][: len(COLOURS) - 1]
    return shown + [name for name in (REFERENCE, "random") if name in findings.card.methods]


def _span(findings: Findings, methods: Sequence[str], metric: str) -> tuple[float, float] | None:
    """The worst and the best mean of a metric; None if no two methods differ in it, or no way is better."""
    means = [m for method in methods if not math.isnan(m := findings.cell(method, metric).mean)]
    better = METRICS[metric].higher_is_better
    if better is None or not means or min(means) == max(means):
        return None
    return (min(means), max(means)) if better else (max(means), min(means))


def _scaled(findings: Findings, methods: Sequence[str], method: str, metric: str) -> float:
    span = _span(findings, methods, metric)
    return math.nan if span is None else (findings.cell(method, metric).mean - span[0]) / (span[1] - span[0])


def _axis_label(findings: Findings, methods: Sequence[str], metric: str) -> str:
    span = _span(findings, methods, metric) or (math.nan, math.nan)
    title = METRICS[metric].title.replace(" (", "\n(")
    return f"{title}\n{format_number(span[0])} → {format_number(span[1])}"


def _line(method: str, number: int, controls: Sequence[str]) -> dict[str, Any]:
    if method == REFERENCE:
        return {"color": REFERENCE_COLOUR, "linewidth": 1.6, "marker": "s", "markersize": 4}
    if method in controls:
        return {"color": _CONTROL, "linewidth": 1.4, "linestyle": ":", "marker": "x", "markersize": 4}
    return {"color": COLOURS[number], "linewidth": 2, "linestyle": DASHES[number], "marker": "o", "markersize": 4}


def draw(findings: Findings) -> dict[str, Figure]:
    """Returns the figures of the table's numbers by name: ``bars-GROUP`` and ``radar``."""
    figures = {f"bars-{group}": bars(findings, infos) for group, infos in findings.groups().items()}
    star = radar(findings)
    return figures if star is None else figures | {"radar": star}


def rendered(figures: Mapping[str, Figure]) -> dict[str, bytes]:
    """Returns the contents of ``NAME.svg`` and ``NAME.png`` of each figure."""
    files = {}
    for name, figure in figures.items():
        files[f"{name}.svg"] = _image_of(figure, "svg")
        figure.set_layout_engine("none")  # what was laid out once stays, and costs no second time
        files[f"{name}.png"] = _image_of(figure, "png")
    return files


def _image_of(figure: Figure, kind: str) -> bytes:
    import matplotlib

    stream = BytesIO()
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    with matplotlib.rc_context({"svg.hashsalt": "cfcam"}):  # else the ids in it are drawn at random
        figure.savefig(stream, format=kind, dpi=_DPI, metadata=metadata, facecolor="white")
    return stream.getvalue()


def write_figures(files: Mapping[str, bytes], folder: Path) -> list[Path]:
    """Writes the files of `rendered` into a folder, which is made, and returns them."""
    make_folder(folder)
    for pattern in _OURS:  # of an earlier run with other metrics
        for old in folder.glob(pattern):
            if old.name not in files:
                old.unlink()
    for name, content in files.items():
        write_whole(folder / name, content)
    return [folder / name for name in files]

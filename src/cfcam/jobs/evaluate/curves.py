"""The mean curves of a scorecard as figures: the class's probability against the share shown or removed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cfcam.jobs.evaluate.figures import COLOURS, DASHES, REFERENCE_COLOUR
from cfcam.jobs.evaluate.findings import REFERENCE, Findings
from cfcam.metrics.scorecard.curves import CURVES, CurveInfo, MeanCurve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PREFIX = "curves-"
_TOGETHER = 3  # methods in one panel: more bands over each other cannot be told apart
_CONTROL = "#949494"  # darker than the bars of controls: a thin line needs more contrast
_CONTROL_DASHES: tuple[Any, ...] = ((0, (1, 1.3)), (0, (6, 2)), (0, (5, 1.5, 1, 1.5)), "-")
# Thin, dashed and on top: where it runs with another curve both are seen.
_REFERENCE = {"color": REFERENCE_COLOUR, "linewidth": 1.1, "linestyle": (0, (4, 2)), "zorder": 5}
_FEW_POINTS = 12


def draw_curves(findings: Findings) -> dict[str, Figure]:
    """Returns a figure for each family of curves that was kept, by name: ``curves-BASELINE`` and ``curves-road``."""
    families: dict[str, list[MeanCurve]] = {}
    for curve in findings.curves:
        families.setdefault(CURVES[curve.name].family, []).append(curve)
    return {PREFIX + family: _figure(findings, curves) for family, curves in families.items()}


def _figure(findings: Findings, curves: Sequence[MeanCurve]) -> Figure:
    """Draws a column for each kind of curve and a row for every few methods, Grad-CAM and the controls in each."""
    from matplotlib.figure import Figure

    by_name: dict[str, dict[str, MeanCurve]] = {}
    for curve in curves:
        by_name.setdefault(curve.name, {})[curve.method] = curve
    infos = [info for name, info in CURVES.items() if name in by_name]
    groups = _groups(findings)
    figure = Figure(figsize=(1.9 + 3.4 * len(infos), 3.1 * len(groups)), layout="constrained")
    figure.get_layout_engine().set(wspace=0.06, hspace=0.06)  # type: ignore[union-attr,call-arg]
    axes = figure.subplots(len(groups), len(infos), squeeze=False, sharey=True)
    for row, group in zip(axes, groups, strict=True):
        styles = _styles(group, findings.card.controls)
        for ax, info in zip(row, infos, strict=True):
            shown = [by_name[info.name][method] for method in group if method in by_name[info.name]]
            _panel(ax, info, shown, styles, findings.card.images)
        row[0].set_ylabel("probability of the class", fontsize=8)
        _legend(row[-1])
    axes[0, 0].set_ylim(0, _top(curves))
    return figure


def _groups(findings: Findings) -> list[list[str]]:
    """Returns the methods of each row: a few of them, then Grad-CAM and the controls."""
    beside = [name for name in findings.card.methods if name in findings.card.controls or name == REFERENCE]
    subjects = [name for name in findings.card.methods if name not in beside]
    return [subjects[n : n + _TOGETHER] + beside for n in range(0, len(subjects), _TOGETHER)] or [beside]


def _styles(group: Sequence[str], controls: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Returns how each line is drawn: methods in colours, Grad-CAM in dark grey, controls in light grey behind them."""
    subjects = [name for name in group if name not in controls and name != REFERENCE]
    greys = [name for name in group if name in controls and name != REFERENCE]
    styles: dict[str, dict[str, Any]] = {REFERENCE: _REFERENCE}
    for number, name in enumerate(subjects):
        styles[name] = {"color": COLOURS[number], "linewidth": 2, "linestyle": DASHES[number], "zorder": 4}
    for number, name in enumerate(greys):
        dashes = _CONTROL_DASHES[number % len(_CONTROL_DASHES)]
        styles[name] = {"color": _CONTROL, "linewidth": 1.3, "linestyle": dashes, "zorder": 2}
    return styles


def _top(curves: Sequence[MeanCurve]) -> float:
    """Returns the end of the axis of probabilities: near the highest band, so that small ones can be read."""
    highest = max(value for curve in curves for value in (*curve.mean, *curve.high) if not math.isnan(value))
    return min(1.02, 1.08 * highest) or 1.02


def _panel(
    ax: Any, info: CurveInfo, curves: Sequence[MeanCurve], styles: Mapping[str, dict[str, Any]], images: int
) -> None:
    better = "↑ higher is better" if info.higher_is_better else "↓ lower is better"
    ax.set_title(info.title, fontsize=9, loc="left", fontweight="bold")
    ax.set_xlabel(f"share of the picture {info.share}, %   ({better})", fontsize=8)
    ax.set_xlim(0, 100)
    ax.tick_params(labelsize=8, length=2)
    ax.grid(color="#e6e6e6", linewidth=0.6)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for curve in curves:
        _draw(ax, curve, styles[curve.method], images)


def _draw(ax: Any, curve: MeanCurve, style: Mapping[str, Any], images: int) -> None:
    percent = [100 * share for share in curve.shares]
    if not math.isnan(curve.low[0]):
        inside, edge = (0.06, 0.0) if style["color"] == _CONTROL else (0.09, 0.55)
        colours = {"facecolor": (style["color"], inside), "edgecolor": (style["color"], edge)}
        ax.fill_between(percent, curve.low, curve.high, linewidth=0.7, zorder=1, **colours)
    label = curve.method if curve.n == images else f"{curve.method} (n = {curve.n})"
    ax.plot(percent, curve.mean, label=label, marker="o" if len(percent) < _FEW_POINTS else "", markersize=3.5, **style)


def _legend(ax: Any) -> None:
    legend = ax.legend(
        loc="upper left", bbox_to_anchor=(1.03, 1), frameon=False, fontsize=8, handlelength=3.4, borderaxespad=0
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def without_curves(findings: Findings) -> int:
    """Returns how many images have a number in the table and no curve behind it, being of a run that kept none."""
    rows = findings.card.by_column
    images, lacking = rows.codes("image"), set[int]()
    for info in CURVES.values():
        known = np.flatnonzero(~np.isnan([rows.values(metric) for metric in info.metrics]).all(0))
        without = np.setdiff1d(known, [number for number, _ in rows.carried(info.key)])
        lacking.update(images[without].tolist())
    return len(lacking)

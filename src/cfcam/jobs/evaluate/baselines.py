"""How far metrics depend on what is shown in place of what is removed, or of what a map leaves out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cfcam.metrics.scorecard.card import Summary, format_number
from cfcam.metrics.scorecard.catalogue import MASKING, METRICS, columns


@dataclass(frozen=True)
class BaselineRange:
    """One masking metric with several baselines, side by side.

    Attributes:
        title: of the metric, without a baseline.
        arrow: which way is better, as a sign.
        kinds: the baselines.
        lines: method -> its number with each baseline.
        orders: of the methods that are compared, from the best to the worst with each baseline; those that lack one of
            the numbers are in none.
    """

    title: str
    arrow: str
    kinds: tuple[str, ...]
    lines: dict[str, tuple[Summary, ...]]
    orders: tuple[tuple[str, ...], ...]

    @property
    def steady(self) -> bool:
        """Whether the methods come in the same order with each baseline."""
        return len(set(self.orders)) < 2

    def range_of(self, method: str) -> tuple[float, float] | None:
        """Returns the least and the greatest mean of a method over the baselines; None if it has none."""
        means = [line.mean for line in self.lines[method] if not math.isnan(line.mean)]
        return (min(means), max(means)) if means else None

    def __str__(self) -> str:
        compared = self.orders[0] if self.orders else ()
        if not compared:
            return f"{self.title}: no method has a number with each of {_and(self.kinds)}."
        ranges = [f"{m} {_told(self.range_of(m))}" for m in compared]
        said = f"{self.title} with {_and(self.kinds)}: {', '.join(ranges)}"
        if len(compared) < 2:
            return f"{said}."
        if self.steady:
            return f"{said}; the order of the methods is the same with each."
        first = {kind: order[0] for kind, order in zip(self.kinds, self.orders, strict=True)}
        if len(set(first.values())) == 1:
            return f"{said}; {compared[0]} is first with each, the order behind it depends on the baseline."
        leaders = ", ".join(f"{method} with {kind}" for kind, method in first.items())
        return f"{said}; which method is best depends on the baseline ({leaders})."


def baseline_ranges(summary: Sequence[Summary], compared: Sequence[str]) -> list[BaselineRange]:
    """Returns the masking metrics that were measured with more than one baseline.

    Args:
        summary: of `Scorecard.summary`.
        compared: the methods whose order is of interest.
    """
    cells = {(line.metric, line.method): line for line in summary}
    methods = list(dict.fromkeys(line.method for line in summary))
    known = {line.metric for line in summary if not math.isnan(line.mean)}
    found = []
    for metric in MASKING:
        names = {kind: name for kind, name in columns(metric).items() if name in known}
        kinds = tuple(names)
        if len(kinds) < 2:
            continue
        lines = {method: tuple(cells[name, method] for name in names.values()) for method in methods}
        info = METRICS[names[kinds[0]]]
        orders = _orders(lines, [m for m in methods if m in compared], better=info.higher_is_better)
        found.append(BaselineRange(info.title.removesuffix(f" ({kinds[0]})"), info.arrow, kinds, lines, orders))
    return found


def _orders(
    lines: dict[str, tuple[Summary, ...]], compared: Sequence[str], better: bool | None
) -> tuple[tuple[str, ...], ...]:
    """For each baseline the methods that have a number with all of them, from the best to the worst.

    Numbers that are shown alike count as equal: rounding alone decides nothing.
    """
    means = {
        m: [math.nan if math.isnan(line.mean) else float(format_number(line.mean)) for line in lines[m]]
        for m in compared
    }
    whole = {m: values for m, values in means.items() if not any(map(math.isnan, values))}
    columns = zip(*whole.values(), strict=True)
    return tuple(
        tuple(sorted(whole, key=dict(zip(whole, column, strict=True)).__getitem__, reverse=bool(better)))
        for column in columns
    )


def table(one: BaselineRange) -> list[list[str]]:
    """Returns a heading and a line for each method: its mean with each baseline, and the range of these."""
    lines = [
        [method, *("–" if math.isnan(line.mean) else format_number(line.mean) for line in several), _told(span)]
        for method, several in one.lines.items()
        if (span := one.range_of(method)) is not None
    ]
    return [["method", *one.kinds, "over all"], *lines]


def markdown(ranges: Sequence[BaselineRange]) -> list[str]:
    """Returns the parts of ``summary.md`` that show them; none if there are none."""
    parts = []
    for one in ranges:
        head, *lines = table(one)
        rows = [head, ["---"] * len(head), *lines]
        parts += [f"### {one.title} {one.arrow}", "\n".join(f"| {' | '.join(row)} |" for row in rows), str(one)]
    return ["## What the baseline decides", *parts] if parts else []


def _told(span: tuple[float, float] | None) -> str:
    return "–" if span is None else f"{format_number(span[0])} to {format_number(span[1])}"


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]])

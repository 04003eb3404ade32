"""What a comparison writes: the table of changes, one line a pair, everything as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from cfcam import csv_text
from cfcam.clinical.comparison.quality import Registration
from cfcam.clinical.comparison.result import BEYOND, Change, Comparison
from cfcam.errors import InputError
from cfcam.imaging.drawing.difference import Table
from cfcam.jobs.compare.pairs import Pair, PairResult, PairState

TABLE_NAME = "comparisons.csv"


def table_of(changes: Sequence[Change]) -> Table:
    """Returns the numbers as they are shown to people; those beyond repeatability are marked."""
    headings = ("", "prior", "current", "change", "repeatability", "verdict")
    rows = [
        (
            f"{change.name} [{change.unit}]" if change.unit != change.name else change.name,
            _shown(change.prior),
            _shown(change.current),
            _shown(change.change, signed=change.prior is not None),
            "unknown" if change.repeatability is None else f"± {_shown(change.repeatability)}",
            change.verdict,
        )
        for change in changes
    ]
    return Table(headings, rows, [change.verdict == BEYOND for change in changes])


def title_of(pair: Pair, comparison: Comparison) -> str:
    """Returns what the figure of a comparison is headed by."""
    return (
        f"{pair.shown[0]} → {pair.shown[1]} · {comparison.class_name} · {comparison.method}, layer"
        f" {comparison.model.layer} of {comparison.model.name}"
    )


def registration_line(comparison: Comparison) -> str:
    """Returns in one line how the studies were registered, and what the numbers rest on."""
    found: Registration = comparison.registration
    q = found.quality
    return (
        f"registration {found.kind}: shift {q.shift:.1f} {comparison.unit}, rotation {q.rotation:.1f}°, scale"
        f" {q.scale:.3f}; correlation {q.correlation_before:.2f} → {q.correlation:.2f}, overlap {q.overlap:.0%};"
        f" repeatability from {comparison.retests} retests of each study; one scale for both maps:"
        f" {comparison.scale:.4g}"
    )


def _shown(value: float | None, *, signed: bool = False) -> str:
    if value is None:
        return "–"
    size = abs(value)
    text = f"{size:.0f}" if size >= 1000 else f"{size:.3g}" if size >= 0.001 or not size else f"{size:.1e}"
    return ("−" if value < 0 else "+" * signed) + text


def row_of(result: PairResult) -> dict[str, str]:
    """Returns the line of a pair in the table: column -> text."""
    return {
        "name": result.pair.name,
        "prior": result.pair.shown[0],
        "current": result.pair.shown[1],
        "state": PairState.COMPARED.value if result.state is PairState.RESUMED else result.state.value,
        "reason": result.reason or "",
        **result.document.get("row", {}),
    }


def earlier_rows(table: Path) -> dict[str, dict[str, str]]:
    """Returns name -> line of the table of an earlier run, if there is one that can be read."""
    try:
        _, lines = csv_text.rows_of(csv_text.read_text(table), table.name)
    except InputError:
        return {}
    rows = [{name: csv_text.plain(field) for name, field in line.items()} for line in lines]
    return {row["name"]: row for row in rows if row.get("name")}


def as_csv(rows: Sequence[Mapping[str, str]]) -> bytes:
    """Returns the table of lines that may differ in their columns."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return csv_text.table(columns, rows).encode()

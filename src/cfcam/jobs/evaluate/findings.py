"""The tables of a scorecard as files: one line per image, the summary, the comparisons, everything as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from cfcam import csv_text
from cfcam.files import whole, write_whole
from cfcam.jobs.evaluate import baselines
from cfcam.jobs.evaluate.words import GROUP_QUESTIONS, KNOW_NOTHING, VERDICTS, in_words, meaning
from cfcam.metrics.scorecard.card import Comparison, Scorecard, Summary, told
from cfcam.metrics.scorecard.catalogue import GROUPS, METRICS, MetricInfo
from cfcam.metrics.scorecard.curves import MeanCurve

REFERENCE = "grad-cam"
CURVES_FILE = "curves.csv"
_CURVE_COLUMNS = ("method", "metric", "share", "mean", "low", "high", "n")
_HEADLINES = (
    "adcc",
    "insertion-deletion-blur",
    "road",
    "hit-rate",
    "enrichment",
    "gradient-noise-soft-iou",
    "input-noise-soft-iou",
    "class-sensitivity",
    "peak-shift",
    "class-agreement",
)


@dataclass(frozen=True)
class Findings:
    """A scorecard with what was computed from it: once, since the intervals take time.

    Attributes:
        card: the scorecard.
        summary: of `Scorecard.summary`.
        comparisons: reference -> of `Scorecard.compare`; Grad-CAM and the controls that do not know the class.
        curves: of `Scorecard.curves`.
    """

    card: Scorecard
    summary: list[Summary]
    comparisons: dict[str, list[Comparison]]
    curves: list[MeanCurve] = field(default_factory=list)

    @classmethod
    def of(cls, card: Scorecard) -> Findings:
        """Computes intervals and comparisons."""
        subjects = [name for name in card.methods if name not in card.controls] or [REFERENCE]
        references = [name for name in (REFERENCE, *KNOW_NOTHING) if name in card.methods]
        comparisons = {
            reference: card.compare(reference, methods=[m for m in subjects if m in card.methods])
            for reference in references
            if set(subjects) & set(card.methods) - {reference}
        }
        return cls(card, card.summary(), comparisons, card.curves())

    @property
    def subjects(self) -> list[str]:
        """Names of the methods that are no controls."""
        return [name for name in self.card.methods if name not in self.card.controls]

    def cell(self, method: str, metric: str) -> Summary:
        """Returns one number of the summary."""
        return next(line for line in self.summary if (line.method, line.metric) == (method, metric))

    def assessed(self, metrics: Iterable[str]) -> list[str]:
        """Returns the metrics that have a number for at least one method."""
        known = {line.metric for line in self.summary if not math.isnan(line.mean)}
        return [name for name in metrics if name in known]

    def headlines(self, most: int = 8) -> list[str]:
        """Returns the metrics to show where not all can be: one or two of each group that was assessed."""
        chosen = self.assessed(name for name in _HEADLINES if name in self.card.metrics)
        return (chosen or self.assessed(self.card.metrics))[:most]

    def baseline_ranges(self) -> list[baselines.BaselineRange]:
        """Returns each metric that was measured with several baselines, with all of them side by side."""
        return baselines.baseline_ranges(self.summary, [*self.subjects, REFERENCE])

    def groups(self) -> dict[str, list[MetricInfo]]:
        """Returns the metrics asked for, by group; groups without any are left out."""
        infos = [METRICS[name] for name in self.card.metrics]
        ordered = dict.fromkeys([*GROUPS, *(info.group for info in infos)])
        by_group = {group: [info for info in infos if info.group == group] for group in ordered}
        return {group: found for group, found in by_group.items() if found}

    def counts(self) -> dict[str, dict[str, dict[str, int]]]:
        """Returns method -> reference -> verdict -> in how many measures, after Holm's correction."""
        found: dict[str, dict[str, dict[str, int]]] = {}
        for line in (line for lines in self.comparisons.values() for line in lines):
            verdicts = found.setdefault(line.method, {}).setdefault(line.reference, dict.fromkeys(VERDICTS, 0))
            verdicts[line.verdict] += 1
        return found

    def sentences(self, reference: str) -> list[str]:
        """Returns in words how each method stands beside a reference, after Holm's correction."""
        lines = self.comparisons.get(reference, [])
        methods = dict.fromkeys(line.method for line in lines)
        return [
            in_words(method, reference, [(line.metric, line.verdict) for line in lines if line.method == method])
            for method in methods
        ]


def write_tables(findings: Findings, folder: Path) -> list[Path]:
    """Writes ``per_image.csv``, ``summary.csv``, ``comparison.csv``, ``summary.md`` and ``scorecard.json``.

    Where curves were kept ``curves.csv`` is added; one of an earlier run with other metrics is taken away.

    Args:
        findings: of the scorecard.
        folder: where to write; it exists.

    Returns:
        The files.
    """
    rows = folder / "per_image.csv"
    with whole(rows) as temporary:
        findings.card.save_rows(temporary)
    everything = findings.card.to_json(findings.summary, findings.comparisons.get(REFERENCE, []))
    written = {
        "summary.csv": _csv(
            [*_names(Summary), "title", "group", "higher_is_better", "unit", "control"], _lines(findings)
        ),
        "comparison.csv": _csv(
            _names(Comparison), [asdict(line) for lines in findings.comparisons.values() for line in lines]
        ),
        "summary.md": markdown(findings),
        "scorecard.json": everything,
    }
    if findings.curves:
        written[CURVES_FILE] = _csv(_CURVE_COLUMNS, curve_lines(findings))
    else:
        (folder / CURVES_FILE).unlink(missing_ok=True)
    for name, text in written.items():
        write_whole(folder / name, text.encode("utf-8", "backslashreplace"))
    return [rows, *(folder / name for name in written)]


def _names(kind: type[Summary] | type[Comparison]) -> list[str]:
    return [column.name for column in fields(kind)]


def curve_lines(findings: Findings) -> list[dict[str, object]]:
    """Returns the lines of ``curves.csv``: one for each method, curve and share."""
    return [
        dict(zip(_CURVE_COLUMNS, (curve.method, curve.name, *point, curve.n), strict=True))
        for curve in findings.curves
        for point in zip(curve.shares, curve.mean, curve.low, curve.high, strict=True)
    ]


def _lines(findings: Findings) -> list[dict[str, object]]:
    return [
        asdict(line)
        | {key: getattr(METRICS[line.metric], key) for key in ("title", "group", "higher_is_better", "unit")}
        | {"control": line.method in findings.card.controls}
        for line in findings.summary
    ]


def _csv(columns: Sequence[str], lines: Iterable[dict[str, object]]) -> str:
    return csv_text.table(columns, ({k: None if _is_nan(v) else v for k, v in line.items()} for line in lines))


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def markdown(findings: Findings) -> str:
    """Returns the summary as Markdown: a table for each group of metrics, the comparisons in words, the failures."""
    card = findings.card
    failed = f", {len(card.failed)} failed" if card.failed else ""
    parts = [
        "# Scorecard",
        f"{card.images} images{failed}. `mean [95 % interval]`; controls in italics; ↑ higher is better.",
    ]
    for group, infos in findings.groups().items():
        parts.append(f"## {group.capitalize()}\n\n{GROUP_QUESTIONS.get(group, '')}".rstrip())
        parts.append(_table(findings, infos))
        parts.append("\n".join(f"* {info.title}: {meaning(info.name)}" for info in infos))
    parts += baselines.markdown(findings.baseline_ranges())
    for reference in findings.comparisons:
        parts.append(f"## Beside {reference}")
        parts.append("\n".join(f"* {sentence}" for sentence in findings.sentences(reference)))
    if empty := {method: counts for method, counts in card.empty().items() if counts}:
        unread = [f"* {m}: {', '.join(f'{n} {status}' for status, n in c.items())}" for m, c in empty.items()]
        parts += ["## Maps that could not be read (in no mean)", "\n".join(unread)]
    if lacking := card.left_out():
        parts += ["## Left out", "\n".join(f"* {sentence}" for sentence in lacking)]
    if card.failed:
        lines = [f"| {_escaped(name)} | {_escaped(reason)} |" for name, reason in card.failed.items()]
        parts += ["## Failed (in no mean)", "\n".join(["| image | reason |", "|---|---|", *lines])]
    return "\n\n".join(parts) + "\n"


def _table(findings: Findings, infos: Sequence[MetricInfo]) -> str:
    head = [" ".join(filter(None, (info.title, info.arrow, info.unit and f"({info.unit})"))) for info in infos]
    lines = [f"| method | {' | '.join(head)} |", f"|---|{'---|' * len(infos)}"]
    for method in findings.card.methods:
        name = f"*{_escaped(method)}*" if method in findings.card.controls else _escaped(method)
        cells = [told(findings.cell(method, info.name)) for info in infos]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")

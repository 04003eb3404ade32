"""The scorecard as one page that stands by itself: what was measured, how sure it is, and what it does not say."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cfcam.files import own_output, write_whole
from cfcam.jobs.evaluate import baselines
from cfcam.jobs.evaluate.curves import PREFIX, draw_curves, without_curves
from cfcam.jobs.evaluate.examples import Example
from cfcam.jobs.evaluate.figures import draw, radar_methods, rendered, write_figures
from cfcam.jobs.evaluate.findings import REFERENCE, Findings, write_tables
from cfcam.jobs.evaluate.words import CONTROL_WORDS, GROUP_QUESTIONS, case_shown, meaning
from cfcam.metrics.scorecard.card import Comparison, Scorecard, Summary, format_number
from cfcam.metrics.scorecard.catalogue import METRICS, MetricInfo
from cfcam.metrics.scorecard.rows import Rows

PAGE = "index.html"
FEW = 30
"""With fewer patients than this the page says that its intervals are wide."""
_SHOWN = ("cases", "data", "finished", "layer", "model", "notes", "protocol")
_KINDS = {".svg": "image/svg+xml", ".jpg": "image/jpeg"}
_MANY_EMPTY = 0.1  # as a share of the images
_BUSY = 1.5  # processes for each core; the run itself is at most one
_LISTED = 50
_GROUPS = 8


@dataclass(frozen=True)
class _Cell:
    """A number as the page shows it: its mean, its interval, and how many images stand behind it."""

    text: str
    interval: str = ""
    n: str = ""
    best: bool = False


@dataclass(frozen=True)
class _Table:
    """A table of methods and metrics."""

    infos: Sequence[MetricInfo]
    rows: Sequence[tuple[str, bool, Sequence[_Cell]]]


@dataclass(frozen=True)
class _Verdict:
    """A comparison as the page shows it."""

    metric: str
    arrow: str
    difference: str
    interval: str
    p: str
    n: int
    verdict: str


def write_report(card: Scorecard, folder: Path, examples: Sequence[Example] = ()) -> tuple[Findings, list[Path]]:
    """Writes everything that is to be said of a scorecard: tables, figures and the page.

    Args:
        card: the scorecard; what its ``info`` holds of ``data``, ``model``, ``notes`` and the like is shown.
        folder: where to write; it exists.
        examples: sheets of single cases, as of `cfcam.jobs.evaluate.run.EvaluationRun.examples`.

    Returns:
        What was computed, and the files, the page first.
    """
    findings = Findings.of(card)
    with own_output(folder):
        return findings, _written(findings, folder, examples)


def _written(findings: Findings, folder: Path, examples: Sequence[Example]) -> list[Path]:
    figures = rendered(draw(findings) | draw_curves(findings)) | {
        f"example-{n}.jpg": e.jpeg for n, e in enumerate(examples, 1)
    }
    files = write_tables(findings, folder) + write_figures(figures, folder / "figures")
    page = folder / PAGE
    write_whole(
        page, render(findings, figures, [case_shown(e.name) for e in examples]).encode("utf-8", "backslashreplace")
    )
    return [page, *files]


def render(findings: Findings, figures: Mapping[str, bytes], examples: Sequence[str] = ()) -> str:
    """Returns the page as HTML without anything to be fetched.

    Args:
        findings: of the scorecard.
        figures: see `cfcam.jobs.evaluate.figures.rendered`; the SVGs and JPEGs stand in the page.
        examples: what the figures ``example-1.jpg`` and on show.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    card = findings.card
    info: dict[str, Any] = dict.fromkeys(_SHOWN) | card.info
    return environment.get_template("scorecard.html.j2").render(
        card=card,
        info=info,
        subjects=findings.subjects or [REFERENCE],
        images=card.images,
        patients=_patients(card.by_column),
        right=_right(card.by_column),
        unreadable=_unreadable(card),
        cautions=cautions(findings),
        sentences=findings.sentences(REFERENCE),
        counts=findings.counts(),
        groups=[
            (group, GROUP_QUESTIONS.get(group, ""), table(findings, infos))
            for group, infos in findings.groups().items()
        ],
        baselines=[(one, baselines.table(one)) for one in findings.baseline_ranges()],
        meaning=meaning,
        controls=[(name, CONTROL_WORDS.get(name, "")) for name in card.controls],
        verdicts={name: _by_method(lines) for name, lines in findings.comparisons.items()},
        reference=REFERENCE,
        hospitals=by_group(findings),
        radar_shown=radar_methods(findings),
        figures={
            Path(name).stem: _embedded(name, content) for name, content in figures.items() if _shown_in_page(name)
        },
        curves=[Path(name).stem for name in figures if name.startswith(PREFIX) and _shown_in_page(name)],
        curves_kept=bool(findings.curves),
        without_curves=without_curves(findings),
        examples=examples,
        failed=[(case_shown(name), reason) for name, reason in list(card.failed.items())[:_LISTED]],
        more_failed=max(0, len(card.failed) - _LISTED),
        case_notes=[(case_shown(name), line) for name, lines in info.get("case_notes", {}).items() for line in lines][
            :_LISTED
        ],
        explains=info.get("settings", {}).get("explained", "predicted"),
        provenance=_provenance(info),
    )


def _shown_in_page(name: str) -> bool:
    return Path(name).suffix in _KINDS


def _embedded(name: str, content: bytes) -> str:
    return f"data:{_KINDS[Path(name).suffix]};base64,{base64.b64encode(content).decode('ascii')}"


def _patients(rows: Rows) -> int | None:
    """How many patients there are; None if none is named."""
    return len(np.unique(rows.patients)) if (rows.codes("patient") >= 0).any() else None


def _right(rows: Rows) -> tuple[int, int]:
    """How many images were classified rightly, of how many with a label."""
    known = np.flatnonzero(rows.correct >= 0)
    images, first = np.unique(rows.codes("image")[known], return_index=True)
    return int(rows.correct[known[first]].sum()), len(images)


def _unreadable(card: Scorecard) -> list[tuple[str, str, int]]:
    return [(method, status, n) for method, counts in card.empty().items() for status, n in counts.items()]


def table(findings: Findings, infos: Sequence[MetricInfo]) -> _Table:
    """Returns a table of all methods; the best mean of each column is marked, whatever its interval."""
    best = {info.name: _best(findings, info) for info in infos}
    rows = [
        (
            method,
            method in findings.card.controls,
            [_cell(findings.cell(method, info.name), method in best[info.name]) for info in infos],
        )
        for method in findings.card.methods
    ]
    return _Table(infos, rows)


def _best(findings: Findings, info: MetricInfo) -> list[str]:
    means = {m: findings.cell(m, info.name).mean for m in findings.card.methods}
    known = {m: mean for m, mean in means.items() if not math.isnan(mean)}
    if info.higher_is_better is None or len(set(known.values())) < 2:
        return []
    extreme = max(known.values()) if info.higher_is_better else min(known.values())
    return [m for m, mean in known.items() if mean == extreme]


def _cell(line: Summary, best: bool = False) -> _Cell:
    if math.isnan(line.mean):
        return _Cell("not assessed")
    interval = "" if math.isnan(line.low) else f"{format_number(line.low)} to {format_number(line.high)}"
    return _Cell(format_number(line.mean), interval, f"n = {line.n}" if line.not_assessed else "", best)


def _by_method(lines: Sequence[Comparison]) -> dict[str, list[_Verdict]]:
    found: dict[str, list[_Verdict]] = {}
    for line in lines:
        found.setdefault(line.method, []).append(_verdict(line))
    return found


def _verdict(line: Comparison) -> _Verdict:
    sign = "+" if line.difference > 0 else ""
    interval = "" if math.isnan(line.low) else f"{format_number(line.low)} to {format_number(line.high)}"
    p = "< 0.001" if line.p_holm < 0.001 else f"{line.p_holm:.3f}"
    info = METRICS[line.metric]
    return _Verdict(
        info.title, info.arrow, f"{sign}{format_number(line.difference)}", interval, p, line.n, line.verdict
    )


def by_group(findings: Findings) -> list[tuple[str, int, _Table]]:
    """Returns the headline numbers for each of the data's own groups (hospital, device); nothing for a single one."""
    card = findings.card
    rows = card.by_column
    names = rows.texts("group")
    if len(names) < 2:
        return []
    tables = []
    for name in names[:_GROUPS]:
        part = replace(card, rows=rows.take(rows.where("group", name)), metrics=tuple(findings.headlines()))
        told = Findings(part, part.summary(), {})
        tables.append((name, part.images, table(told, [METRICS[metric] for metric in part.metrics])))
    return tables


def cautions(findings: Findings) -> list[str]:
    """Returns what weakens the numbers of this very scorecard, in words."""
    card = findings.card
    units = _patients(card.by_column) or card.images
    kind = "patients" if _patients(card.by_column) is not None else "images"
    found = []
    if units < FEW:
        only = f"There are only {units} {kind}" if units > 1 else f"There is only one {kind.removesuffix('s')}"
        found.append(
            f"{only}: the intervals are wide, and small differences cannot be shown. At least"
            f" {FEW}, better some hundreds, make a statement."
        )
    most = max(map(len, findings.comparisons.values()), default=0)
    if most and 2.0 ** (1 - units) * most >= 0.05:
        found.append(f"With so few {kind} and {most} comparisons no difference can pass the test, however large it is.")
    if not card.info.get("protocol"):
        found += [
            f"{method}: {sum(counts.values())} of {card.images} maps could not be read; its numbers are of the others,"
            " which may be the easy ones."
            for method, counts in card.empty().items()
            if sum(counts.values()) > card.images * _MANY_EMPTY
        ]
    found += card.left_out()
    if not card.controls:
        found.append("There are no controls: whether these numbers are better than those of noise is not known.")
    localization = [info.name for info in findings.groups().get("localization", ())]
    if localization and not findings.assessed(localization):
        found.append("No image has a ground truth: whether the maps lie on the findings was not measured.")
    right, labelled = _right(card.by_column)
    if labelled and right < labelled / 2:
        found.append(
            f"The network was right on only {right} of {labelled} images: maps of wrong answers show why it was wrong,"
            " not where the finding is."
        )
    if len(np.unique(card.by_column.targets)) == 1 and card.images > 1:
        found.append("One class only was explained: whether maps of other classes are as good is not known.")
    if (load := max((costs.get("load per core", 0.0) for costs in card.costs.values()), default=0.0)) > _BUSY:
        found.append(
            f"Times were taken on a busy machine ({load:.1f} processes for each core): compare them with one another,"
            " not with those of another run."
        )
    if card.failed:
        total = card.images + len(card.failed)
        found.append(f"Failed, and in no number: {len(card.failed)} of {total} images; they may be the difficult ones.")
    return found


def _provenance(info: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and value of what made the scorecard, as text."""
    left_out = {"case_notes", "notes", "torch", "cfcam"}
    return [(key.replace("_", " "), _as_text(value)) for key, value in info.items() if key not in left_out and value]


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value):
        return " ".join(value)
    return json.dumps(value, indent=1, default=str, ensure_ascii=False)

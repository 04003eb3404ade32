"""``python -m benchmarks third-round``: the scorecard's third round, by the protocol in ``third_round.md``.

The pictures that are done are kept line by line beside the results, in a folder that is not committed: a run that was
ended goes on where it was. With ``--quick`` a rehearsal on pictures of the tuning parts, which proves nothing and
touches no test part.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

from benchmarks import report
from benchmarks.datasets import Study, study
from benchmarks.scorecard import prepared
from benchmarks.scorecard_figure import draw_third
from cfcam.methods import CFCAM, GradCAM, ScoreCAM, WinsorCAM
from cfcam.methods.base import Method
from cfcam.metrics import METRICS
from cfcam.metrics.scorecard.card import Comparison, Scorecard, format_number
from cfcam.metrics.scorecard.evaluator import Evaluator
from cfcam.metrics.scorecard.samples import Row, batches
from cfcam.metrics.scorecard.statistics import holm

PROTOCOL = Path(__file__).with_suffix(".md")
FIGURE = Path("docs/images/scorecard-third.svg")
PICTURES = {
    "imagenet-v2": 250,
    "imagenet-v1": 250,
    "ultrasound": 96,
    "chest": 73,
    "adrenal": 298,
    "phantoms": 200,
}
"""Set -> pictures of its test part; of pictures that there are, all."""
SCORE_PICTURES = 40
"""Of each set, for Score-CAM by 64 groups of channels, whose every map takes 66 passes."""
MEASURES = (
    "insertion-deletion-blur",
    "adcc",
    "input-noise-soft-iou",
    "gradient-noise-soft-iou",
    "peak-shift",
    "class-sensitivity",
    "part-removal",
)
FAITHFUL, STEADY = MEASURES[:2], MEASURES[2:5]
TRUTH = {"adrenal": (), "ultrasound": ("enrichment",), "phantoms": ("enrichment",), "imagenet-v2": ("enrichment",)}
OURS, REFERENCE, SCORE = "cf-cam-steady", "grad-cam", "score-cam-64"
METHODS: dict[str, Method] = {
    REFERENCE: GradCAM(),
    "cf-cam": CFCAM(),
    OURS: CFCAM.steady(),
    "winsor-cam": WinsorCAM(),
}
BATCH = 4


@dataclass(frozen=True)
class Part:
    """Some methods on some pictures of one set.

    Attributes:
        name: of its file.
        of: name of the set.
        methods: name -> method.
        pictures: how many.
        controls: whether the maps that know nothing or little are measured, too.
    """

    name: str
    of: str
    methods: dict[str, Method]
    pictures: int
    controls: bool


def parts(names: Sequence[str], *, quick: bool) -> list[Part]:
    """Returns what is measured, in order: the sets, and then Score-CAM on some pictures of each."""
    count = {name: 2 if quick else PICTURES[name] for name in names}
    several = [Part(name, name, METHODS, count[name], controls=True) for name in names]
    score: dict[str, Method] = {SCORE: ScoreCAM(approximate=8 if quick else 64)}
    few = [Part(f"{name}-score", name, score, min(count[name], SCORE_PICTURES), controls=False) for name in names]
    return several + few


def needed(deviation: float, difference: float, tests: int, power: float = 0.8, level: float = 0.05) -> int:
    """Returns how many pairs find a mean difference, at the first step of Holm's correction over ``tests`` tests.

    Example:
        >>> needed(0.1, 0.02, 1)
        197
        >>> needed(0.1, 0.02, 100)
        468
    """
    normal = NormalDist()
    both = normal.inv_cdf(1 - level / tests / 2) + normal.inv_cdf(power)
    return math.ceil((both * deviation / difference) ** 2)


def found_at(deviation: float, pairs: int, tests: int, power: float = 0.8, level: float = 0.05) -> float:
    """Returns the mean difference that so many pairs find; see `needed`.

    Example:
        >>> round(found_at(0.1, 470, 100), 3)
        0.02
    """
    normal = NormalDist()
    both = normal.inv_cdf(1 - level / tests / 2) + normal.inv_cdf(power)
    return both * deviation / math.sqrt(pairs)


def main(arguments: argparse.Namespace) -> None:
    results, _ = prepared(arguments)
    place = results / "third"
    place.mkdir(exist_ok=True)
    names = arguments.study or list(PICTURES)
    todo = parts(names, quick=arguments.quick)
    clock = Clock(sum(part.pictures * _passes(part) for part in todo))
    for part in todo:
        run(part, place, clock, quick=arguments.quick)
    cards = {name: card(place, name) for name in names}
    compared = confirmed(cards)
    title = "The third round" if not arguments.quick else "A rehearsal of the third round, on tuning pictures"
    data = {
        "protocol_sha256": hashlib.sha256(PROTOCOL.read_bytes()).hexdigest(),
        "pictures": {name: one.images for name, one in cards.items()},
        "empty": {name: one.empty() for name, one in cards.items()},
        "summary": {name: [asdict(line) for line in one.summary()] for name, one in cards.items()},
        "comparisons": [{"set": name} | asdict(line) for name, line in compared],
        "verdicts": dict(verdicts(compared)),
    }
    report.write(results, "third", title, page(cards, compared), data)
    if arguments.out == Path("benchmarks/results"):
        print(draw_third(data, FIGURE))


def _passes(part: Part) -> float:
    """About how many passes a picture takes, to foretell the time."""
    cost = {SCORE: 66, OURS: 5, "winsor-cam": 3}
    own = sum(24 + 12 * cost.get(name, 1) for name in part.methods) + 5 * 36 * part.controls
    return own * (0.3 if part.of in ("adrenal", "phantoms") else 1)


class Clock:
    """Says how long what is left will take, from what is done."""

    def __init__(self, work: float) -> None:
        self._left, self._done, self._spent = work, 0.0, 0.0

    def skip(self, work: float) -> None:
        """Takes away what an earlier run has done."""
        self._left -= work

    def did(self, work: float, seconds: float) -> str:
        """Notes what was done, and returns how long the rest will take."""
        self._left, self._done, self._spent = self._left - work, self._done + work, self._spent + seconds
        minutes = self._spent / self._done * max(self._left, 0.0) / 60
        return f"{minutes:.0f} min left" if minutes >= 1 else "less than a minute left"


def run(part: Part, place: Path, clock: Clock, *, quick: bool) -> None:
    """Measures what of a part is not yet measured, and appends it to its file.

    Raises:
        SystemExit: the file was made with other settings.
    """
    subject = study(part.of, part.pictures, "tune" if quick else "test", parts=True)
    evaluator = _evaluator(part, subject)
    about = _about(part, evaluator, quick=quick)
    file = place / f"{part.name}.jsonl"
    rows = read(file, about)
    with file.open("w", encoding="utf-8") as out:  # without what was left half-written
        out.writelines(json.dumps(line) + "\n" for line in (about, *map(asdict, rows)))
    done = {row.image for row in rows}
    left = [sample for sample in subject.samples if sample.name not in done]
    clock.skip(_passes(part) * (len(subject.samples) - len(left)))
    with file.open("a", encoding="utf-8") as out:
        for some in batches(left, BATCH):
            started = time.perf_counter()
            for row in evaluator(some):
                out.write(json.dumps(asdict(replace(row, extra={}))) + "\n")
            out.flush()
            done |= {sample.name for sample in some}
            told = clock.did(_passes(part) * len(some), time.perf_counter() - started)
            print(f"{part.name}: {len(done)} of {len(subject.samples)} pictures, {told}", flush=True)


def _evaluator(part: Part, subject: Study) -> Evaluator:
    further = TRUTH.get(part.of, ())
    asked = [name for name in (*MEASURES, *further) if name in METRICS]
    return Evaluator(subject.model, part.methods, asked, controls=part.controls, layer=subject.layer or None, steps=12)


def _about(part: Part, evaluator: Evaluator, *, quick: bool) -> dict[str, Any]:
    """What rows that stand in one file have in common."""
    return {
        "part": part.name,
        "rehearsal": quick,
        "methods": {name: method.parameters() for name, method in evaluator.methods.items()},
        "settings": json.loads(json.dumps(asdict(evaluator.settings))),
    }


def read(file: Path, about: dict[str, Any] | None = None) -> list[Row]:
    """Returns the rows of a part; what a run left half-written is passed over.

    Raises:
        SystemExit: they were made with other settings than ``about``.
    """
    if not file.exists() or not file.stat().st_size:
        return []
    first, *lines = file.read_text(encoding="utf-8").splitlines()
    if about is not None and json.loads(first) != json.loads(json.dumps(about)):
        raise SystemExit(f"{file} was made with other methods or settings: move it away, or take another --out")
    rows = list(_whole(lines))
    every = {row.method for row in rows}
    count = {image: sum(row.image == image for row in rows) for image in {row.image for row in rows}}
    whole = {image for image, methods in count.items() if methods == len(every)}
    return [row for row in rows if row.image in whole]


def _whole(lines: Sequence[str]) -> Iterator[Row]:
    for line in lines:
        try:
            yield Row(**json.loads(line))
        except (json.JSONDecodeError, TypeError):  # half a line
            continue


def card(place: Path, name: str) -> Scorecard:
    """Returns the scorecard of a set, with Score-CAM on its part of the pictures."""
    rows = [row for file in (f"{name}.jsonl", f"{name}-score.jsonl") for row in read(place / file)]
    metrics = tuple(m for m in METRICS if any(m in row.values for row in rows))
    known = {*METHODS, SCORE}
    controls = tuple(dict.fromkeys(row.method for row in rows if row.method not in known))
    return Scorecard(rows, metrics, controls)


def confirmed(cards: dict[str, Scorecard]) -> list[tuple[str, Comparison]]:
    """Returns all comparisons of the protocol, with Holm's correction over the whole table of all sets."""
    found: list[tuple[str, Comparison]] = []
    for name, one in cards.items():
        measures = [m for m in MEASURES if m in one.metrics]
        found += [(name, line) for line in one.compare(REFERENCE, [OURS, "cf-cam"], measures)]
        for rival in ("winsor-cam", SCORE):
            found += [(name, line) for line in one.compare(rival, [OURS], [m for m in measures if m in BEATEN])]
    adjusted = holm([line.p for _, line in found])
    return [
        (name, replace(line, p_holm=float(p), verdict=_verdict(line, float(p))))
        for (name, line), p in zip(found, adjusted, strict=True)
    ]


BEATEN = ("insertion-deletion-blur", "adcc", "input-noise-soft-iou", "peak-shift")
"""In what it is compared with the rivals."""


def _verdict(line: Comparison, p: float) -> str:
    if not p < 0.05:
        return "no difference shown"
    higher = METRICS[line.metric].higher_is_better
    return "better" if (line.difference > 0) == bool(higher) else "worse"


def verdicts(compared: Sequence[tuple[str, Comparison]]) -> Iterator[tuple[str, bool]]:
    """Yields each hypothesis of the protocol, and whether it was confirmed."""

    def sets(verdict: str, measures: Sequence[str], reference: str = REFERENCE) -> set[str]:
        return {
            name
            for name, line in compared
            if line.method == OURS and line.reference == reference
            if line.verdict == verdict and line.metric in measures
        }

    yield (
        "H1: more faithful than Grad-CAM (insertion - deletion or ADCC) on two sets",
        len(sets("better", FAITHFUL)) > 1,
    )
    yield "H2: steadier than Grad-CAM (in one of the three) on four sets", len(sets("better", STEADY)) > 3
    yield "H3: significantly worse than Grad-CAM in nothing, nowhere", not sets("worse", MEASURES)
    for rival in ("winsor-cam", SCORE):
        better, worse = sets("better", BEATEN, rival), sets("worse", BEATEN, rival)
        yield f"H4: better than {rival} on three sets, and worse on none", len(better) > 2 and not worse
    yield "H5: nearer to the causal truth than Grad-CAM (phantoms)", "phantoms" in sets("better", ["part-removal"])


def page(cards: dict[str, Scorecard], compared: Sequence[tuple[str, Comparison]]) -> str:
    """Returns the tables as Markdown."""
    lines = [f"* {text}: **{'yes' if done else 'no'}**" for text, done in verdicts(compared)]
    headers = ("set", "method", "against", "measure", "n", "difference [95 %]", "p (Holm)", "verdict")
    rows = [
        (
            name,
            line.method,
            line.reference,
            METRICS[line.metric].title,
            str(line.n),
            f"{format_number(line.difference)} [{format_number(line.low)}, {format_number(line.high)}]",
            f"{line.p_holm:.3g}",
            line.verdict,
        )
        for name, line in compared
    ]
    text = ["`python -m benchmarks third-round`", "", *lines, "", report.table(headers, rows)]
    for name, one in cards.items():
        shown = [m for m in (*MEASURES, "enrichment") if m in one.metrics]
        cells = {(line.method, line.metric): line for line in one.summary()}
        table = [
            [f"*{method}*" if method in one.controls else method, str(sum(one.empty()[method].values()))]
            + [format_number(cells[method, m].mean) for m in shown]
            for method in one.methods
        ]
        titles = [f"{METRICS[m].title} {METRICS[m].arrow}" for m in shown]
        text += ["", f"### {name}, {one.images} pictures", "", report.table(["method", "empty", *titles], table)]
    return "\n".join(text)

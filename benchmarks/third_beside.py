"""``python -m benchmarks third-beside``: what the third round's protocol promised beside its table.

None of it is a comparison, and nothing is chosen by it: the ceiling of ``part-removal`` on the layer's grid (phantoms),
enrichment on ImageNet by MobileNetV1, and how many views `CFCAM.steady()` left out of the same pictures.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import torch

import cfcam
from benchmarks import report
from benchmarks.datasets import Part, Study, study
from benchmarks.scorecard import prepared
from benchmarks.third_round import BATCH, METHODS, OURS, PICTURES, REFERENCE, SCORE, SCORE_PICTURES
from cfcam.methods import ScoreCAM
from cfcam.metrics import METRICS
from cfcam.metrics.scorecard.card import Scorecard, format_number
from cfcam.metrics.scorecard.samples import batches

VIEWS = 4
"""Views of a picture in `CFCAM.steady()`, beside the picture itself."""
HOW = """\
The pictures of the third round, in its settings. *Ceiling*: the rank agreement that a perfect map would have with the
falls of the logit on the grid of the mapped layer, as a mean over the phantoms whose parts can be ranked."""


def main(arguments: argparse.Namespace) -> None:
    """Measures and writes the two tables, and the count of views."""
    results, _ = prepared(arguments)
    names: Sequence[str] = arguments.study or list(PICTURES)
    part: Part = "tune" if arguments.quick else "test"
    count = {name: 2 if arguments.quick else PICTURES[name] for name in names}
    text, data = [HOW], dict[str, Any]()
    if "phantoms" in names:
        card = _ceiling(study("phantoms", count["phantoms"], part, parts=True))
        data["ceiling"] = {line.metric: line.mean for line in card.summary()}
        text += [_table("phantoms", card)]
    if "imagenet-v1" in names:
        cards = list(_enrichment(count["imagenet-v1"], part))
        data["enrichment"] = {line.method: line.mean for card in cards for line in card.summary()}
        text += [_table("imagenet-v1", *cards)]
    data["left_out"] = {name: left_out(study(name, count[name], part)) for name in names}
    rows = [(name, str(one["pictures"]), str(one["some"]), str(one["views"])) for name, one in data["left_out"].items()]
    headers = ("set", "pictures", "with a view left out", f"views left out, of {VIEWS} a picture")
    text += ["### Views that `CFCAM.steady()` left out\n\n" + report.table(headers, rows)]
    report.write(results, "third-beside", "Beside the third round", "\n\n".join(text), data)


def _ceiling(subject: Study) -> Scorecard:
    asked = ["part-removal", "part-removal-ceiling"]
    one = {REFERENCE: METHODS[REFERENCE]}
    return cfcam.evaluate(subject.model, subject.samples, one, asked, layer=subject.layer or None, controls=False)


def _enrichment(pictures: int, part: Part) -> Iterator[Scorecard]:
    subject, asked = study("imagenet-v1", pictures, part), ["enrichment"]
    score = {SCORE: ScoreCAM(approximate=64)}
    yield cfcam.evaluate(subject.model, subject.samples, METHODS, asked, layer=subject.layer)
    few = subject.samples[:SCORE_PICTURES]
    yield cfcam.evaluate(subject.model, few, score, asked, layer=subject.layer, controls=False)


def _table(name: str, *cards: Scorecard) -> str:
    rows = [
        (
            f"*{line.method}*" if line.method in card.controls and line.method not in METHODS else line.method,
            METRICS[line.metric].title,
            str(line.n),
            format_number(line.mean),
        )
        for card in cards
        for line in card.summary()
    ]
    return f"### {name}, {cards[0].images} pictures\n\n" + report.table(("method", "measure", "n", "mean"), rows)


def left_out(subject: Study) -> dict[str, int]:
    """Returns how many pictures a set has, of how many `CFCAM.steady()` left out a view, and how many views."""
    views, images = Counter[int](), 0
    for some in batches(subject.samples, BATCH):
        x = torch.stack([one.image for one in some])
        found = cfcam.explain(subject.model, x, METHODS[OURS], layer=subject.layer or None)
        for lines in found.said:
            images += 1
            views[sum("is left out" in line for line in lines)] += 1
    return {"pictures": images, "some": images - views[0], "views": sum(n * many for n, many in views.items())}

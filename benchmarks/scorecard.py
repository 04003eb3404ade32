"""CF-CAM beside Grad-CAM, Score-CAM and the controls on the test parts: tables that the documentation quotes."""

from __future__ import annotations

import ctypes
import json
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import cfcam
from benchmarks.datasets import NAMES, study
from benchmarks.machine import describe, use_threads
from benchmarks.scorecard_figure import draw
from cfcam.methods.clusters.cluster_filter_cam import CFCAM
from cfcam.methods.combined.fusion import Fusion
from cfcam.metrics import METRICS
from cfcam.metrics.scorecard.card import Scorecard, format_number

FIGURE = Path("docs/images/scorecard.svg")
CHEAP = ("cf-cam", "cf-cam-best", "cf-cam-hierarchical", "cf-cam-bilateral", "cf-cam-guided", "cf-cam-reference")
COMPARED = ("cf-cam", "cf-cam-best", "cf-cam-blocks")
METRIC_NAMES = (
    "average-drop",
    "increase-in-confidence",
    "coherency",
    "complexity",
    "adcc",
    "insertion-blur",
    "deletion-blur",
    "insertion-deletion-blur",
    "hit-rate",
    "energy",
    "enrichment",
    "gradient-noise-soft-iou",
    "input-noise-soft-iou",
    "class-sensitivity",
    "milliseconds",
    "forward-passes",
)
SHOWN = (
    "adcc",
    "average-drop",
    "insertion-deletion-blur",
    "enrichment",
    "hit-rate",
    "gradient-noise-soft-iou",
    "input-noise-soft-iou",
    "class-sensitivity",
    "forward-passes",
)


USED = {"phantoms": 60, "phantoms-shortcut": 60}
"""Pictures of the test part that the first round has seen; of the other studies 40. The second round begins behind."""

NEIGHBOURS = {
    "features.18": ("features.16", "features.17", "features.18"),
    "features.13": ("features.12", "features.13"),
}
"""Target layer -> the last blocks of its grid."""


def main(arguments: Namespace) -> None:
    """Writes a JSON and a Markdown table per study.

    ``--score-cam`` compares `CFCAM.best` with exact Score-CAM; ``--second`` is the second round, on fresh pictures.
    """
    results, limit = prepared(arguments)
    names: Sequence[str] = arguments.study or NAMES
    score_cam = arguments.score_cam
    for name in names:
        started = time.perf_counter()
        found = study(name, limit, skip=USED.get(name, 40) if arguments.second else 0)
        card = cfcam.evaluate(
            found.model,
            found.samples,
            _methods(found.layer, second=arguments.second, score_cam=score_cam),
            METRIC_NAMES,
            controls=True,
            layer=found.layer or None,
            batch_size=4,
            steps=12,
        )
        flags = (["--second"] if arguments.second else []) + (["--score-cam"] if score_cam else [])
        stem = f"{name}-second" if arguments.second else f"{name}-score-cam" if score_cam else name
        command = " ".join(["python -m benchmarks scorecard --study", name, "--limit", str(limit), *flags])
        references = ["grad-cam"] if arguments.second or not score_cam else []
        references += ["score-cam"] if score_cam else []
        _write(results / stem, card, found.what, time.perf_counter() - started, references, command)
        print(f"{stem}: {card.images} images in {time.perf_counter() - started:.0f} s", flush=True)
    if arguments.out == Path("benchmarks/results"):
        print(draw(results, FIGURE))


def _methods(layer: str, *, second: bool, score_cam: bool) -> Sequence[str] | dict[str, Any]:
    if not second:
        return ("cf-cam-best", "score-cam") if score_cam else CHEAP
    methods: dict[str, Any] = {"cf-cam": CFCAM(), "cf-cam-best": CFCAM.best()}
    if layer in NEIGHBOURS:
        methods["cf-cam-blocks"] = Fusion(base=CFCAM(), layers=NEIGHBOURS[layer])
    return methods | ({"score-cam": "score-cam"} if score_cam else {})


def prepared(arguments: Namespace) -> tuple[Path, int]:
    """Sets the process up; returns the folder of the tables, and how many pictures of each study are taken."""
    use_threads(arguments.threads)
    keep_memory()
    results: Path = arguments.out / "scorecard"
    results.mkdir(parents=True, exist_ok=True)
    return results, 2 if arguments.quick else arguments.limit


def keep_memory() -> None:
    """Lets the C library keep what it has freed: mapping fresh pages for every layer takes a third of a pass."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD


def _write(path: Path, card: Scorecard, what: str, seconds: float, references: Sequence[str], command: str) -> None:
    summary = card.summary()
    compared = {reference: card.compare(reference) for reference in references}
    record = {
        "command": command,
        "what": what,
        "machine": describe(),
        "torch": str(torch.__version__),
        "seconds": round(seconds),
        "images": card.images,
        "not_readable": card.empty(),
        "summary": [asdict(line) for line in summary],
        "comparison": [asdict(line) for line in compared[references[0]]],
        "further": {name: [asdict(line) for line in compared[name]] for name in references[1:]},
        "info": card.info,
    }
    text = json.dumps(json.loads(json.dumps(record, default=str), parse_constant=lambda _: None), indent=1)
    path.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    cells = {(line.method, line.metric): line for line in summary}
    shown = [m for m in SHOWN if m in card.metrics]
    lines = [
        f"{what[0].upper()}{what[1:]}: {card.images} images. `{command}`",
        "",
        "| method | empty maps | " + " | ".join(f"{METRICS[m].title} {METRICS[m].arrow}" for m in shown) + " |",
        "|---|---|" + "---|" * len(shown),
    ]
    empty = card.empty()
    for method in card.methods:
        values = []
        for metric in shown:
            line = cells[method, metric]
            interval = "" if line.low != line.low else f" [{format_number(line.low)}, {format_number(line.high)}]"
            values.append(format_number(line.mean) + interval)
        label = f"*{method}*" if method in card.controls else method
        lines.append(f"| {label} | {sum(empty[method].values())} | {' | '.join(values)} |")
    for reference, found in compared.items():
        lines += ["", f"Paired difference from {reference}, 95 % interval, p after Holm over the whole table:", ""]
        lines += ["| method | metric | difference | p | verdict |", "|---|---|---|---|---|"]
        for c in found:
            if c.metric in SHOWN and c.method in COMPARED:
                interval = f"{format_number(c.difference)} [{format_number(c.low)}, {format_number(c.high)}]"
                lines.append(f"| {c.method} | {METRICS[c.metric].title} | {interval} | {c.p_holm:.3g} | {c.verdict} |")
    path.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")

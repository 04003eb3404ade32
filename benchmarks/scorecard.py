"""CF-CAM beside Grad-CAM, Score-CAM and the controls on the test parts: tables that the documentation quotes."""

from __future__ import annotations

import ctypes
import json
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

import cfcam
from benchmarks.datasets import NAMES, study
from benchmarks.machine import describe, use_threads
from benchmarks.scorecard_figure import draw
from cfcam.metrics import METRICS
from cfcam.metrics.scorecard import Scorecard, format_number

FIGURE = Path("docs/images/scorecard.svg")
CHEAP = ("cf-cam", "cf-cam-best", "cf-cam-hierarchical", "cf-cam-bilateral", "cf-cam-guided", "cf-cam-reference")
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


def main(arguments: Namespace) -> None:
    """Writes a JSON and a Markdown table per study; ``score_cam`` compares `CFCAM.best` with exact Score-CAM."""
    use_threads(arguments.threads)
    keep_memory()
    names: Sequence[str] = arguments.study or NAMES
    limit, score_cam = (4 if arguments.quick else arguments.limit), arguments.score_cam
    results = arguments.out / "scorecard"
    results.mkdir(parents=True, exist_ok=True)
    for name in names:
        started = time.perf_counter()
        found = study(name, limit)
        methods = ("cf-cam-best", "score-cam") if score_cam else CHEAP
        card = cfcam.evaluate(
            found.model,
            found.samples,
            methods,
            METRIC_NAMES,
            controls=True,
            layer=found.layer or None,
            batch_size=4,
            steps=12,
        )
        seconds = time.perf_counter() - started
        stem = f"{name}-score-cam" if score_cam else name
        _write(
            results / stem, card, found.what, seconds, reference="score-cam" if score_cam else "grad-cam", limit=limit
        )
        print(f"{stem}: {card.images} images in {seconds:.0f} s", flush=True)
    if not score_cam:
        print(draw(results, FIGURE if arguments.out == Path("benchmarks/results") else results / FIGURE.name))


def keep_memory() -> None:
    """Lets the C library keep what it has freed: mapping fresh pages for every layer takes a third of a pass."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD


def _write(path: Path, card: Scorecard, what: str, seconds: float, reference: str, limit: int) -> None:
    summary, compared = card.summary(), card.compare(reference)
    stem = path.name
    flag = " --score-cam" if reference == "score-cam" else ""
    command = f"python -m benchmarks scorecard --study {stem.removesuffix('-score-cam')} --limit {limit}{flag}"
    record = {
        "command": command,
        "what": what,
        "machine": describe(),
        "torch": str(torch.__version__),
        "seconds": round(seconds),
        "images": card.images,
        "not_readable": card.empty(),
        "summary": [asdict(line) for line in summary],
        "comparison": [asdict(line) for line in compared],
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
    lines += ["", f"Paired difference from {reference}, 95 % interval, p after Holm over the whole table:", ""]
    lines += ["| method | metric | difference | p | verdict |", "|---|---|---|---|---|"]
    for c in compared:
        if c.metric in SHOWN and c.method in ("cf-cam", "cf-cam-best"):
            interval = f"{format_number(c.difference)} [{format_number(c.low)}, {format_number(c.high)}]"
            lines.append(f"| {c.method} | {METRICS[c.metric].title} | {interval} | {c.p_holm:.3g} | {c.verdict} |")
    path.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")

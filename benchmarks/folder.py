"""``python -m benchmarks folder``: pictures on disk to overlays on disk, against the network alone."""

from __future__ import annotations

import argparse
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image as PILImage

import cfcam
from benchmarks import machine, networks, report
from benchmarks.timing import interleaved
from cfcam.imaging import read_image
from cfcam.jobs import FolderRun, Save, Settings, find_inputs, preprocess_of
from cfcam.models import LoadedModel, load
from cfcam.models.demo import sample_phantom

METHODS = ("grad-cam", "cf-cam")
BATCH = 8
KINDS = {"overlays": {Save.OVERLAY}, "overlays and sheets": {Save.OVERLAY, Save.SHEET}}
HOW = f"""\
JPEGs of 512 pixels (phantoms), methods {" and ".join(METHODS)}, batches of {BATCH}.
"network alone" is `cfcam.Explainer` on the same batches, prepared before the clock starts. The others are
`cfcam.jobs.FolderRun`, from reading the first file to the last file on disk; its set-up (loading, a rehearsal, the
fingerprint) is not in the time. Medians of rounds taken in turn."""


def write_pictures(folder: Path, count: int) -> None:
    for seed in range(count):
        PILImage.fromarray(sample_phantom(seed, size=512).image).save(folder / f"{seed:03}.jpg", quality=90)


def measure(spec: str, pictures: Path, scratch: Path, rounds: int) -> list[dict[str, Any]]:
    """Returns a record for each way, with images a second and the ratio to the network alone."""
    loaded = load(spec)
    preprocess = preprocess_of(loaded)
    inputs = find_inputs([pictures], output=scratch)
    batches = torch.stack([preprocess(read_image(i.path)) for i in inputs]).split(BATCH)

    def runs(kind: str) -> Iterator[FolderRun]:
        for number in range(rounds + 1):
            settings = Settings(
                output=scratch / f"{kind}-{number}", methods=METHODS, save=frozenset(KINDS[kind]), batch_size=BATCH
            )
            yield FolderRun(loaded, inputs, settings)

    ready = {kind: deque(runs(kind)) for kind in KINDS}
    layer = next(iter(ready.values()))[0].layer
    calls = {"network alone": _alone(loaded, layer, batches)}
    calls |= {kind: _consume(queue) for kind, queue in ready.items()}
    for call in calls.values():
        call()
    times = interleaved(calls, rounds=rounds, budget=float("inf"))
    alone = times["network alone"].median
    return [
        {
            "model": spec.rsplit("/", 1)[-1],
            "way": name,
            "images_per_second": len(inputs) / found.median,
            "quartiles": [len(inputs) / seconds for seconds in reversed(found.quartiles)],
            "share_of_model_only": alone / found.median,
        }
        for name, found in times.items()
    ]


def _alone(loaded: LoadedModel, layer: str, batches: tuple[torch.Tensor, ...]) -> Callable[[], None]:
    explainer = cfcam.Explainer(loaded.module, METHODS, layer=layer, probability=loaded.probability)

    def call() -> None:
        for batch in batches:
            explainer(batch)

    return call


def _consume(runs: deque[FolderRun]) -> Callable[[], None]:
    def call() -> None:
        failed = [outcome for outcome in runs.popleft() if outcome.status != "done"]
        if failed:
            raise RuntimeError(f"{len(failed)} pictures failed: {failed[0].error}")

    return call


def main(arguments: argparse.Namespace) -> None:
    machine.use_threads(arguments.threads)
    count, rounds = (8, 1) if arguments.quick else (128, 5)
    specs = ["demo"] if arguments.quick else [f"{networks.__file__}:resnet50", "demo"]
    records: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder, "pictures")
        pictures.mkdir()
        write_pictures(pictures, count)
        for number, spec in enumerate(specs):
            records += measure(spec, pictures, Path(folder, f"out-{number}"), rounds)
    lines = [
        [
            r["model"],
            r["way"],
            f"{r['images_per_second']:.2f}",
            f"{r['quartiles'][0]:.2f} to {r['quartiles'][1]:.2f}",
            f"{100 * r['share_of_model_only']:.0f} %",
        ]
        for r in records
    ]
    table = report.table(("network", "way", "images/s", "quartiles", "of the network alone"), lines)
    must = f"{count} pictures. Issue 3: overlays >= 85 % of the network alone."
    report.write(arguments.out, "folder", "A folder of pictures", f"{HOW} {must}\n\n{table}", {"records": records})

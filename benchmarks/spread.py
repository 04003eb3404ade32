"""``python -m benchmarks ray``: a folder over the workers of a Ray cluster, beside this process alone."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import machine, report, sleeping
from benchmarks.folder import write_pictures
from cfcam.imaging import Preprocess
from cfcam.jobs import FolderRun, Save, Settings, find_inputs
from cfcam.jobs.cluster.flow import on_cluster
from cfcam.jobs.cluster.pool import Cluster
from cfcam.models import load

HOW = """\
Each row is two runs, of few and of many pictures. The rate is what the many take longer; the start is what is left of
the few: on a cluster that of Ray and of the workers (their imports, and the network on noise), which a run pays once.
Ray runs on this machine, started for each run."""
REAL = "JPEGs of 512 pixels (phantoms), the demo network, CF-CAM and Grad-CAM, overlays, batches of 8"
ASLEEP = (
    f"the same pictures at 64 pixels, a network that sleeps {sleeping.SECONDS:g} s for each picture, Grad-CAM, maps"
)


def seconds(pictures: Path, count: int, output: Path, workers: int, *, asleep: bool) -> float:
    """Returns what a run of the first pictures takes; with no workers in this process."""
    model = load(f"{Path(sleeping.__file__)}:network" if asleep else "demo")
    inputs = find_inputs([pictures], output=output)[:count]
    settings = (
        Settings(
            output=output, methods=("grad-cam",), save=frozenset({Save.MAPS}), batch_size=1, preprocess=Preprocess(64)
        )
        if asleep
        else Settings(output=output, methods=("cf-cam", "grad-cam"), save=frozenset({Save.OVERLAY}), batch_size=8)
    )
    how: dict[str, Any] = {"flow": on_cluster(Cluster(workers=workers))} if workers else {}
    started = time.perf_counter()
    if failed := [outcome for outcome in FolderRun(model, inputs, settings, **how) if outcome.status != "done"]:
        raise RuntimeError(f"{len(failed)} pictures failed: {failed[0].error}")
    return time.perf_counter() - started


def measure(place: Path, work: str, workers: int, few: int, many: int) -> dict[str, Any]:
    """Returns a record of one row."""
    asleep = work == ASLEEP
    pictures = place / f"pictures-{many}-{asleep}"
    if not pictures.exists():
        pictures.mkdir()
        write_pictures(pictures, many)
    took = [
        seconds(pictures, count, place / f"{asleep}-{workers}-{count}", workers, asleep=asleep) for count in (few, many)
    ]
    rate = (many - few) / (took[1] - took[0])
    record = {"work": work, "workers": workers, "few": few, "many": many, "seconds": took, "images_per_second": rate}
    return record | {"start_s": max(took[0] - few / rate, 0.0), "load": os.getloadavg()[0]}


def main(arguments: argparse.Namespace) -> None:
    machine.use_threads(arguments.threads)
    real, asleep = ((8, 16), (2, 6)) if arguments.quick else ((64, 576), (16, 144))
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        rows += [measure(place, REAL, workers, *real) for workers in (0, 2)]
        rows += [measure(place, ASLEEP, workers, *asleep) for workers in (1, 2, 4)]
    first = {row["work"]: row["images_per_second"] for row in reversed(rows)}
    columns = ("work", "who", "pictures", "images/s", "beside the first", "start, s", "load")
    table = [
        (
            "real" if row["work"] == REAL else "asleep",
            f"{row['workers']} workers" if row["workers"] else "this process",
            f"{row['few']} and {row['many']}",
            f"{row['images_per_second']:.2f}",
            f"{row['images_per_second'] / first[row['work']]:.2f} x",
            f"{row['start_s']:.1f}",
            f"{row['load']:.1f}",
        )
        for row in rows
    ]
    must = "Issue 16: two workers >= 0.85 x this process on the same two cores; four asleep >= 3.6 x one."
    body = f"{HOW}\n\n* real: {REAL}\n* asleep: {ASLEEP}\n\n{must}\n\n{report.table(columns, table)}"
    report.write(arguments.out, "ray", "A cluster beside one process", body, {"records": rows})

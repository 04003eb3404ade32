"""``python -m benchmarks ray``: a folder over the workers of a Ray cluster, beside this process alone."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks import machine, report, sleeping
from benchmarks.folder import write_pictures
from cfcam.imaging import Preprocess
from cfcam.jobs import FolderRun, Save, Settings, find_inputs
from cfcam.jobs.cluster.flow import on_cluster
from cfcam.jobs.cluster.pool import Cluster
from cfcam.models import load

HOW = """\
The rate is that of the second half of a run, when all workers are there: a straight line through the times at which its
pictures were done. What is left of the whole is the start, which a run pays once: on a cluster that of Ray and of the
workers (their imports, and the network on noise). Ray runs on this machine, started for each run. Runs of the same work
take turns; shown is the median of each, "beside the first" the median over the turns."""
REAL = "JPEGs of 512 pixels (phantoms), the demo network, CF-CAM and Grad-CAM, overlays, batches of 8"
ASLEEP = (
    f"the same pictures at 64 pixels, a network that sleeps {sleeping.SECONDS:g} s for each picture, Grad-CAM, maps"
)


def measure(pictures: Path, output: Path, workers: int, *, asleep: bool) -> dict[str, Any]:
    """Returns a record of one run; with no workers in this process."""
    model = load(f"{Path(sleeping.__file__)}:network" if asleep else "demo")
    inputs = find_inputs([pictures], output=output)
    settings = (
        Settings(
            output=output, methods=("grad-cam",), save=frozenset({Save.MAPS}), batch_size=1, preprocess=Preprocess(64)
        )
        if asleep
        else Settings(output=output, methods=("cf-cam", "grad-cam"), save=frozenset({Save.OVERLAY}), batch_size=8)
    )
    how: dict[str, Any] = {"flow": on_cluster(Cluster(workers=workers))} if workers else {}
    started, times = time.perf_counter(), []
    for outcome in FolderRun(model, inputs, settings, **how):
        if outcome.status != "done":
            raise RuntimeError(f"{outcome.path.name} failed: {outcome.error}")
        times.append(time.perf_counter() - started)
    rate, spent = rate_of(times), time.perf_counter() - started
    return {
        "work": ASLEEP if asleep else REAL,
        "workers": workers,
        "pictures": len(times),
        "seconds": spent,
        "images_per_second": rate,
        "start_s": max(spent - len(times) / rate, 0.0),
        "load": os.getloadavg()[0],
    }


def rate_of(times: list[float]) -> float:
    """Returns how many things a second were done in the second half of these moments.

    Example:
        >>> round(rate_of([5.0, 5.1, 7.0, 7.5, 8.0, 8.5]), 3)
        2.0
    """
    late = times[len(times) // 2 :]
    return float(1 / np.polyfit(np.arange(len(late)), late, 1)[0])


def main(arguments: argparse.Namespace) -> None:
    machine.use_threads(arguments.threads)
    turns, of_real, of_asleep = (1, 32, 16) if arguments.quick else (2, 2000, 320)
    plan = [
        *((False, of_real, workers) for _ in range(turns) for workers in (0, 2)),
        *((True, of_asleep, workers) for workers in (1, 2, 4)),
    ]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for asleep, count, workers in plan:
            pictures = place / f"pictures-{count}"
            if not pictures.exists():
                pictures.mkdir()
                write_pictures(pictures, count)
            rows.append(measure(pictures, place / f"run-{len(rows)}", workers, asleep=asleep))
    columns = ("work", "who", "pictures", "images/s", "beside the first", "start, s", "load")
    table = []
    for work, name in ((REAL, "real"), (ASLEEP, "asleep")):
        of_work = [row for row in rows if row["work"] == work]
        first = [row["images_per_second"] for row in of_work if row["workers"] == of_work[0]["workers"]]
        for workers in dict.fromkeys(row["workers"] for row in of_work):
            own = [row for row in of_work if row["workers"] == workers]
            rates = [row["images_per_second"] for row in own]
            table.append(
                (
                    name,
                    f"{workers} workers" if workers else "this process",
                    str(own[0]["pictures"]),
                    f"{median(rates):.2f}",
                    f"{median(a / b for a, b in zip(rates, first, strict=True)):.2f} x",
                    f"{median(row['start_s'] for row in own):.1f}",
                    f"{max(row['load'] for row in own):.1f}",
                )
            )
    must = "Issue 16: two workers >= 0.85 x this process on the same two cores; four asleep >= 3.6 x one."
    body = f"{HOW}\n\n* real: {REAL}\n* asleep: {ASLEEP}\n\n{must}\n\n{report.table(columns, table)}"
    report.write(arguments.out, "ray", "A cluster beside one process", body, {"records": rows})

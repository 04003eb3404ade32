"""``python -m benchmarks gateway-soak``: a day's traffic in a bounded loop: memory, file descriptors, disk, time.

Two radiographs, a CT series of twelve slices, and four series that no rule takes, again and again, each of other
patients; results go into an archive that takes them. What is done leaves the spool after a minute, as it does after a
day.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.uid import generate_uid

from benchmarks import report

KEPT_S = 60.0
FILMS, SLICES, OTHERS, ABREAST = 2, 12, 4, 10  # of a round: films, slices, scans that no rule takes; under way at most
MUST = 0.05  # growth of memory after the first quarter
PARTS = ("gateway", "worker")


def _parts(pid: int) -> dict[str, Path]:
    """Folders under /proc of the gateway, and of the process that explains."""
    found = {"gateway": Path(f"/proc/{pid}")}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and b"spawn_main" in (place / "cmdline").read_bytes():
                found["worker"] = place
        except (OSError, ValueError):
            continue
    return found


def _memory(place: Path) -> float:
    """MB of a process; what it shares is shared out."""
    return int((place / "smaps_rollup").read_text().partition("Pss:")[2].split()[0]) / 1000


def _disk(spool: Path) -> tuple[float, float, int]:
    """MB of a spool, of these MB of its index, and how many files it holds."""
    sizes = {}
    for folder, _, files in os.walk(spool):  # some of which are removed meanwhile
        for path in (Path(folder) / name for name in files):
            with suppress(FileNotFoundError):
                sizes[path] = path.stat().st_size
    index = sum(size for path, size in sizes.items() if path.name.startswith("index."))
    return sum(sizes.values()) / 1e6, index / 1e6, len(sizes)


def _sample(pid: int, spool: Path, sent: int) -> dict[str, float]:
    row: dict[str, float] = {"sent": sent}
    for name, place in _parts(pid).items():
        row[f"{name}_mb"] = _memory(place)
        row[f"{name}_descriptors"] = len(list((place / "fd").iterdir()))
        row[f"{name}_threads"] = len(list((place / "task").iterdir()))
    row["spool_mb"], row["index_mb"], row["files"] = _disk(spool)
    return row


def _traffic(film: Path, scan: list[Path], folder: Path) -> Iterator[tuple[str, list[Path]]]:
    """Yields studies without end, each of other UIDs and of another patient: what it is, and its files."""
    pictures = {path: pydicom.dcmread(path) for path in (film, *scan)}
    for path in scan:
        pictures[path].ImagesInAcquisition = SLICES
    number = 0
    folder.mkdir()
    while True:
        kinds = (*[("film", [film])] * FILMS, ("scan", scan), *[("other", scan)] * OTHERS)
        for kind, paths in kinds:
            number += 1
            study, series, frame = (generate_uid() for _ in range(3))
            files = []
            for n, path in enumerate(paths):
                ds = pictures[path]
                ds.PatientID, ds.StudyInstanceUID, ds.SeriesInstanceUID = f"P{number}", study, series
                ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
                ds.SeriesDescription = kind
                if "FrameOfReferenceUID" in ds:
                    ds.FrameOfReferenceUID = frame
                files.append(folder / f"{n}.dcm")
                ds.save_as(files[-1])
            yield kind, files


def growth(rows: list[dict[str, float]], name: str, of: Callable[[list[float]], float]) -> tuple[float, float]:
    """A number of the second quarter of a run, and that of the last: the first is warm-up."""
    quarter, values = len(rows) // 4, [row[name] for row in rows]
    return of(values[quarter : 2 * quarter]), of(values[-quarter:])


def run(folder: Path, count: int) -> dict[str, Any]:
    """Sends so many instances at least, and looks at the gateway 40 times meanwhile."""
    from tests.imaging.dicoms import ct_series
    from tests.jobs.gateway.senders import radiographs, storescu
    from tests.jobs.gateway.whole import RULES, Archive, config, running, until
    from tests.waiting import free_port

    archive = Archive(folder / "archive").up()
    archive.keeps = False
    port, health = free_port(), free_port()
    rules = f'{RULES}description = ["scan"]\n'
    more = f"[health]\nport = {health}\n"
    path = config(folder, archive, port=port, results='objects = ["seg", "sr"]', more=more, rules=rules)
    text = path.read_text().replace("least_free_mb = 1", f"least_free_mb = 1\nkeep_days = {KEPT_S / 86400}")
    path.write_text(text.replace("quiet_s = 1.0", "quiet_s = 300.0"))  # a series is complete when it has all its slices
    voxels = np.random.default_rng(1).integers(0, 2000, (SLICES, 15, 18))
    traffic = _traffic(radiographs(folder / "films", 1)[0], ct_series(folder / "scan", voxels), folder / "sent")
    rows: list[dict[str, float]] = []
    sent = studies = 0
    with running(path, port) as gateway:
        started = time.perf_counter()
        while sent < count:
            kind, files = next(traffic)
            told = storescu(port, *files)
            assert told.returncode == 0, told.stderr
            sent += len(files)
            studies += kind != "other"
            until(lambda done=studies - ABREAST: archive.reports > done, seconds=600)
            if sent * 40 >= count * (len(rows) + 1):
                with urllib.request.urlopen(f"http://127.0.0.1:{health}/metrics", timeout=60) as answer:
                    answer.read()
                rows.append(_sample(gateway.process.pid, folder / "spool", sent))
                print(f"{time.perf_counter() - started:.0f} s:", rows[-1], flush=True)
        until(lambda: archive.reports == studies, seconds=600)
        seconds = time.perf_counter() - started
        until(lambda: gateway.status() == {"objects": {}, "tasks": {}, "results": {}, "put_aside": []}, seconds=600)
        held = _disk(folder / "spool")
        lines = [json.loads(line) for line in gateway.log().splitlines() if line.startswith("{")]
    archive.down()
    return {
        "instances": sent, "studies": studies, "seconds": seconds, "rows": rows, "held": held,
        "warnings": Counter(line["message"] for line in lines if line["level"] != "info"),
    }  # fmt: skip


def main(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as place:
        found = run(Path(place), 64 if arguments.quick else arguments.count)
    rows = found["rows"]
    for row in rows:
        row["both_mb"] = sum(row[f"{name}_mb"] for name in PARTS)
    memory = {name: growth(rows, f"{name}_mb", statistics.median) for name in (*PARTS, "both")}
    descriptors = {name: growth(rows, f"{name}_descriptors", min) for name in PARTS}
    flat = all(late / early - 1 < MUST for early, late in memory.values())
    flat = flat and all(late <= early for early, late in descriptors.values())
    told = "; ".join(f"{name} {a:.0f} to {b:.0f} MB ({b / a - 1:+.1%})" for name, (a, b) in memory.items())
    counted = ", ".join(f"{name} {a:.0f} to {b:.0f}" for name, (a, b) in descriptors.items())
    megabytes, index, files = found["held"]
    body = (
        f"{found['instances']} instances: {FILMS} radiographs, a CT series of {SLICES} slices and {OTHERS} series that"
        f" no rule takes, in turns, each of another patient. {found['studies']} studies were explained, their SEG and"
        f" SR sent, at most {ABREAST} under way, in {found['seconds'] / 60:.0f} min; what is done leaves the spool"
        f" after {KEPT_S:g} s. Median of the second quarter to median of the last: {told}; file descriptors at rest"
        f" (the fewest of each quarter): {counted}. Must: memory below {MUST:+.0%}, no more descriptors:"
        f" {'met' if flat else 'NOT met'}. A minute after the last study the spool holds {files} files,"
        f" {megabytes:.1f} MB, of which {index:.1f} MB are its index. Lines of the log that warn:"
        f" {dict(found['warnings']) or 'none'}."
    )
    columns = {
        "sent": "instances", "gateway_mb": "gateway, MB", "worker_mb": "worker, MB", "both_mb": "both, MB",
        "gateway_descriptors": "gateway, descriptors", "worker_descriptors": "worker, descriptors",
        "gateway_threads": "gateway, threads", "spool_mb": "spool, MB", "index_mb": "of it index, MB",
        "files": "files in it",
    }  # fmt: skip
    shown = [[f"{row[name]:.{1 if name in ('spool_mb', 'index_mb') else 0}f}" for name in columns] for row in rows]
    body += f"\n\n{report.table(tuple(columns.values()), shown)}"
    report.write(arguments.out, "gateway-soak", "A gateway for long", body, found)

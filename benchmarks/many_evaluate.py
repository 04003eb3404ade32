"""``python -m benchmarks many-evaluate``: an evaluation of very many tiny pictures: memory, rate, and how it ends."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.many import BATCH, FEW, NETWORK, SIDE, Watch, write_pictures

HOW = f"""\
PNGs of {SIDE} x {SIDE} pixels, a network of two convolutions, `cfcam evaluate` of Grad-CAM and the controls, one metric
of single images (Average Drop), batches of {BATCH}, one process. Memory is resident memory: the peak of the whole
command (VmHWM), seen from outside. It has two parts: pictures are measured one batch after the other, and at the end
intervals, comparisons, tables and the page are made of all rows."""


def evaluated(pictures: Path, output: Path, network: str, count: int) -> dict[str, Any]:
    """Runs the command on so many of the pictures; returns what that took."""
    prepared = ["--size", str(SIDE), "--mean", "0.5", "--std", "0.25", "--batch-size", str(BATCH)]
    asked = ["--methods", "grad-cam", "--metrics", "average-drop", "--limit", str(count), "--quiet"]
    words = [sys.executable, "-m", "cfcam.cli", "evaluate", str(pictures), "-m", network, "-o", str(output)]
    rows, begun, last, lines = output / "rows.jsonl", time.perf_counter(), 0.0, 0
    started = begun
    process = subprocess.Popen([*words, *prepared, *asked])  # noqa: S603
    watch = Watch(process.pid, rows)
    while process.poll() is None:
        now = time.perf_counter()
        if rows.exists() and (there := rows.stat().st_size) != lines:
            started, last, lines = (now if not lines else started), now, there
        time.sleep(0.05)
    if process.returncode:
        raise RuntimeError(f"cfcam evaluate ended with {process.returncode}")
    return watch.found() | {"measuring": last - started, "end": time.perf_counter() - last, "start": started - begun}


def main(arguments: argparse.Namespace) -> None:
    many = 200 if arguments.quick else arguments.count
    few = min(FEW, many // 2)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        (root / "net.py").write_text(NETWORK)
        write_pictures(root / "many", many)
        found = {n: evaluated(root / "many", root / str(n), f"{root / 'net.py'}:tiny", n) for n in (few, many)}
    peaks = ", ".join(f"{n}: {one['peak'] / 1e6:.0f} MB" for n, one in found.items())
    long = found[many]
    rows = [
        ("peak of an evaluation of so many", peaks),
        ("growth of the peak", f"{found[many]['peak'] / found[few]['peak'] - 1:+.1%}"),
        ("pictures measured", f"{many / long['measuring']:.0f} images/s"),
        ("from the last picture to the last byte", ", ".join(f"{n}: {one['end']:.1f} s" for n, one in found.items())),
    ]
    body = f"{HOW}\n\n{report.table(('what', ''), rows)}"
    report.write(arguments.out, "many-evaluate", "An evaluation of very many pictures", body, found)

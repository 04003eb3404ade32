"""``python -m benchmarks study-memory``: a study of a CT, with its objects and its report: peak memory."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.many import status

SIDE = 512
METHODS = ("grad-cam", "grad-cam++", "cf-cam")
NETWORK = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv3d(1, 8, 4, stride=4), nn.ReLU())
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3, 4)))

def net():
    torch.manual_seed(0)
    return Net()
"""
HOW = """\
A CT series of int16 slices of 512 x 512, a network of one convolution on 48 x 64 x 64, three methods, one class:
sheet, both Segmentations, Structured Report, tables and HTML report, in a process of its own. Memory is what is
resident at most (VmHWM) above what it was after a study of four slices, which loads the libraries, beside the volume as
float32."""
BEFORE = "At 1fecc3f, before: 14 x with 200 slices, 19.1 x with 60."


def write_series(folder: Path, count: int) -> None:
    """Writes slices with a bright ball in them."""
    from tests.imaging import dicoms

    y, x = np.meshgrid(*(np.linspace(-1, 1, SIDE),) * 2, indexing="ij")
    for number in range(count):
        z = 2 * number / count - 1
        stored = np.rint(1000 * np.exp(-8 * ((x - 0.3) ** 2 + y**2 + z**2))).astype(np.int64)
        dicoms.save(dicoms.ct(stored, (0, 0, number), series="1.2.3.4"), folder / f"{number:04d}.dcm")


def child(small: Path, series: Path, output: Path, network: str) -> dict[str, Any]:
    """Explains the study; returns what is resident before and at most, in bytes, and what was written."""
    list(_run(small, output / "small", network))
    run = _run(series, output / "whole", network)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # proc(5): resets VmHWM
    before = status("VmRSS")
    where: dict[str, int] = {}
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(where, ended), daemon=True)
    watcher.start()
    outcomes = list(run)
    ended.set()
    watcher.join()
    if failed := [one.error for one in outcomes if one.status != "done"]:
        raise RuntimeError(failed[0])
    found = {"before": before, "peak": status("VmHWM"), "files": len(outcomes[0].files)}
    return found | {"where": sorted(where.items(), key=lambda one: -one[1])[:8]}


def _run(series: Path, output: Path, network: str) -> Any:
    from cfcam.imaging import VolumePreprocess
    from cfcam.jobs import Save, Settings, StudySettings, VolumeRun, find_inputs
    from cfcam.models import load

    settings = Settings(
        output=output,
        methods=METHODS,
        preprocess=VolumePreprocess(size=(48, 64, 64), mean=(0.0,), std=(1000.0,)),
        save=frozenset({Save.SHEET}),
        study=StudySettings(dicom=("seg", "sr"), report=("html",)),
    )
    return VolumeRun(load(network), find_inputs([series], output=output), settings)


def _watch(where: dict[str, int], ended: threading.Event) -> None:
    """Notes what was resident while which module of ours was at work."""
    own = threading.get_ident()
    while not ended.wait(0.05):
        resident = status("VmRSS")
        for thread, frame in sys._current_frames().items():
            ours = _ours(frame)
            if ours and thread != own:
                where[ours] = max(where.get(ours, 0), resident)


def _ours(frame: FrameType | None) -> str:
    """The innermost module of ours but those of jobs; the sources of modules are not read, which takes memory too."""
    while frame is not None:
        file = frame.f_code.co_filename
        if "/cfcam/" in file and "/jobs/" not in file:
            return "/".join(file.split("/")[-2:])
        frame = frame.f_back
    return ""


def told(words: list[str]) -> None:
    """What a process of its own does."""
    print(json.dumps(child(Path(words[0]), Path(words[1]), Path(words[2]), words[3])))


def main(arguments: argparse.Namespace) -> None:
    count = 8 if arguments.quick else arguments.count
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        (root / "net.py").write_text(NETWORK)
        write_series(root / "small", 4)
        write_series(root / "ct", count)
        code = "import sys; from benchmarks.study_memory import told; told(sys.argv[1:])"
        words = [str(root / "small"), str(root / "ct"), str(root / "out"), f"{root / 'net.py'}:net"]
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)  # noqa: S603
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        found = json.loads(done.stdout.splitlines()[-1])
    volume = count * SIDE * SIDE * 4
    times = (found["peak"] - found["before"]) / volume
    rows = [
        ("the volume as float32", f"{volume / 1e6:.0f} MB", "1"),
        ("resident before", f"{found['before'] / 1e6:.0f} MB", f"{found['before'] / volume:.1f} x"),
        ("peak above that", f"{(found['peak'] - found['before']) / 1e6:.0f} MB", f"{times:.1f} x"),
        *(
            (f"most while {name} was at work", f"{(size - found['before']) / 1e6:.0f} MB",
             f"{(size - found['before']) / volume:.1f} x")
            for name, size in found["where"]
        ),
    ]  # fmt: skip
    must = f"{count} slices, {found['files']} files. {BEFORE} Issue 16: <= 5 x."
    body = f"{HOW} {must}\n\n{report.table(('what', '', 'beside the volume'), rows)}"
    report.write(arguments.out, "study-memory", "Memory of a study", body, {"slices": count, **found, "times": times})

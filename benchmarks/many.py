"""``python -m benchmarks many``: very many tiny pictures: memory, rate beside a bare loop, a resume of what is done."""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from subprocess import PIPE
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import report

FEW, SIDE, BATCH = 5_000, 32, 128
_DONE = "explained"
LOOPED = 4_000  # pictures of the bare loop, at most
NETWORK = """
import torch
from torch import nn

def tiny():
    torch.manual_seed(0)
    first = nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)
    second = nn.Conv2d(8, 16, 3, padding=1), nn.ReLU()
    return nn.Sequential(*first, *second, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4))
"""
HOW = f"""\
PNGs of {SIDE} x {SIDE} pixels, a network of two convolutions, Grad-CAM, into a store (the least that a run writes),
batches of {BATCH}; `cfcam explain --engine processes`, a worker for each CPU, and `cfcam explain` (one process), each
command in a process of its own. Rates are those that a run enters, from its first input to its last line; "with its
start" counts the whole command too, where Python, PyTorch and the network are loaded. CPU is that of all processes of a
command, its start included. Memory is resident memory: the peak of each process (VmHWM), all of them added up (what
they share counts in each), and what they had when {FEW} pictures were done and at most from there on. The bare loop
follows in the process of the longest run: Pillow decodes, batches of {BATCH}, the network's pass, and nothing is
hashed, explained or written. A resume is the wall time of the whole command, all of whose inputs are done."""


def write_pictures(folder: Path, count: int) -> None:
    """Writes pictures of random blocks."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(count):
        stream = BytesIO()
        blocks = random.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(blocks).resize((SIDE, SIDE)).save(stream, "PNG", compress_level=1)
        (folder / f"{number:06d}.png").write_bytes(stream.getvalue())


def memory(process: int) -> dict[int, tuple[int, int]]:
    """Returns what a process and those that it has started have of memory: of each, bytes now and at most."""
    children = ""
    with suppress(OSError):  # it, or a thread of it, has just ended
        children = " ".join(path.read_text() for path in Path(f"/proc/{process}/task").glob("*/children"))
    found = {}
    for one in (process, *map(int, children.split())):
        with suppress(OSError, StopIteration):  # likewise
            lines = Path(f"/proc/{one}/status").read_text(encoding="ascii").splitlines()
            found[one] = (_bytes(lines, "VmRSS"), _bytes(lines, "VmHWM"))
    return found


def _bytes(lines: list[str], key: str) -> int:
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


def child(pictures: Path, store: Path, network: str, *, engine: str, loop: bool) -> dict[str, Any]:
    """Explains a folder as the command does; returns what that took."""
    from cfcam.cli.app import app

    app(_command(pictures, store, network, engine), standalone_mode=False)
    spent = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    (entry,) = json.loads((store / "run.json").read_text())["runs"].values()
    print(_DONE, flush=True)
    sys.stdin.readline()  # until that was looked at
    found = {"seconds": entry["seconds"], "cpu_seconds": spent, "stages": entry["stages"]}
    return found | {"loop": _loop(pictures, network) if loop else None}


class Watch:
    """Looks at the memory of a run from outside: what looks on has no part in what it sees.

    Args:
        process: that runs it.
        entered: the file that it adds lines to.
    """

    def __init__(self, process: int, entered: Path) -> None:
        self._process, self._entered = process, entered
        self._samples: list[tuple[int, int]] = []  # lines of the file, resident bytes
        self._peaks: dict[int, int] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def found(self) -> dict[str, Any]:
        """Ends it, and returns what it saw."""
        self._ended.set()
        self._thread.join()
        there = [sample for sample in self._samples if sample[0] >= FEW] or self._samples[-1:]
        most = max(resident for _, resident in there)  # at the end the workers are gone
        return {
            "peak": sum(self._peaks.values()),
            "own_peak": self._peaks[self._process],
            "at_few": there[0][1],
            "most_later": most,
        }

    def _look(self) -> None:
        lines = place = 0
        before: Collection[int] = {self._process}
        while True:
            over = self._ended.is_set()  # the end is looked at too
            if self._entered.exists():
                with self._entered.open("rb") as stream:
                    stream.seek(place)
                    new = stream.read()
                lines, place = lines + new.count(b"\n"), place + len(new)
            if now := memory(self._process):
                self._samples.append((lines, sum(resident for resident, _ in now.values())))
            self._peaks.update((process, most) for process, (_, most) in now.items() if process in before)
            before = now.keys()  # what is seen but once is about to become another program
            if over:
                return
            self._ended.wait(0.25)


def _command(pictures: Path, store: Path, network: str, engine: str = "processes") -> list[str]:
    prepared = ["--size", str(SIDE), "--mean", "0.5", "--std", "0.25"]
    how = ["--method", "grad-cam", "--batch-size", str(BATCH), "--quiet", "--engine", engine]
    return ["explain", str(pictures), "--store", str(store), "-m", network, *prepared, *how]


def _resumed(pictures: Path, store: Path, network: str) -> float:
    """Seconds of the command where all is done, in a process of its own that does nothing else."""
    command = [sys.executable, "-m", "cfcam.cli", *_command(pictures, store, network)]
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603
    return time.perf_counter() - started


def _loop(pictures: Path, network: str) -> float:
    """Pictures a second of a loop that decodes and runs the network."""
    import torch

    from cfcam.models import load

    module = load(network).module
    files = sorted(pictures.iterdir())[:LOOPED]
    started = time.perf_counter()
    with torch.inference_mode():
        for place in range(0, len(files), BATCH):
            batch = []
            for file in files[place : place + BATCH]:
                with Image.open(file) as image:
                    pixels = torch.from_numpy(np.asarray(image.convert("RGB")).transpose(2, 0, 1).copy())
                batch.append(pixels.float().div_(255).sub_(0.5).div_(0.25))
            module(torch.stack(batch))
    return len(files) / (time.perf_counter() - started)


def _in_a_process(pictures: Path, store: Path, network: str, engine: str, loop: str) -> dict[str, Any]:
    code = "import sys; from benchmarks.many import told; told(sys.argv[1:])"
    words = [sys.executable, "-c", code, str(pictures), str(store), network, engine, loop]
    started = time.perf_counter()
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(words, stdin=PIPE, stdout=PIPE, stderr=errors, text=True) as process,  # noqa: S603
    ):
        watch = Watch(process.pid, store / "manifest.jsonl")
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == _DONE:
                break
        seen = watch.found()
        last, _ = process.communicate("\n")
        if process.returncode:
            errors.seek(0)
            raise RuntimeError(errors.read()[-2000:])
    whole = time.perf_counter() - started
    found: dict[str, Any] = json.loads(last.splitlines()[-1])
    return found | seen | {"whole_seconds": whole}


def told(words: list[str]) -> None:
    """What a process of its own does: explains, and prints what that took."""
    pictures, store, network, engine, loop = words
    print(json.dumps(child(Path(pictures), Path(store), network, engine=engine, loop=loop == "loop")))


def main(arguments: argparse.Namespace) -> None:
    many = 200 if arguments.quick else arguments.count
    few = min(FEW, many // 2)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        (root / "net.py").write_text(NETWORK)
        network = f"{root / 'net.py'}:tiny"
        write_pictures(root / "many", many)
        (root / "few").mkdir()
        for number in range(few):
            os.link(root / "many" / f"{number:06d}.png", root / "few" / f"{number:06d}.png")
        time.sleep(2.5)  # until a file's time says of it that it has not changed
        short = _in_a_process(root / "few", root / "few.zarr", network, "processes", "")
        long = _in_a_process(root / "many", root / "many.zarr", network, "processes", "loop")
        alone = _in_a_process(root / "many", root / "alone.zarr", network, "local", "loop")
        again = [
            (count, _resumed(root / name, root / f"{name}.zarr", network))
            for name, count in (("few", few), ("many", many))
        ]
    grown = (long["peak"] - short["peak"]) / short["peak"]
    own = (long["own_peak"] - short["own_peak"]) / short["own_peak"]
    within = (long["most_later"] - long["at_few"]) / long["at_few"]
    rate, rate_alone = many / long["seconds"], many / alone["seconds"]
    cpu, cpu_alone = (one["cpu_seconds"] / many * 1e6 for one in (long, alone))
    with_start = many / (long["whole_seconds"] - min(many, LOOPED) / long["loop"])
    peaks = ", ".join(
        f"{n}: {one['peak'] / 1e6:.0f} MB, {one['own_peak'] / 1e6:.0f} of them the run itself"
        for n, one in ((few, short), (many, long))
    )
    rows = [
        ("peak of a run over so many", peaks),
        ("growth of the peak", f"{grown:+.1%}; of the run itself {own:+.1%}"),
        ("growth within the longest run, from the first 5000 on", f"{within:+.1%}"),
        ("rate of the run", f"{rate:.0f} images/s; with its start {with_start:.0f}"),
        ("rate of the bare loop", f"{long['loop']:.0f} images/s"),
        ("run beside loop", f"{rate / long['loop']:.2f} x; with its start {with_start / long['loop']:.2f} x"),
        ("CPU of a picture", f"{cpu:.0f} µs"),
        (
            "one process, beside its loop, CPU of a picture",
            f"{rate_alone:.0f} images/s; {rate_alone / alone['loop']:.2f} x; {cpu_alone:.0f} µs",
        ),
        *((f"resume of {count}", f"{seconds:.1f} s; must {2 + 1e-5 * count:.1f} s") for count, seconds in again),
    ]
    must = "Issue 16: growth <= 3 %, rate >= 0.8 x, a resume <= 2 s + 10 µs an input."
    body = f"{HOW}\n\n{must}\n\n{report.table(('what', ''), rows)}"
    data = {"few": few, "many": many, "short": short, "long": long, "alone": alone, "resume": again}
    report.write(arguments.out, "many", "Very many pictures", body, data)

"""``python -m benchmarks many``: very many tiny pictures: memory, rate beside a bare loop, a resume of what is done."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import report

FEW, SIDE, BATCH = 5_000, 32, 64
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
batches of {BATCH}; `cfcam explain`, each run in a process of its own. Memory is resident memory: its peak over the
process (VmHWM), and what it was when {FEW} pictures were done and at the end of the longest run. The bare loop
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


def status(key: str) -> int:
    """Returns a number of bytes that the system keeps of this process, such as VmRSS."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


def child(pictures: Path, store: Path, network: str, *, loop: bool) -> dict[str, Any]:
    """Explains a folder as the command does; returns what that took."""
    from cfcam.cli.app import app

    samples = [(0, status("VmRSS"))]  # lines of the manifest, resident bytes
    ended = threading.Event()

    def watch() -> None:
        manifest = store / "manifest.jsonl"
        lines = place = 0
        while not ended.wait(0.25):
            if manifest.exists():
                with manifest.open("rb") as stream:
                    stream.seek(place)
                    new = stream.read()
                lines, place = lines + new.count(b"\n"), place + len(new)
            samples.append((lines, status("VmRSS")))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    app(_command(pictures, store, network), standalone_mode=False)
    ended.set()
    watcher.join()
    (entry,) = json.loads((store / "run.json").read_text())["runs"].values()
    first = next((resident for lines, resident in samples if lines >= FEW), samples[-1][1])
    found = {"peak": status("VmHWM"), "at_few": first, "at_end": samples[-1][1], "seconds": entry["seconds"]}
    return found | {"stages": entry["stages"], "loop": _loop(pictures, network) if loop else None}


def _command(pictures: Path, store: Path, network: str) -> list[str]:
    prepared = ["--size", str(SIDE), "--mean", "0.5", "--std", "0.25"]
    how = ["--method", "grad-cam", "--batch-size", str(BATCH), "--quiet"]
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


def _in_a_process(*arguments: Any) -> dict[str, Any]:
    code = "import sys; from benchmarks.many import told; told(sys.argv[1:])"
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def told(words: list[str]) -> None:
    """What a process of its own does: explains, and prints what that took."""
    pictures, store, network, loop = words
    print(json.dumps(child(Path(pictures), Path(store), network, loop=loop == "loop")))


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
        short = _in_a_process(root / "few", root / "few.zarr", network, "")
        long = _in_a_process(root / "many", root / "many.zarr", network, "loop")
        again = [
            (count, _resumed(root / name, root / f"{name}.zarr", network))
            for name, count in (("few", few), ("many", many))
        ]
    grown = (long["peak"] - short["peak"]) / short["peak"]
    within = (long["at_end"] - long["at_few"]) / long["at_few"]
    rate = many / long["seconds"]
    rows = [
        ("peak of a run over so many", f"{few}: {short['peak'] / 1e6:.0f} MB, {many}: {long['peak'] / 1e6:.0f} MB"),
        ("growth of the peak", f"{grown:+.1%}"),
        ("growth within the longest run, from the first 5000 on", f"{within:+.1%}"),
        ("rate of the run", f"{rate:.0f} images/s"),
        ("rate of the bare loop", f"{long['loop']:.0f} images/s"),
        ("run beside loop", f"{rate / long['loop']:.2f} x"),
        *((f"resume of {count}", f"{seconds:.1f} s; must {2 + 1e-5 * count:.1f} s") for count, seconds in again),
    ]
    must = "Issue 16: growth <= 3 %, rate >= 0.8 x, a resume <= 2 s + 10 µs an input."
    body = f"{HOW}\n\n{must}\n\n{report.table(('what', ''), rows)}"
    data = {"few": few, "many": many, "short": short, "long": long, "resume": again}
    report.write(arguments.out, "many", "Very many pictures", body, data)

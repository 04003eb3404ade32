"""``python -m benchmarks masked``: methods of many masked passes, beside torch-cam's and beside an earlier checkout."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import cfcam
from benchmarks import machine, report
from benchmarks.libraries import Scene, pearson, torch_cam
from benchmarks.networks import MOBILENET, RESNET50, TINY, Subject, pictures
from cfcam.methods import CFCAM, Method, ScoreCAM

SOFTMAX_FORM = ScoreCAM(score="logit", normalize="softmax")  # what torch-cam calls Score-CAM
EARLY = "net.resnet.encoder.stages.0"  # 256 channels, so that rounds end
HOW = """\
One phantom of 224 pixels, one class, random weights. Seconds of processor time, the least of the rounds, in which all
run once, in turn. Score-CAM in the form that torch-cam has (logits, softmax) at the first stage, with its 256 channels:
as many masked passes. `CFCAM.best()` at the last layer, 62 masked passes, beside an earlier checkout (`--former`),
which runs in a process of its own. Agreement is Pearson's correlation of the two maps."""
WORKER = """\
import sys, time, torch, cfcam
from benchmarks import networks
from cfcam.methods import CFCAM
torch.set_num_threads(int(sys.argv[2]))
subject = getattr(networks, sys.argv[1])
net, x = subject.build(), networks.pictures(1, subject.size)
for line in sys.stdin:
    begun = time.process_time()
    found = cfcam.explain(net, x, CFCAM.best(), targets=[0], layer=subject.layer)
    taken = time.process_time() - begun
    torch.save(next(iter(found.maps.values())), sys.argv[3])
    print(taken, flush=True)
"""

Timed = Callable[[], tuple[float, Tensor]]


def timed(call: Callable[[], dict[str, Tensor]]) -> Timed:
    """Returns a call that gives its processor time too, and the one map."""

    def run() -> tuple[float, Tensor]:
        begun = time.process_time()
        found = call()
        return time.process_time() - begun, next(iter(found.values()))

    return run


def ours(subject: Subject, method: Method, layer: str) -> Timed:
    """Returns cfcam's call, with a network of its own."""
    net, x = subject.build(), pictures(1, subject.size)
    return timed(lambda: cfcam.explain(net, x, method, targets=[0], layer=layer).maps)


def former(name: str, checkout: Path, threads: int) -> Timed:
    """Returns the call of an earlier checkout, in a process that waits for its turn."""
    place = tempfile.NamedTemporaryFile(suffix=".pt")  # noqa: SIM115 (as long as the call)
    worker = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", WORKER, name, str(threads), place.name],
        env=os.environ | {"PYTHONPATH": f"{checkout / 'src'}:{checkout}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def run() -> tuple[float, Tensor]:
        assert worker.stdin is not None
        assert worker.stdout is not None
        print("again", file=worker.stdin, flush=True)
        return float(worker.stdout.readline()), torch.load(place.name)

    return run


def row(title: str, mine: Timed, other: Timed, rounds: int) -> dict[str, object]:
    """Returns the least times of both, and how alike their maps are."""
    maps = [call()[1] for call in (mine, other)]  # the first call also warms up
    least = [float("inf"), float("inf")]
    for _ in range(rounds):
        least = [min(best, call()[0]) for best, call in zip(least, (mine, other), strict=True)]
    return {"what": title, "cfcam": least[0], "other": least[1], "agreement": pearson(*maps)}


def main(arguments: argparse.Namespace) -> None:
    """Measures and writes the table."""
    machine.use_threads(arguments.threads)
    deep, rounds = (TINY, 1) if arguments.quick else (RESNET50, arguments.rounds)
    scene = Scene(deep.build(), EARLY, deep.head, pictures(1, deep.size), (0,))
    theirs = timed(torch_cam(scene, "ScoreCAM", "score-cam"))
    found = [row(f"exact Score-CAM, {deep.title}: torch-cam", ours(deep, SOFTMAX_FORM, EARLY), theirs, rounds)]
    if arguments.former is not None:
        subjects = {"TINY": TINY} if arguments.quick else {"RESNET50": RESNET50, "MOBILENET": MOBILENET}
        for name, subject in subjects.items():
            before = former(name, arguments.former.resolve(), torch.get_num_threads())
            mine = ours(subject, CFCAM.best(), subject.layer)
            found.append(row(f"CFCAM.best(), {subject.title}: an earlier checkout", mine, before, rounds))
    columns = ("what, and beside what", "cfcam, s", "other, s", "cfcam beside other", "agreement")
    rows = [
        (
            str(one["what"]),
            f"{one['cfcam']:.2f}",
            f"{one['other']:.2f}",
            f"{one['cfcam'] / one['other']:.2f} x",
            f"{one['agreement']:.6f}",
        )
        for one in found
    ]
    must = "Issue 17: Score-CAM <= 0.5 x torch-cam's, best() <= 0.6 x its former build."
    report.write(
        arguments.out,
        "masked",
        "Masked passes",
        f"{HOW}\n\n{must}\n\n{report.table(columns, rows)}",
        {"records": found},
    )

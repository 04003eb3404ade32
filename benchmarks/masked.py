"""``python -m benchmarks masked``: methods of many masked passes, beside torch-cam's and beside an earlier checkout."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

import cfcam
from benchmarks import machine, report
from benchmarks.libraries import Scene, pearson, torch_cam
from benchmarks.networks import MOBILENET, RESNET50, TINY, pictures
from cfcam.methods import CFCAM, ScoreCAM

SOFTMAX_FORM = ScoreCAM(score="logit", normalize="softmax")  # what torch-cam calls Score-CAM
EARLY = "net.resnet.encoder.stages.0"  # 256 channels, so that rounds end
SHAPES = {"RESNET50": RESNET50, "MOBILENET": MOBILENET}
TRAINED = ("imagenet-v2", "imagenet-v1", "ultrasound", "chest")  # of benchmarks.datasets
PICTURES = 3
HOW = """\
One phantom of 224 pixels, one class, random weights. Seconds of processor time, the least of the rounds, in which all
run once, in turn. Score-CAM in the form that torch-cam has (logits, softmax) at the first stage, with its 256 channels:
as many masked passes. Agreement is Pearson's correlation of the two maps."""
BESIDE = """\
`CFCAM.best()` at the last layer, up to 62 masked passes, beside an earlier checkout (`--former`), which runs in a
process of its own. Seconds of processor time, the least of the rounds, in which both run once, in turn: medians over 3
pictures, of the times and of their ratios. These are phantoms for random weights; the trained MobileNets (`CFCAM_DATA`)
have tuning pictures and their own class. Agreement is Pearson's correlation of the two maps, the least of the
pictures."""
WORKER = """\
import sys, time, torch, cfcam
from benchmarks import networks
from cfcam.methods import CFCAM
name, threads, place = sys.argv[1:]
torch.set_num_threads(int(threads))
if hasattr(networks, name):
    subject = getattr(networks, name)
    net, layer = subject.build(), subject.layer
else:
    from benchmarks.datasets import study
    subject = study(name, 1, "tune")
    net, layer = subject.model, subject.layer
for line in sys.stdin:
    x, target = torch.load(place)
    begun = time.process_time()
    found = cfcam.explain(net, x, CFCAM.best(), targets=[target], layer=layer)
    taken = time.process_time() - begun
    torch.save(next(iter(found.maps.values())), place)
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


def former(name: str, checkout: Path, threads: int) -> Callable[[Tensor, int], tuple[float, Tensor]]:
    """Returns the call of an earlier checkout, in a process that waits for its turn."""
    place = tempfile.NamedTemporaryFile(suffix=".pt")  # noqa: SIM115 (as long as the call)
    worker = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", WORKER, name, str(threads), place.name],
        env=os.environ | {"PYTHONPATH": f"{checkout / 'src'}:{checkout}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def run(x: Tensor, target: int) -> tuple[float, Tensor]:
        assert worker.stdin is not None
        assert worker.stdout is not None
        torch.save((x, target), place.name)
        print("again", file=worker.stdin, flush=True)
        return float(worker.stdout.readline()), torch.load(place.name)

    return run


def row(title: str, pairs: Sequence[tuple[Timed, Timed]], rounds: int) -> dict[str, object]:
    """Returns the least times of cfcam and another in each pair, and how alike their maps are."""
    maps = [[call()[1] for call in pair] for pair in pairs]  # the first call also warms up
    least = [[float("inf")] * 2 for _ in pairs]
    for _ in range(rounds):
        least = [
            [min(best, call()[0]) for best, call in zip(before, pair, strict=True)]
            for before, pair in zip(least, pairs, strict=True)
        ]
    mine, other = (median(times) for times in zip(*least, strict=True))
    return {
        "what": title,
        "cfcam": mine,
        "other": other,
        "ratio": median(one / two for one, two in least),
        "agreement": min(pearson(*two) for two in maps),
        "times": least,
    }


def beside_former(name: str, checkout: Path, rounds: int, *, quick: bool) -> dict[str, object]:
    """Returns the row of `CFCAM.best()` on one network, beside an earlier checkout."""
    if name in TRAINED:
        from benchmarks.datasets import study

        found = study(name, PICTURES, "tune")
        net, layer, title = found.model, found.layer, f"trained, {name}"
        asked = [(sample.image[None], int(sample.label or 0)) for sample in found.samples]
    else:
        subject = TINY if quick else SHAPES[name]
        net, layer, title = subject.build(), subject.layer, f"{subject.title}, random weights"
        asked = [(one, 0) for one in pictures(1 if quick else PICTURES, subject.size).split(1)]
    before = former(name, checkout.resolve(), torch.get_num_threads())

    def ours(x: Tensor, target: int) -> dict[str, Tensor]:
        return cfcam.explain(net, x, CFCAM.best(), targets=[target], layer=layer).maps

    pairs = [(timed(partial(ours, *one)), partial(before, *one)) for one in asked]
    return row(f"{title}: an earlier checkout", pairs, rounds)


def main(arguments: argparse.Namespace) -> None:
    """Measures and writes the table: of Score-CAM, or with an earlier checkout of `CFCAM.best()`."""
    machine.use_threads(arguments.threads)
    rounds, checkout = 1 if arguments.quick else arguments.rounds, arguments.former
    if checkout is None:
        deep = TINY if arguments.quick else RESNET50
        scene = Scene(deep.build(), EARLY, deep.head, pictures(1, deep.size), (0,))
        theirs = timed(torch_cam(scene, "ScoreCAM", "score-cam"))
        mine = deep.build(), pictures(1, deep.size)
        exact = timed(lambda: cfcam.explain(*mine, SOFTMAX_FORM, targets=[0], layer=EARLY).maps)
        found = [row(f"exact Score-CAM, {deep.title}: torch-cam", [(exact, theirs)], rounds)]
        name, title, how, must = "masked", "Masked passes", HOW, "Score-CAM <= 0.5 x torch-cam's"
    else:
        trained = TRAINED if "CFCAM_DATA" in os.environ and not arguments.quick else ()
        names = ("TINY",) if arguments.quick else (*trained, *SHAPES)
        found = [beside_former(name, checkout, rounds, quick=arguments.quick) for name in names]
        name, title, how, must = "best", "CFCAM.best()", BESIDE, "best() <= 0.6 x its former build"
    columns = ("what, and beside what", "cfcam, s", "other, s", "cfcam beside other", "agreement")
    rows = [
        (
            str(one["what"]),
            f"{one['cfcam']:.2f}",
            f"{one['other']:.2f}",
            f"{one['ratio']:.2f} x",
            f"{one['agreement']:.6f}",
        )
        for one in found
    ]
    text = f"{how}\n\nIssue 17: {must}.\n\n{report.table(columns, rows)}"
    report.write(arguments.out, name, title, text, {"records": found})

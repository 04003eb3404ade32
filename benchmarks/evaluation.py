"""``python -m benchmarks evaluation``: `cfcam.evaluate` beside Quantus and beside the bare passes, in turn."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

import cfcam
from benchmarks import machine, report
from benchmarks.networks import MOBILENET, RESNET50, TINY, Subject, pictures
from benchmarks.timing import interleaved
from cfcam.metrics import Sample

COUNT, STEPS, DRAWS, AT_ONCE = 4, 28, 4, 16
RADIUS = 0.2  # of max-sensitivity, Quantus's default
METRICS = ("deletion-black", "energy", "hit-rate", "max-sensitivity")
HOW = f"""\
{COUNT} pictures (phantoms) of 224 pixels, random weights, Grad-CAM of the predicted class at the last block, a mask
for each picture. Numbers: deletion in {STEPS} steps with black, energy in the mask, hit of the mask, max-sensitivity
with {DRAWS} draws. Quantus has the maps, upsampled, and asks the same Grad-CAM (cfcam's) for those of its draws;
cfcam makes the maps itself, which is in its time. The bare passes are those that the numbers need, in batches of
{AT_ONCE}: one of the picture, {STEPS} with pixels deleted, {DRAWS} of the draws, without a gradient. Medians of
processor time over rounds in which all three run once, in a random order, in one process."""


def steps_of(size: int) -> int:
    """Returns in how many steps a picture is deleted: Quantus takes the same number of pixels in each."""
    return STEPS if size * size % STEPS == 0 else 32


def masks(count: int, size: int) -> torch.Tensor:
    """Returns a square in the middle of each picture, (count, size, size)."""
    found = torch.zeros(count, size, size, dtype=torch.bool)
    found[:, size // 4 : -size // 4, size // 4 : -size // 4] = True
    return found


def bare(net: nn.Module, x: torch.Tensor) -> Callable[[], None]:
    """Returns the passes that the numbers need, and nothing else."""
    many = x.repeat_interleave(1 + steps_of(x.shape[-1]) + DRAWS, 0)

    def call() -> None:
        with torch.inference_mode():
            for part in many.split(AT_ONCE):
                net(part)

    return call


def ours(net: nn.Module, x: torch.Tensor, layer: str) -> Callable[[], dict[str, float]]:
    """Returns the evaluation; it gives the mean of each number."""
    samples = [Sample(one, None, mask) for one, mask in zip(x, masks(len(x), x.shape[-1]), strict=True)]
    how: dict[str, Any] = {
        "layer": layer,
        "controls": False,
        "steps": steps_of(x.shape[-1]),
        "draws": DRAWS,
        "passes_at_once": AT_ONCE,
    }

    def call() -> dict[str, float]:
        card = cfcam.evaluate(net, samples, "grad-cam", METRICS, **how)
        return {name: float(np.mean([row.values[name] for row in card.rows])) for name in METRICS}

    return call


def theirs(net: nn.Module, x: torch.Tensor, layer: str) -> Callable[[], dict[str, float]]:
    """Returns the same by Quantus; it gives the mean of each number."""
    import quantus

    size = x.shape[-1]
    quiet: dict[str, Any] = {"disable_warnings": True, "normalise": False}
    flipping = quantus.PixelFlipping(features_in_step=size * size // steps_of(size), perturb_baseline="black", **quiet)
    energy, hit = quantus.RelevanceMassAccuracy(**quiet), quantus.PointingGame(**quiet)
    sensitivity = quantus.MaxSensitivity(nr_samples=DRAWS, lower_bound=RADIUS, **quiet)
    with torch.inference_mode():
        targets = net(x).argmax(1).numpy()

    def explain(model: nn.Module, inputs: Any, targets: Any, **_: Any) -> np.ndarray:
        found = cfcam.explain(model, torch.as_tensor(inputs), "grad-cam", targets=torch.as_tensor(targets)[:, None],
                              layer=layer)  # fmt: skip
        return found.heatmaps("grad-cam")[:, :1].numpy()

    given = {"model": net, "x_batch": x.numpy(), "y_batch": targets, "s_batch": masks(len(x), size)[:, None].numpy()}
    given["a_batch"] = explain(net, x, targets)

    def call() -> dict[str, float]:
        curves = np.array(flipping(**given, softmax=True))
        again = {**given, "a_batch": None, "explain_func": explain}
        found = (curves, energy(**given), hit(**given), sensitivity(**again))
        return {name: float(np.mean(values)) for name, values in zip(METRICS, found, strict=True)}

    return call


def measure(subject: Subject, count: int, rounds: int) -> dict[str, Any]:
    """Returns the medians of a network in seconds, and what both say."""
    net, x = subject.build(), pictures(count, subject.size)
    calls: dict[str, Callable[[], Any]] = {
        "cfcam": ours(net, x, subject.layer),
        "Quantus": theirs(net, x, subject.layer),
        "bare": bare(net, x),
    }
    said = {name: call() for name, call in calls.items()}
    times = interleaved(calls, rounds=rounds, budget=float("inf"), clock=time.process_time)
    return {"network": subject.title, "said": said, "seconds": {name: times[name].seconds for name in calls}} | {
        name: times[name].median for name in calls
    }


def main(arguments: argparse.Namespace) -> None:
    """Measures and writes the table."""
    machine.use_threads(arguments.threads)
    subjects, count, rounds = ((TINY,), 2, 1) if arguments.quick else ((RESNET50, MOBILENET), COUNT, arguments.rounds)
    found = [measure(subject, count, rounds) for subject in subjects]
    columns = (
        "network",
        "cfcam, s",
        "Quantus, s",
        "bare passes, s",
        "Quantus beside cfcam",
        "cfcam beside bare passes",
    )
    rows = [
        (
            one["network"],
            *(f"{one[name]:.2f}" for name in ("cfcam", "Quantus", "bare")),
            f"{one['Quantus'] / one['cfcam']:.2f} x",
            f"{one['cfcam'] / one['bare']:.2f} x",
        )
        for one in found
    ]
    must = "Issue 17: Quantus >= 4 x as long as cfcam, and cfcam <= 1.15 x the bare passes."
    body = f"{HOW}\n\n{must}\n\n{report.table(columns, rows)}"
    report.write(arguments.out, "evaluation", "An evaluation beside Quantus", body, {"records": found})

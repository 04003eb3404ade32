"""``python -m benchmarks early-stop``: `CFCAM.best()` beside the same with all its masks, on tuning pictures."""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

import cfcam
from benchmarks import machine, report
from benchmarks.libraries import pearson
from benchmarks.networks import MOBILENET, RESNET50, TINY, Subject, pictures
from cfcam.capture import Capture
from cfcam.methods import CFCAM

TRAINED = ("ultrasound", "chest", "imagenet-v2", "imagenet-v1", "phantoms", "adrenal")
RANDOM = (MOBILENET, RESNET50)
FEWER = 4  # pictures of the networks with random weights, which take all masks anyway
WITHIN = 0.999
HOW = """\
`CFCAM.best()` beside the same with `tolerance=0`, that is with all its masks, in float32: how alike the maps are
(Pearson's correlation), how many of them are made of bfloat16's answers, and how many masked passes were run for a
class alone, of the picture itself and of its blur among them, in both precisions. Each picture is explained for the
class that the network answers with, and for the next probable one. The trained networks (`CFCAM_DATA`) have tuning
pictures, those with random weights phantoms. A map without any evidence, which has no correlation, agrees if it has
none with all masks either."""


@contextmanager
def counted() -> Iterator[list[int]]:
    """Counts the inputs that are scored while it is active."""
    scored, rescore = [], Capture.rescore

    def listening(self: Capture, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        scored.append(len(x))
        return rescore(self, x, *args, **kwargs)

    Capture.rescore = listening  # type: ignore[method-assign]
    try:
        yield scored
    finally:
        Capture.rescore = rescore  # type: ignore[method-assign]


def explained(net: nn.Module, x: Tensor, method: CFCAM, target: int, layer: str | None) -> tuple[Tensor, int, bool]:
    """Returns the map (1, 1, *layer_spatial) of a class, its masked passes, and whether it is of bfloat16's answers."""
    with counted() as scored:
        found = cfcam.explain(net, x, method, targets=[target], layer=layer)
    rounded = any("masked passes in bfloat16" in line for line in found.said[0])
    return next(iter(found.maps.values())), sum(scored), rounded


def agreement(found: Tensor, all_masks: Tensor) -> float:
    """Returns the correlation of two maps; 1 where they are the same, 0 where only one has evidence."""
    if torch.equal(found, all_masks):
        return 1.0
    return (
        pearson(found.flatten(2)[..., None], all_masks.flatten(2)[..., None])
        if found.any() and all_masks.any()
        else 0.0
    )


def measured(title: str, net: nn.Module, several: list[Tensor], layer: str | None) -> dict[str, Any]:
    """Returns agreement and passes of each map of a network."""
    best = CFCAM.best()
    methods = best, replace(best, tolerance=0.0)
    alike, passes, rounded, most = [], [], 0, 0
    for x in several:
        with torch.inference_mode():
            answer = net(x)[0].flatten()
        for target in answer.topk(min(2, len(answer))).indices.tolist():
            (found, few, rounds), (all_masks, most, _) = (explained(net, x, one, target, layer) for one in methods)
            rounded += rounds
            alike.append(agreement(found, all_masks))
            passes.append(few)
    print(title, min(alike), statistics.mean(passes), flush=True)
    return {"network": title, "pictures": len(several), "agreement": alike, "passes": passes, "most": most,
            "rounded": rounded}  # fmt: skip


def of_random(subject: Subject, count: int) -> dict[str, Any]:
    """Returns the row of a network with random weights."""
    return measured(f"{subject.title}, random weights", subject.build(), list(pictures(count, subject.size).split(1)),
                    subject.layer)  # fmt: skip


def of_trained(name: str, count: int) -> dict[str, Any]:
    """Returns the row of a trained network."""
    from benchmarks.datasets import study

    found = study(name, count, "tune")
    return measured(f"{name}, trained", found.model, [one.image[None] for one in found.samples], found.layer or None)


def main(arguments: argparse.Namespace) -> None:
    """Measures and writes the table."""
    machine.use_threads(arguments.threads)
    count = 1 if arguments.quick else arguments.pictures
    trained = () if arguments.quick or "CFCAM_DATA" not in os.environ else TRAINED
    found = [of_trained(name, count) for name in trained]
    found += [of_random(subject, min(count, FEWER)) for subject in ((TINY,) if arguments.quick else RANDOM)]
    found.append(
        {
            "network": "all",
            "pictures": sum(one["pictures"] for one in found),
            "agreement": [value for one in found for value in one["agreement"]],
            "passes": [value for one in found for value in one["passes"]],
            "most": max(one["most"] for one in found),
            "rounded": sum(one["rounded"] for one in found),
        }
    )
    columns = (
        "network",
        "pictures",
        "maps",
        f">= {WITHIN}",
        "least",
        "of bfloat16",
        "masked passes, mean",
        "with all masks",
    )
    rows = [
        (
            one["network"],
            str(one["pictures"]),
            str(len(one["agreement"])),
            f"{sum(value >= WITHIN for value in one['agreement'])} of {len(one['agreement'])}",
            f"{min(one['agreement']):.5f}",
            str(one["rounded"]),
            f"{statistics.mean(one['passes']):.1f}",
            str(one["most"]),
        )
        for one in found
    ]
    must = f"Issue 17: early stop where the map stays within {WITHIN}."
    body = f"{HOW}\n\n{must}\n\n{report.table(columns, rows)}"
    report.write(arguments.out, "early-stop", "CFCAM.best() and all its masks", body, {"records": found})

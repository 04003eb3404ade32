"""``python -m benchmarks gpu``: each method on a GPU, in three precisions: time, memory, agreement with the CPU.

One command for a machine that is lent for minutes: it ends in time, says what it left out, and writes after each
method what it has. ``--device cpu --quick`` is its rehearsal, which a test runs.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import cfcam
from benchmarks import machine, report
from benchmarks.cases import POOLED_METHODS
from benchmarks.libraries import pearson
from benchmarks.memory import peak_of
from benchmarks.networks import CLASSES, RESNET50, TINY, pictures
from benchmarks.timing import interleaved, timed
from cfcam.errors import CfcamError, describe_first
from cfcam.methods import get_method, list_methods, list_pixel_methods

BATCH = 8
SHORT = 2.0  # seconds; of a call that takes longer than this one time is taken
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
LAST = ("cf-cam-best", "ablation-cam", "occlusion", "score-cam", "is-cam", "ss-cam")  # many passes: if time is left
EMPTY = "nothing is compared: all maps are empty"
HOW = """\
Weights are random (seed 0), pictures are phantoms; network and pictures are in the named precision. Times are medians
of rounds in which the bare forward (`torch.inference_mode()`) of the same precision takes its turn; a call of more
than {short:g} s is timed once. Memory is what torch allocated at the highest beyond what was there before (on a CPU:
resident memory of the process). Agreement with the same method's maps in float32 on the
CPU (of those with very many passes, which come last, with float32 on this device): the smallest Pearson correlation
over the pictures, and the share of pictures whose hottest cell is the same; empty maps have neither."""

HOW_CLASSES = f"""\
All {CLASSES} classes of one picture beside one class of it, in float32, in turn: the ratio of the least times (issue
17: at most 3), and of the memory at the highest (at most 1.5), that of the loaded network not counted."""


def bare(model: nn.Module, x: Tensor) -> Callable[[], object]:
    """Returns the call of the network alone."""

    def call() -> object:
        with torch.inference_mode():
            return model(x)

    return call


def measure(
    method: str, model: nn.Module, x: Tensor, layer: str, device: str, dtype: str, rounds: int = 15
) -> dict[str, Any]:
    """Returns a record of a method in a precision."""
    net, seen = model.to(device, DTYPES[dtype]), x.to(device, DTYPES[dtype])
    explainer = cfcam.Explainer(net, [get_method(method)], layer=layer)

    def call() -> Tensor:
        return next(iter(explainer(seen, [0]).maps.values()))

    maps = call()
    once, alone = timed(call), bare(net, seen)
    alone()
    times = {}
    if once <= SHORT:
        times = interleaved({"map": call, "forward": alone}, rounds=rounds, budget=2, least=min(3, rounds))
    forward = times["forward"].median if times else timed(alone)
    peaks = [peak_of(one, device, calls=1 if once > SHORT or rounds == 1 else 3).used for one in (call, alone)]
    return {
        "method": method,
        "dtype": dtype,
        "seconds": times["map"].median if times else once,
        "forward": forward,
        "bytes": max(peaks[0] - peaks[1], 0),
        "maps": maps.float().cpu(),
    }


def all_classes(name: str, model: nn.Module, x: Tensor, layer: str, device: str, rounds: int = 15) -> dict[str, Any]:
    """Returns what all classes of the first picture take beside one of them, in time and in memory."""
    net, seen = model.to(device), x[:1].to(device)
    explainer = cfcam.Explainer(net, [get_method(name)], layer=layer)
    calls: dict[str, Callable[[], object]] = {
        "one": lambda: explainer(seen, [0]),
        "all": lambda: explainer(seen, "all"),
    }
    for call in calls.values():
        call()
    times = interleaved(calls, rounds=rounds, budget=4, least=min(3, rounds))
    peaks = {which: peak_of(call, device, calls=min(3, rounds)).used for which, call in calls.items()}
    return {"method": name} | {
        "seconds": {which: times[which].least for which in calls},
        "time": times["all"].least / times["one"].least,
        "memory": peaks["all"] / max(peaks["one"], 1),
    }


def agreement(ours: Tensor, theirs: Tensor) -> tuple[float, float]:
    """Returns the smallest correlation of maps (N, 1, h, w), and the share of those with the same hottest cell.

    Empty maps have neither: pictures of which both are empty are left out (NaN if that is all of them), and one that is
    empty beside one that is not agrees in nothing.
    """
    empty = [(maps.flatten(1) == 0).all(1) for maps in (ours, theirs)]
    some = ~(empty[0] & empty[1])
    if not some.any():
        return math.nan, math.nan
    same = (ours.flatten(1).argmax(1) == theirs.flatten(1).argmax(1)) & ~(empty[0] | empty[1])
    worst = 0.0 if (empty[0] ^ empty[1]).any() else pearson(ours[some], theirs[some])
    return worst, float(same[some].float().mean())


def _line(one: dict[str, Any]) -> list[str]:
    if "why" in one:
        return [one["method"], one["dtype"], "", "", "", "", "", one["why"]]
    return [
        one["method"],
        one["dtype"],
        f"{1e3 * one['seconds']:.1f}",
        f"{one['seconds'] / one['forward']:.2f}",
        f"{one['bytes'] / 1e6:.0f}",
        *(
            ("–", "–", EMPTY)
            if math.isnan(one["pearson"])
            else (f"{one['pearson']:.4f}", f"{one['same_peak']:.0%}", "")
        ),
    ]


def main(arguments: argparse.Namespace) -> None:
    """Measures until all is done, or the time is over."""
    device = arguments.device
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit("error: torch sees no CUDA device here; give --device cpu --quick to rehearse")
    machine.use_threads(arguments.threads)
    end = time.monotonic() + 60 * arguments.minutes
    subject, batch = (TINY, 2) if arguments.quick else (RESNET50, BATCH)
    model, x = subject.build(), pictures(batch, subject.size)
    names = arguments.method or [*(name for name in list_methods() if name not in LAST), *list_pixel_methods(), *LAST]
    found: list[dict[str, Any]] = []
    many: list[dict[str, Any]] = []
    try:
        for name in names:
            rounds = 1 if arguments.quick else 15
            if name in POOLED_METHODS and time.monotonic() < end:
                many.append(all_classes(name, copy.deepcopy(model), x, subject.layer, device, rounds))
            found += of_method(name, model, x, subject.layer, device, end, rounds)
            print(name, *(f"{one['dtype']}: {one.get('why', 'done')}" for one in found if one["method"] == name))
    finally:
        _write(arguments, subject.title, batch, found, many)


def of_method(
    name: str, model: nn.Module, x: Tensor, layer: str, device: str, end: float, rounds: int
) -> list[dict[str, Any]]:
    """Returns a record of a method in each precision; where there is none, why."""
    found: list[dict[str, Any]] = []
    reference = None
    for dtype in DTYPES:
        try:
            if time.monotonic() > end:
                raise TimeoutError("no time was left")
            if reference is None and name not in LAST:
                reference = next(iter(cfcam.explain(model, x, get_method(name), targets=0, layer=layer).maps.values()))
            one = measure(name, copy.deepcopy(model), x, layer, device, dtype, rounds)
        except (CfcamError, RuntimeError, TimeoutError) as error:  # also of memory, or of an operator without a kernel
            found.append({"method": name, "dtype": dtype, "why": describe_first(error)})
            continue
        maps = one.pop("maps")
        reference = maps if reference is None else reference
        one["pearson"], one["same_peak"] = agreement(reference, maps)
        found.append(one)
    return found


def _write(
    arguments: argparse.Namespace, subject: str, batch: int, found: list[dict[str, Any]], many: list[dict[str, Any]]
) -> None:
    columns = ("method", "precision", "ms", "× forward", "MB above forward", "agreement", "same peak", "left out")
    told = f"{subject}, batch {batch}, one class. {HOW.format(short=SHORT)}"
    body = f"{told}\n\n{report.table(columns, [_line(one) for one in found])}"
    rows = [
        (
            one["method"],
            *(f"{1e3 * one['seconds'][which]:.1f}" for which in ("one", "all")),
            *(f"{one[what]:.2f} x" for what in ("time", "memory")),
        )
        for one in many
    ]
    if rows:
        classes = ("method", "one class, ms", f"{CLASSES} classes, ms", "time", "memory")
        body += f"\n\n## All classes\n\n{HOW_CLASSES}\n\n{report.table(classes, rows)}"
    records = {"records": found, "all_classes": many}
    report.write(arguments.out, "gpu", "Each method on a GPU", body, records, arguments.device)

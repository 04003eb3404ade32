"""``python -m benchmarks speed``: methods x libraries, in turn, on the same pictures; a process for each case."""

from __future__ import annotations

import argparse
import copy
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict

import torch

import cfcam
from benchmarks import machine, memory, report
from benchmarks.cases import BARE, Case, Competitor, Row, Rows, Verdict, all_cases, chosen
from benchmarks.libraries import Maps, Scene, pearson, reason_to_skip
from benchmarks.networks import CLASSES, pictures
from benchmarks.timing import interleaved

HEADERS = (
    "case",
    "method",
    "library",
    "batch",
    "K",
    "ms (median)",
    "ms (quartiles)",
    "rounds",
    "× forward",
    "× of least",
    "MB above forward",
    "of its memory",
    "agreement",
    "note",
)
HOW = f"""\
Times are medians over rounds; in each round every competitor of a case runs once, in a random order, in one process
and on a copy of the model of its own. Each case begins in a fresh process: what an earlier one has left in the C
library's heap spares the later ones page faults, by chance. × forward is a ratio of medians to the model under
`torch.inference_mode()` alone, × of least that of the smallest times; "forward again" shows how much they
scatter. MB above forward: from
{memory.HOW};
of its memory: the same as a share of what the bare forward takes beyond the loaded model. Agreement: the smallest
Pearson correlation with our map over images and targets. Weights are random (seed 0, BatchNorm statistics of four
phantoms), pictures are phantoms."""


def scene_of(case: Case, model: torch.nn.Module, x: torch.Tensor, targets: tuple[int, ...]) -> Scene:
    return Scene(model, case.layer or case.subject.layer, case.subject.head, x, targets)


def best_targets(case: Case, model: torch.nn.Module, x: torch.Tensor) -> tuple[int, ...]:
    """Returns the classes with the liveliest Grad-CAM maps: a random network's are often 0, and correlate with none."""
    layer, most = case.layer or case.subject.layer, max(c.targets for c in case.competitors)
    if most == CLASSES:
        return tuple(range(CLASSES))
    maps = cfcam.explain(model, x, "grad-cam", targets=list(range(32)), layer=layer).maps["grad-cam"].flatten(2)
    order = maps.std(-1).amin(0).argsort(descending=True)
    return tuple(order[:most].tolist())


def peak(name: str, key: str, targets: tuple[int, ...], device: str, threads: int, *, quick: bool) -> memory.Peak:
    """Measures one competitor; runs in a process of its own."""
    torch.set_num_threads(threads)
    case = next(case for case in all_cases(quick=quick) if case.name == name)
    competitor = next(c for c in case.all if c.key == key)
    reason_to_skip(competitor.library)
    model = case.subject.build().to(device)
    scene = scene_of(case, model, pictures(case.batch, case.subject.size).to(device), targets[: competitor.targets])
    return memory.peak_of(competitor.adapter(scene), device)


def run_alone(
    name: str, *, device: str, with_memory: bool, quick: bool, threads: int
) -> tuple[Rows, list[Verdict], list[str]]:
    """Measures the case of a name in a new interpreter; see `run`."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_run_alone, name, device, with_memory, quick, threads).result()


def _run_alone(
    name: str, device: str, with_memory: bool, quick: bool, threads: int
) -> tuple[Rows, list[Verdict], list[str]]:
    torch.set_num_threads(threads)
    case = next(case for case in all_cases(quick=quick) if case.name == name)
    return run(case, device=device, with_memory=with_memory, quick=quick)


def run(case: Case, *, device: str, with_memory: bool, quick: bool) -> tuple[Rows, list[Verdict], list[str]]:
    """Measures a case.

    Returns:
        Its rows, what they say about the issue's targets, and what was left out.
    """
    model = case.subject.build().to(device)
    x = pictures(case.batch, case.subject.size).to(device)
    targets = best_targets(case, model, x)
    skipped = {c.library: why for c in case.all if (why := reason_to_skip(c.library))}
    calls: dict[str, Callable[[], Maps]] = {}
    maps: dict[str, Maps] = {}
    competitors = [c for c in case.all if c.library not in skipped]
    for competitor in competitors:
        scene = scene_of(case, copy.deepcopy(model), x, targets[: competitor.targets])
        calls[competitor.key] = competitor.adapter(scene)
        maps[competitor.key] = calls[competitor.key]()  # the first call is also the one that warms up
    own = case.processor_time and device == "cpu"
    clock = time.process_time if own else time.perf_counter
    times = interleaved(calls, rounds=case.rounds, budget=case.budget, clock=clock)
    peaks = {
        c.key: memory.in_fresh_process(_peak, case.name, c.key, targets, device, torch.get_num_threads(), quick)
        for c in competitors
        if with_memory
    }
    rows = dict(_rows(case, competitors, times, maps, peaks))
    notes = [f"{library} is left out: {why}" for library, why in skipped.items()]
    if own:
        notes.append(f"{case.name}: times are the processor's, not the clock's; the machine had other work")
    return rows, case.judge(rows), notes


def _peak(name: str, key: str, targets: tuple[int, ...], device: str, threads: int, quick: bool) -> memory.Peak:
    return peak(name, key, targets, device, threads, quick=quick)


def _rows(case: Case, competitors: list[Competitor], times, maps, peaks) -> Iterator[tuple[str, Row]]:
    bare = next(c.key for c in competitors if c.method == BARE)
    for c in competitors:
        agreement, extra = None, {}
        if c.reference:
            reference = maps[c.reference]
            shared = [pearson(_matching(reference, name), theirs) for name, theirs in maps[c.key].items()]
            agreement = min(shared)
        if peaks:
            above = peaks[c.key].used - peaks[bare].used
            extra = {
                "memory": above,
                "memory_share": above / peaks[bare].used,
                "process_share": above / peaks[bare].highest,
            }
        yield (
            c.key,
            Row(
                case=case.name,
                method=c.method,
                library=c.library,
                batch=case.batch,
                targets=c.targets,
                median=times[c.key].median,
                quartiles=times[c.key].quartiles,
                rounds=len(times[c.key].seconds),
                ratio=times[c.key].median / times[bare].median,
                ratio_of_least=times[c.key].least / times[bare].least,
                agreement=agreement,
                note=c.note,
                **extra,
            ),
        )


def _matching(maps: Maps, name: str) -> torch.Tensor:
    return maps[name] if name in maps else next(iter(maps.values()))


def as_markdown(rows: list[Row], verdicts: list[Verdict], notes: list[str], *, quick: bool) -> str:
    parts = [HOW, report.table(HEADERS, [_cells(row) for row in rows])]
    if verdicts:
        marks = [
            [
                v.what,
                f"{'>=' if v.at_least else '<='} {v.limit:g} {v.unit}".strip(),
                _number(v),
                "-" if quick else _mark(v),
            ]
            for v in verdicts
        ]
        parts += ["## Against the targets", report.table(("what", "must", "measured", ""), marks)]
    return "\n\n".join([*parts, *(f"* {note}" for note in dict.fromkeys(notes))])


def _number(v: Verdict) -> str:
    return f"{v.value:.4f}" if not v.unit else f"{v.value:.2f} {v.unit}"


def _mark(v: Verdict) -> str:
    return "pass" if v.passed else "MISS"


def _cells(row: Row) -> list[str]:
    low, high = row.quartiles
    return [
        row.case,
        row.method,
        row.library,
        str(row.batch),
        str(row.targets or "-"),
        f"{1e3 * row.median:.1f}",
        f"{1e3 * low:.1f} to {1e3 * high:.1f}",
        str(row.rounds),
        f"{row.ratio:.3f}",
        f"{row.ratio_of_least:.3f}",
        "-" if row.memory is None else f"{row.memory / 1e6:+.0f}",
        "-" if row.memory_share is None else f"{100 * row.memory_share:+.0f} %",
        "-" if row.agreement is None else f"{row.agreement:.5f}",
        row.note,
    ]


def main(arguments: argparse.Namespace) -> None:
    machine.use_threads(arguments.threads)
    with_memory = not (arguments.no_memory or arguments.quick)
    rows: list[Row] = []
    verdicts: list[Verdict] = []
    notes = ["quick: tiny shapes; the figures mean nothing"] if arguments.quick else []
    if not with_memory:
        notes.append("memory is not measured in this form")
    for case in chosen(all_cases(quick=arguments.quick), arguments.only):
        print(f"{case.name} ...", file=sys.stderr, flush=True)
        found, judged, skipped = run_alone(
            case.name,
            device=arguments.device,
            with_memory=with_memory,
            quick=arguments.quick,
            threads=torch.get_num_threads(),
        )
        rows += found.values()
        verdicts += judged
        notes += skipped
    data = {
        "rows": [asdict(row) for row in rows],
        "verdicts": [asdict(v) | {"passed": v.passed} for v in verdicts],
        "notes": list(dict.fromkeys(notes)),
    }
    body = as_markdown(rows, verdicts, notes, quick=arguments.quick)
    report.write(arguments.out, "speed", "Speed: methods × libraries", body, data, arguments.device)

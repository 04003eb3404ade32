"""``python -m benchmarks profile``: the operators that an explanation spends its time in."""

from __future__ import annotations

import argparse
from typing import Any

from torch.profiler import ProfilerActivity, profile

import cfcam
from benchmarks import machine, report
from benchmarks.networks import RESNET50, TINY, pictures

METHODS = ("grad-cam", "cf-cam")
TOP = 12
CALLS = 5


def operators(explainer: cfcam.Explainer, x: Any, calls: int = CALLS) -> list[dict[str, Any]]:
    """Returns operators with their own milliseconds and share in one call, the largest first."""
    explainer(x, 0)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(calls):
            explainer(x, 0)
    events = sorted(profiler.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    return [
        {
            "operator": event.key,
            "ms": event.self_cpu_time_total / calls / 1e3,
            "share": event.self_cpu_time_total / total,
            "times": event.count / calls,
        }
        for event in events
    ]


def main(arguments: argparse.Namespace) -> None:
    machine.use_threads(arguments.threads)
    subject, batch = (TINY, 2) if arguments.quick else (RESNET50, 8)
    model, x = subject.build(), pictures(batch, subject.size)
    found = {m: operators(cfcam.Explainer(model, m, layer=subject.layer), x) for m in METHODS}
    parts = [
        f"{subject.title}, batch {batch}, K = 1, the last block; own time of each operator, mean of {CALLS} calls."
    ]
    for method, records in found.items():
        rows = [
            [r["operator"], f"{r['ms']:.2f}", f"{100 * r['share']:.1f} %", f"{r['times']:g}"] for r in records[:TOP]
        ]
        total = sum(r["ms"] for r in records)
        parts += [f"## {method}: {total:.0f} ms", report.table(("operator", "ms", "share", "calls"), rows)]
    top = {method: records[:TOP] for method, records in found.items()}
    report.write(arguments.out, "profile", "Where the time goes", "\n\n".join(parts), {"operators": top})

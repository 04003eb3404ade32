"""What a figure was measured on: without it, it means nothing."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

_LOAD = os.getloadavg()[0]  # before this process adds to it

PACKAGES = ("cfcam", "torch", "numpy", "transformers", "captum", "torchcam", "monai", "grad-cam", "isal")


def use_threads(count: int | None = None) -> None:
    """Lets torch use all processors this process may run on, or ``count``."""
    torch.set_num_threads(count or len(os.sched_getaffinity(0)))


def describe(device: str = "cpu") -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        "commit": _commit(),
        "cpu": _cpu(),
        "processors": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "load_average": round(_LOAD, 2),
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": platform.platform(),
        "versions": {"python": platform.python_version()} | {p: _version(p) for p in PACKAGES},
    }


def lines(machine: dict[str, Any]) -> str:
    """The same as a Markdown list."""
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items() if number)
    device = f"device {machine['device']}, load average {machine['load_average']} at the start"
    return "\n".join(
        [
            f"* {machine['date']}, commit {machine['commit']}: `{machine['command']}`",
            f"* {machine['cpu']}, {machine['processors']} processors, {machine['memory_gb']} GB",
            f"* {machine['threads']} torch threads, {device}",
            f"* {machine['system']}; {versions}",
        ]
    )


def _cpu() -> str:
    info = dict(
        line.split(":", 1) for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if ":" in line
    )
    names = {key.strip(): value.strip() for key, value in info.items()}
    model = f"family {names.get('cpu family')} model {names.get('model')}"
    return f"{names.get('model name', platform.processor())} ({model})"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str:
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    found = subprocess.run(git, capture_output=True, text=True, check=False)  # noqa: S603
    return found.stdout.strip() or "unknown"

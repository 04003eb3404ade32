"""``python -m benchmarks start``: what a user waits for before anything is computed."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks import report
from benchmarks.timing import interleaved

COMMANDS = {
    "python": [sys.executable, "-c", "pass"],
    "import torch": [sys.executable, "-c", "import torch"],
    "import cfcam": [sys.executable, "-c", "import cfcam"],
    "import cfcam; cfcam.explain": [sys.executable, "-c", "import cfcam; cfcam.explain"],
    "cfcam --help": [str(Path(sys.executable).with_name("cfcam")), "--help"],
}


def main(arguments: argparse.Namespace) -> None:
    def start(command: list[str]) -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603

    calls = {name: lambda command=command: start(command) for name, command in COMMANDS.items()}
    for call in calls.values():
        call()  # files into the page cache
    times = interleaved(calls, rounds=3 if arguments.quick else 7, budget=float("inf"))
    torch = times["import torch"].median
    musts = {"import cfcam": torch + 0.2, "import cfcam; cfcam.explain": torch + 0.2, "cfcam --help": 0.5}
    lines = [
        [
            name,
            f"{found.median:.2f}",
            "{:.2f} to {:.2f}".format(*found.quartiles),
            f"<= {musts[name]:.2f}" if name in musts else "-",
            ("pass" if found.median <= musts[name] else "MISS") if name in musts else "-",
        ]
        for name, found in times.items()
    ]
    table = report.table(("command", "s (median)", "quartiles", "must", ""), lines)
    text = "Wall time of a new process, in turn. Must: torch's import + 0.2 s; `cfcam --help` 0.5 s."
    data = {name: found.seconds for name, found in times.items()}
    report.write(arguments.out, "start", "Import and start", f"{text}\n\n{table}", {"seconds": data, "must": musts})

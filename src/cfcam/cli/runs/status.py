"""``cfcam status``: how far a run is, from its output alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from cfcam.cli.command import Checked, Command
from cfcam.cli.output.console import out, plain, print_json
from cfcam.errors import InputError

if TYPE_CHECKING:
    from cfcam.jobs.runs.status import Status as Found


def _folder(path: Path) -> None:
    if not path.is_dir():
        raise InputError(f"{path}: is no folder; give the output folder, or the store, of a run")


@dataclass(frozen=True, kw_only=True)
class Status(Command):
    """Say how far a run is: progress, rate, time left, failures by kind.

    OUTPUT is what cfcam explain or evaluate writes into: a folder, or a store. It may be running, stopped, finished, or
    shared out among shards; nothing is written, and no run is disturbed.
    """

    examples: ClassVar[str] = """
**Examples**

    cfcam status output/

    watch -n 10 cfcam status maps.zarr

    cfcam status output/ --json

Exit codes: 0 told · 2 wrong usage.
"""

    output: Annotated[
        Path,
        typer.Argument(metavar="OUTPUT", help="The output folder, or the store, of a run.", show_default=False),
        Checked(_folder),
    ]
    json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False

    def __call__(self) -> None:
        """Tells it."""
        from cfcam.jobs.runs.status import status

        found = status(self.output)
        if self.json:
            print_json(found.plain())
            return
        for line in told(found):
            out().print(plain(line), soft_wrap=True, highlight=False)


def told(found: Found) -> list[str]:
    """Returns a status in words, a line for each part of it."""
    from cfcam.cli.output.ahead import duration
    from cfcam.cli.output.run import speed

    settled = found.done + found.failed
    share = f" ({settled / found.inputs:.0%})".replace("%", " %") if found.inputs else ""
    words = [f"{found.job}, {found.state}: {settled} of {found.inputs}{share}"]
    words += [f"{found.failed} failed"] if found.failed else []
    words += [speed(found.rate)] if found.rate > 0 else []
    words += [f"{duration(found.seconds_left)} left"] if found.seconds_left is not None else []
    lines = [", ".join(words)]
    lines += [f"  {count} x {kind}" for kind, count in found.failures.items()]
    if found.shares[0].shard:
        lines += [
            f"  shard {one.shard}: {one.state}, {one.settled} of {one.inputs}"
            + (f", {speed(one.rate)}" if one.rate > 0 else "")
            for one in found.shares
        ]
    if found.slowest:
        whole = sum(found.stages.values())
        lines.append(
            f"  slowest: {found.slowest} ({found.stages[found.slowest] / whole:.0%} of the time)".replace("%", " %")
        )
    return lines

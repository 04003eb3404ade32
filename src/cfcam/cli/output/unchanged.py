"""What a command says that finds everything as it left it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from cfcam.cli.output.console import out, plain

if TYPE_CHECKING:
    from cfcam.log import Log


def show_unchanged(count: int, output: Path, *, quiet: bool, log: Log | None) -> None:
    """Says that all inputs are done and that nothing has changed since.

    Args:
        count: of the inputs.
        output: where their maps are.
        quiet: say nothing to people.
        log: what programs are told in.
    """
    if log is not None:
        counts = {"settled": count, "inputs": count, "done": 0, "skipped": count, "failed": 0}
        log.info("ended", task="explaining", **counts, unchanged=True)
    if quiet:
        return
    inputs = "1 input" if count == 1 else f"all {count} inputs"
    line = Text(f"{inputs} already done, and nothing has changed since", style="bold")
    line.append(f" -> {plain(output)}/")
    out().print(line, soft_wrap=True)
    out().print(Text("--verify looks at what is in the files, and loads the network", style="dim"), soft_wrap=True)

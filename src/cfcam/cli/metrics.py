"""``cfcam metrics``: the columns of the scorecard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer

from cfcam.cli.command import Command
from cfcam.cli.output.console import out, print_json


@dataclass(frozen=True, kw_only=True)
class Metrics(Command):
    """List the metrics of cfcam evaluate: what each measures, which way is better, what it needs, where it is defined.

    Those of the choice "quick" are marked with a star.
    """

    examples: ClassVar[str] = """
**Examples**

    cfcam metrics

    cfcam metrics --json | jq '.[] | select(.group == "faithfulness").name'
"""

    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False

    def __call__(self) -> None:
        """Shows a table, or JSON."""
        from cfcam.jobs.evaluate.words import meaning, needs
        from cfcam.metrics.scorecard.catalogue import CATALOGUE, METRICS, QUICK

        rows = [
            {
                "name": info.name,
                "title": info.title,
                "group": info.group,
                "higher_is_better": info.higher_is_better,
                "unit": info.unit,
                "source": info.source,
                "needs": needs(info.name),
                "what": meaning(info.name),
                "quick": info.name in QUICK,
            }
            for info in map(METRICS.__getitem__, CATALOGUE)
        ]
        if self.as_json:
            print_json(rows)
            return
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
        for title, ratio in (
            ("metric", 0),
            ("group", 0),
            ("better", 0),
            ("what it measures", 5),
            ("needs", 2),
            ("source", 2),
        ):
            table.add_column(title, no_wrap=not ratio, ratio=ratio or None)
        for info in map(METRICS.__getitem__, CATALOGUE):
            direction = {True: "higher", False: "lower", None: ""}[info.higher_is_better]
            table.add_row(
                Text(f"{info.name}{'*' if info.name in QUICK else ''}", "cyan"),
                Text(info.group),
                Text(", ".join(filter(None, (direction, info.unit)))),
                Text(meaning(info.name)),
                Text(needs(info.name)),
                Text(info.source, "dim"),
            )
        console = out()
        console.print(table)
        console.print(Text("* of the choice quick; also to be given: the name of a group, or all", style="dim"))

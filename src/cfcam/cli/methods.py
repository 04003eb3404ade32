"""``cfcam methods``: the methods on offer."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer

from cfcam.cli.command import Command
from cfcam.cli.output.console import out, print_json

AROUND = (
    "From Python, around any of these: Augmented (flips, zooms), Fusion (several layers), SESS (windows of a large"
    " picture); docs/methods/relatives.md and rivals.md"
)


@dataclass(frozen=True, kw_only=True)
class Methods(Command):
    """List the methods: what each is for, its passes, whether it takes gradients, what the scorecard says of it.

    The backward pass covers only what lies behind the target layer. All methods of one run share their
    passes. --json tells also what each does and where it comes from; docs/methods has a page of each.
    """

    examples: ClassVar[str] = """
**Examples**

    cfcam methods

    cfcam methods --json | jq '.[] | select(.name == "winsor-cam")'
"""

    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False

    def __call__(self) -> None:
        """Shows a table, or JSON."""
        from cfcam.methods import list_methods, list_pixel_methods, list_text_methods
        from cfcam.methods.measured import NOT_MEASURED

        rows = [describe(name) for name in (*list_methods(), *list_pixel_methods(), *list_text_methods())]
        if self.as_json:
            print_json(rows)
            return
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="bold")
        for title in ("method", "what it is for", "passes", "gradients", "the scorecard says"):
            table.add_column(title, no_wrap=title == "method", overflow="fold")
        for row in rows:
            plain = [Text(row[key]) for key in ("for", "cost", "gradients")]
            style = "dim" if row["scorecard"] == NOT_MEASURED else ""
            table.add_row(Text(row["name"], "cyan"), *plain, Text(row["scorecard"], style))
        out().print(table)
        out().print(Text(AROUND, style="dim"))


def describe(name: str) -> dict[str, str]:
    """Returns what is told of a method, by name, mostly as its docstrings have it."""
    from cfcam.methods import get_method, measured, purpose

    method = get_method(name)
    kind = type(method)
    documented = inspect.getdoc(kind) or ""
    what = documented.split("\n\n")[0]
    preset = getattr(kind, method.label.removeprefix(f"{method.name}-"), None) if method.label != method.name else None
    if preset is not None:
        what = (inspect.getdoc(preset) or "").split("\n\n")[0]
    source = re.search(r"^Source: (.*?)(?:\n\n|\Z)", documented, re.DOTALL | re.MULTILINE)
    return {
        "name": name,
        "what": " ".join(what.replace("`", "").split()),
        "for": purpose(name),
        "cost": method.cost,
        "gradients": "yes" if method.needs_gradients else "no",
        "scorecard": measured.said(name),
        "source": " ".join(source[1].split()) if source else "",
    }

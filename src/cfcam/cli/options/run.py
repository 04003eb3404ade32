"""What a command says while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer

from cfcam.cli.command import Command
from cfcam.cli.output.panels import Panel


@dataclass(frozen=True, kw_only=True)
class Run(Command):
    """Options of commands that run a network."""

    panel: ClassVar[Panel | None] = Panel.RUN

    as_json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON to stdout.")] = False
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error.", rich_help_panel=Panel.RUN)
    ] = False


@dataclass(frozen=True, kw_only=True)
class LongRun(Run):
    """Options of commands that run for long."""

    panel: ClassVar[Panel | None] = Panel.RUN

    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False

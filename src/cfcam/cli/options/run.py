"""What a command says while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer

from cfcam.cli.command import Checked, Command
from cfcam.cli.output.panels import Panel
from cfcam.jobs.inputs.shard import Shard
from cfcam.log import Log


@dataclass(frozen=True, kw_only=True)
class Run(Command):
    """Options of commands that run a network."""

    panel: ClassVar[Panel | None] = Panel.RUN

    as_json: Annotated[
        bool, typer.Option("--json", help="Print a summary as JSON to stdout, and nothing else there.")
    ] = False
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error.", rich_help_panel=Panel.RUN)
    ] = False


@dataclass(frozen=True, kw_only=True)
class LongRun(Run):
    """Options of commands that run for long."""

    panel: ClassVar[Panel | None] = Panel.RUN

    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False


@dataclass(frozen=True, kw_only=True)
class ManyInputs(LongRun):
    """Options of commands whose inputs may be more than one machine is to work on."""

    panel: ClassVar[Panel | None] = Panel.RUN

    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Take one of N shares of the inputs, such as 1/4; without it the same command joins them.",
            rich_help_panel=Panel.RUN,
        ),
        Checked(Shard.parse),
    ] = None

    log_json: Annotated[
        bool,
        typer.Option(
            "--log-json",
            help="Say how far it is as JSON, one object a line on stderr; an input is named if it fails.",
            rich_help_panel=Panel.RUN,
        ),
    ] = False

    @property
    def silent(self) -> bool:
        """Whether stderr is to hold no words for people."""
        return self.quiet or self.log_json

    def log(self) -> Log | None:
        """What progress is told to in place of people; None: to people."""
        return Log(as_json=True) if self.log_json else None

    @property
    def share(self) -> Shard | None:
        """The share that is taken; None: all inputs."""
        return None if self.shard is None else Shard.parse(self.shard)

"""``cfcam COMMAND --help`` shows the options of every day, ``--help TOPIC`` one panel whole, ``--help all`` all."""

from __future__ import annotations

from collections import Counter
from copy import copy
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cfcam.cli.output.console import EXIT_USAGE, error
from cfcam.cli.output.panels import Panel

if TYPE_CHECKING:
    from collections.abc import Iterator

_TOPIC = f"{__name__}.topic"
_ALL = "all"


def folding(kind: type[Any], everyday: str) -> type[Any]:
    """Returns the class of a command of typer whose help shows some options and folds the others.

    They are folded in the help alone: completion, the reference and the parser know them all.

    Args:
        kind: the class that it is without.
        everyday: names of the parameters to show, with spaces between; with none nothing is folded.
    """
    names = frozenset(everyday.split())

    class Folding(kind):  # type: ignore[misc]  # one of two classes
        def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
            ctx.meta[_TOPIC] = _after_help(args, ctx.help_option_names)
            return super().parse_args(ctx, args)

        def format_help(self, ctx: typer.Context, formatter: Any) -> None:
            topics = [panel.topic for panel in _folded(self.params, names)]
            topic = ctx.meta.get(_TOPIC) if topics else None
            if topic is not None and topic not in (*topics, _ALL):
                if topic.isalpha() and topic not in getattr(self, "commands", ()) and not Path(topic).exists():
                    error(f"--help {topic}: there is no such topic; give {', '.join(topics)} or {_ALL}")
                    raise typer.Exit(EXIT_USAGE)
                topic = None  # a path, an option or a command, which help passes over
            super(Folding, _shown(self, ctx.command_path, topic, names)).format_help(ctx, formatter)

    return Folding if everyday else kind


def _after_help(args: list[str], names: list[str]) -> str | None:
    """The word behind ``--help``, if there is one."""
    for flag, word in pairwise(args):
        if flag == "--":
            break
        if flag in names:
            return word
    return None


def _folded(params: list[Any], everyday: frozenset[str]) -> Iterator[Panel]:
    """The panels of which something is not shown at once."""
    for panel in Panel:
        if any(_panel(param) == panel and param.name not in everyday for param in params):
            yield panel


def _panel(param: Any) -> str | None:
    return getattr(param, "rich_help_panel", None)


def _shown(command: Any, path: str, topic: str | None, everyday: frozenset[str]) -> Any:
    """A copy of a command with the options that are asked for, and with what else can be asked for."""
    shown = copy(command)
    if topic == _ALL:
        return shown
    folded = list(_folded(command.params, everyday))
    if topic is not None:
        shown.params = [param for param in command.params if _panel(param) in (None, Panel[topic.upper()])]
        shown.help, shown.epilog = None, None
        return shown
    shown.params = [param for param in command.params if _panel(param) is None or param.name in everyday]
    more = Counter(_panel(param) for param in command.params if param not in shown.params)
    width = max(len(panel.topic) for panel in folded)
    lines = [f"    {path} --help {panel.topic:<{width}}    {panel}: {more[panel]} more" for panel in folded]
    lines.append(f"    {path} --help {_ALL:<{width}}    all options")
    shown.epilog = "\n\n".join([command.epilog or "", "**More options**", *lines])
    return shown

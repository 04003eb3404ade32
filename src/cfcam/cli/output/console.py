"""Where the command line writes, and how its commands end: results on stdout, everything said about them on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from typing import Any, TextIO

import typer
from rich.console import Console
from rich.text import Text

from cfcam.errors import without_name

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

_FILE_WIDTH = 140  # of tables that go to a file or a pipe


def out() -> Console:
    """Returns the console for results."""
    return Console(highlight=False, emoji=False, width=None if sys.stdout.isatty() else _FILE_WIDTH)


def err() -> Console:
    """Returns the console for progress, warnings and errors."""
    return Console(stderr=True, highlight=False, emoji=False)


def plain(text: object) -> str:
    """Returns a text that every terminal can be given: no control characters, no halves of surrogate pairs."""
    shown = str(text).encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in shown)


def failure(name: object, reason: object) -> str:
    """Returns a line on an input that failed: its name once, though a reason that was read of a file begins with it."""
    return f"{plain(name)}: {plain(without_name(reason, name))}"


def say(kind: str, message: object, style: str) -> None:
    """Writes one line, ``kind: message``, to stderr; nothing in the message is taken for markup."""
    err().print(Text.assemble((f"{kind}: ", style), plain(message)), soft_wrap=True)


def error(message: object) -> None:
    """Says what went wrong."""
    say("error", message, "bold red")


def warn(message: object) -> None:
    """Says what the user should know."""
    say("warning", message, "yellow")


def hint(message: object) -> None:
    """Says what is good to know."""
    say("note", message, "cyan")


@contextmanager
def prints_to_stderr(wanted: bool) -> Iterator[TextIO]:
    """Yields stdout, which is for one JSON text where that is wanted: what a network prints goes to stderr then."""
    stdout = sys.stdout
    with redirect_stdout(sys.stderr) if wanted else nullcontext():
        yield stdout


def print_json(values: Any, stdout: TextIO | None = None) -> None:
    """Writes plain values to stdout as JSON, which has no numbers that are not finite: they are null."""
    import json

    from cfcam.files import without_nan

    typer.echo(json.dumps(without_nan(values), indent=2, default=str, allow_nan=False), file=stdout)

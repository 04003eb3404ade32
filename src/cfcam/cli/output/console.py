"""Where the command line writes, and how its commands end: results on stdout, everything said about them on stderr."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any, ParamSpec

import typer
from rich.console import Console
from rich.text import Text

from cfcam.cli.arguments import words as arguments
from cfcam.errors import CfcamError

P = ParamSpec("P")

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

RESUMABLE = ("explain", "evaluate", "compare", "evidence")
"""Commands that go on where they were stopped."""

_GOES_ON = "give the same command again, and it goes on where it stopped"
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


def command(function: Callable[P, None]) -> Callable[P, None]:
    """Makes of every error one line and an exit code; with ``debug`` the traceback stands before the line."""

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        debug, module = bool(kwargs.get("debug")), function.__module__.rpartition(".")[2]
        try:
            arguments.check(kwargs, module)
            function(*args, **kwargs)
        except KeyboardInterrupt:
            goes_on = module in RESUMABLE
            say("interrupted", _GOES_ON if goes_on else "give the command again to start anew", "yellow")
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except BrokenPipeError:
            # The reader of a pipe has seen enough; without this Python complains when it closes stdout.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(EXIT_FAILED) from None
        except CfcamError as problem:
            _show(problem, debug, str(problem))
            raise typer.Exit(EXIT_USAGE) from problem
        except (typer.Exit, typer.Abort):
            raise
        except Exception as problem:
            first = next((line.strip() for line in str(problem).splitlines() if line.strip()), "no message")
            again = "" if debug else "; run again with --debug to see where"
            _show(problem, debug, f"{type(problem).__name__}: {first}{again}")
            raise typer.Exit(EXIT_FAILED) from problem

    return guarded


def _show(problem: Exception, debug: bool, message: str) -> None:
    if debug:
        import traceback

        sys.stderr.write("".join(traceback.format_exception(problem)))
    error(" ".join(message.split()))


def print_json(values: Any) -> None:
    """Writes plain values to stdout as JSON."""
    import json

    typer.echo(json.dumps(values, indent=2, default=str))

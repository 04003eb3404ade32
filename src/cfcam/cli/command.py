"""A command is a dataclass: its fields are the options, its docstring is the help, and calling it does the work.

```python
@dataclass(frozen=True, kw_only=True)
class Greet(Command):
    \"\"\"Greet somebody.\"\"\"

    name: Annotated[str, typer.Argument(help="Whom to greet.")]
    times: Annotated[int, typer.Option(help="How often."), Checked(not_too_often)] = 1

    def __call__(self) -> None:
        out().print(f"Hello {self.name}. " * self.times)


add(app, Greet)
```

Options that several commands have are fields of a class that these inherit: see `cfcam.cli.options`.
"""

from __future__ import annotations

import functools
import inspect
import os
import signal
import sys
import threading
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import MISSING, Field, dataclass, fields
from typing import Annotated, Any, ClassVar

import typer
from typer.models import ArgumentInfo, OptionInfo

from cfcam.cli.output.console import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, error, say
from cfcam.cli.output.help import folding
from cfcam.cli.output.panels import Panel
from cfcam.errors import CfcamError, DiskError, describe_first, is_full
from cfcam.log import Log
from cfcam.shown import DEEPER

_GOES_ON = "give the same command again, and it goes on where it stopped"


@dataclass(frozen=True)
class Checked:
    """Stands in a field's annotation: what its value has to pass, unless it is None, before anything heavy is imported.

    Attributes:
        check: raises a `CfcamError` that says what is due.
    """

    check: Callable[[Any], object]


@dataclass(frozen=True, kw_only=True)
class Command(ABC):
    """What all commands have. One whose arguments cannot be right, whatever the network, cannot be made.

    Attributes:
        examples: what stands below the help.
        everyday: options that the help shows at once, with spaces between; it folds all others. Empty: it shows all.
        panel: where the options stand that the class brings; without one, where those of the class that inherits stand.
        goes_on: whether a stopped run goes on when the command is given again.
    """

    examples: ClassVar[str] = ""
    everyday: ClassVar[str] = ""
    panel: ClassVar[Panel | None] = None
    goes_on: ClassVar[bool] = False

    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False

    def __post_init__(self) -> None:
        """Looks at one argument after the other; classes that know how some belong together look at these then."""
        for name, check in checks(type(self)).items():
            value = getattr(self, name)
            if value is not None:
                check(value)

    @abstractmethod
    def __call__(self) -> None:
        """Does the work."""

    def given(self, panel: Panel) -> list[str]:
        """Names of the options of a panel that have another value than their default."""
        of_panel = [field for field in fields(self) if _panel(type(self), field.name) is panel]
        return [field.name for field in of_panel if getattr(self, field.name) != field.default]


def add(app: typer.Typer, *commands: type[Command]) -> None:
    """Registers commands, each by its class's name in small letters."""
    for command in commands:
        kind = folding(typer.core.TyperCommand, command.everyday)
        app.command(command.__name__.lower(), epilog=command.examples or None, cls=kind)(function_of(command))


def function_of(command: type[Command]) -> Callable[..., None]:
    """Returns the function that typer asks for: it has a parameter for each field.

    They come in the order of the panels, and in a panel as dataclasses inherit, those of the last base first.

    Raises:
        TypeError: nothing says what a field is on the command line.
    """
    order = [None, *Panel]
    panels = {field.name: _panel(command, field.name) for field in fields(command)}
    known = sorted(fields(command), key=lambda field: (order.index(panels[field.name]), field.name == "debug"))
    parameters = [_parameter(command, field, panels[field.name]) for field in known]

    def run(**given: Any) -> None:
        log = Log(as_json=True) if given.get("log_json") else None
        with _told_in_one_line(command, debug=given["debug"], log=log):
            command(**given)()

    run.__name__, run.__doc__, run.__module__ = command.__name__.lower(), command.__doc__, command.__module__
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


@functools.cache
def checks(command: type[Command]) -> Mapping[str, Callable[[Any], object]]:
    """Returns the check of each field that has one."""
    found = {name: getattr(hint, "__metadata__", ()) for name, hint in _hints(command).items()}
    return {name: one.check for name, more in found.items() for one in more if isinstance(one, Checked)}


@functools.cache
def _hints(command: type[Command]) -> Mapping[str, Any]:
    return typing.get_type_hints(command, include_extras=True)


def _option(command: type[Command], name: str) -> OptionInfo | ArgumentInfo | None:
    more = getattr(_hints(command)[name], "__metadata__", ())
    return next((one for one in more if isinstance(one, (OptionInfo, ArgumentInfo))), None)


def _panel(command: type[Command], name: str) -> Panel | None:
    """The panel that an option states, else that of the first class, from `Command` on, that has it and a panel."""
    option = _option(command, name)
    if not isinstance(option, OptionInfo):
        return None
    owners = (one for one in reversed(command.__mro__) if name in getattr(one, "__dataclass_fields__", ()))
    stated = option.rich_help_panel or next(filter(None, (vars(one).get("panel") for one in owners)), None)
    return None if stated is None else Panel(stated)


def _parameter(command: type[Command], field: Field[Any], panel: Panel | None) -> inspect.Parameter:
    hint = _hints(command)[field.name]
    option = _option(command, field.name)
    if option is not None:
        option = copy(option)
        option.rich_help_panel = panel
        hint = Annotated.__class_getitem__((hint.__origin__, option))  # type: ignore[attr-defined]
    elif hint is not typer.Context:
        due = "annotate it with typer.Option or typer.Argument"
        raise TypeError(f"{command.__name__}.{field.name}: is not said to be an option or an argument; {due}")
    default = inspect.Parameter.empty if field.default is MISSING else field.default
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)


_ENDS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Terminated(SystemExit):
    """The process was asked to end: by a scheduler, a service manager, a machine or a terminal that goes away."""


@contextmanager
def terminable() -> Iterator[None]:
    """Raises `Terminated` where SIGTERM or SIGHUP comes, as Ctrl-C raises KeyboardInterrupt: all ends cleanly.

    Only once; what comes while that goes on is passed over. A handler of another's, and of a thread, stays; so does
    that SIGHUP is passed over, under nohup(1).
    """
    free = [number for number in _ENDS if signal.getsignal(number) is signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():
        free = []

    def stop(number: int, frame: object) -> None:
        for one in free:
            signal.signal(one, signal.SIG_IGN)
        _leave_dead_terminal()
        raise Terminated(128 + number)  # as shells call it

    for one in free:
        signal.signal(one, stop)
    try:
        yield
    finally:
        for one in free:
            signal.signal(one, signal.SIG_DFL)


def _leave_dead_terminal() -> None:
    """Has nobody hear what nobody can: what is written to a terminal that is gone would be an error of its own."""
    for stream in (1, 2):
        try:
            os.write(stream, b"")
        except OSError:
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)


@contextmanager
def _told_in_one_line(command: type[Command], *, debug: bool, log: Log | None) -> Iterator[None]:
    """Makes of every error one line, and an exit code; with ``debug`` the traceback stands before the line.

    With a log the line is one of the log's, so that whatever collects them finds nothing else on stderr.
    """
    try:
        with terminable():
            yield
    except (KeyboardInterrupt, Terminated) as stop:
        then = _GOES_ON if command.goes_on else "give the command again to start anew"
        if log is None:
            say("interrupted", then, "yellow")
        else:
            log.warn("interrupted", then=then)
        raise typer.Exit(stop.code if isinstance(stop, Terminated) else EXIT_INTERRUPTED) from None  # type: ignore[arg-type]
    except BrokenPipeError:
        # The reader of a pipe has seen enough; without this Python complains when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(EXIT_FAILED) from None
    except CfcamError as problem:
        _tell(problem, debug, _as_options(str(problem), command), log)
        raise typer.Exit(EXIT_FAILED if is_full(problem) else EXIT_USAGE) from problem
    except (typer.Exit, typer.Abort):
        raise
    except Exception as problem:
        again = "" if debug else "; run again with --debug to see where"
        full = str(DiskError("the disk", problem)) if isinstance(problem, OSError) and is_full(problem) else ""
        _tell(problem, debug, full or f"{describe_first(problem, 1000)}{again}", log)
        raise typer.Exit(EXIT_FAILED) from problem


def _as_options(message: str, command: type[Command]) -> str:
    """Returns an error of the library in words of a command, which may have no option for subfolders."""
    own = any(one.name == "recursive" for one in fields(command))
    return message.replace(f"({DEEPER})", "(--recursive)" if own else "(name them: FOLDER/*)")


def _tell(problem: Exception, debug: bool, message: str, log: Log | None) -> None:
    if debug:
        import traceback

        sys.stderr.write("".join(traceback.format_exception(problem)))
    line = " ".join(message.split())
    if log is None:
        error(line)
    else:
        log.error("failed", kind=type(problem).__name__, error=line)

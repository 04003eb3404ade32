"""A dataclass as a command: what its fields are on the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import pytest
import typer
from typer.testing import CliRunner

from cfcam.cli.command import Checked, Command, add, function_of, terminable
from cfcam.cli.output.panels import Panel
from cfcam.errors import InputError


def not_nine(number):
    if number == 9:
        raise InputError("--number 9: give another")


@dataclass(frozen=True, kw_only=True)
class Shared(Command):
    """Options of several commands."""

    panel: ClassVar[Panel | None] = Panel.NETWORK

    number: Annotated[int, typer.Option(help="How many."), Checked(not_nine)] = 1
    loud: Annotated[bool, typer.Option("--loud", help="In capitals.")] = False


@dataclass(frozen=True, kw_only=True)
class Plain(Shared):
    """Print what was given."""

    word: Annotated[list[str] | None, typer.Option(help="Words.")] = None

    def __call__(self):
        typer.echo(f"{self.number} {self.loud} {self.word}")


@dataclass(frozen=True, kw_only=True)
class Other(Shared):
    """Print a file too."""

    examples: ClassVar[str] = "cfcam other x"
    panel: ClassVar[Panel | None] = Panel.RUN

    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file.")]
    number: Annotated[int, typer.Option(help="How many of them."), Checked(not_nine)] = 7
    extra: Annotated[str | None, typer.Option(help="More.")] = None

    def __call__(self):
        typer.echo(f"{self.number} {self.file}")


@dataclass(frozen=True, kw_only=True)
class Failing(Command):
    """Fail."""

    kind: Annotated[str, typer.Argument()]
    log_json: Annotated[bool, typer.Option("--log-json")] = False

    def __call__(self):
        raise {"ours": InputError("two\nlines"), "theirs": ZeroDivisionError("by nought"), "stop": KeyboardInterrupt}[
            self.kind
        ]


@pytest.fixture
def call():
    app = typer.Typer(pretty_exceptions_enable=False)
    add(app, Plain, Other, Failing)
    return lambda *typed: CliRunner(env={"COLUMNS": "120"}).invoke(app, list(typed))


def test_fields_are_options_with_their_defaults(call):
    assert call("plain").stdout == "1 False None\n"


def test_a_flag_a_number_and_a_repeated_option(call):
    assert call("plain", "--loud", "--number", "3", "--word", "a", "--word", "b").stdout == "3 True ['a', 'b']\n"
    assert call("plain", "--number", "three").exit_code == 2


def test_an_inherited_field_that_is_given_again_has_the_new_default_and_text_in_the_old_place(call):
    assert call("other", "x").stdout == "7 x\n"
    shown = call("other", "--help").stdout
    network, run = shown.index("The network"), shown.index("The run")
    assert network < shown.index("How many of them.") < run < shown.index("More.")
    assert "How many." not in shown


def test_a_field_without_default_has_to_be_given(call):
    result = call("other")
    assert result.exit_code == 2
    assert "FILE" in result.stderr


def test_the_docstring_is_the_help_and_the_examples_stand_below(call):
    shown = call("other", "--help").stdout
    assert shown.index("Print a file too.") < shown.index("The file.") < shown.index("cfcam other x")


def test_a_check_is_of_the_field_also_where_it_is_inherited_and_gives_one_line(call):
    for command in (["plain"], ["other", "x"]):
        result = call(*command, "--number", "9")
        assert (result.exit_code, result.stderr) == (2, "error: --number 9: give another\n")


def test_options_that_were_given_are_told_by_their_panel():
    assert Plain(number=2).given(Panel.NETWORK) == ["number"]
    assert Plain(word=["a"]).given(Panel.NETWORK) == []


@pytest.mark.parametrize(
    ("kind", "code", "said"),
    [
        ("ours", 2, "error: two lines\n"),
        ("theirs", 1, "error: ZeroDivisionError: by nought; run again with --debug to see where\n"),
        ("stop", 130, "interrupted: give the command again to start anew\n"),
    ],
)
def test_errors_are_one_line(call, kind, code, said):
    result = call("failing", kind)
    assert (result.exit_code, result.stderr) == (code, said)


def test_with_debug_the_traceback_stands_before_the_line(call):
    said = call("failing", "theirs", "--debug").stderr.splitlines()
    assert said[0].startswith("Traceback")
    assert said[-1] == "error: ZeroDivisionError: by nought"


def test_a_field_that_is_not_said_to_be_an_option_is_refused():
    @dataclass(frozen=True, kw_only=True)
    class Silent(Command):
        """Say nothing."""

        secret: int = 0

        def __call__(self):
            pass

    with pytest.raises(TypeError, match=r"Silent\.secret: .* typer\.Option"):
        function_of(Silent)


@pytest.mark.parametrize(
    ("kind", "level", "said", "code"),
    [
        ("ours", "error", {"message": "failed", "kind": "InputError", "error": "two lines"}, 2),
        ("theirs", "error", {"message": "failed", "kind": "ZeroDivisionError"}, 1),
        ("stop", "warning", {"message": "interrupted"}, 130),
    ],
)
def test_what_goes_wrong_is_a_line_of_the_log_where_there_is_one(call, kind, level, said, code):
    done = call("failing", kind, "--log-json")
    assert done.exit_code == code
    (line,) = done.stderr.splitlines()
    values = json.loads(line)
    assert values["level"] == level
    assert values.items() >= said.items()


_WAITS = """
import sys, time
from cfcam.cli.command import Terminated, terminable
from cfcam.cli.output.console import say
try:
    with terminable():
        print("ready", flush=True)
        time.sleep(600)
except Terminated as stop:
    say("interrupted", "as told", "yellow")
    print("and on stdout", flush=True)
    open(sys.argv[1], "w").write(str(stop.code))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no terminal of this system goes away with a signal")
def test_a_command_whose_terminal_goes_away_ends_cleanly_though_nobody_hears_it(tmp_path):
    """It was ended at once, and workers that it had lived on for a moment."""
    terminal, its = os.openpty()
    command = [sys.executable, "-c", _WAITS, str(tmp_path / "code")]
    process = subprocess.Popen(command, stdout=its, stderr=its, start_new_session=True)
    os.close(its)
    assert b"ready" in os.read(terminal, 100)
    os.close(terminal)
    process.send_signal(signal.SIGHUP)
    assert process.wait() == 0
    assert (tmp_path / "code").read_text() == "129"


def test_a_command_that_was_told_to_stay_without_its_terminal_stays():
    """As nohup(1) does."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with terminable():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)

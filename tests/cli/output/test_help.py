import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cfcam.cli.app import app
from cfcam.cli.arguments.words import PALETTES
from cfcam.cli.explain import Explain
from cfcam.cli.options.preparation import RESIZES
from cfcam.cli.output.panels import Panel
from tests.cli.completing import completed

_LIGHT = """
import sys
sys.argv = ["cfcam", *{arguments!r}]
from cfcam.cli import main
try:
    main()
finally:
    heavy = [name for name in ("torch", "matplotlib", "PIL", "numpy") if name in sys.modules]
    sys.stderr.write("heavy: " + ",".join(heavy))
"""


@pytest.mark.parametrize("line", ["--help", "explain --help", "explain --help study", "layers -h", "--version"])
def test_help_answers_at_once_without_torch(line):
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-c", _LIGHT.format(arguments=line.split())], capture_output=True, text=True, check=True
    )
    after = os.times()
    assert done.stderr.endswith("heavy: ")
    assert "cfcam" in done.stdout
    # 0.2 s of a processor, whatever else keeps the machine busy
    assert after.children_user + after.children_system - before.children_user - before.children_system < 2


def test_the_installed_program_is_the_same():
    from importlib.metadata import entry_points

    (script,) = entry_points(group="console_scripts", name="cfcam")
    assert script.value == "cfcam.cli:main"


@pytest.mark.parametrize(
    ("arguments", "suggestion"),
    [(["explian"], "explain"), (["explain", "--metod", "x"], "--method"), (["demoo"], "demo")],
)
def test_a_typo_is_answered_with_what_was_meant(arguments, suggestion):
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert suggestion in result.stderr


def test_help_shows_examples_and_exit_codes():
    shown = CliRunner().invoke(app, ["explain", "--help"]).stdout
    assert "cfcam explain scans/" in shown
    assert "2 wrong usage · 130 interrupted" in " ".join(shown.split())


_TOPICS = ["network", "volumes", "pictures", "study", "run"]


def shown(*arguments):
    result = CliRunner(env={"COLUMNS": "140"}).invoke(app, list(arguments), prog_name="cfcam")
    return result.exit_code, " ".join(result.stdout.split()), result.stderr


def options_in(text):
    return {word.lstrip("-") for word in re.findall(r"│ (--[a-z-]+)(?=[ ,])", text)} - {"help"}


def test_help_shows_what_people_need_and_says_where_the_rest_is():
    code, text, _ = shown("explain", "--help")
    assert code == 0
    assert options_in(text) == set(Explain.everyday.replace("_", "-").split())
    (end,) = re.findall(r"More options (.*)", text)
    assert re.findall(r"cfcam explain --help (\w+)", end) == [*_TOPICS, "all"]
    assert "study The study (report, DICOM objects, record): 18 more" in end


@pytest.mark.parametrize("arguments", [["explain", "--help", "study"], ["explain", "a.png", "-h", "study"]])
def test_a_topic_is_one_panel_whole(arguments):
    code, text, _ = shown(*arguments)
    assert code == 0
    assert {"dicom", "report", "limits", "peak-stability"} < options_in(text)
    assert not options_in(text) & {"model", "spacing", "json"}
    assert "PATHS" in text
    assert "Examples" not in text


def test_all_topics_together_are_all_options():
    code, text, _ = shown("explain", "--help", "all")
    assert code == 0
    topics = [options_in(shown("explain", "--help", panel.topic)[1]) for panel in Panel if panel.topic in _TOPICS]
    assert options_in(text) == set().union(*topics)
    assert len(options_in(text)) == sum(map(len, topics)) == len(fields(Explain)) - 1  # all but PATHS


def test_a_topic_that_there_is_not_is_one_line_that_names_them():
    assert shown("explain", "--help", "studdy") == (
        2, "", "error: --help studdy: there is no such topic; give network, volumes, pictures, study, run or all\n"
    )  # fmt: skip


@pytest.mark.parametrize(
    "more", [["photo.png"], ["scans/"], ["x/*.png"], ["testimgs"], ["--help"], ["-m", "demo"], ["--", "study"]]
)
def test_help_with_other_arguments_behind_it_is_the_help(monkeypatch, tmp_path, more):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "testimgs").mkdir()
    assert shown("explain", "--help", *more) == shown("explain", "--help")


def test_help_of_a_group_passes_over_its_commands():
    assert shown("evidence", "--help", "verify") == shown("evidence", "--help")
    assert "Find changed" in shown("evidence", "verify", "--help")[1]


def test_a_folder_that_is_called_like_a_topic_does_not_hide_it(monkeypatch, tmp_path):
    there = shown("explain", "--help", "study")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study").mkdir()
    assert shown("explain", "--help", "study") == there


def test_help_that_is_another_options_value_asks_for_nothing(tmp_path):
    code, _, said = shown("explain", "-m", "--help", "studdy")
    assert code == 2
    assert "topic" not in said


def test_a_command_with_few_options_has_no_topics():
    assert shown("methods", "--help", "study") == shown("methods", "--help")
    assert "More options" not in shown("methods", "--help")[1]


@pytest.mark.parametrize("command", ["evaluate", "check", "compare", "evidence"])
def test_other_long_commands_fold_too(command):
    _, short, _ = shown(command, "--help")
    _, whole, _ = shown(command, "--help", "all")
    assert {"model", "classes", "layer"} < options_in(short) < options_in(whole)
    assert {"head", "probability", "debug"} <= options_in(whole) - options_in(short)
    assert f"cfcam {command} --help network" in short


def test_what_everyday_names_is_there():
    from tests.cli.test_arguments import COMMANDS

    for command in COMMANDS:
        assert set(command.everyday.split()) <= command.__dataclass_fields__.keys()


def test_the_reference_lists_folded_options():
    reference = (Path(__file__).parents[3] / "docs" / "reference" / "cli.md").read_text()
    assert "* `--peak-stability / --no-peak-stability`" in reference
    assert "More options" not in reference


def test_completion_offers_every_option_also_folded_ones():
    assert completed("explain", "--di") == ["--dicom"]
    assert set(completed("explain", "--")) >= {
        "--model",
        "--peak-stability",
        "--sliding",
        "--max-megapixels",
        "--debug",
    }
    assert completed("evidence", "--jun") == ["--junit"]


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("explain --method score", ["score-cam"]),
        ("explain --palette in", ["inferno"]),
        ("explain --target top", ["top-3"]),
        ("explain --model torch", ["torchvision:"]),
        ("explain --probability sig", ["sigmoid"]),
        ("explain --resize p", ["pad"]),
        ("explain --dicom pm,s", ["pm,seg", "pm,sr", "pm,sc"]),
        ("explain --report h", ["html"]),
        ("explain --uncertainty m", ["mc-dropout", "methods"]),
        ("evaluate --methods cf-cam,score", ["cf-cam,score-cam"]),
        ("evaluate --metrics hit", ["hit-rate"]),
        ("evaluate --metrics adcc,faith", ["adcc,faithfulness"]),
        ("evaluate --metrics qu", ["quick"]),
        ("evaluate --explain l", ["label"]),
        ("evaluate --protocol c", ["cfcam-paper"]),
        ("layers tim", ["timm:"]),
        ("check --method score", ["score-cam"]),
        ("compare --target p", ["predicted"]),
        ("doctor --target a", ["all"]),
    ],
)
def test_completion_knows_what_an_option_takes(typed, offered):
    assert completed(*typed.split()) == offered


def test_completion_knows_every_method():
    from cfcam.methods import list_methods, list_pixel_methods, list_text_methods

    every = [*list_methods(), *list_pixel_methods(), *list_text_methods(), "all"]
    assert completed("explain", "--method", "") == every


def test_what_is_repeated_here_to_spare_an_import_is_still_true():
    from typing import get_args

    from cfcam.imaging import PALETTES as REAL
    from cfcam.imaging.preprocess import Resize

    assert PALETTES == REAL
    assert get_args(Resize) == RESIZES


def test_a_typo_in_a_folded_option_is_answered_with_it():
    code, _, said = shown("explain", "--dicmo", "pm")
    assert code == 2
    assert "--dicom" in said

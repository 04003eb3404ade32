import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from cfcam.cli.app import app
from cfcam.cli.options import network as options

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


@pytest.mark.parametrize("arguments", [["--help"], ["explain", "--help"], ["layers", "-h"], ["--version"]])
def test_help_answers_at_once_without_torch(arguments):
    best = 9.0
    for _ in range(2):
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", _LIGHT.format(arguments=arguments)], capture_output=True, text=True, check=True
        )
        best = min(best, time.perf_counter() - started)
    assert done.stderr.endswith("heavy: ")
    assert "cfcam" in done.stdout
    assert best < 2  # 0.2 s on a machine at rest


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


def test_completion_knows_methods_palettes_targets_and_models():
    from cfcam.methods import list_methods

    assert options.complete_method("") == [*list_methods(), "all"]
    assert options.complete_method("score") == ["score-cam"]
    assert options.complete_palette("in") == ["inferno"]
    assert options.complete_target("top") == ["top-3"]
    assert options.complete_model("torch") == ["torchvision:"]


def test_what_is_repeated_here_to_spare_an_import_is_still_true():
    from typing import get_args

    from cfcam.imaging import PALETTES
    from cfcam.imaging.preprocess import Resize

    assert options.PALETTES == PALETTES
    assert get_args(Resize) == options.RESIZES

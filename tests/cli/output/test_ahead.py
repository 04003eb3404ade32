"""What is said of how long something will take."""

from __future__ import annotations

import pytest

from cfcam.cli.output import ahead
from cfcam.cli.output.ahead import Lines, duration


def test_what_takes_long_is_foretold_once_and_what_is_short_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    Lines("evaluating", "images").foretold(5, 3.0)
    assert capsys.readouterr().err == ""
    lines = Lines("evaluating", "images")
    lines.foretold(5, 30.0)
    assert capsys.readouterr().err == "evaluating: 0 of 5 images, about 30 s left\n"
    lines(1, 5)
    assert capsys.readouterr().err == ""  # so soon after


def test_what_was_done_earlier_tells_no_rate_and_the_first_new_one_does(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "QUIET_SECONDS", 0.0)
    lines = Lines("evaluating", "images")
    lines(3, 900, earlier=3)
    assert capsys.readouterr().err == ""
    lines._started -= 4.0
    lines(5, 15, earlier=3, failed=1)  # two in four seconds, ten to go
    assert capsys.readouterr().err == "evaluating: 5 of 15 images, 1 failed, about 20 s left\n"
    lines(15, 15, earlier=3)
    assert capsys.readouterr().err == "evaluating: 15 of 15 images\n"


@pytest.mark.parametrize(("seconds", "words"), [(89, "89 s"), (90, "2 min"), (5400, "1.5 h")])
def test_times_are_no_more_exact_than_one_wants_to_know(seconds: float, words: str) -> None:
    assert duration(seconds) == words

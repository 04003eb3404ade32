"""What is said of how long something will take."""

from __future__ import annotations

import pytest

from cfcam.cli.output import ahead
from cfcam.cli.output.ahead import Lines, beating, duration
from tests.waiting import until


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


def test_one_thing_that_takes_long_is_told_of_meanwhile(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight images are one batch: nobody calls in between, and the time that is left runs down."""
    lines = Lines("evaluating", "images")
    lines.beat()  # nothing is known yet
    lines(0, 16)
    lines._started -= 100.0
    lines(8, 16)  # eight in 100 s
    assert capsys.readouterr().err == "evaluating: 8 of 16 images, about 2 min left\n"
    lines.beat()
    assert capsys.readouterr().err == ""  # so soon after
    lines._said -= 20.0
    lines._ends = (lines._ends or 0.0) - 40.0
    lines.beat()
    assert capsys.readouterr().err == "evaluating: 8 of 16 images, about 60 s left\n"
    lines._said -= 20.0
    lines._ends -= 90.0  # longer than was thought
    lines.beat()
    assert capsys.readouterr().err == "evaluating: 8 of 16 images, 2 min so far\n"


def test_before_the_first_is_done_it_says_how_long_that_takes(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines("evaluating", "images")
    lines(3, 16, earlier=3)
    lines._started -= 12.0
    lines._said -= 12.0
    lines.beat()
    assert capsys.readouterr().err == "evaluating: 3 of 16 images, 12 s so far\n"


def test_beats_come_while_the_body_works_and_end_with_it() -> None:
    heard: list[int] = []
    with beating(lambda: heard.append(1), 0.001):
        until(lambda: len(heard) >= 3)
    count = len(heard)
    with pytest.raises(ValueError, match="of the body"), beating(lambda: heard.append(1), 60.0):
        raise ValueError("of the body")
    assert len(heard) == count


@pytest.mark.parametrize(("seconds", "words"), [(89, "89 s"), (90, "2 min"), (5400, "1.5 h")])
def test_times_are_no_more_exact_than_one_wants_to_know(seconds: float, words: str) -> None:
    assert duration(seconds) == words

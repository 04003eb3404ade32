"""Each second is counted once, to the innermost stage, whichever thread it was spent in."""

import contextlib
import threading

import pytest

from cfcam import stages
from cfcam.stages import Stages, current, stage


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still unless it is moved."""
    now = [0.0]
    monkeypatch.setattr(stages.time, "perf_counter", lambda: now[0])

    def move(seconds):
        now[0] += seconds

    return move


def test_what_is_inside_of_another_stage_is_not_counted_twice(clock):
    run = Stages()
    with run("draw"):
        clock(2)
        with stage("write"):
            clock(5)
        clock(1)
    assert run.seconds == {"decode": 0, "forward": 0, "maps": 0, "draw": 3, "write": 5}
    assert run.slowest == "write"
    assert run.shares() == "write 62 %, draw 38 %"


def test_nobody_measures_where_no_run_is_open(clock):
    with stage("write"):
        clock(5)
    assert current() is None
    assert (Stages().slowest, Stages().shares()) == ("", "")


def test_threads_that_work_for_a_run_count_to_it(clock):
    run = Stages()

    def work(of):
        with stage("forward", of):
            clock(1)

    with run("maps"):
        thread = threading.Thread(target=work, args=(current(),))
        thread.start()
        thread.join()
    assert (run.seconds["forward"], run.seconds["maps"]) == (1, 1)


def test_a_failure_is_counted_and_the_stage_above_goes_on(clock):
    run = Stages()
    with run("draw"):
        with contextlib.suppress(ZeroDivisionError), stage("write"):
            clock(1)
            raise ZeroDivisionError
        clock(2)
    assert (run.seconds["write"], run.seconds["draw"]) == (1, 2)

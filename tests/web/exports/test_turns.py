"""A few work, some wait, the others are sent away."""

import threading

import pytest

pytest.importorskip("fastapi", reason="the viewer needs FastAPI: pip install 'cfcam[view]'")

from cfcam.web.exports.turns import Turns
from cfcam.web.problems import RefusedError


def test_no_more_work_than_may_and_whoever_waited_has_a_turn():
    turns, inside, most, done = Turns(at_work=2, waiting=8), [], [], []
    lock = threading.Lock()

    def work(number):
        with turns.taken():
            with lock:
                inside.append(number)
                most.append(len(inside))
            threading.Event().wait(0.02)
            with lock:
                inside.remove(number)
        done.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == list(range(10))
    assert max(most) == 2


def test_who_comes_when_all_places_are_taken_is_told_to_come_again():
    turns = Turns(at_work=1, waiting=0)
    with turns.taken(), pytest.raises(RefusedError, match="again") as caught, turns.taken():
        pass
    assert caught.value.status_code == 503
    with turns.taken():
        pass


def test_who_waits_too_long_is_told_and_a_failure_gives_the_turn_back():
    turns = Turns(at_work=1, waiting=1, patience=0.01)
    with turns.taken(), pytest.raises(RefusedError) as caught, turns.taken():
        pass
    assert caught.value.status_code == 503
    with pytest.raises(ZeroDivisionError), turns.taken():
        raise ZeroDivisionError
    with turns.taken():
        pass

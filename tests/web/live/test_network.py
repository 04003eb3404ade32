"""One thread, a short line, and work that ends when nobody waits for it."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, wait

import pytest

from cfcam.errors import ModelError
from cfcam.web.live.network import Abandoned, BusyError, LiveNetwork, NoNetworkError, Ticket
from tests.waiting import PATIENCE


@pytest.fixture
def network():
    made = LiveNetwork(lambda: "network", waiting=3)
    yield made
    made.close()


def test_it_is_loaded_with_the_first_request_once_and_in_one_thread():
    threads = []
    network = LiveNetwork(lambda: threads.append(threading.current_thread().name) or object())
    assert network.given
    assert (network.owner, threads) == (None, [])
    names = [network.submit(lambda owner, _: (owner, threading.current_thread().name)).result() for _ in range(3)]
    assert names == [(network.owner, threads[0])] * 3
    assert threads[0] != threading.current_thread().name
    network.close()


def test_a_network_that_cannot_be_loaded_is_tried_again():
    found = iter([ModelError("no file"), ModelError("no file"), "network"])

    def load():
        one = next(found)
        if isinstance(one, Exception):
            raise one
        return one

    network = LiveNetwork(load)
    for _ in range(2):
        with pytest.raises(ModelError, match="no file"):
            network.submit(lambda owner, _: owner).result()
    assert network.submit(lambda owner, _: owner).result() == "network"
    network.close()


def test_without_a_network_it_says_so():
    network = LiveNetwork(None)
    assert not network.given
    with pytest.raises(NoNetworkError, match="without a network"):
        network.submit(lambda owner, _: owner)


def test_the_line_is_short_and_there_is_room_again_afterwards(network):
    door = threading.Event()
    waiting = [network.submit(lambda owner, _: door.wait(PATIENCE)) for _ in range(3)]
    with pytest.raises(BusyError, match="3 requests wait"):
        network.submit(lambda owner, _: None)
    door.set()
    wait(waiting)
    assert network.submit(lambda owner, _: 5).result() == 5


def test_what_is_cancelled_while_it_waits_is_never_begun_and_frees_its_place(network):
    door, begun = threading.Event(), []
    first = network.submit(lambda owner, _: door.wait(PATIENCE))
    second = network.submit(lambda owner, _: begun.append(2))
    third = network.submit(lambda owner, _: begun.append(3))
    assert second.cancel()
    network.submit(lambda owner, _: begun.append(4))  # in its place
    door.set()
    first.result()
    third.result()
    with pytest.raises(CancelledError):
        second.result()
    network.submit(lambda owner, _: None).result()
    assert begun == [3, 4]


def test_work_that_is_stopped_ends_at_its_next_word_and_not_as_a_failure(network):
    ticket, begun, go, done = Ticket(), threading.Event(), threading.Event(), []

    def work(_, own):
        begun.set()
        go.wait(PATIENCE)
        try:
            own.tell(0.5)
        except Exception:  # noqa: BLE001 (as code that tries something out)
            done.append("taken for a failure")
        done.append("went on")

    future = network.submit(work, ticket)
    begun.wait(PATIENCE)
    ticket.stop()
    go.set()
    with pytest.raises(Abandoned):
        future.result()
    assert done == []
    assert network.submit(lambda owner, _: 5).result() == 5  # the thread lives on


def test_a_ticket_tells_how_long_the_rest_will_take(monkeypatch):
    now = [10.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    ticket = Ticket()
    now[0] = 12.0
    ticket.begin()
    assert (ticket.queued, ticket.seconds_left) == (2, None)
    now[0] = 15.0
    ticket.tell(0.25)
    assert ticket.seconds_left == pytest.approx(9)  # 3 s for a quarter
    ticket.tell(0.1)  # never backwards
    assert ticket.fraction == 0.25


def test_closing_stops_what_runs_and_drops_what_waits():
    network, ticket, begun = LiveNetwork(lambda: "network"), Ticket(), threading.Event()

    def work(_, own):
        begun.set()
        while True:
            own.check()

    running, waiting = network.submit(work, ticket), network.submit(lambda owner, _: 1)
    begun.wait(PATIENCE)
    network.close()
    with pytest.raises(Abandoned):
        running.result(PATIENCE)
    assert waiting.cancelled()
    with pytest.raises(BusyError, match="closing"):
        network.submit(lambda owner, _: 1)

"""Faults of the machine around a run: another run in its folder, a disk that is full, files that go away."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import pytest

from cfcam.errors import CfcamError
from cfcam.exchange.deidentify.deidentifier import Deidentifier
from cfcam.exchange.deidentify.folder import deidentify_folder
from cfcam.jobs.compare.pairs import make_pair
from cfcam.jobs.compare.run import ComparePairs
from cfcam.jobs.compare.settings import CompareSettings
from cfcam.jobs.evaluate.page import write_report
from cfcam.locks import alone_in
from cfcam.models import load
from tests.jobs.evaluate.test_run import bright as evaluation
from tests.jobs.world import NETWORKS, PLAIN, folder_of, lines, run, written


@contextmanager
def another_run(folder):
    """Another run is at work in a folder: another thread holds it."""
    held, end = threading.Event(), threading.Event()

    def work():
        folder.mkdir(parents=True, exist_ok=True)
        with alone_in(folder):
            held.set()
            end.wait()

    thread = threading.Thread(target=work)
    thread.start()
    assert held.wait(60)
    try:
        yield
    finally:
        end.set()
        thread.join()


def _explain(source, output):
    list(run(source, output))


def _evaluate(source, output):
    evaluation(source, output)()


def _compare(source, output):
    settings = CompareSettings(output=output, preprocess=PLAIN)
    pair = make_pair(source / "picture0.png", source / "picture1.png")
    ComparePairs(load(f"{NETWORKS}:brightness"), settings).run([pair])


def _deidentify(source, output):
    deidentify_folder(source, output, Deidentifier(b"0" * 32))


@pytest.mark.parametrize("door", [_explain, _evaluate, _compare, _deidentify])
def test_of_two_runs_in_one_folder_the_second_is_refused_and_writes_nothing(tmp_path, door):
    folder_of(tmp_path / "in", 2)
    out = tmp_path / "out"
    with another_run(out), pytest.raises(CfcamError, match=r"another run is at work there \(process \d+ on "):
        door(tmp_path / "in", out)
    assert written(out) == []


def test_a_run_that_was_set_up_before_another_began_is_refused_when_it_begins(tmp_path):
    folder_of(tmp_path / "in", 2)
    late, scored = run(tmp_path / "in", tmp_path / "out"), evaluation(tmp_path / "in", tmp_path / "scores")
    with another_run(tmp_path / "out"), another_run(tmp_path / "scores"):
        for one in (lambda: list(late), scored):
            with pytest.raises(CfcamError, match="another run is at work there"):
                one()
    assert (tmp_path / "scores" / "rows.jsonl").read_bytes().count(b"\n") == 1  # its header alone
    assert len(list(late)) == len(lines(tmp_path / "out")) == 2
    card = scored()
    with another_run(tmp_path / "scores"), pytest.raises(CfcamError, match="another run is at work there"):
        write_report(card, tmp_path / "scores")

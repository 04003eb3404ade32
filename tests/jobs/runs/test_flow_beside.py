"""Of a light network a batch is explained while the one before is entered; nothing else changes."""

import threading

import pytest
import torch

from cfcam.errors import CfcamError
from cfcam.jobs import State
from cfcam.jobs.engine import inference
from cfcam.jobs.runs.work import Work
from tests.jobs.runs.test_shards import timeless
from tests.jobs.world import draw, folder_of, run


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def torch_threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("how", [{}, {"store": True}], ids=["files", "store"])
def test_the_files_are_the_same_whoever_explains(tmp_path, monkeypatch, torch_threads, how):
    folder_of(tmp_path / "in", 21)
    draw(tmp_path / "in" / "picture05.png", grey=255)  # the network raises for it
    (tmp_path / "in" / "picture07.png").write_bytes(b"no picture")
    explained_in = set()
    explain = Work.explain
    monkeypatch.setattr(
        Work, "explain", lambda self, tasks: explained_in.add(threading.current_thread().name) or explain(self, tasks)
    )
    beside = list(run(tmp_path / "in", tmp_path / "beside", "delicate", batch_size=4, **how))
    assert {name.split("_")[0] for name in explained_in} == {"cfcam-explain"}
    explained_in.clear()
    monkeypatch.setattr(inference, "LIGHT", 0)
    in_turn = list(run(tmp_path / "in", tmp_path / "turn", "delicate", batch_size=4, **how))
    assert explained_in == {threading.current_thread().name}
    assert [(o.path.name, o.status, o.error) for o in beside] == [(o.path.name, o.status, o.error) for o in in_turn]
    assert [o.status for o in beside].count(State.FAILED) == 2
    assert timeless(tmp_path / "beside") == timeless(tmp_path / "turn")


def test_the_batch_after_is_explained_before_the_one_before_is_told(tmp_path, monkeypatch):
    folder_of(tmp_path / "in", 12)
    begun, events = threading.Semaphore(0), []
    explain = Work.explain

    def watched(self, tasks):
        events.append("begun")
        begun.release()
        explain(self, tasks)

    monkeypatch.setattr(Work, "explain", watched)
    for outcome in run(tmp_path / "in", tmp_path / "out", batch_size=4):
        if outcome.path.name == "picture0.png":
            assert begun.acquire(timeout=60)  # its own
            assert begun.acquire(timeout=60)  # and the next one's, while this is told
    assert events == ["begun"] * 3


def test_what_is_wrong_with_the_set_up_ends_the_run(tmp_path, monkeypatch):
    folder_of(tmp_path / "in", 9)

    def fails(self, tasks):
        raise CfcamError("the set-up is wrong")

    monkeypatch.setattr(Work, "explain", fails)
    with pytest.raises(CfcamError, match="the set-up is wrong"):
        list(run(tmp_path / "in", tmp_path / "out", batch_size=4))
    assert not [one for one in threading.enumerate() if one.name.startswith("cfcam-explain")]

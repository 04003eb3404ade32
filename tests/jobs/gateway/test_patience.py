"""A full disk: what became of a study is entered when there is room, and not forgotten until the next start."""

from __future__ import annotations

import errno
import io
import sqlite3
import threading

import pytest

pytest.importorskip("pynetdicom")

from cfcam.errors import ImageError
from cfcam.jobs.gateway.job import Job
from cfcam.jobs.gateway.patience import patiently
from cfcam.jobs.gateway.run import Gateway
from cfcam.jobs.gateway.settings import read_settings
from cfcam.jobs.gateway.work import answered
from cfcam.log import Log
from tests.jobs.gateway.senders import radiographs, settings, storescu
from tests.jobs.gateway.whole import config, until
from tests.waiting import free_port


class Now(threading.Event):
    """For which nobody waits."""

    def wait(self, timeout=None):
        return self.is_set()


def full(times):
    """A step that a full disk does not let through so many times."""
    left = iter([True] * times + [False] * 1000)

    def enter(*values, **named):
        if next(left):
            raise sqlite3.OperationalError("database or disk is full")

    return enter


def test_it_is_tried_until_it_is_entered_or_the_gateway_ends():
    told, closing = io.StringIO(), Now()
    assert patiently(full(3), closing, Log(told))
    assert told.getvalue().count("the index takes nothing at the moment error=OperationalError") == 3
    closing.set()
    assert not patiently(full(3), closing, Log(told))
    with pytest.raises(sqlite3.IntegrityError):
        patiently(lambda: (_ for _ in ()).throw(sqlite3.IntegrityError), closing, Log(told))


def test_a_study_whose_end_the_disk_did_not_take_is_finished_without_a_new_start(tmp_path, monkeypatch):
    (film,) = radiographs(tmp_path / "films", 1)
    chosen = read_settings(config(tmp_path, None, port=free_port()))
    with (tmp_path / "log").open("w") as log, Gateway(chosen, Log(log)) as gateway:
        refuse, finish = full(2), gateway.index.finish

        def tried(*values, **named):
            refuse()
            finish(*values, **named)

        monkeypatch.setattr(gateway.index, "finish", tried)
        storescu(gateway.receiver.port, film)
        until(lambda: gateway.index.counts()["tasks"] == {"results": 1})
    assert (tmp_path / "log").read_text().count("the index takes nothing at the moment") == 2


@pytest.mark.parametrize(
    ("error", "is_full"),
    [
        (OSError(errno.ENOSPC, "no room"), True),
        (OSError(errno.EIO, "broken"), False),
        (ImageError("an object"), False),
        (ValueError("other"), False),
    ],
)
@pytest.mark.parametrize("within", [False, True])
def test_work_tells_a_full_disk_from_a_study_that_cannot_be_explained(tmp_path, monkeypatch, error, is_full, within):
    def explain(*_, **__):
        if not within:
            raise error
        raise ImageError("the report cannot be written") from error

    monkeypatch.setattr("cfcam.jobs.gateway.results.made", explain)
    monkeypatch.setattr("cfcam.jobs.gateway.work.loaded", lambda network: type("Known", (), {"explainer": None})())
    (tmp_path / "spool" / "work").mkdir(parents=True)
    answer = answered(Job("study-1-0", "net", (), False), settings(tmp_path), {})
    assert (answer.full, bool(answer.reason)) == (is_full, True)

"""Objects that go ahead of their study: each once, with the same bytes whatever happens, and the root behind them."""

from __future__ import annotations

import os
from pathlib import Path

import pydicom
import pytest

pytest.importorskip("pynetdicom")

from cfcam.exchange.pacs.line import Line
from cfcam.exchange.pacs.outcome import Outcome, Report, Sent
from cfcam.jobs.gateway.delivery.ahead import Ahead
from cfcam.jobs.gateway.delivery.deliver import Deliverer
from cfcam.jobs.gateway.index import Index
from cfcam.jobs.gateway.job import Job, Written
from cfcam.jobs.gateway.places import Send
from cfcam.jobs.gateway.places import Spool as Settings
from cfcam.jobs.gateway.records import Result, Task
from cfcam.jobs.gateway.run import Gateway
from cfcam.jobs.gateway.settings import read_settings
from cfcam.jobs.gateway.spool import Spool
from cfcam.jobs.gateway.work import answered
from cfcam.log import Log
from tests.jobs.gateway.senders import radiographs, storescu
from tests.jobs.gateway.whole import Archive, config
from tests.waiting import free_port, until

TASK = Task("study-1", "unit", False, "net", "rule")


@pytest.fixture
def spool(tmp_path):
    spool = Spool(Settings(folder=tmp_path / "spool"))
    yield spool
    spool.close()


def written(spool, name, content=b"x", study="study-1-0"):
    """As the process that explains tells it."""
    file = spool.work / name
    file.unlink(missing_ok=True)
    file.write_bytes(content)
    return Written(f"{study}/dicom/{name}", file)


def test_it_is_flushed_under_a_lasting_name_before_it_goes(spool, monkeypatch):
    flushed, fsync = [], os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda file: flushed.append(Path(f"/proc/self/fd/{file}").readlink()) or fsync(file)
    )
    ahead, one = Ahead(spool), written(spool, "sr_1.dcm", b"bytes")
    ahead.offer(one)
    went = []

    def send(file):
        went.append((file, file.read_bytes(), list(flushed)))
        return True

    ahead.send(send)
    ((file, content, before),) = went
    assert (file, content) == (spool.ahead / "study-1-0" / "sr_1.dcm", b"bytes")
    assert before == [one.file, file.parent, spool.ahead]
    assert (ahead.take(one.name), ahead.take(one.name)) == (True, False)


def test_after_one_that_did_not_arrive_the_root_stays(spool):
    ahead, went = Ahead(spool), []
    for name in ("sr_1.dcm", "sc_2.dcm", "ko_3.dcm"):
        ahead.offer(written(spool, name))
    ahead.offer(written(spool, "ko_4.dcm", study="study-2-0"))
    ahead.send(lambda file: went.append(file.name) or not file.name.startswith("sc"))
    assert went == ["sr_1.dcm", "sc_2.dcm", "ko_4.dcm"]
    told = [
        ahead.take(f"study-{n}-0/dicom/{one}.dcm") for n, one in ((1, "sr_1"), (1, "sc_2"), (1, "ko_3"), (2, "ko_4"))
    ]
    assert told == [True, False, False, True]


def test_a_name_has_the_bytes_that_went_and_no_others(spool):
    ahead, went = Ahead(spool), []
    send = lambda file: went.append(file.read_bytes()) or True  # noqa: E731
    ahead.offer(written(spool, "sr_1.dcm", b"first"))
    ahead.send(send)
    ahead.end("study-1-0", done=False)  # the process that explains died, and begins anew
    assert not ahead.take("study-1-0/dicom/sr_1.dcm")
    ahead.offer(written(spool, "sr_1.dcm", b"other"))
    ahead.send(send)
    again = spool.work / "again.dcm"
    again.hardlink_to(spool.ahead / "study-1-0" / "sr_1.dcm")
    ahead.offer(Written("study-1-0/dicom/sr_1.dcm", again))
    ahead.send(send)
    assert went == [b"first", b"first"]


def test_what_has_ended_goes_no_further_and_leaves_nothing(spool):
    ahead, went = Ahead(spool), []
    ahead.offer(written(spool, "sr_1.dcm"))
    ahead.send(lambda file: went.append(file.name) or True)
    ahead.offer(written(spool, "sc_2.dcm"))
    ahead.offer(Written("study-1-0/dicom/gone.dcm", spool.work / "gone.dcm"))
    ahead.end("study-1-0", done=True)
    assert ahead.send(lambda file: went.append(file.name) or True)
    assert went == ["sr_1.dcm"]
    assert list(spool.ahead.iterdir()) == []
    ahead.offer(Written("study-1-0/dicom/gone.dcm", spool.work / "gone.dcm"))
    assert not ahead.send(lambda file: went.append(file.name) or True)  # it lies at its place, and is sent from there
    assert went == ["sr_1.dcm"]


def test_at_the_start_only_what_is_not_done_is_kept(spool):
    for name in ("study-1-0", "study-2-0"):
        (spool.ahead / name).mkdir()
    (spool.results / "study-1-0").mkdir()
    Ahead(spool)
    assert [one.name for one in spool.ahead.iterdir()] == ["study-2-0"]


def test_what_went_ahead_is_delivered_when_its_study_is_done_and_not_sent_again(spool, tmp_path, monkeypatch):
    index, sends, there = Index(tmp_path / "index"), [], []

    def send(place, files, access):
        sends.append([file.name for file in files])
        return Report(tuple(Sent(n, "", Outcome.STORED) for n in range(len(files))))

    monkeypatch.setattr("cfcam.jobs.gateway.delivery.deliver.send", send)
    monkeypatch.setattr(Line, "send", lambda self, file: send(None, [file], None).sent[0])
    with (tmp_path / "log").open("w") as log:
        deliverer = Deliverer(Send(place="dicom://A@127.0.0.1:1"), spool, index, Log(log), lambda: there.append(1))
        for name in ("sr_1.dcm", "sc_2.dcm"):
            deliverer.ahead.offer(written(spool, name))
        assert not deliverer.once()
        folder = spool.results / "study-1-0" / "dicom"
        folder.mkdir(parents=True)
        names = ["sr_1.dcm", "sc_2.dcm", "ko_3.dcm"]
        for name in names:
            (folder / name).write_bytes(b"x")
        index.close_series("none", "done", [TASK])
        results = [Result(f"study-1-0/dicom/{name}", "study-1", name, name[:2]) for name in names]
        deliverer.ahead.end("study-1-0", done=True)
        index.finish(TASK, results, sent=True)
        assert deliverer.once() is False
    assert sends == [["sr_1.dcm"], ["sc_2.dcm"], ["ko_3.dcm"]]
    assert index.counts()["results"] == {"delivered": 3}
    assert index.counts()["tasks"] == {"delivered": 1}
    assert deliverer.counts == {"stored": 3}
    assert there == [1, 1]
    index.close()


class KilledError(BaseException):
    """As the kernel does it."""


def test_an_attempt_that_is_killed_and_the_next_one_send_the_same_bytes(tmp_path, monkeypatch):
    """The moment of making is in every object, and has passed: what went stays as it went, and the root names it."""
    settings = read_settings(config(tmp_path, None, port=0))
    (film,) = radiographs(tmp_path / "films", 1)
    spool = Spool(settings.spool)
    ahead, went, networks = Ahead(spool), {}, {}

    def send(file):
        went.setdefault(file.name, []).append(file.read_bytes())
        return True

    def until_the_third(one):
        ahead.offer(one)
        ahead.send(send)
        if len(went) == 3:
            raise KilledError

    def all_of_them(one):
        ahead.offer(one)
        ahead.send(send)

    job = Job("study-1-0", "flat", (film,), volume=False)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    with pytest.raises(KilledError):
        answered(job, settings, networks, written=until_the_third)
    first = {name: contents[0] for name, contents in went.items()}
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700009999")
    answer = answered(job, settings, networks, written=all_of_them)
    spool.close()
    assert answer.reason == ""
    assert [len(set(contents)) for contents in went.values()] == [1] * 5
    assert list(went)[-1].startswith("ko_")
    made = {file.name: file.read_bytes() for file in (spool.results / job.name).rglob("*_dicom/*.dcm")}
    assert made == {name: contents[-1] for name, contents in went.items()}
    dates = [pydicom.dcmread(file).InstanceCreationTime for file in (spool.results / job.name).rglob("*_dicom/*.dcm")]
    assert len(first) == 3
    assert len(set(dates)) == 2


def test_what_is_recorded_leaves_after_its_record(tmp_path):
    settings = read_settings(config(tmp_path, None, port=0, results='objects = ["sr"]\nrecord = "audit.sqlite"'))
    (film,) = radiographs(tmp_path / "films", 1)
    spool = Spool(settings.spool)
    recorded = []
    job = Job("study-1-0", "flat", (film,), volume=False)
    answered(job, settings, {}, written=lambda one: recorded.append((tmp_path / "audit.sqlite").exists()))
    spool.close()
    assert recorded == [True] * 3


def test_results_are_in_the_archive_once_whichever_way_each_has_gone(tmp_path):
    archive = Archive(tmp_path / "archive").up()
    port = free_port()
    with (
        (tmp_path / "log").open("w") as log,
        Gateway(read_settings(config(tmp_path, archive, port=port)), Log(log)) as gateway,
    ):
        for film in radiographs(tmp_path / "films", 2):
            storescu(port, film)
        until(lambda: gateway.index.counts()["tasks"] == {"delivered": 2})
        until(lambda: not list(gateway.spool.ahead.iterdir()))
        assert gateway.deliverer.counts == {"stored": 10}
    archive.down()
    assert list(archive.came.values()) == [1] * 10

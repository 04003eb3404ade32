"""The spool and its index: what a killed process leaves, and what is decided of what lies there."""

from __future__ import annotations

import errno
import sqlite3
from contextlib import closing
from itertools import count
from types import SimpleNamespace

import pydicom
import pytest

pytest.importorskip("pynetdicom")

from cfcam.errors import JobError
from cfcam.exchange.pacs import Place, Wanted, fetch
from cfcam.jobs.gateway import spool as spool_module
from cfcam.jobs.gateway.arrivals.intake import MIXED
from cfcam.jobs.gateway.delivery.ahead import Ahead
from cfcam.jobs.gateway.header import key_of
from cfcam.jobs.gateway.index import Index
from cfcam.jobs.gateway.job import Written
from cfcam.jobs.gateway.places import Spool
from cfcam.jobs.gateway.records import Result
from cfcam.jobs.gateway.settings import Complete, Rule
from cfcam.jobs.gateway.spool import FullError
from cfcam.jobs.gateway.spool import Spool as SpoolFolder
from tests.jobs.gateway.senders import Half, dcmsend, radiographs, receiving, settings, storescu
from tests.jobs.studies import ct_study


def quiet(seconds, *, expected=True):
    return {"complete": Complete(quiet_s=seconds, expected=expected)}


@pytest.fixture
def clock(monkeypatch):
    """The time by which a series rests, in seconds, in a list: it goes on when a test says so."""
    now = [1000.0]
    monkeypatch.setattr("cfcam.jobs.gateway.arrivals.intake.time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_two_gateways_cannot_have_one_spool(tmp_path):
    first = SpoolFolder(Spool(tmp_path / "spool"))
    with pytest.raises(JobError, match="another gateway works in this spool"):
        SpoolFolder(Spool(tmp_path / "spool"))
    first.close()
    SpoolFolder(Spool(tmp_path / "spool")).close()


FOLDERS = ("objects", "objects/3f", "results", "work", "ahead", "new")


@pytest.mark.parametrize("inside", FOLDERS)
def test_a_folder_of_the_spool_that_is_a_link_out_of_it_is_refused_at_the_start(tmp_path, inside):
    link, secret = tmp_path / "spool" / inside, tmp_path / "secret"
    link.parent.mkdir(parents=True)
    secret.mkdir()
    (secret / "theirs").touch()
    link.symlink_to(secret)
    with pytest.raises(JobError, match=rf"^{inside} is a link that leads out of the output folder"):
        SpoolFolder(Spool(tmp_path / "spool"))
    assert [file.name for file in secret.iterdir()] == ["theirs"]


@pytest.mark.parametrize("name", ["lock", "index.sqlite", "index.sqlite-wal"])
def test_a_file_of_the_spool_that_is_a_link_out_of_it_is_not_written_through(tmp_path, name):
    victim = tmp_path / "victim"
    victim.touch()
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / name).symlink_to(victim)
    with pytest.raises(JobError, match="link"):
        Half(settings(tmp_path))
    assert victim.read_bytes() == b""


def test_a_link_laid_while_the_gateway_runs_leads_nothing_out_of_the_spool(tmp_path):
    """Where objects go ahead of their study, and where the archive is fetched from."""
    secret = tmp_path / "secret"
    secret.mkdir()
    spool = SpoolFolder(Spool(tmp_path / "spool"))
    (spool.ahead / "study-1").symlink_to(secret)
    made = spool.work / "one.dcm"
    made.touch()
    ahead = Ahead(spool)
    ahead.offer(Written("study-1/one.dcm", made))
    sent = []
    ahead.send(lambda file: bool(sent.append(file)))
    (spool.folder / "fetched").symlink_to(secret)
    with pytest.raises(JobError, match="link"):
        fetch(Place.parse("http://127.0.0.1:9/x"), [Wanted(0, "1.2", "1.3", "1.4", "")], spool.folder / "fetched")
    spool.close()
    assert sent == list(secret.iterdir()) == []


def test_what_was_kept_and_not_entered_before_a_crash_is_entered_at_the_next_start_with_its_sender(tmp_path):
    files = radiographs(tmp_path / "in", 3)
    only = Rule("theirs", ("net",), sender=("SENDER",))
    with receiving(tmp_path, rules=[only]) as half:
        assert storescu(half.port, *files).returncode == 0
    for path in (tmp_path / "spool").glob("index.sqlite*"):
        path.unlink()
    (tmp_path / "spool" / "new" / "left").write_bytes(b"half an object")
    half = Half(settings(tmp_path, rules=[only]))
    half.intake.settle()
    assert half.index.counts() == {"objects": {"taken": 3}, "tasks": {"complete": 3}, "results": {}}
    assert list((tmp_path / "spool" / "new").iterdir()) == []
    half.close()


def test_a_series_is_one_study_once_it_rests_and_again_when_more_of_it_comes(tmp_path, clock):
    files = ct_study(tmp_path / "in")
    with receiving(tmp_path, **quiet(20)) as half:
        assert storescu(half.port, *files[:10]).returncode == 0
        half.intake.complete()
        assert half.index.counts()["tasks"] == {}
        clock[0] += 19
        half.intake.complete()
        assert half.index.counts()["tasks"] == {}
        clock[0] += 1
        half.intake.complete()
        task = half.index.take()
        assert task.volume
        assert task.round == 0
        assert len(half.intake.files(task)) == 10
        half.index.finish(task, [], sent=False)
        assert half.index.counts()["objects"] == {"done": 10}
        assert storescu(half.port, *files).returncode == 0  # ten of them again
        half.intake.complete()
        clock[0] += 20
        half.intake.complete()
        again = half.index.take()
        assert (again.id, again.round) == (task.id, 1)
        assert len(half.intake.files(again)) == 12


def test_slices_that_come_while_a_series_is_explained_are_not_forgotten(tmp_path, clock):
    files = ct_study(tmp_path / "in")
    with receiving(tmp_path, **quiet(20)) as half:
        assert storescu(half.port, *files[:10]).returncode == 0
        half.intake.settle()
        clock[0] += 20
        half.intake.complete()
        task = half.index.take()
        assert storescu(half.port, *files[10:]).returncode == 0
        half.intake.settle()
        clock[0] += 20
        half.intake.complete()
        half.index.finish(task, [Result("a/1.dcm", task.id, "2.25.1", "sr")], sent=True)
        half.index.delivered(["a/1.dcm"])
        assert half.index.task(task.id).state == "complete"
        assert len(half.intake.files(half.index.take())) == 12


def test_a_series_that_says_how_many_it_has_does_not_wait(tmp_path):
    files = ct_study(tmp_path / "in")
    for path in files:
        ds = pydicom.dcmread(path)
        ds.ImagesInAcquisition = 12
        ds.save_as(path)
    with receiving(tmp_path, **quiet(3600)) as half:
        assert storescu(half.port, *files[1:]).returncode == 0
        half.intake.complete()
        assert half.index.take() is None
        assert storescu(half.port, files[0]).returncode == 0
        half.intake.complete()
        assert half.index.take().volume


def test_a_series_of_two_patients_is_put_aside(tmp_path, clock):
    files = ct_study(tmp_path / "in")
    ds = pydicom.dcmread(files[0])
    ds.PatientID = "ANOTHER"
    ds.save_as(files[0])
    with receiving(tmp_path, **quiet(20)) as half:
        assert dcmsend(half.port, tmp_path / "in").returncode == 0
        half.intake.settle()
        clock[0] += 20
        half.intake.complete()
        assert half.index.take() is None
        assert [task.reason for task in half.index.put_aside()] == [MIXED]


def test_results_of_ours_that_come_back_are_taken_and_left_alone(tmp_path):
    (path,) = radiographs(tmp_path / "in", 1)
    ds = pydicom.dcmread(path)
    ds.Manufacturer = "cfcam"
    ds.save_as(path)
    with receiving(tmp_path) as half:
        assert storescu(half.port, path).returncode == 0  # an archive that is told an error sends it for ever
        half.intake.settle()
        assert half.index.counts() == {"objects": {"ignored": 1}, "tasks": {}, "results": {}}
        assert list(half.spool.names()) == []


def test_the_root_is_delivered_behind_what_it_names(tmp_path):
    (path,) = radiographs(tmp_path / "in", 1)
    with receiving(tmp_path) as half:
        storescu(half.port, path)
        half.intake.settle()
        task = half.index.take()
        kinds = ("ko", "pdf", "sc", "sr")
        half.index.finish(task, [Result(f"a/{kind}_1.dcm", task.id, f"2.25.{kind}", kind) for kind in kinds], sent=True)
        assert [one.kind for one in half.index.to_deliver(10)] == ["pdf", "sc", "sr", "ko"]


def test_each_result_is_entered_once_and_a_study_ends_with_its_last(tmp_path):
    (path,) = radiographs(tmp_path / "in", 1)
    with receiving(tmp_path) as half:
        storescu(half.port, path)
        half.intake.settle()
        task = half.index.take()
        assert half.index.take() is None
        assert half.index.back() == 1  # as after a crash
        assert half.index.take().tries == 1
        made = [Result("a/1.dcm", task.id, "2.25.1", "sr"), Result("a/2.dcm", task.id, "2.25.2", "sc")]
        half.index.finish(task, made, sent=True)
        half.index.finish(task, made, sent=True)
        assert [one.uid for one in half.index.to_deliver(10)] == ["2.25.1", "2.25.2"]
        half.index.delivered(["a/1.dcm"])
        assert half.index.task(task.id).state == "results"
        half.index.not_yet(["a/2.dcm"], "down")
        half.index.refused("a/2.dcm", "no")
        assert (half.index.task(task.id).state, half.index.task(task.id).reason) == ("dead", "no")
        assert half.index.retry([task.id]) == [task.id]
        assert [one.uid for one in half.index.to_deliver(10)] == ["2.25.2"]
        half.index.delivered(["a/2.dcm"])
        assert half.index.task(task.id).state == "delivered"
        assert half.index.ours("2.25.2")


def test_an_index_that_is_none_is_told_in_one_line(tmp_path):
    (tmp_path / "index.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(JobError, match="index is broken"):
        Index(tmp_path / "index.sqlite")
    with pytest.raises(JobError, match="never started"):
        Index(tmp_path / "nowhere.sqlite", make=False)


def test_of_two_objects_with_one_uid_the_first_stays(tmp_path):
    spool = SpoolFolder(Spool(tmp_path / "spool", least_free_mb=0))
    for content, kept in ((b"one", "new"), (b"one", "there already"), (b"two", "another object with its UID is there")):
        with spool.incoming() as file:
            file.begin(b"\0" * 140 + (0).to_bytes(4, "little"))
            file.write(content)
            assert spool.keep(file, key_of("1.2.3")).kept == kept
    assert spool.path(key_of("1.2.3")).read_bytes().endswith(b"one")
    spool.close()


def test_two_networks_explain_one_object_and_it_is_done_with_the_last(tmp_path):
    (path,) = radiographs(tmp_path / "in", 1)
    from cfcam.jobs.gateway.places import Receive
    from cfcam.jobs.gateway.settings import GatewaySettings, Network

    both = GatewaySettings(
        Spool(tmp_path / "spool", least_free_mb=0),
        {"a": Network("demo"), "b": Network("demo")},
        (Rule("both", ("a", "b")),),
        receive=Receive(("SENDER",), port=0),
    )
    half = Half(both)
    storescu(half.port, path)
    half.intake.settle()
    first, second = half.index.take(), half.index.take()
    assert {first.network, second.network} == {"a", "b"}
    half.index.finish(first, [], sent=False)
    assert half.index.counts()["objects"] == {"taken": 1}
    half.index.finish(second, [], sent=False)
    assert half.index.counts()["objects"] == {"done": 1}
    half.close()


def test_a_sweep_finds_the_studies_of_an_object_without_looking_at_all(tmp_path):
    with closing(sqlite3.connect(tmp_path / "index.sqlite")) as base:
        for make in ("a new spool", "one from before there was this index"):
            Index(tmp_path / "index.sqlite").close()
            plan = base.execute("EXPLAIN QUERY PLAN SELECT 1 FROM tasks WHERE unit IN ('a', 'b')").fetchall()
            assert "INDEX tasks_of_unit" in plan[0][-1], make
            base.execute("DROP INDEX tasks_of_unit")


def test_what_was_kept_and_not_acknowledged_on_a_full_disk_is_entered_when_it_comes_again(tmp_path, monkeypatch):
    (path,) = radiographs(tmp_path / "in", 1)
    with receiving(tmp_path) as half:
        flush = spool_module.flush

        def full(folder):
            raise FullError(errno.ENOSPC, "the disk is full")

        monkeypatch.setattr(spool_module, "flush", full)
        told = storescu(half.port, path)
        assert "OutOfResources" in told.stdout + told.stderr
        monkeypatch.setattr(spool_module, "flush", flush)
        assert storescu(half.port, path).returncode == 0
        half.intake.settle()
        assert half.index.counts()["tasks"] == {"complete": 1}


@pytest.mark.parametrize("by", [-3600.0, 1e8])
def test_a_clock_that_jumps_neither_loses_a_study_nor_takes_one_twice(tmp_path, monkeypatch, by):
    moments = count()
    monkeypatch.setattr("cfcam.jobs.gateway.index.time", SimpleNamespace(time=lambda: 1.8e9 + by * next(moments)))
    with receiving(tmp_path) as half:
        for path in radiographs(tmp_path / "in", 3):
            assert storescu(half.port, path).returncode == 0
            half.intake.settle()
        taken = [half.index.take() for _ in range(4)]
        assert len({task.id for task in taken[:3]}) == 3
        assert taken[3] is None
        half.index.again(taken[0], "it ended")
        assert half.index.take().id == taken[0].id
        for task in taken[:3]:
            half.index.finish(task, [], sent=False)
        assert half.index.counts()["tasks"] == {"results": 3}

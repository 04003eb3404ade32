"""Odd objects on their way through the gateway: each has one place to go, and none ends it."""

from __future__ import annotations

from types import SimpleNamespace

import pydicom
import pytest

pytest.importorskip("pynetdicom")

from cfcam.jobs.gateway.arrivals.intake import MIXED
from cfcam.jobs.gateway.run import Gateway
from cfcam.jobs.gateway.settings import Rule, read_settings
from cfcam.log import Log
from tests.imaging import dicoms
from tests.jobs.gateway.senders import radiographs, receiving, storescu
from tests.jobs.gateway.whole import config, until
from tests.jobs.studies import ct_study
from tests.waiting import free_port

ANY = Rule("any", ("net",))


def changed(path, **elements):
    """An object with other elements."""
    ds = pydicom.dcmread(path)
    for name, value in elements.items():
        setattr(ds, name, value)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.save_as(path)
    return path


def test_an_object_without_pixels_is_acknowledged_and_left_alone(tmp_path):
    report = dicoms.base("1.2.840.10008.5.1.4.1.1.88.33", "SR")
    report.SeriesInstanceUID = "1.2.9"
    path = dicoms.save(report, tmp_path / "in" / "report.dcm")
    with receiving(tmp_path, rules=[ANY]) as half:
        told = storescu(half.port, path)
        assert "Success" in told.stdout + told.stderr  # an archive sends on all it has, and an error again and again
        half.intake.settle()
        assert half.index.counts() == {"objects": {"ignored": 1}, "tasks": {}, "results": {}}
        assert list(half.spool.names()) == []


@pytest.mark.parametrize("maker", ["Another vendor", ""])
def test_results_of_others_are_pictures_as_any_and_go_where_a_rule_says(tmp_path, maker):
    (path,) = radiographs(tmp_path / "in", 1)
    changed(path, Manufacturer=maker, Modality="OT", ImageType=["DERIVED", "SECONDARY"])
    for rule, state in ((Rule("films", ("net",), modality=("CR",)), "ignored"), (ANY, "taken")):
        with receiving(tmp_path / state, rules=[rule]) as half:
            assert storescu(half.port, path).returncode == 0
            half.intake.settle()
            assert half.index.counts()["objects"] == {state: 1}


@pytest.mark.parametrize("jump", [-4e9, -3600.0, 3600.0, 4e9])
def test_a_clock_that_jumps_loses_nothing_and_keeps_no_series_waiting(tmp_path, monkeypatch, jump):
    files = ct_study(tmp_path / "in")
    now = [1.7e9]
    monkeypatch.setattr("cfcam.jobs.gateway.index.time", SimpleNamespace(time=lambda: now[0]))
    for path in files:
        changed(path, ImagesInAcquisition=len(files))
    with receiving(tmp_path) as half:
        assert storescu(half.port, *files[:6]).returncode == 0
        half.intake.settle()
        now[0] += jump
        assert storescu(half.port, *files[6:]).returncode == 0
        half.intake.complete()
        task = half.index.take()
        assert len(half.intake.files(task)) == len(files)
        half.index.again(task, "lost")
        assert half.index.take().tries == 1
        half.index.finish(task, [], sent=False)
        assert half.index.counts()["objects"] == {"done": len(files)}


def test_two_patients_in_a_series_and_pixels_that_nobody_can_decode_are_put_aside_also_when_tried_again(tmp_path):
    files, (film,) = ct_study(tmp_path / "in"), radiographs(tmp_path / "films", 1)
    changed(files[0], PatientID="ANOTHER")
    changed(film, PixelData=bytes(8))
    path = config(tmp_path, None, port=free_port())
    with (tmp_path / "log").open("w") as log, Gateway(read_settings(path), Log(log)) as gateway:
        assert storescu(gateway.receiver.port, *files, film).returncode == 0
        until(lambda: gateway.index.counts()["tasks"] == {"dead": 2})
        assert {one.volume: one.reason == MIXED for one in gateway.index.put_aside()} == {True: True, False: False}
        assert len(gateway.index.retry()) == 2
        until(lambda: gateway.counts["put aside"] == 3)
        until(lambda: gateway.index.counts()["tasks"] == {"dead": 2})
        reasons = [one.reason for one in gateway.index.put_aside()]
        assert all(reasons)
    assert not [word for word in (*dicoms.PLANTED, "ANOTHER") if word in f"{reasons} {(tmp_path / 'log').read_text()}"]

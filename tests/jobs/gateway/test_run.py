"""The gateway as its command, between senders and an archive: what goes in comes out as results, once."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pydicom
import pytest

pytest.importorskip("pynetdicom")

from cfcam.errors import JobError
from cfcam.jobs.gateway.header import key_of
from cfcam.jobs.gateway.job import Answer, Job
from cfcam.jobs.gateway.run import Gateway, status
from cfcam.jobs.gateway.settings import read_settings
from cfcam.jobs.gateway.work import Worker, answered, rehearsed
from cfcam.log import Log
from tests.imaging import dicoms
from tests.jobs.gateway.senders import dcmsend, radiographs, storescu
from tests.jobs.gateway.whole import Archive, Running, config, running
from tests.jobs.studies import MARKER, cfcam, ct_study, place_by_hand
from tests.waiting import PATIENCE, free_port, until

FULL = Answer(reason="no room", full=True)


@pytest.fixture
def archive(tmp_path):
    archive = Archive(tmp_path / "archive").up()
    yield archive
    archive.down()


def test_a_radiograph_and_a_scan_become_results_in_the_archive_and_originals_stay_here(tmp_path, archive):
    films, slices = radiographs(tmp_path / "films", 2), ct_study(tmp_path / "scan")
    port = free_port()
    path = config(
        tmp_path, archive, port=port, results='objects = ["pm", "seg", "sr", "sc", "gsps"]\nreport = true',
        more=f"[health]\nport = {free_port()}\n",
    )  # fmt: skip
    with running(path, port) as gateway:
        assert storescu(port, *films).returncode == dcmsend(port, tmp_path / "scan").returncode == 0
        until(lambda: gateway.status()["tasks"] == {"delivered": 3})
        told = cfcam("gateway", "status", path)
        assert "studies: 3 delivered" in told.stdout
        health = read_settings(path).health
        assert _get(health, "/healthz") == '{"status": "ok", "problems": []}'
        metrics = _get(health, "/metrics")
        assert 'cfcam_studies{state="delivered"} 3.0' in metrics
        assert 'cfcam_received_total{outcome="new"} 14.0' in metrics
        with pytest.raises(urllib.error.HTTPError):
            _get(health, "/")
        log = gateway.log()
    found = archive.objects()
    originals = {pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID for file in [*films, *slices]}
    assert not originals & {one.SOPInstanceUID for one in found}
    assert set(archive.came.values()) == {1}
    kinds = Counter((one.Modality, one.SOPClassUID.name) for one in found if one.PatientID == f"{dicoms.ID}-0")
    assert {f"{modality}: {name.removesuffix(' Storage')}": count for (modality, name), count in kinds.items()} == {
        "SEG: Segmentation": 2,
        "SR: Comprehensive 3D SR": 1,
        "KO: Key Object Selection Document": 1,
        "DOC: Encapsulated PDF": 1,
        "PR: Grayscale Softcopy Presentation State": 1,
        "OT: Secondary Capture Image": 1,
    }
    _tied(found, f"{dicoms.ID}-0")
    _map_lies_on_the_marker(found)
    shown = [line for line in log.splitlines() if line.startswith("{")]
    assert all(json.loads(line)["level"] == "info" for line in shown), log
    assert not [word for word in (*dicoms.PLANTED, str(tmp_path)) if word in log + metrics + told.stdout]


def _get(health, path):
    with urllib.request.urlopen(f"http://{health.host}:{health.port}{path}", timeout=PATIENCE) as answer:
        return answer.read().decode()


def _tied(found, patient):
    """The root names all other results of its study, and no other object; its text their tracking ids."""
    of_patient = {one.SOPInstanceUID: one for one in found if one.PatientID == patient}
    (root,) = [one for one in of_patient.values() if one.Modality == "KO"]
    (study,) = root.CurrentRequestedProcedureEvidenceSequence
    named = {
        item.ReferencedSOPInstanceUID for one in study.ReferencedSeriesSequence for item in one.ReferencedSOPSequence
    }
    assert named == of_patient.keys() - {root.SOPInstanceUID}
    assert study.StudyInstanceUID == root.StudyInstanceUID == next(iter(of_patient.values())).StudyInstanceUID
    text = " ".join(item.TextValue for item in root.ContentSequence if item.get("TextValue"))
    ids = {
        s.TrackingUID for one in of_patient.values() for s in one.get("SegmentSequence") or () if s.get("TrackingUID")
    }
    assert ids
    assert all(uid in text for uid in ids)


def _map_lies_on_the_marker(found):
    """The Parametric Map is highest where the bright block of the scan is, in the patient's space."""
    (map_,) = [one for one in found if one.SOPClassUID.name == "Parametric Map Storage"]
    values = np.frombuffer(map_.FloatPixelData, np.float32).reshape(-1, map_.Rows, map_.Columns)
    plane, row, column = np.unravel_index(values.argmax(), values.shape)
    frame = map_.PerFrameFunctionalGroupsSequence[plane]
    position = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
    shared = map_.SharedFunctionalGroupsSequence[0]
    axes = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    down, along = (float(mm) for mm in shared.PixelMeasuresSequence[0].PixelSpacing)
    at = position + axes[:3] * along * column + axes[3:] * down * row
    assert np.linalg.norm(at - place_by_hand(*MARKER)) < 3 * 2.5  # the network sees blocks of some voxels


def test_the_report_and_the_root_pass_dicoms_own_validator(tmp_path, archive):
    validator = shutil.which("dciodvfy", path="/usr/bin:/usr/local/bin")
    if validator is None:
        pytest.skip("dciodvfy is not installed")
    films = radiographs(tmp_path / "films", 1)
    port = free_port()
    path = config(tmp_path, archive, port=port, results='objects = ["seg", "sr", "sc"]\nreport = true')
    with running(path, port) as gateway:
        storescu(port, *films)
        until(lambda: gateway.status()["tasks"] == {"delivered": 1})
    for one in sorted(archive.folder.glob("*.dcm")):
        if pydicom.dcmread(one).Modality in ("KO", "DOC"):
            told = subprocess.run([validator, str(one)], capture_output=True, text=True, check=False)
            assert not [line for line in told.stderr.splitlines() if line.startswith("Error")], told.stderr


def test_what_cannot_be_explained_is_put_aside_with_its_reason_and_tried_again_when_asked(tmp_path, archive):
    good, bad = radiographs(tmp_path / "films", 2)
    ds = pydicom.dcmread(bad)
    ds.BurnedInAnnotation = "YES"
    ds.save_as(bad)
    port = free_port()
    path = config(tmp_path, archive, port=port)
    with running(path, port) as gateway:
        storescu(port, good, bad)
        until(lambda: gateway.status()["tasks"] == {"delivered": 1, "dead": 1})
        (aside,) = gateway.status()["put_aside"]
        assert "a name" in aside["reason"]
        assert "name" in cfcam("gateway", "status", path).stdout
    path.write_text(path.read_text().replace("mean = [0.0]", "mean = [0.0]\nallow_burned_in = true"))
    with running(path, port) as gateway:
        assert cfcam("gateway", "retry", path, "study-nowhere").exit_code == 2
        assert "1 study is tried again" in cfcam("gateway", "retry", path, aside["study"]).stdout
        until(lambda: gateway.status()["tasks"] == {"delivered": 2})
    assert len(archive.by_source("SR")) == 2


def test_a_network_that_kills_its_process_costs_its_study_and_not_the_gateway(tmp_path, archive):
    (tmp_path / "deadly.py").write_text(
        "import os\nfrom tests.jobs.user_networks import Brightness\n"
        "class Deadly(Brightness):\n    def forward(self, x):\n"
        "        if float(x.mean()) > 0.9:\n            os.kill(os.getpid(), 9)\n        return super().forward(x)\n"
        "def deadly():\n    return Deadly()\n"
    )
    films = radiographs(tmp_path / "films", 2)
    ds = pydicom.dcmread(films[0])
    ds.PixelData = b"\xff\x0f" * (ds.Rows * ds.Columns)
    ds.WindowCenter, ds.WindowWidth = 100, 50
    ds.save_as(films[0])
    port = free_port()
    path = config(tmp_path, archive, port=port)
    path.write_text(
        path.read_text().replace(
            path.read_text().split('model = "')[1].split('"')[0], f"{tmp_path}/deadly.py:deadly", 1
        )
    )
    with running(path, port) as gateway:
        storescu(port, *films)
        until(lambda: gateway.status()["tasks"] == {"delivered": 1, "dead": 1})
        assert "ended" in gateway.status()["put_aside"][0]["reason"]
        assert gateway.lines("work on a study ended without an answer, and is tried again") == 2


def test_patients_leave_pictures_before_anything_is_derived_if_a_key_is_given(tmp_path, archive):
    films = radiographs(tmp_path / "films", 1)
    port = free_port()
    how = 'objects = ["seg", "sr", "sc"]\ndeidentify_key = "secret.key"'
    (tmp_path / "secret.key").write_text("ab" * 32)
    (tmp_path / "secret.key").chmod(0o644)
    with running(config(tmp_path, archive, port=port, results=how), port) as gateway:
        storescu(port, *films)
        until(lambda: gateway.status()["tasks"] == {"delivered": 1})
        assert gateway.log().count("chmod 600 secret.key") == 1  # others may read it: told, and not refused
    for file in archive.folder.glob("*.dcm"):
        data = file.read_bytes()
        planted = set(dicoms.PLANTED) - {"IDENTITY"}  # which is a Presentation LUT Shape too
        assert not [word for word in planted if word.encode() in data]
        assert pydicom.dcmread(file).PatientID.startswith("P-")


def test_a_watched_folder_is_emptied_of_what_is_taken_and_keeps_the_rest(tmp_path, archive):
    port = free_port()
    watch = '[watch]\nfolder = "drop"\nevery_s = 0.1\nsettle_s = 0.2\n'
    path = config(tmp_path, archive, port=port, more=watch)
    with running(path, port) as gateway:
        (tmp_path / "drop" / "notes.txt").write_text("no DICOM")
        radiographs(tmp_path / "drop" / "inner", 2)
        until(lambda: gateway.status()["tasks"] == {"delivered": 2})
        until(lambda: sorted(p.name for p in (tmp_path / "drop").rglob("*") if p.is_file()) == ["notes.txt"])
    assert gateway.lines("a file in the watched folder is left there") == 1


def test_what_is_done_leaves_the_spool_after_its_time_and_what_failed_stays(tmp_path):
    settings = read_settings(config(tmp_path, None, port=free_port()))
    good, bad = radiographs(tmp_path / "films", 2)
    ds = pydicom.dcmread(bad)
    ds.BurnedInAnnotation = "YES"
    ds.save_as(bad)
    with Gateway(settings, Log(open("/dev/null", "w"))) as gateway:  # noqa: PTH123
        storescu(gateway.receiver.port, good, bad)
        until(lambda: gateway.index.counts()["tasks"] == {"results": 1, "dead": 1})
        (folder,) = gateway.spool.results.iterdir()
        assert {file.suffix for file in folder.rglob("*.*")} == {".dcm", ".json"}
        gateway.sweep(0)
        assert folder.is_dir()
        gateway.sweep(1e12)
        assert list(gateway.spool.results.iterdir()) == []
        assert gateway.index.counts()["tasks"] == {"dead": 1}
        assert list(gateway.spool.names()) == [key_of(ds.SOPInstanceUID)]


def test_names_that_no_machine_has_cost_no_study_and_the_log_names_them(tmp_path):
    more = '[prior]\nplace = "dicom://ARCHIVE@prior.invalid:104"\n'
    more += '[poll]\nplace = "dicom://ARCHIVE@poll.invalid:104"\nmodalities = ["CR"]\n'
    more += '[send]\nplace = "dicom://ARCHIVE@send.invalid:104"\n'
    path = config(tmp_path, None, port=free_port(), results='objects = ["sr"]', more=more)
    settings = read_settings(path)
    (film,) = radiographs(tmp_path / "films", 1)
    known = "no machine has this name: check it"
    why = f"dicom://ARCHIVE@send.invalid:104: {known}"
    with (tmp_path / "log").open("w") as log, Gateway(settings, Log(log, as_json=True)) as gateway:
        storescu(gateway.receiver.port, film)
        until(lambda: gateway.index.counts()["tasks"] == {"results": 1})
        until(lambda: "results do not get through" in (tmp_path / "log").read_text())
        until(lambda: "the archive that is asked does not answer" in (tmp_path / "log").read_text())
        assert not gateway.index.put_aside()
        until(lambda: gateway.index.held_up())
        assert f"results do not get through: {why}" in gateway.problems()
        waiting = gateway.index.counts()["results"]["waiting"]
        assert status(settings)["held_up"] == [{"results": waiting, "reason": why}]
        shown = cfcam("gateway", "status", path).stdout.splitlines()
        assert "studies: 1 explained, and not all sent" in shown
        assert shown[-1] == f"    {waiting} results wait: {why}"
    told = (tmp_path / "log").read_text()
    assert f"a prior study cannot be asked for: dicom://ARCHIVE@prior.invalid:104: {known}" in told
    assert f'"why": "dicom://ARCHIVE@poll.invalid:104: {known}"' in told
    assert f'"why": "dicom://ARCHIVE@send.invalid:104: {known}"' in told


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            socket.gaierror(socket.EAI_NONAME, "x"),
            "a machine that is needed to explain it cannot be reached (gaierror)",
        ),
        (OSError(errno.EHOSTUNREACH, "x"), "a machine that is needed to explain it cannot be reached (OSError)"),
        (URLError("x"), "a machine that is needed to explain it cannot be reached (URLError)"),
        (PermissionError(errno.EACCES, "x"), "the study cannot be read or written (PermissionError)"),
        (OSError(errno.EIO, "x"), "the study cannot be read or written (OSError)"),
    ],
)
def test_what_another_machine_does_not_answer_is_not_told_of_the_disk(tmp_path, error, told, monkeypatch):
    def failing(_network):
        raise error

    monkeypatch.setattr("cfcam.jobs.gateway.work.loaded", failing)
    settings = read_settings(config(tmp_path, None, port=0))
    (settings.spool.folder / "work").mkdir(parents=True)
    assert answered(Job("study-1", "flat", (tmp_path / "a.dcm",), volume=False), settings, {}).reason == told


def test_a_full_disk_costs_time_and_no_study(tmp_path, monkeypatch):
    settings = read_settings(config(tmp_path, None, port=free_port()))
    monkeypatch.setattr("cfcam.jobs.gateway.run._FULL", 0.1)
    (film,) = radiographs(tmp_path / "films", 1)
    full = iter([True] * 5 + [False] * 100)
    with (tmp_path / "log").open("w") as log, Gateway(settings, Log(log)) as gateway:
        explain = Worker.__call__
        monkeypatch.setattr(Worker, "__call__", lambda self, job: FULL if next(full) else explain(self, job))
        storescu(gateway.receiver.port, film)
        until(lambda: gateway.index.counts()["tasks"] == {"results": 1})


LASTING = """
import os, pathlib, time
from tests.jobs.user_networks import Brightness
class Lasting(Brightness):
    def forward(self, x):
        if float(x.mean()) > 0.9:
            told = pathlib.Path({told!r})
            told.with_suffix(".new").write_text(f"{{os.getpid()}} {{os.getpriority(os.PRIO_PROCESS, 0)}}")
            told.with_suffix(".new").replace(told)
            time.sleep({patience})
        return super().forward(x)
def lasting():
    return Lasting()
"""


def test_the_process_that_explains_stands_back_and_does_not_outlive_its_gateway(tmp_path, archive):
    """It is at work when the gateway is killed; another gateway may begin at once in the same spool."""
    told, here = tmp_path / "told", os.getpriority(os.PRIO_PROCESS, 0)
    (tmp_path / "lasting.py").write_text(LASTING.format(told=str(told), patience=2 * PATIENCE))
    (film,) = radiographs(tmp_path / "films", 1)
    ds = pydicom.dcmread(film)
    ds.PixelData = b"\xff\x0f" * (ds.Rows * ds.Columns)
    ds.WindowCenter, ds.WindowWidth = 100, 50
    ds.save_as(film)
    port = free_port()
    path = config(tmp_path, archive, port=port)
    path.write_text(
        path.read_text()
        .replace(path.read_text().split('model = "')[1].split('"')[0], f"{tmp_path}/lasting.py:lasting", 1)
        .replace("nice = 0", "nice = 3")
    )
    gateway = Running(path, port).start()
    try:
        assert storescu(port, film).returncode == 0
        until(told.exists)
        worker, nice = map(int, told.read_text().split())
        assert nice == min(19, here + 3)
        gateway.kill()
        until(lambda: not Path(f"/proc/{worker}").exists() or "Z" in Path(f"/proc/{worker}/stat").read_text())
    finally:
        gateway.end()


def test_networks_are_rehearsed_apart_before_the_gateway_calls_itself_well(tmp_path):
    """Of the drawing nothing stays: no result, no record; a network that cannot be loaded is told at once."""
    path = config(
        tmp_path, None, port=0, results='objects = ["seg", "sr", "sc"]\nrecord = "audit.sqlite"',
        network='[network.none]\nmodel = "nowhere.py:none"',
    )  # fmt: skip
    path.write_text(path.read_text().replace("rehearsed = false", "rehearsed = true"))
    out = io.StringIO()
    settings = read_settings(path)
    gateway = Gateway(settings, Log(out))
    assert "its networks are not loaded yet" in gateway.problems()
    networks = {}
    (told,) = rehearsed(settings, networks).troubles
    assert told.startswith("network none: ")
    assert sorted(networks) == ["flat", "whole"]
    assert [list((settings.spool.folder / one).iterdir()) for one in ("work", "results")] == [[], []]
    assert not (tmp_path / "audit.sqlite").exists()
    gateway.worker = lambda job: Answer(troubles=(told,))
    with gateway:
        until(lambda: "its networks are not loaded yet" not in gateway.problems())
        assert told in out.getvalue()
        gateway.worker = Worker(settings)


def test_a_gateway_whose_lock_is_removed_ends_before_another_works_beside_it(tmp_path):
    settings = read_settings(config(tmp_path, None, port=0))
    with Gateway(settings, Log(io.StringIO())) as gateway:
        assert not gateway.spool.is_lost()
        (settings.spool.folder / "lock").unlink()
        with pytest.raises(JobError, match="lock was removed, so that another gateway may work there: this one ends"):
            gateway.wait()
    Gateway(settings, Log(io.StringIO())).close()


def test_each_file_of_the_results_is_flushed_before_they_stand_at_their_place(tmp_path, monkeypatch):
    """The index says that a study is explained: after a power cut its files must not be empty."""
    settings = read_settings(config(tmp_path, None, port=0, results='objects = ["sr", "sc"]'))
    (told,) = rehearsed(settings, {}).troubles  # there is no spool yet: a rehearsal that fails says so
    assert told == "network flat: a drawn radiograph cannot be explained (FileNotFoundError)"
    (settings.spool.folder / "work").mkdir(parents=True)
    flushed, fsync = [], os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda file: flushed.append(Path(f"/proc/self/fd/{file}").readlink()) or fsync(file)
    )
    assert rehearsed(settings, {}).troubles == ()
    kinds = {file.name.partition("_")[0] for file in flushed if file.suffix == ".dcm"}
    assert {"sr", "sc", "seg-binary", "ko"} <= kinds
    assert flushed[-1].name == "results"

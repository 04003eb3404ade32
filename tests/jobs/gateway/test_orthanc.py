"""Orthanc sends on what it stores, the gateway answers: results come to lie beside originals, and that is all."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from datetime import datetime
from io import BytesIO

import pydicom
import pytest

pytest.importorskip("pynetdicom")

from tests.imaging import dicoms
from tests.jobs.gateway.senders import radiographs, storescu
from tests.jobs.gateway.whole import config, running
from tests.jobs.studies import ct_study, phantom_radiograph
from tests.jobs.world import NETWORKS
from tests.machine import pdf_writer
from tests.orthanc import missing
from tests.orthanc import running as orthanc_with
from tests.waiting import PATIENCE, free_port, until

ROUTE = 'function OnStoredInstance(id, tags, metadata, origin)\n  SendToModality(id, "CFCAM")\nend\n'


@pytest.fixture
def archive(tmp_path):
    """An Orthanc that sends everything on, results of ours that it gets too: a circle, if nobody breaks it."""
    if why := missing():
        pytest.skip(why)
    (tmp_path / "route.lua").write_text(ROUTE)
    with orthanc_with(LuaScripts=[str(tmp_path / "route.lua")]) as found:
        yield found


@pytest.mark.parametrize("way", ["web", "dicom"])
def test_a_radiograph_and_a_scan_come_back_to_orthanc_as_results_and_the_circle_ends(tmp_path, archive, way):
    films, slices = radiographs(tmp_path / "films", 1), ct_study(tmp_path / "scan", counted=True)
    port = free_port()
    send = f'[send]\nplace = "{getattr(archive, way)}"\nwait_s = 0.2\n'
    path = config(tmp_path, None, port=port, more=send, quiet_s=PATIENCE)
    path.write_text(path.read_text().replace('"SENDER"', '"ORTHANC"').replace('"sc"]', '"sc", "pm"]'))
    archive.knows("CFCAM", port)
    with running(path, port) as gateway:
        for file in (*films, *slices):
            archive.ask("POST", "/instances", file.read_bytes())
        until(lambda: gateway.status()["tasks"] == {"delivered": 2})
        results = gateway.status()["results"]["delivered"]
        until(lambda: gateway.status()["objects"] == {"done": 13, "ignored": results})
        assert gateway.status()["tasks"] == {"delivered": 2}
    held = archive.instances()
    assert len(held) == 13 + results
    found = [pydicom.dcmread(BytesIO(archive.file(uid))) for uid in held]
    film = Counter(one.Modality for one in found if one.PatientID == f"{dicoms.ID}-0")
    scan = Counter(one.Modality for one in found if one.PatientID == dicoms.ID)
    assert film == {"CR": 1, "SEG": 2, "SR": 1, "OT": 1, "KO": 1}
    assert scan == {"CT": 12, "SEG": 2, "SR": 1, "OT": 2, "KO": 1}  # the Parametric Map, and the overlays
    for file in (*films, *slices):  # as it was
        uid = pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID
        assert pydicom.dcmread(BytesIO(archive.file(uid))) == pydicom.dcmread(file)


@pytest.fixture
def plain(tmp_path):
    """An Orthanc that sends nothing by itself."""
    if why := missing():
        pytest.skip(why)
    with orthanc_with() as found:
        yield found


def test_an_archive_that_is_asked_gives_what_is_new_and_once(tmp_path, plain):
    films = radiographs(tmp_path / "films", 2)
    today = datetime.now().astimezone().strftime("%Y%m%d")
    for path in films:
        ds = pydicom.dcmread(path)
        ds.StudyDate = today
        ds.save_as(path)
    old = radiographs(tmp_path / "old", 3)[2]  # of 1901
    poll = f'[poll]\nplace = "{plain.web}"\nevery_s = 0.5\nmodalities = ["CR"]\n[send]\nplace = "{plain.web}"\n'
    path = config(tmp_path, None, port=free_port(), more=poll)
    with running(path, 0) as gateway:
        plain.ask("POST", "/instances", films[0].read_bytes())
        plain.ask("POST", "/instances", old.read_bytes())
        until(lambda: gateway.status()["tasks"] == {"delivered": 1})
        plain.ask("POST", "/instances", films[1].read_bytes())
        until(lambda: gateway.status()["tasks"] == {"delivered": 2})
        plain.stop()
        until(lambda: gateway.lines("the archive that is asked does not answer, and is asked again"))
        plain.start()
        until(lambda: gateway.lines("the archive that is asked answers again"))
        assert gateway.status()["objects"] == {"done": 2}
        assert not [word for word in dicoms.PLANTED if word in gateway.log()]
    assert Counter(pydicom.dcmread(BytesIO(plain.file(uid))).Modality for uid in plain.instances())["SR"] == 2


@pytest.mark.parametrize("known", [True, False])
def test_the_prior_is_found_and_compared_and_who_may_not_ask_is_not_told_that_there_is_none(tmp_path, plain, known):
    if known:
        plain.knows("CFCAM")
    prior, current = phantom_radiograph(tmp_path / "a.dcm"), phantom_radiograph(tmp_path / "b.dcm")
    for path, date, uid in ((prior, "20200101", "1.2.826.9.1"), (current, "20210101", "1.2.826.9.2")):
        ds = pydicom.dcmread(path)
        ds.StudyDate, ds.StudyTime, ds.StudyInstanceUID, ds.SeriesInstanceUID = date, "120000", uid, f"{uid}.1"
        ds.save_as(path)
    pdf_writer()
    plain.ask("POST", "/instances", prior.read_bytes())
    port = free_port()
    title = "CFCAM" if known else "STRANGER"
    more = f'[prior]\nplace = "{plain.dicom}"\ncalling_ae = "{title}"\n'
    path = config(tmp_path, None, port=port, more=more, results='objects = ["sr"]\ncomparison = true')
    text = path.read_text().replace(f"{NETWORKS}:brightness", "demo").replace('classes = ["bright", "dark"]', "", 1)
    path.write_text(text.replace("size = [32]\nmean = [0.0]\nstd = [1.0]", "", 1))
    with running(path, port) as gateway:
        assert storescu(port, current).returncode == 0
        until(lambda: gateway.status()["tasks"] == {"results": 1})
        log = gateway.log()
    (results,) = (tmp_path / "spool" / "results").iterdir()
    if known:
        found = json.loads((results / "comparison.json").read_text())
        assert found["state"] == "compared", found
        assert "prior" not in log
        _sent_as_a_document(results, [current, prior])
    else:
        assert not (results / "comparison.json").exists()
        assert not list(results.rglob("comparison_*.dcm"))
        assert "a prior study cannot be asked for" in log
    assert not [word for word in dicoms.PLANTED if word in log]


def _sent_as_a_document(results, sources):
    """A PDF that a PACS shows, of the current study, which refers to both; the root names it with the others."""
    (file,) = results.rglob("comparison_*.dcm")
    found = pydicom.dcmread(file)
    first, *_ = headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in sources]
    assert (found.Modality, found.StudyInstanceUID, found.PatientID) == ("DOC", first.StudyInstanceUID, first.PatientID)
    assert [one.ReferencedSOPInstanceUID for one in found.SourceInstanceSequence] == [h.SOPInstanceUID for h in headers]
    assert found.EncapsulatedDocument.startswith(b"%PDF")
    (root,) = results.rglob("ko_*.dcm")
    named = pydicom.dcmread(root).CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert found.SOPInstanceUID in {one.ReferencedSOPInstanceUID for s in named for one in s.ReferencedSOPSequence}
    if validator := shutil.which("dciodvfy", path="/usr/bin:/usr/local/bin"):
        told = subprocess.run([validator, str(file)], capture_output=True, text=True, check=False)
        assert not [line for line in told.stderr.splitlines() if line.startswith("Error")], told.stderr

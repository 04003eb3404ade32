"""Orthanc sends on what it stores, the gateway answers: results come to lie beside originals, and that is all."""

from __future__ import annotations

from collections import Counter
from io import BytesIO

import pydicom
import pytest

pytest.importorskip("pynetdicom")

from tests.imaging import dicoms
from tests.jobs.gateway.senders import free_port, radiographs
from tests.jobs.gateway.whole import config, running, until
from tests.jobs.studies import ct_study
from tests.orthanc import missing
from tests.orthanc import running as orthanc_with

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
    films, slices = radiographs(tmp_path / "films", 1), ct_study(tmp_path / "scan")
    port = free_port()
    path = config(tmp_path, None, port=port, more=f'[send]\nplace = "{getattr(archive, way)}"\nwait_s = 0.2\n')
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

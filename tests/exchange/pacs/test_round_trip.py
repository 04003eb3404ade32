"""What cfcam writes goes to a real archive and comes back as it was: maps, regions, reports, pictures, states."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest
from pydicom import dcmread

from cfcam.exchange import write_objects
from cfcam.exchange.dicom.moments import say_when_made
from cfcam.exchange.pacs import Access, Outcome, Place, fetch, listing, send
from tests.exchange import phantoms, sources
from tests.exchange.pacs.test_sending import after_meta

FAST = Access(timeout_s=60)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """All that is written of a map of an oblique CT series, and of one of a radiograph."""
    made = {}
    for name, given, shape, kinds in (
        ("ct", phantoms.ct_sources(), phantoms.SHAPE, ("pm", "seg", "sr", "sc", "gsps")),
        ("film", [phantoms.radiograph()], phantoms.SHAPE[1:], ("seg", "sr", "sc", "gsps")),
    ):
        if name == "film":
            given[0].StudyInstanceUID, given[0].SOPInstanceUID = "1.2.77", "1.2.3.77"
            given[0].file_meta.MediaStorageSOPInstanceUID = "1.2.3.77"
        output = tmp_path_factory.mktemp(name)
        heatmap = phantoms.heatmap(shape)
        made[name] = write_objects(
            given, heatmap, phantoms.RESULT, kinds=kinds, threshold=phantoms.THRESHOLD, output=output
        )
    return made


@pytest.mark.parametrize(("there", "back"), [("dicom", "web"), ("web", "dicom")])
@pytest.mark.parametrize("name", ["ct", "film"])
def test_every_object_comes_back_byte_for_byte(orthanc, results, tmp_path, name, there, back):
    sent = {str(dcmread(path).SOPInstanceUID): path.read_bytes() for path in results[name]}
    report = send(Place.parse(getattr(orthanc, there)), results[name], FAST, look_first=True)
    assert [one.outcome for one in report.sent] == [Outcome.STORED] * len(results[name]), report
    place = Place.parse(getattr(orthanc, back))
    study = str(dcmread(results[name][0]).StudyInstanceUID)
    got = fetch(place, listing(place, [study], FAST), tmp_path, FAST)
    assert {one.uid: after_meta(one.path.read_bytes()) for one in got.sent} == {
        key: after_meta(data) for key, data in sent.items()
    }
    if name == "ct":
        (map_,) = (dcmread(one.path) for one in got.sent if "FloatPixelData" in dcmread(one.path))
        stored = np.frombuffer(map_.FloatPixelData, "<f4").reshape(phantoms.SHAPE)
        assert {plane.tobytes() for plane in stored} == {plane.tobytes() for plane in phantoms.heatmap()}
    assert send(place, results[name], FAST, look_first=True).count(Outcome.ALREADY_THERE) == len(sent)


def test_a_result_that_is_made_again_is_the_same_object_for_the_archive(orthanc, results, tmp_path):
    """Made at another moment into another folder: the same UIDs, another time, and nothing is sent or refused."""
    again = write_objects(
        phantoms.ct_sources(), phantoms.heatmap(), phantoms.RESULT,
        kinds=("pm", "seg", "sr", "sc", "gsps"), threshold=phantoms.THRESHOLD, output=tmp_path,
    )  # fmt: skip
    for path in again:
        dataset = dcmread(path)
        say_when_made(dataset, datetime(2031, 1, 2, 3, 4, 5))
        dataset.save_as(path, enforce_file_format=True)
    assert send(Place.parse(orthanc.web), results["ct"], FAST).done
    report = send(Place.parse(orthanc.web), again, FAST, look_first=True)
    assert [one.outcome for one in report.sent] == [Outcome.ALREADY_THERE] * len(again), report.reasons


def test_a_label_map_goes_by_stow_and_is_refused_in_words_by_c_store(orthanc, tmp_path):
    import highdicom as hd
    from pydicom.sr.codedict import codes

    slices = sources.sources("CT")
    kind = codes.SCT.MorphologicallyAbnormalStructure
    manual = hd.seg.SegmentAlgorithmTypeValues.MANUAL
    segment = hd.seg.SegmentDescription(1, "lesion", kind, codes.SCT.Lesion, manual)
    labels = hd.seg.Segmentation(
        slices, np.ones((len(slices), *sources.SIZE), np.uint8), "LABELMAP", [segment],
        series_instance_uid="1.2.5.99", series_number=9, sop_instance_uid="1.2.3.99", instance_number=1,
        manufacturer="N", manufacturer_model_name="N", software_versions="1", device_serial_number="1",
    )  # fmt: skip
    labels.save_as(tmp_path / "labels.dcm", enforce_file_format=True)
    (refused,) = send(Place.parse(orthanc.dicom), [tmp_path / "labels.dcm"], FAST).sent
    assert refused.outcome is Outcome.REFUSED
    assert "Label Map Segmentation Storage" in refused.reason
    assert send(Place.parse(orthanc.web), [tmp_path / "labels.dcm"], FAST).done
    got = fetch(Place.parse(orthanc.web), str(labels.StudyInstanceUID), tmp_path / "in", FAST)
    assert got.sent[0].path.read_bytes() == (tmp_path / "labels.dcm").read_bytes()

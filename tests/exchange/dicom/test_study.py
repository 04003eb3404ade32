"""The DICOM objects behind a study, and what is written of it for them: where nothing can refer to them it is said."""

from __future__ import annotations

import json

import numpy as np
import pydicom
import pytest

from cfcam.errors import InputError
from cfcam.exchange.dicom.report_object import comparison_object
from cfcam.exchange.dicom.study import DicomSource
from cfcam.imaging import read_image, read_volume
from tests.imaging import dicoms
from tests.jobs.studies import (
    BRIGHT_3D,
    ct_study,
    explain,
    marked_voxels,
    study_json,
)
from tests.jobs.study.test_run import ALL_KINDS, FLAT


@pytest.mark.parametrize(
    ("given", "edges"),
    [
        (["L", "F"], ("L", "I")),
        (["RA", "HL"], ("R", "S")),
        (["P", "F"], ("P", "I")),
        (["L", "R"], None),
        (["L"], None),
        ([], None),
        (["X", "F"], None),
    ],
)
def test_edges_follow_the_patient_orientation(given, edges):
    header = pydicom.Dataset()
    header.PatientOrientation = given
    assert DicomSource([header]).edges == edges


def test_a_loop_is_explained_by_its_first_frame_and_no_object_claims_more(tmp_path):
    loop = np.random.default_rng(0).integers(0, 255, (3, 24, 32, 3))
    dicoms.save(dicoms.ultrasound(loop), tmp_path / "loop.dcm")
    result = explain(tmp_path / "loop.dcm", tmp_path / "out", *FLAT, "--dicom", "seg,sr")
    assert result.exit_code == 0, result.output
    assert "a loop of several frames is explained by its first" in result.stderr
    assert list((tmp_path / "out").rglob("*_dicom/*")) == []
    assert study_json(tmp_path / "out")["modality"] == "US"


@pytest.mark.parametrize(
    ("key", "kept"), [("SliceThickness", ALL_KINDS.split(",")), ("FrameOfReferenceUID", ["sc", "gsps"])]
)
def test_what_a_series_lacks_costs_only_what_needs_it_and_is_told_by_name(tmp_path, key, kept):
    for path in dicoms.ct_series(tmp_path / "in", marked_voxels(), shuffled=False):
        source = pydicom.dcmread(path)
        delattr(source, key)
        source.save_as(path)
    result = explain(tmp_path / "in", tmp_path / "out", *BRIGHT_3D, "--dicom", ALL_KINDS)
    assert result.exit_code == 0, result.output
    found = {path.name.partition("_")[0].partition("-")[0] for path in (tmp_path / "out").rglob("*_dicom/*.dcm")}
    assert found == set(kept)
    (line,) = (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()
    told = json.loads(line)["left_out"]
    assert told
    assert all(key in one for one in told)
    assert key in result.stderr


def test_resampled_slices_get_no_objects_that_refer_to_them(tmp_path):
    files = dicoms.ct_series(tmp_path / "in", marked_voxels(), shuffled=False)
    files[8].unlink()
    result = explain(tmp_path / "in", tmp_path / "out", *BRIGHT_3D, "--dicom", "pm", "--irregular", "resample")
    assert result.exit_code == 0, result.output
    assert "slices that were resampled are not those of the files" in result.stderr
    assert any("resampled to 12 slices" in line for line in study_json(tmp_path / "out")["limits"])


def test_a_map_without_evidence_is_told_and_gets_no_objects(tmp_path):
    ct_study(tmp_path / "in")
    result = explain(tmp_path / "in", tmp_path / "out", *BRIGHT_3D, "--dicom", "pm,sr", "--target", "dark")
    assert result.exit_code == 0, result.output
    assert "no DICOM objects of a map without evidence (grad-cam: no positive evidence)" in result.stderr
    told = study_json(tmp_path / "out")
    assert told["maps"][0]["status"] == "no positive evidence"
    assert told["maps"][0]["regions"]["threshold"] is None
    assert "Without a map: grad-cam for dark (no positive evidence)." in told["limits"]


@pytest.mark.parametrize(("window", "same"), [(None, True), ((1000, 2000), False)])
def test_overlays_show_the_source_in_its_own_window_whatever_the_network_was_shown(tmp_path, window, same):
    """The picture at hand is drawn on only where it is that."""
    path = dicoms.save(dicoms.radiograph(np.arange(64).reshape(8, 8)), tmp_path / "film.dcm")
    assert DicomSource.of(read_image(path, window=window), path, whole=True).as_shown is same


def test_no_document_compares_the_studies_of_two_patients(tmp_path):
    current, prior = dicoms.radiograph(np.ones((4, 4), int)), dicoms.radiograph(np.ones((4, 4), int))
    prior.PatientID = "somebody else"
    with pytest.raises(InputError, match="several patients") as error:
        comparison_object(None, DicomSource([current]), [prior], b"%PDF", "key")
    assert not [word for word in (*dicoms.PLANTED, prior.PatientID) if word in str(error.value)]


def test_one_of_several_stacks_of_an_object_gets_no_objects_and_a_line(tmp_path):
    path = dicoms.save(dicoms.localizer(dicoms.phantom((6, 4, 5))), tmp_path / "a.dcm")
    source = DicomSource.of(read_volume(path, series=2), path, whole=True)
    assert source.missing == "the volume has not all the frames of its object; write the map as NIfTI"
    assert source.modality == "CT"

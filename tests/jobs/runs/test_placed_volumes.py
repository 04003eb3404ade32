"""Whole runs over NIfTI files of an uncertain place, sheared, or with NaN: it is said wherever it matters."""

from __future__ import annotations

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from cfcam.imaging import VolumePreprocess
from cfcam.jobs.compare.pairs import make_pair
from cfcam.jobs.compare.run import ComparePairs
from cfcam.jobs.compare.settings import CompareSettings
from cfcam.models import load
from tests.imaging.test_nifti_space import moved, written
from tests.jobs.studies import BRIGHT_3D, explain, marked_voxels, study_json
from tests.jobs.volume_networks import __file__ as networks_file

STRAIGHT = np.diag([2.0, 1.5, 3.0, 1.0])
LEANING = np.array([[2.0, 0, 0, 0], [0, 3, 4, 0], [0, 0, 4, 0], [0, 0, 0, 1]])  # by 45 degrees; a voxel has 24 mm³


def told(folder):
    """Everything that a run has written for people or programs: its table, page, manifest and what it printed."""
    study = study_json(folder / "out")
    (page,) = (folder / "out").rglob("*_report.html")
    return study, page.read_text()


def run(folder, *transforms, array=None, **how):
    array = marked_voxels().astype(np.float32) if array is None else array
    written(folder / "a.nii", *transforms, array=array, **how)
    result = explain(
        folder / "a.nii", folder / "out", *BRIGHT_3D, "--report", "html", "--regions", "--threshold", "0.5"
    )
    assert result.exit_code == 0, result.output
    return result


def test_a_volume_without_a_place_gets_no_position_in_the_patient(tmp_path):
    result = run(tmp_path, STRAIGHT, STRAIGHT, (0, 0))
    assert "left and right are unknown" in result.output
    study, page = told(tmp_path)
    region = study["maps"][0]["regions"]["regions"][0]
    assert region["peak_patient"] is None
    assert region["centroid_patient"] is None
    assert region["size"] == pytest.approx(region["count"] * 9)
    assert study["source"]["affine_ras"] is None
    assert any("place in the patient is not known" in line for line in study["limits"])
    assert any("left and right are unknown" in line for line in study["limits"])
    assert page.count(">?</span>") >= 12  # four edges of three planes
    assert 'class="side' not in page
    assert "Left and right of the patient are" in page


def test_transforms_that_differ_and_an_unnamed_unit_are_in_report_and_numbers(tmp_path):
    result = run(tmp_path, STRAIGHT, moved(STRAIGHT), (2, 1), units="unknown")
    assert "sform and qform disagree by 6.0 mm" in result.output
    study, page = told(tmp_path)
    for line in ("sform and qform disagree by 6.0 mm", "names no unit of length: lengths are taken as mm"):
        assert any(line in limit for limit in study["limits"])
        assert line in page


def test_a_sheared_volume_has_the_volumes_of_the_patient(tmp_path):
    run(tmp_path, LEANING, None, (1, 0), pixdim=[1, 2, 3, 32**0.5, 0, 0, 0, 0])
    study, page = told(tmp_path)
    region = study["maps"][0]["regions"]["regions"][0]
    assert region["size"] == pytest.approx(region["count"] * 24)
    place = LEANING @ [*region["peak"], 1]
    assert region["peak_patient"] == pytest.approx(place[:3].tolist())
    assert "45.0° off right angles" in page


def test_voxels_that_are_no_numbers_are_counted_and_left_out_everywhere(tmp_path):
    array = marked_voxels().astype(np.float32)
    array[:, :8] = np.nan
    count = int(np.isnan(array).sum())
    result = run(tmp_path, STRAIGHT, STRAIGHT, array=array)
    line = f"{count} voxels are no finite numbers (of {array.size})"
    assert line in result.output
    study, page = told(tmp_path)
    table = study["maps"][0]["regions"]
    assert table["left_out"] == count
    assert any(line in limit for limit in study["limits"])
    assert f"{count} positions without a finite number in the source are in no region" in page
    raw = nib.load(next((tmp_path / "out").glob("a_*.nii.gz")))
    assert np.isfinite(raw.get_fdata()).all()
    assert raw.header["cal_max"] > raw.header["cal_min"]


def compared(folder, prior, current, **how):
    settings = CompareSettings(
        folder / "out", method="grad-cam", target=0, registration="none", retests=1,
        preprocess=VolumePreprocess(intensity="unit"), **how,
    )  # fmt: skip
    model = load(f"{networks_file}:bright")
    (done,) = ComparePairs(model, settings).run([make_pair(prior, current)])
    return done


def test_a_comparison_tells_how_its_volumes_were_read_and_lays_no_left_on_right(tmp_path):
    array = marked_voxels().astype(np.float32)
    files = {
        "differs": written(tmp_path / "differs.nii", STRAIGHT, moved(STRAIGHT), (2, 1), array=array),
        "nowhere": written(tmp_path / "nowhere.nii", STRAIGHT, STRAIGHT, (0, 0), array=array),
        "again": written(tmp_path / "again.nii", STRAIGHT, STRAIGHT, (0, 0), array=array),
    }
    done = compared(tmp_path, files["differs"], files["nowhere"])
    assert done.state == "not compared"
    assert "left could be laid on right" in done.reason
    done = compared(tmp_path, files["differs"], files["differs"])
    notes = " ".join(json.loads((tmp_path / "out" / f"{done.pair.name}.json").read_text())["notes"])
    assert "the prior volume: its sform and qform disagree by 6.0 mm" in notes
    assert notes.count("the prior volume: its sform") == 1
    assert "the prior study: its sform" not in notes
    done = compared(tmp_path, files["nowhere"], files["again"])
    notes = " ".join(done.document["notes"])
    assert "the prior volume: its header does not say how it lies" in notes
    assert "laid on each other as stored" in notes
    difference = nib.load(next((tmp_path / "out").glob("nowhere_again_difference.nii.gz")))
    assert (float(difference.header["cal_min"]), float(difference.header["cal_max"])) == (-1, 1)
    assert replace(done).state == "compared"


def test_a_comparison_of_sheared_volumes_counts_their_voxels(tmp_path):
    array = marked_voxels().astype(np.float32)
    path = written(tmp_path / "a.nii", LEANING, None, (1, 0), pixdim=[1, 2, 3, 32**0.5, 0, 0, 0, 0], array=array)
    done = compared(tmp_path, path, path)
    assert done.state == "compared", done.reason
    hot = int((done.comparison.prior >= done.comparison.threshold).sum())
    assert done.comparison["hot volume"].prior == pytest.approx(hot * 24)


@pytest.mark.parametrize("placed", [True, False])
def test_the_examples_of_a_scorecard_name_directions_only_where_they_are_known(monkeypatch, placed):
    from types import SimpleNamespace

    from cfcam.jobs.evaluate import examples

    said = []
    monkeypatch.setattr(examples, "panels_of", lambda *_: [])
    monkeypatch.setattr(examples, "contact_sheet", lambda *_, footer, **__: said.append(footer))
    monkeypatch.setattr(examples, "as_example", lambda *_: None)
    sample = SimpleNamespace(image=torch.rand(1, 6, 7, 8), ground_truth=None, name="a")
    examples.volume_example(SimpleNamespace(controls=()), sample, STRAIGHT, placed=placed)
    assert ("axial" in said[0]) == placed
    assert ("directions are unknown" in said[0]) != placed

"""One command from a study to everything: the same numbers in every output, at the same place in the patient."""

from __future__ import annotations

import shutil
import sqlite3

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch

pytest.importorskip("highdicom")
pytest.importorskip("sqlalchemy")

from cfcam.clinical.regions import measure
from cfcam.exchange import KINDS
from cfcam.imaging import read_image, read_volume
from cfcam.jobs.inputs.privacy import with_labels
from cfcam.jobs.study.settings import StudySettings
from tests.exchange.dicom.test_write import content
from tests.exchange.phantoms import errors_of
from tests.imaging import dicoms
from tests.jobs.studies import (
    AXES,
    BRIGHT_3D,
    MARKER,
    SHAPE,
    ct_study,
    explain,
    marked_voxels,
    nodule_phantom,
    objects,
    phantom_radiograph,
    place_by_hand,
    study_json,
    study_rows,
)
from tests.jobs.world import NETWORKS, draw, folder_of, lines, written
from tests.machine import VALIDATORS

FLAT = ["--model", f"{NETWORKS}:brightness", "--size", "32", "--mean", "0", "--std", "1", "--classes", "bright,dark",
        "--method", "grad-cam"]  # fmt: skip
ALL_KINDS = ",".join(KINDS)
DEMO = ["--method", "grad-cam"]


MEANINGS = (
    "Volume",
    "Area",
    "Mean",
    "Standard Deviation",
    "Maximum",
    "Share of the map's energy in the region",
    "Probability of the class, as the model gives it",
    "Peak, patient x (to the left, LPS)",
    "Peak, patient y (to posterior, LPS)",
    "Peak, patient z (to the head, LPS)",
)


def numbers_of(report):
    """The measurements of a structured report by their meaning."""
    found = {}
    for meaning in MEANINGS:
        for item in content(report, meaning):
            found[meaning] = float(item.MeasuredValueSequence[0].NumericValue)
    return found


def frames(dataset, stored):
    """Position (LPS) of each frame's first pixel with its values."""
    places = [
        np.array(f.PlanePositionSequence[0].ImagePositionPatient, float)
        for f in dataset.PerFrameFunctionalGroupsSequence
    ]
    return list(zip(places, stored, strict=True))


def strongest_place(dataset, stored):
    """Where in the patient the greatest value of a multi-frame object lies (PS3.3 C.7.6.2.1.1), by pydicom alone."""
    shared = dataset.SharedFunctionalGroupsSequence[0]
    orientation = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    spacing = np.array(shared.PixelMeasuresSequence[0].PixelSpacing, float)
    most = stored.max()
    places = [
        origin + column * spacing[1] * orientation[:3] + row * spacing[0] * orientation[3:]
        for origin, plane in frames(dataset, stored)
        for row, column in np.argwhere(plane == most)
    ]
    return np.mean(places, axis=0)


@pytest.fixture(scope="module")
def ct_run(tmp_path_factory):
    """A CT series explained once with everything."""
    folder = tmp_path_factory.mktemp("ct")
    ct_study(folder / "in")
    result = explain(folder / "in", folder / "out", *BRIGHT_3D, "--dicom", ALL_KINDS, "--record",
                     folder / "audit.sqlite")  # fmt: skip
    assert result.exit_code == 0, result.output
    return folder, result


@pytest.fixture(scope="module")
def cr_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cr")
    phantom_radiograph(folder / "in" / "chest.dcm")
    result = explain(folder / "in", folder / "out", *DEMO, "--dicom", "pm,seg,sr,sc,gsps")
    assert result.exit_code == 0, result.output
    return folder, result


# --- a series of slices


def test_one_command_writes_every_object_of_a_series(ct_run):
    folder, _ = ct_run
    (json_file,) = folder.rglob("*_regions.json")
    name = json_file.name.removesuffix("_regions.json")
    counts = {
        kind: len(objects(folder / "out", kind)) for kind in ("pm", "seg-fractional", "seg-binary", "sr", "sc", "gsps")
    }
    assert counts == {"pm": 1, "seg-fractional": 1, "seg-binary": 1, "sr": 1, "sc": 1, "gsps": 1}
    found = {n for n in written(folder / "out") if not n.startswith(f"{name}_dicom/")}
    assert found == {
        "manifest.jsonl", "run.json", f"{name}_grad-cam.nii.gz", f"{name}_grad-cam.png", f"{name}_sheet.png",
        f"{name}_regions.csv", f"{name}_regions.json",
    }  # fmt: skip
    (line,) = lines(folder / "out")
    assert set(line["files"]) == {n for n in written(folder / "out") if n not in ("manifest.jsonl", "run.json")}


def test_table_json_and_structured_report_hold_the_numbers_of_the_map_that_was_written(ct_run):
    folder, _ = ct_run
    told = study_json(folder / "out")["maps"][0]["regions"]
    region = told["regions"][0]
    (report,) = objects(folder / "out", "sr")
    numbers = numbers_of(report)
    assert numbers["Volume"] == pytest.approx(region["size"], rel=1e-8)
    assert numbers["Mean"] == pytest.approx(region["mean"], rel=1e-8)
    assert numbers["Maximum"] == pytest.approx(region["maximum"], rel=1e-8)
    assert numbers["Share of the map's energy in the region"] == pytest.approx(region["energy"], rel=1e-8)
    x, y, z = region["peak_patient"]
    peak = [numbers[key] for key in numbers if key.startswith("Peak")]
    assert peak == pytest.approx([-x, -y, z], abs=1e-6)
    (row,) = study_rows(folder / "out")
    for column in ("size", "mean", "sd", "maximum", "energy"):
        assert float(row[column]) == pytest.approx(region[column], rel=1e-5)
    assert (row["method"], row["class"], row["status"]) == ("grad-cam", "bright", "ok")
    # ... and they are those of the Parametric Map, measured anew from its bytes
    (pm,) = objects(folder / "out", "pm")
    values = np.frombuffer(pm.FloatPixelData, "<f4").reshape(SHAPE)
    marked = values >= np.float32(told["threshold"])
    voxel = 0.8 * 0.7 * 2.5
    assert region["size"] == pytest.approx(marked.sum() * voxel)
    assert region["mean"] == pytest.approx(values[marked].mean(dtype=np.float64))
    (binary,) = objects(folder / "out", "seg-binary")
    assert int(binary.pixel_array.sum()) == region["count"] == marked.sum()


def test_every_object_lies_where_the_evidence_lies_in_the_patient(ct_run):
    folder, _ = ct_run
    expected = place_by_hand(*MARKER)
    (pm,), (fractional,) = objects(folder / "out", "pm"), objects(folder / "out", "seg-fractional")
    stored = np.frombuffer(pm.FloatPixelData, "<f4").reshape(SHAPE)
    assert np.linalg.norm(strongest_place(pm, stored) - expected) < 0.1
    stored = np.frombuffer(fractional.PixelData, np.uint8)[: int(np.prod(SHAPE))].reshape(SHAPE)
    assert np.linalg.norm(strongest_place(fractional, stored) - expected) < 0.1
    (nifti,) = (folder / "out").glob("*.nii.gz")
    image = nib.load(nifti)
    values = image.get_fdata()
    middle = np.argwhere(values == values.max()).mean(0)
    ras = (image.affine @ [*middle, 1])[:3]
    assert np.linalg.norm(ras * [-1, -1, 1] - expected) < 0.1


def test_an_independent_reader_finds_the_overlay_at_the_same_place(ct_run):
    sitk = pytest.importorskip("SimpleITK")
    folder, _ = ct_run
    (path,) = (folder / "out").rglob("sc_*.dcm")
    image = sitk.ReadImage(str(path))
    array = sitk.GetArrayFromImage(image).astype(int)
    colour = array[..., 0] - array[..., 2]  # the map is what is red and not blue; its outline is light blue
    k, j, i = (float(n) for n in np.argwhere(colour >= np.quantile(colour, 1 - 27 / colour.size)).mean(0))
    place = image.TransformContinuousIndexToPhysicalPoint((i, j, k))
    assert np.linalg.norm(np.array(place) - place_by_hand(*MARKER)) < 2.5


@pytest.mark.parametrize("which", ["ct", "cr"])
@pytest.mark.parametrize("program", VALIDATORS)
def test_validators_find_no_error(request, which, program):
    folder, _ = request.getfixturevalue(f"{which}_run")
    found = sorted((folder / "out").rglob("*.dcm"))
    checked = [path for path in found if program != "dcmpschk" or path.name.startswith("gsps")]
    assert checked
    assert {path.name: errors_of(program, path) for path in checked} == {path.name: [] for path in checked}


def test_the_record_holds_the_study_and_no_more(ct_run):
    from cfcam.clinical.audit.audit import Audit

    folder, _ = ct_run
    audit = Audit(folder / "audit.sqlite", create=False)
    (record,) = audit.records()
    assert audit.verify().ok
    told = study_json(folder / "out")
    assert told["record_id"] == record.id
    details = record.details
    assert details["data_sha256"] == told["source"]["sha256"] == read_volume(folder / "in").sha256
    assert details["model_sha256"] == told["model"]["weights_sha256"]
    assert details["target"] == [0]
    assert details["probability"] == [told["maps"][0]["probability"]]
    assert details["measures"]["volume_mm3"] == told["maps"][0]["regions"]["regions"][0]["size"]
    uids = {path.stem.partition("_")[2] for path in (folder / "out").rglob("*_dicom/*.dcm")}
    assert set(details["object_uids"]) == uids
    assert (details["outcome"], details["modality"]) == ("success", "CT")


def test_a_second_run_does_nothing_and_one_elsewhere_writes_the_same_bytes(ct_run, monkeypatch):
    """Objects say when they were made: for the same bytes that has to be said from outside."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    folder, _ = ct_run
    arguments = [*BRIGHT_3D, "--dicom", ALL_KINDS]
    for output in ("first", "second"):
        assert explain(folder / "in", folder / output, *arguments).exit_code == 0
    names = [name for name in written(folder / "first") if name not in ("manifest.jsonl", "run.json")]
    assert names == [name for name in written(folder / "second") if name not in ("manifest.jsonl", "run.json")]
    assert len(names) == 11
    for name in names:
        assert (folder / "first" / name).read_bytes() == (folder / "second" / name).read_bytes(), name
    again = explain(folder / "in", folder / "first", *arguments)
    assert "1 already done" in again.stdout
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    anew = explain(folder / "in", folder / "first", *arguments, "--overwrite")  # later, and no other object for that
    assert anew.exit_code == 0, anew.output
    for name in names:
        assert (folder / "first" / name).read_bytes() == (folder / "second" / name).read_bytes(), name


def test_other_colours_and_thresholds_are_other_objects_and_nothing_is_refused(ct_run):
    folder, _ = ct_run
    for more in (
        [],
        ["--opacity", "0.6"],
        ["--palette", "viridis"],
        ["--blend", "contour"],
        ["--threshold", "0.5"],
        ["--threshold", "quantile:0.9"],
    ):
        result = explain(folder / "in", folder / "looks", *BRIGHT_3D, "--dicom", "pm,seg,sr,sc", *more)
        assert result.exit_code == 0, result.output
    assert len(objects(folder / "looks", "pm")) == 3  # the rule of the threshold is a parameter
    assert study_json(folder / "looks")["maps"][0]["regions"]["rule"] == "quantile:0.9"


# --- a radiograph


def test_a_radiograph_gets_fractions_in_place_of_a_parametric_map_and_is_told_so(cr_run):
    folder, result = cr_run
    assert objects(folder / "out", "pm") == []
    assert "pm: a Parametric Map needs a Frame of Reference, which pictures of modality CR have not" in result.stderr
    (fractional,), (overlay,) = objects(folder / "out", "seg-fractional"), objects(folder / "out", "sc")
    for dataset in (fractional, overlay):
        assert list(dataset.PatientOrientation) == ["L", "F"]
    told = study_json(folder / "out")
    stored = fractional.pixel_array
    assert stored.shape == tuple(told["source"]["shape"][:2])
    region = told["maps"][0]["regions"]["regions"][0]
    row, column = region["peak"]
    assert stored[row, column] == stored.max()
    assert region["unit"] == "mm²"
    assert region["size"] == pytest.approx(region["count"] * 0.2 * 0.1)
    numbers = numbers_of(objects(folder / "out", "sr")[0])
    assert numbers["Area"] == pytest.approx(region["size"], rel=1e-8)
    key = "Probability of the class, as the model gives it"
    assert numbers[key] == pytest.approx(told["maps"][0]["probability"], rel=1e-8)


def test_the_region_of_a_radiograph_lies_on_the_nodule(cr_run):
    folder, _ = cr_run
    (binary,) = objects(folder / "out", "seg-binary")
    mask = nodule_phantom().masks["nodule"]
    marked = binary.pixel_array.astype(bool)
    assert study_json(folder / "out")["maps"][0]["class_name"] == "nodule"
    assert (marked & mask).sum() / mask.sum() > 0.5
    flipped = mask[:, ::-1]
    assert (marked & flipped).sum() == 0


def test_the_sides_of_a_radiograph_are_what_its_header_says(tmp_path):
    phantom_radiograph(tmp_path / "chest.dcm")
    assert explain(tmp_path / "chest.dcm", tmp_path / "out", *DEMO, "--report", "html").exit_code == 0
    (report,) = (tmp_path / "out").glob("*_report.html")
    assert "letters at its edges are what its header says" in report.read_text(encoding="utf-8")


def test_only_the_fractions_replace_the_map_where_no_segmentation_was_asked_for(tmp_path):
    phantom_radiograph(tmp_path / "a.dcm")
    result = explain(tmp_path / "a.dcm", tmp_path / "out", *DEMO, "--dicom", "pm")
    assert result.exit_code == 0, result.output
    assert [path.name.partition("_")[0] for path in (tmp_path / "out").rglob("*_dicom/*.dcm")] == ["seg-fractional"]


def test_a_real_slice_of_ct(tmp_path):
    path = pydicom.data.get_testdata_file("CT_small.dcm")
    result = explain(path, tmp_path / "out", *FLAT, "--dicom", "pm,seg,sr,sc")
    assert result.exit_code == 0, result.output
    source, told = pydicom.dcmread(path), study_json(tmp_path / "out")
    assert told["modality"] == "CT"
    assert told["source"]["sha256"] == read_image(path).sha256
    for dataset in map(pydicom.dcmread, (tmp_path / "out").rglob("*_dicom/*.dcm")):
        assert dataset.StudyInstanceUID == source.StudyInstanceUID
    (pm,) = objects(tmp_path / "out", "pm")
    values = torch.from_numpy(np.frombuffer(pm.FloatPixelData, "<f4").reshape(128, 128).copy())
    image = read_image(path)
    again = measure(values, image.spacing, "otsu", affine=image.affine)["map"]
    assert again.size == pytest.approx(told["maps"][0]["regions"]["regions"][0]["size"])
    for path in (tmp_path / "out").rglob("*_dicom/*.dcm"):
        assert errors_of("dciodvfy", path) == errors_of("dciodvfy of PyPI", path) == []


def test_an_enhanced_object_is_a_study_of_its_frames(tmp_path):
    places = dicoms.positions(SHAPE[0], AXES)
    dicoms.save(dicoms.enhanced(marked_voxels(), AXES, where=places), tmp_path / "frames.dcm")
    result = explain(tmp_path / "frames.dcm", tmp_path / "out", *BRIGHT_3D, "--dicom", ALL_KINDS)
    assert result.exit_code == 0, result.output
    assert "gsps" not in result.stderr  # each frame says the same rescaling, which the object then says once
    assert objects(tmp_path / "out", "gsps")
    (pm,) = objects(tmp_path / "out", "pm")
    stored = np.frombuffer(pm.FloatPixelData, "<f4").reshape(SHAPE)
    assert np.linalg.norm(strongest_place(pm, stored) - place_by_hand(*MARKER)) < 0.1


@pytest.mark.parametrize("syntax", ["RLELossless", "JPEGLSLossless"])
def test_a_compressed_series_gives_the_objects_of_an_uncompressed_one(tmp_path, ct_run, syntax):
    for path in ct_study(tmp_path / "in"):
        source = pydicom.dcmread(path)
        source.compress(getattr(pydicom.uid, syntax), generate_instance_uid=False)
        source.save_as(path)
    result = explain(tmp_path / "in", tmp_path / "out", *BRIGHT_3D, "--dicom", "pm,seg,sr,sc")
    assert result.exit_code == 0, result.output
    (pm,), (plain,) = objects(tmp_path / "out", "pm"), objects(ct_run[0] / "out", "pm")
    assert pm.FloatPixelData == plain.FloatPixelData
    overlays = [[one.pixel_array for one in sorted(objects(folder, "sc"), key=lambda ds: ds.InstanceNumber)]
                for folder in (tmp_path / "out", ct_run[0] / "out")]  # fmt: skip
    assert np.array_equal(*overlays)


def test_an_inverted_radiograph_has_the_overlay_of_the_upright_one(tmp_path):
    stored = nodule_phantom().image.astype(int) * 16
    for name, values, photometric in (("a", stored, "MONOCHROME2"), ("b", 4095 - stored, "MONOCHROME1")):
        source = dicoms.radiograph(values, photometric=photometric)
        source.WindowCenter, source.WindowWidth = 2048, 4096
        dicoms.save(source, tmp_path / f"{name}.dcm")
        assert explain(tmp_path / f"{name}.dcm", tmp_path / name, *DEMO, "--dicom", "sc").exit_code == 0
    (one,), (other,) = objects(tmp_path / "a", "sc"), objects(tmp_path / "b", "sc")
    assert np.abs(one.pixel_array.astype(int) - other.pixel_array).max() <= 2


# --- what is no DICOM, and what fails


def test_pictures_get_tables_but_no_objects_and_a_run_without_dicom_is_refused(tmp_path):
    folder_of(tmp_path / "in", 2)
    result = explain(tmp_path / "in", tmp_path / "out", *FLAT, "--dicom", "seg")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "--dicom: none of the inputs is DICOM" in line
    dicoms.save(dicoms.radiograph(np.arange(600).reshape(20, 30)), tmp_path / "in" / "a.dcm")
    result = explain(tmp_path / "in", tmp_path / "out", *FLAT, "--dicom", "seg")
    assert result.exit_code == 0, result.output
    assert result.stderr.count("inputs that are no DICOM get no DICOM objects") == 1
    names = written(tmp_path / "out")
    assert {"picture0_regions.json", "picture1_regions.csv"} <= set(names)
    assert len([name for name in names if "/seg-" in name]) == 2


def test_nifti_with_dicom_asked_for_is_one_clear_line(tmp_path):
    nib.save(nib.Nifti1Image(marked_voxels().astype(np.int16), np.eye(4)), tmp_path / "a.nii.gz")
    result = explain(tmp_path / "a.nii.gz", tmp_path / "out", *BRIGHT_3D, "--dicom", "pm")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "maps of NIfTI are written as NIfTI" in line


def test_a_nifti_has_its_numbers_in_mm3(tmp_path):
    nib.save(nib.Nifti1Image(marked_voxels().astype(np.int16), np.diag([2.0, 1.5, 3.0, 1.0])), tmp_path / "a.nii.gz")
    result = explain(tmp_path / "a.nii.gz", tmp_path / "out", *BRIGHT_3D, "--regions", "--threshold", "0.5")
    assert result.exit_code == 0, result.output
    region = study_json(tmp_path / "out")["maps"][0]["regions"]["regions"][0]
    assert region["size"] == pytest.approx(region["count"] * 9.0)
    assert region["unit"] == "mm³"


def test_a_broken_study_is_reported_and_recorded_and_the_rest_is_done(tmp_path):
    from cfcam.clinical.audit.audit import Audit

    for n in range(2):
        dicoms.save(
            dicoms.radiograph(np.random.default_rng(n).integers(0, 4000, (20, 30))), tmp_path / "in" / f"{n}.dcm"
        )
    data = (tmp_path / "in" / "0.dcm").read_bytes()
    (tmp_path / "in" / "broken.dcm").write_bytes(data[:-300])
    result = explain(
        tmp_path / "in", tmp_path / "out", *FLAT, "--dicom", "seg,sr", "--record", tmp_path / "audit.sqlite"
    )
    assert result.exit_code == 1
    (failure,) = [line for line in result.stderr.splitlines() if line.startswith("failed: ")]
    assert "its pixels are cut off" in failure
    assert "(input 3 of 3)" in failure
    assert "broken" not in failure
    outcomes = [record.details["outcome"] for record in Audit(tmp_path / "audit.sqlite").records()]
    assert sorted(outcomes) == ["serious-failure", "success", "success"]
    assert len(objects(tmp_path / "out", "sr")) == 2


@pytest.mark.parametrize("kind", ["picture", "slice"])
def test_a_name_in_the_pixels_is_refused_unless_it_is_allowed(tmp_path, kind):
    if kind == "picture":
        path = phantom_radiograph(tmp_path / "in" / "a.dcm")
        network = DEMO
    else:
        path = sorted(ct_study(tmp_path / "in"))[7]
        network = BRIGHT_3D
    ds = pydicom.dcmread(path)
    ds.BurnedInAnnotation = "YES"
    ds.save_as(path)
    result = explain(tmp_path / "in", tmp_path / "out", *network, "--report", "html")
    assert result.exit_code == 1
    assert "says that a name may stand in its pixels (BurnedInAnnotation)" in result.stderr
    assert written(tmp_path / "out") == ["manifest.jsonl", "run.json"]
    result = explain(tmp_path / "in", tmp_path / "out", *network, "--dicom", "sc", "--allow-burned-in")
    assert result.exit_code == 0, result.output
    if kind == "picture":
        assert objects(tmp_path / "out", "sc")[0].BurnedInAnnotation == "YES"
        assert any("often show a name" in line for line in study_json(tmp_path / "out")["limits"])
    assert explain(tmp_path / "in", tmp_path / "plain", *network).exit_code == 0


def test_an_object_that_describes_other_frames_than_it_has_is_refused(tmp_path):
    source = dicoms.enhanced(marked_voxels(), AXES, where=dicoms.positions(SHAPE[0], AXES))
    del source.PerFrameFunctionalGroupsSequence[3]
    dicoms.save(source, tmp_path / "in" / "frames.dcm")
    result = explain(tmp_path / "in", tmp_path / "out", *BRIGHT_3D, "--dicom", "pm")
    assert result.exit_code in (1, 2)
    assert list((tmp_path / "out").rglob("*.dcm")) == []
    assert "Traceback" not in result.output


def test_studies_are_taken_one_at_a_time(tmp_path, monkeypatch):
    from cfcam.jobs.inputs import reading as module
    from cfcam.jobs.study.run import Studies

    held, most = [], []
    read, made = module.read_image, Studies.__call__
    monkeypatch.setattr(module, "read_image", lambda *a, **k: held.append(1) or most.append(len(held)) or read(*a, **k))

    def counted(self, *arguments):
        files = made(self, *arguments)
        held.pop()
        return files

    monkeypatch.setattr(Studies, "__call__", counted)
    folder_of(tmp_path / "in", 6)
    assert explain(tmp_path / "in", tmp_path / "out", *FLAT, "--regions", "--batch-size", "8").exit_code == 0
    assert (len(most), max(most)) == (6, 1)


def test_a_run_that_was_left_goes_on_and_ends_like_one_that_was_not(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")  # objects say when they were made
    from cfcam.jobs import FolderRun, Settings, find_inputs
    from cfcam.models import load
    from tests.jobs.world import PLAIN

    for n in range(3):
        stored = np.random.default_rng(n).integers(0, 4000, (20, 30))
        dicoms.save(dicoms.radiograph(stored), tmp_path / "in" / f"{n}.dcm")
    model = load(f"{NETWORKS}:brightness", classes=("bright", "dark"))

    def begun(output):
        study = StudySettings(dicom=("seg", "sr"), report=("html",))
        settings = Settings(output=tmp_path / output, methods=("grad-cam",), preprocess=PLAIN, study=study)
        return FolderRun(model, find_inputs([tmp_path / "in"], output=tmp_path / output), settings)

    assert [outcome.status for outcome in begun("whole")] == ["done"] * 3
    left = iter(begun("left"))
    next(left)
    left.close()
    assert (tmp_path / "left" / "reports.html").exists()
    assert [outcome.status for outcome in begun("left")].count("skipped") >= 1
    names = [name for name in written(tmp_path / "whole") if name not in ("manifest.jsonl", "run.json")]
    assert names == [name for name in written(tmp_path / "left") if name not in ("manifest.jsonl", "run.json")]
    for name in names:
        assert (tmp_path / "left" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


# --- names


def test_dicom_studies_have_neutral_names_that_are_the_same_in_every_run(tmp_path):
    from cfcam.jobs import find_inputs

    ct_study(tmp_path / "a" / "DOE^JANE")
    shutil.copytree(tmp_path / "a" / "DOE^JANE", tmp_path / "b" / "elsewhere")
    first = with_labels(find_inputs([tmp_path / "a" / "DOE^JANE"], output=tmp_path / "out"))
    second = with_labels(find_inputs([tmp_path / "b" / "elsewhere"], output=tmp_path / "out"))
    assert first[0].label == second[0].label
    assert first[0].label.startswith("study-")
    assert len(first[0].label) == len("study-") + 8
    both = with_labels(
        find_inputs([tmp_path / "a" / "DOE^JANE", tmp_path / "b" / "elsewhere"], output=tmp_path / "out")
    )
    assert [source.label for source in both] == [first[0].label, f"{first[0].label}-2"]
    picture = with_labels(find_inputs([draw(tmp_path / "c.png")], output=tmp_path / "out"))
    assert picture[0].label is None


def test_messages_lose_the_names_of_files_and_folders_and_keep_their_words(tmp_path, monkeypatch):
    from pathlib import Path

    from cfcam.jobs.inputs.find import Input, Kind
    from cfcam.jobs.inputs.privacy import without_paths

    folder = tmp_path / "DOE^JANE"
    folder.mkdir()
    for name in ("IM1", "IM10", "slice", "a\nb"):
        (folder / name).touch()
    source = Input(folder, kind=Kind.VOLUME, label="study-1")

    def said(text, source=source):
        return without_paths(text, source, 2, 3)

    assert said(f"{folder}: holds 2 series") == "holds 2 series (input 2 of 3)"
    assert said(f"{folder}/IM10: is broken") == "file 2 of 4 in the folder: is broken (input 2 of 3)"
    assert said(f"{folder}/IM1: is broken") == "file 1 of 4 in the folder: is broken (input 2 of 3)"
    assert said(f"{str(folder / ('a' + chr(10) + 'b'))!r}: is broken").startswith("file 3 of 4 in the folder: is")
    assert said("its slices lie 2 mm apart") == "its slices lie 2 mm apart (input 2 of 3)"
    monkeypatch.chdir(folder)
    here = Input(Path(), kind=Kind.VOLUME, label="study-1")
    assert said("IM10: cut off (1.5 of 2 bytes).", here) == (
        "file 2 of 4 in the folder: cut off (1.5 of 2 bytes). (input 2 of 3)"
    )
    assert said(".: holds 2 series. Say which.", here) == "holds 2 series. Say which. (input 2 of 3)"
    assert said("x: y", Input(folder)) == "x: y"


def test_names_can_be_kept(tmp_path):
    phantom_radiograph(tmp_path / "chest.dcm")
    result = explain(tmp_path / "chest.dcm", tmp_path / "out", *DEMO, "--regions", "--keep-names")
    assert result.exit_code == 0, result.output
    assert "chest_regions.json" in written(tmp_path / "out")
    assert lines(tmp_path / "out")[0]["input"] == str(tmp_path / "chest.dcm")


def test_without_a_study_nothing_is_renamed_and_nothing_more_is_written(tmp_path):
    phantom_radiograph(tmp_path / "chest.dcm")
    assert explain(tmp_path / "chest.dcm", tmp_path / "out", *DEMO).exit_code == 0
    assert written(tmp_path / "out") == ["chest_grad-cam.png", "chest_sheet.png", "manifest.jsonl", "run.json"]


# --- settings


def test_an_audit_is_whole_after_a_run_of_several_studies(tmp_path):
    folder_of(tmp_path / "in", 3)
    assert explain(tmp_path / "in", tmp_path / "out", *FLAT, "--record", tmp_path / "a.sqlite").exit_code == 0
    with sqlite3.connect(tmp_path / "a.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM audit_record").fetchone() == (3,)
    assert explain(tmp_path / "in", tmp_path / "out", *FLAT, "--record", tmp_path / "a.sqlite").exit_code == 0
    with sqlite3.connect(tmp_path / "a.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM audit_record").fetchone() == (3,)  # nothing was done anew

"""A report can be matched with its study, tells sides where the file does, and how steady its peaks are."""

from __future__ import annotations

import json
import re

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

pytest.importorskip("highdicom")

from cfcam.exchange import Deidentifier
from cfcam.exchange.dicom.origin import HIDDEN, SHIFTED, STATED, origin_of, uid_digest
from cfcam.exchange.dicom.study import DicomSource
from tests.exchange.dicom.test_write import content
from tests.imaging import dicoms
from tests.jobs.studies import BRIGHT_3D, explain, marked_voxels, objects, phantom_radiograph, study_json, study_rows

DEMO = ["--method", "grad-cam", "--target", "nodule"]
KEY = b"a key of at least sixteen bytes"


def chest(path, **elements):
    phantom_radiograph(path)
    ds = pydicom.dcmread(path)
    ds.BodyPartExamined, ds.ViewPosition, ds.StudyDate = "CHEST", "PA", "20200102"
    for name, value in elements.items():
        setattr(ds, name, value)
    ds.save_as(path)
    return path


def of(volume=False, affine=None, keep_dates=False, **elements):
    header = Dataset()
    header.StudyInstanceUID, header.SeriesInstanceUID, header.SOPInstanceUID = "1.2.3", "1.2.4", "1.2.5"
    for name, value in elements.items():
        setattr(header, name, value)
    return origin_of(header, affine=affine, volume=volume, keep_dates=keep_dates)


# --- what a header says


@pytest.mark.parametrize(
    ("given", "said"),
    [("CHEST", "chest"), ("LSPINE", "lumbar spine"), ("chest ", "chest"), ("JANE DOE", ""), ("", ""), ("C0FFEE", "")],
)
def test_a_body_part_is_a_word_of_the_standard_or_nothing(given, said):
    assert of(BodyPartExamined=given).body_part == said


@pytest.mark.parametrize(
    ("given", "said"), [("PA", "PA (back to front)"), ("LL", "left lateral"), ("DOE", ""), ("", "")]
)
def test_a_view_is_a_word_of_the_standard_or_nothing(given, said):
    assert of(ViewPosition=given).view == said


def test_a_view_may_be_coded_or_follow_from_the_place_of_a_slice():
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "399368009", "SCT", "Jane Doe"
    assert of(ViewCodeSequence=Sequence([code])).view == "medio-lateral oblique"
    axial = np.array([[0, -1.0, 0, 0], [-1.0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    sagittal = np.array([[0, 0, 1.0, 0], [0, -1.0, 0, 0], [-1.0, 0, 0, 0], [0, 0, 0, 1]])
    assert of(affine=axial).view == "axial slice"
    assert of(affine=sagittal).view == "sagittal slice"
    assert of(affine=axial, volume=True).view == ""


@pytest.mark.parametrize(
    ("elements", "said"),
    [
        ({"ImageLaterality": "L"}, "left"),
        ({"Laterality": "R"}, "right"),
        ({"ImageLaterality": "B"}, "both"),
        ({"ImageLaterality": "U"}, ""),
        ({"ImageLaterality": "L", "Laterality": "R"}, ""),  # it contradicts itself
        ({"ImageLaterality": "L", "Laterality": ""}, "left"),
        ({}, ""),
    ],
)
def test_the_side_of_a_paired_part_is_said_once_or_not_at_all(elements, said):
    assert of(**elements).laterality == said


def test_uids_are_never_those_of_the_site():
    found = of().uids
    assert found == {"study": uid_digest("1.2.3"), "series": uid_digest("1.2.4"), "object": uid_digest("1.2.5")}
    # printf %s 1.2.3 | sha256sum | cut -c1-16
    assert uid_digest("1.2.3") == "c47f5b18b8a430e6"
    assert all(re.fullmatch(r"[0-9a-f]{16}", uid) for uid in found.values())
    assert "object" not in of(volume=True).uids  # the first slice stands for no volume


def test_a_date_is_shown_where_it_was_shifted_or_where_it_was_asked_for():
    assert (of(StudyDate="20200102").date, of(StudyDate="20200102").date_note) == ("", HIDDEN)
    kept = of(StudyDate="20200102", keep_dates=True)
    assert (kept.date, kept.date_note) == ("2020-01-02", STATED)
    assert (of(StudyDate="JANE DOE", keep_dates=True).date, of().date_note) == ("", "")


# --- in what is written


def test_a_report_of_a_deidentified_radiograph_can_be_matched_by_whoever_has_the_key(tmp_path):
    source = pydicom.dcmread(chest(tmp_path / "chest.dcm"))
    clean = Deidentifier(KEY)(source)
    dicoms.save(clean, tmp_path / "in" / "a.dcm")
    result = explain(tmp_path / "in" / "a.dcm", tmp_path / "out", *DEMO, "--report", "html", "--no-peak-stability")
    assert result.exit_code == 0, result.output
    told = study_json(tmp_path / "out")["study"]
    assert told["uids"]["study"] == Deidentifier(KEY).uid(source.StudyInstanceUID)
    assert told["uids"]["object"] == Deidentifier(KEY).uid(source.SOPInstanceUID)
    assert (told["date"].replace("-", ""), told["date_note"]) == (clean.StudyDate, SHIFTED)
    assert told["date"] != "2020-01-02"
    (report,) = (tmp_path / "out").glob("*_report.html")
    text = report.read_text(encoding="utf-8")
    for fact in (told["date"], told["uids"]["study"], "chest", "PA (back to front)"):
        assert fact in text
    assert str(source.StudyInstanceUID) not in text


def test_one_that_was_not_deidentified_shows_no_date_and_no_uid_unless_asked(tmp_path):
    path = chest(tmp_path / "chest.dcm", StudyInstanceUID="1.2.840.99999.4711")
    for more, shown in ((["--regions"], False), (["--regions", "--keep-dates"], True)):
        result = explain(path, tmp_path / "out", *DEMO, *more)
        assert result.exit_code == 0, result.output
        (file,) = (tmp_path / "out").glob("*_regions.json")
        assert ("2020-01-02" in file.read_text()) is shown
        assert "20200102" not in file.read_text()
        assert "4711" not in json.dumps(json.loads(file.read_text())["study"])
        assert uid_digest("1.2.840.99999.4711") in file.read_text()


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        # the nodule of the phantom lies in the upper right of the picture
        ({"PatientOrientation": ["L", "F"]}, "patient's left, upper zone (right side of the picture)"),
        ({"PatientOrientation": ["R", "F"]}, "patient's right, upper zone (right side of the picture)"),
        ({"PatientOrientation": ["L", "H"]}, "patient's left, lower zone (upper right third of the picture)"),
        ({"PatientOrientation": ["LA", "F"]}, "patient's left, upper zone (right side of the picture)"),
        ({"PatientOrientation": ["A", "F"]}, "front, upper zone (right side of the picture)"),
        ({"PatientOrientation": None}, "upper right third of the picture (patient side not stated)"),
        (
            {"PatientOrientation": ["L", "F"], "AnatomicalOrientationType": "QUADRUPED"},
            "upper right third of the picture (patient side not stated)",
        ),
        (
            {"PatientOrientation": None, "BodyPartExamined": "BREAST", "ImageLaterality": "L"},
            "upper right third of the picture (left breast; patient side not stated)",
        ),
    ],
)
def test_sides_are_those_that_the_file_states(tmp_path, elements, expected):
    path = chest(tmp_path / "a.dcm", **elements)
    assert explain(path, tmp_path / "out", *DEMO, "--regions").exit_code == 0
    assert study_json(tmp_path / "out")["maps"][0]["where"] == expected
    assert study_rows(tmp_path / "out")[0]["where"] == expected
    assert study_rows(tmp_path / "out")[0]["peak"] == "stability not measured"


def test_oblique_edges_are_said_to_be_so(tmp_path):
    path = chest(tmp_path / "a.dcm", PatientOrientation=["LA", "F"])
    result = explain(path, tmp_path / "out", *DEMO, "--report", "html", "--no-peak-stability")
    assert result.exit_code == 0, result.output
    (report,) = (tmp_path / "out").glob("*_report.html")
    assert "Its edges lie askew: letters name the nearest direction." in report.read_text(encoding="utf-8")
    assert "it was switched off" in report.read_text(encoding="utf-8")


def test_what_two_letters_that_are_none_of_a_person_say_is_not_read():
    header = Dataset()
    header.PatientOrientation = ["LE", "D"]
    assert DicomSource([header]).edges is None


@pytest.mark.parametrize(("code", "known"), [(1, True), (0, False)])
def test_a_nifti_that_does_not_say_how_it_lies_has_no_sides(tmp_path, code, known):
    image = nib.Nifti1Image(marked_voxels().astype(np.float32).T, np.diag([2.0, 2.0, 2.0, 1.0]))
    image.set_sform(image.affine, code)
    image.set_qform(image.affine, code)
    nib.save(image, tmp_path / "a.nii.gz")
    result = explain(tmp_path / "a.nii.gz", tmp_path / "out", *BRIGHT_3D, "--regions", "--report", "html")
    assert result.exit_code == 0, result.output
    told = study_json(tmp_path / "out")
    assert ("patient side not stated" in told["maps"][0]["where"]) is not known
    assert (told["source"]["affine_ras"] is not None) is known
    assert (told["maps"][0]["regions"]["regions"][0]["peak_patient"] is not None) is known
    (report,) = (tmp_path / "out").glob("*_report.html")
    assert ('class="side' in report.read_text(encoding="utf-8")) is known
    assert told["maps"][0]["regions"]["stability"]["motions"] == 20
    assert "no JPEG" in told["maps"][0]["peak"]


# --- how steady a peak is: measured once, the same in everything


def test_report_json_table_structured_report_and_record_tell_one_share(tmp_path):
    pytest.importorskip("sqlalchemy")
    from cfcam.clinical.audit.audit import Audit

    path = chest(tmp_path / "a.dcm")
    result = explain(path, tmp_path / "out", *DEMO, "--report", "html", "--dicom", "sr,gsps", "--record",
                     tmp_path / "audit.sqlite")  # fmt: skip
    assert result.exit_code == 0, result.output
    one = study_json(tmp_path / "out")["maps"][0]
    stability = one["regions"]["stability"]
    assert stability["motions"] == 17
    said = f"stays under {stability['stayed']} of 17 small motions"
    assert one["peak"].startswith(said)
    (row,) = study_rows(tmp_path / "out")
    assert (int(row["peak_stayed"]), int(row["peak_motions"])) == (stability["stayed"], 17)
    (report,) = (tmp_path / "out").glob("*_report.html")
    assert report.read_text(encoding="utf-8").count(said) >= 2
    (sr,) = objects(tmp_path / "out", "sr")
    (item,) = content(sr, "Small motions under which the peak stays")
    assert float(item.MeasuredValueSequence[0].NumericValue) == stability["stayed"]
    assert f"peak: {said}" in sr.to_json()
    (gsps,) = objects(tmp_path / "out", "gsps")
    assert said in gsps.to_json()
    (record,) = Audit(tmp_path / "audit.sqlite", create=False).records()
    assert record.details["measures"]["peak_stayed"] == stability["stayed"]
    assert said.removeprefix("stays") in result.stdout or "17" in result.stdout


def test_objects_that_do_not_know_it_say_so_and_have_other_uids(tmp_path):
    path = chest(tmp_path / "a.dcm")
    for more in ([], ["--peak-stability"]):
        result = explain(path, tmp_path / "out", *DEMO, "--dicom", "seg,sr,gsps", *more)
        assert result.exit_code == 0, result.output
    assert {kind: len(objects(tmp_path / "out", kind)) for kind in ("seg-binary", "seg-fractional", "sr", "gsps")} == {
        "seg-binary": 1, "seg-fractional": 1, "sr": 2, "gsps": 2,
    }  # fmt: skip
    texts = [one.to_json() for one in objects(tmp_path / "out", "sr")]
    assert sum("peak: stability not measured" in text for text in texts) == 1


def test_masked_passes_are_not_repeated_for_every_motion_unless_asked(tmp_path):
    path = chest(tmp_path / "a.dcm")
    methods = ["--method", "grad-cam", "--method", "score-cam", "--target", "nodule", "--save", "overlay"]
    result = explain(path, tmp_path / "out", *methods, "--report", "html")
    assert result.exit_code == 0, result.output
    told = study_json(tmp_path / "out")
    assert [one["regions"]["stability"] is not None for one in told["maps"]] == [True, False]
    assert any("for score-cam: it would take all masked passes again" in line for line in told["limits"])


def test_the_passes_are_those_of_the_motions_and_no_more(tmp_path):
    import torch

    from cfcam.jobs import FolderRun, Settings, StudySettings, find_inputs
    from cfcam.models import load
    from tests.jobs.world import NETWORKS, PLAIN

    dicoms.save(dicoms.radiograph(np.random.default_rng(0).integers(0, 4000, (20, 30))), tmp_path / "in" / "a.dcm")
    model = load(f"{NETWORKS}:brightness", classes=("bright", "dark"))
    seen = []
    model.module.register_forward_hook(lambda module, args, out: seen.append(len(args[0])))

    def passes(name, **study):
        settings = Settings(output=tmp_path / name, methods=("grad-cam", "grad-cam++"), preprocess=PLAIN,
                            study=StudySettings(**study))  # fmt: skip
        seen.clear()
        with torch.no_grad():
            assert [
                o.status for o in FolderRun(model, find_inputs([tmp_path / "in"], output=tmp_path / name), settings)
            ]
        return sum(seen)

    alone = 2  # rows that tell, once, whether the network mixes its batches
    assert passes("with", report=("html",)) - passes("without", report=("html",), peak_stability=False) == 17 + alone
    assert passes("table") == passes("without2", report=("html",), peak_stability=False)

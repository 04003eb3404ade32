"""Which series goes to which network: by real headers."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("pydicom")

from cfcam.errors import ImageError
from cfcam.jobs.gateway.header import Header
from cfcam.jobs.gateway.rules import NO_PICTURE, NO_RULE, OWN, decide
from cfcam.jobs.gateway.settings import Rule
from tests.imaging import dicoms
from tests.jobs.gateway.test_settings import LEAST
from tests.jobs.studies import cfcam, ct_study, phantom_radiograph


def radiograph(**elements):
    ds = dicoms.radiograph(np.zeros((40, 30), int))
    for name, value in elements.items():
        setattr(ds, name, value)
    return Header.of(ds, "an object")


def ct(axes=dicoms.AXIAL):
    return Header.of(dicoms.ct(np.zeros((8, 9), int), (0, 0, 0), axes), "an object")


def why_not(header, slices=None, **asked):
    return decide([Rule("one", ("net",), **asked)], header, sender="PACS", slices=slices).reasons.get("one")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"modality": ("CR", "DX")}, None),
        ({"modality": ("DX",)}, "modality is CR, not DX"),
        ({"body_part": ("chest*",)}, None),
        ({"body_part": ("HAND",)}, "body part is CHEST PA, not HAND"),
        ({"view": ("PA",)}, None),
        ({"view": ("LL",)}, "view position is PA, not LL"),
        ({"image_type": ("ORIGINAL", "PRIMARY")}, None),
        ({"image_type": ("DERIVED",)}, "its image type lacks DERIVED"),
        ({"not_image_type": ("PRIMARY",)}, "its image type has PRIMARY"),
        ({"description": ("^thorax\\b",)}, None),
        ({"description": ("hand", "foot")}, "its description holds none of the patterns"),
        ({"smallest": 30}, None),
        ({"smallest": 31}, "it has 40 x 30 pixels, fewer than 31"),
        ({"sender": ("PACS",)}, None),
        ({"sender": ("CT1",)}, "it comes from PACS, not from CT1"),
        ({"plane": ("axial",)}, "plane is not said, not axial"),
        ({"thickest_mm": 3.0}, "slice thickness is not said, at most 3 mm is asked for"),
    ],
)  # fmt: skip
def test_each_condition_of_a_rule(asked, told):
    header = radiograph(
        BodyPartExamined="CHEST PA",
        ViewPosition="PA",
        ImageType=["ORIGINAL", "PRIMARY"],
        SeriesDescription="Thorax p.a.",
    )
    assert why_not(header, **asked) == told


@pytest.mark.parametrize(
    ("axes", "plane"),
    [
        (dicoms.AXIAL, "axial"),
        (dicoms.CORONAL, "coronal"),
        (dicoms.SAGITTAL, "sagittal"),
        (dicoms.rotated(dicoms.AXIAL, 10), "axial"),
        (dicoms.rotated(dicoms.AXIAL, 60), "oblique"),
    ],
)  # fmt: skip
def test_the_plane_of_slices(axes, plane):
    header = ct(axes)
    assert header.plane == plane
    assert why_not(header, plane=(plane,), by="series", thickest_mm=2.5) is None


def test_the_number_of_slices_counts_once_it_is_known():
    asked = {"by": "series", "fewest_slices": 10, "most_slices": 20}
    assert why_not(ct(), None, **asked) is None
    assert why_not(ct(), 10, **asked) is why_not(ct(), 20, **asked) is None
    assert why_not(ct(), 9, **asked) == "it has 9 slices, fewer than 10"
    assert why_not(ct(), 21, **asked) == "it has 21 slices, more than 20"


def test_the_first_rule_that_fits_is_taken_and_those_before_say_why_not():
    rules = [Rule("hand", ("a",), body_part=("HAND",)), Rule("any", ("b",)), Rule("never", ("c",))]
    decision = decide(rules, radiograph(), sender="watch")
    assert decision.rule is rules[1]
    assert decision.reasons == {"hand": "body part is not said, not HAND"}
    assert decide(rules[:1], radiograph(), sender="watch").why == NO_RULE


def test_results_of_cfcam_from_any_device_and_objects_without_a_picture_go_nowhere():
    rules = [Rule("any", ("a",))]
    assert decide(rules, radiograph(Manufacturer="cfcam"), sender="x").why == OWN
    assert decide(rules, radiograph(Manufacturer="PACS", ManufacturerModelName="cfcam"), sender="x").why == OWN
    report = dicoms.base("1.2.840.10008.5.1.4.1.1.88.33", "SR")
    report.SeriesInstanceUID = "1.2.9"
    assert decide(rules, Header.of(report, "an object"), sender="x").why == NO_PICTURE


def test_what_no_code_is_may_be_a_name_and_is_not_repeated():
    header = radiograph(BodyPartExamined="PLANTED^IDENTITY", SeriesDescription="PLANTED TEXT")
    told = why_not(header, body_part=("HAND",)) + why_not(header, description=("hand",))
    assert "PLANTED" not in told


def test_a_header_keeps_no_identity_and_goes_through_json():
    header = radiograph()
    kept = json.dumps(header.as_dict() | {"description": ""})
    assert not [word for word in dicoms.PLANTED if word in kept]
    assert Header.from_dict(json.loads(json.dumps(header.as_dict()))) == header


def test_an_object_without_its_uids_has_no_header():
    ds = dicoms.radiograph(np.zeros((4, 4), int))
    del ds.StudyInstanceUID
    with pytest.raises(ImageError, match="has no StudyInstanceUID"):
        Header.of(ds, "an object")


def test_explain_says_for_a_folder_which_rule_takes_what_and_why(tmp_path):
    ct_study(tmp_path / "in" / "ct")
    phantom_radiograph(tmp_path / "in" / "cr" / "PLANTED.dcm")
    (tmp_path / "in" / "notes.txt").write_text("no DICOM")
    config = tmp_path / "gateway.toml"
    rules = '[[rule]]\nname = "lung"\nnetworks = ["chest"]\nby = "series"\nmodality = ["CT"]\nfewest_slices = 5\n'
    config.write_text(LEAST.replace("[[rule]]", f"{rules}[[rule]]", 1))
    told = cfcam("gateway", config, "--explain", tmp_path / "in", "--json")
    assert told.exit_code == 0, told.stderr
    answer = json.loads(told.stdout)
    assert answer["others"] == 1
    by_modality = {one["modality"]: one for one in answer["series"]}
    assert by_modality["CT"] == {
        "series": 2, "modality": "CT", "objects": 12, "slices": 12, "rule": "lung", "networks": ["chest"], "why": "",
        "not": {},
    }  # fmt: skip
    assert by_modality["CR"]["rule"] == "all"
    assert by_modality["CR"]["not"] == {"lung": "modality is CR, not CT"}
    text = cfcam("gateway", config, "--explain", tmp_path / "in")
    assert "rule lung: as one volume, by chest" in text.stdout
    assert "not lung: modality is CR, not CT" in text.stdout
    assert not [word for word in dicoms.PLANTED if word in text.stdout + text.stderr]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gateway.toml", "in"]


def test_a_folder_with_two_patients_in_one_series_says_that_nothing_would_be_done(tmp_path):
    for number, patient in enumerate(("A", "B")):
        ds = dicoms.ct(np.zeros((8, 9), int), (0, 0, number))
        ds.PatientID = patient
        dicoms.save(ds, tmp_path / "in" / f"{number}.dcm")
    config = tmp_path / "gateway.toml"
    config.write_text(LEAST)
    assert "objects of several patients: nothing" in cfcam("gateway", config, "--explain", tmp_path / "in").stdout

"""What was not done or is not known of a study, in sentences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cfcam.imaging import Image, Preprocess
from cfcam.imaging.measured import Measured
from cfcam.jobs.study.limits import limits_of, sentence
from tests.exchange.dicom.test_write import content
from tests.imaging import dicoms
from tests.jobs.studies import (
    explain,
    objects,
    study_json,
)
from tests.jobs.study.test_run import FLAT


def test_a_picture_of_unknown_spacing_is_measured_in_pixels_and_says_so(tmp_path):
    stored = np.random.default_rng(0).integers(0, 4000, (20, 30))
    dicoms.save(dicoms.radiograph(stored, spacing=None), tmp_path / "a.dcm")
    result = explain(tmp_path / "a.dcm", tmp_path / "out", *FLAT, "--dicom", "seg,sr")
    assert result.exit_code == 0, result.output
    told = study_json(tmp_path / "out")
    region = told["maps"][0]["regions"]["regions"][0]
    assert (region["unit"], region["size"]) == ("pixels", region["count"])
    assert any("counted in pixels" in line for line in told["limits"])
    (report,) = objects(tmp_path / "out", "sr")
    assert content(report, "Area") == []
    (item,) = content(report, "Number of pixels in the region")
    assert float(item.MeasuredValueSequence[0].NumericValue) == region["count"]


SPACED = Image(np.zeros((4, 5), np.uint8), None, "0" * 64, spacing=(0.2, 0.1))
PLACED = Image(np.zeros((4, 5), np.uint8), None, "0" * 64, (0.2, 0.1), tuple(map(tuple, np.eye(4).tolist())))
AT_DETECTOR = replace(SPACED, measured=Measured.DETECTOR)
DETECTOR = "Millimetres are those at the detector: in the patient distances are smaller."
NOWHERE = "The place in the patient is not known: positions are counted from the first pixel."
WINDOWS = "The volume was explained in windows: the model saw no more than one of them at a time."
UNMEASURED = "How much the map varies was not measured."
NAMES = "The pixels of such pictures often show a name, and so would every picture made of them."


@pytest.mark.parametrize(
    ("image", "asked", "said"),
    [
        (PLACED, {"modality": "CT"}, []),
        (SPACED, {"modality": "CT"}, [NOWHERE]),
        (AT_DETECTOR, {"modality": "DX"}, [DETECTOR, NOWHERE]),
        (replace(SPACED, measured=Measured.CALIBRATED), {"modality": "DX"}, [Measured.CALIBRATED.sentence, NOWHERE]),
        (replace(SPACED, measured=Measured.STATED), {"modality": "US", "burned_in": "NO"}, [NOWHERE]),
        (PLACED, {"modality": "US", "burned_in": "NO"}, []),
        (PLACED, {"modality": "US"}, [NAMES]),
        (PLACED, {"in_windows": True}, [WINDOWS]),
        (PLACED, {"uncertainty": False}, [UNMEASURED]),
    ],
)
def test_each_thing_that_is_not_known_is_a_sentence_and_nothing_else_is_one(image, asked, said):
    usual = {"modality": "", "burned_in": "", "in_windows": False, "uncertainty": True}
    known = Preprocess(sources=dict.fromkeys(("size", "resize", "mean", "std", "interpolation", "order"), "given"))
    assert limits_of(image, known, (), **(usual | asked)) == said


def test_a_notice_is_written_as_a_sentence():
    assert sentence("the map is of MONAI's first channel") == "The map is of MONAI's first channel."

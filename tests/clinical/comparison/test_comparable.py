"""What may not be compared: maps of another origin, another patient."""

import json
from dataclasses import replace

import numpy as np
import pytest

from cfcam.clinical.checks.repeatability import (
    Retest,
)
from cfcam.clinical.comparison.changes import compare
from cfcam.clinical.comparison.comparable import ComparisonError
from tests.clinical.comparison.test_changes import MODEL, scene, study


def test_maps_of_different_origin_are_refused():
    image = scene((32, 32), 6)
    prior = study(image)
    for changed, named in (
        ({"model": replace(MODEL, weights_sha256="b" * 64)}, "weights"),
        ({"model": replace(MODEL, layer="other")}, r"layer \(features and other\)"),
        ({"method": "grad-cam"}, r"method \(cam and grad-cam\)"),
        ({"parameters": {"x": 1}}, "parameters"),
        ({"class_index": 1, "class_name": "nothing"}, r"class \(finding and nothing\)"),
    ):
        with pytest.raises(ComparisonError, match=f"differ in {named}.*not compared"):
            compare(prior, study(image, **changed))
    with pytest.raises(ComparisonError, match="spacing of one"):
        compare(prior, study(image, (1.0, 1.0)))
    with pytest.raises(ComparisonError, match="volume"):
        compare(prior, study(scene((8, 8, 8), 2)))
    with pytest.raises(ComparisonError, match="prior study is not finite"):
        compare(replace(prior, samples=(Retest(np.full((32, 32), np.nan, np.float32), 0.5),)), prior)


def test_another_patient_is_refused_without_a_word_of_who():
    image = scene((32, 32), 6)
    with pytest.raises(ComparisonError, match="two patients") as caught:
        compare(study(image, patient="P-FIRST"), study(image, patient="P-SECOND"))
    assert "FIRST" not in str(caught.value)
    assert "SECOND" not in str(caught.value)
    assert "P-FIRST" not in repr(study(image, patient="P-FIRST"))
    same = compare(study(image, patient="P-FIRST"), study(image, patient="P-FIRST"), registration="none")
    assert "P-FIRST" not in json.dumps(same.as_dict())

"""From the explanation to the result of a study: what it holds, and what it is called."""

from __future__ import annotations

import numpy as np
import pytest

from cfcam.exchange import Deidentifier
from cfcam.models.spec import coded_name
from tests.imaging import dicoms
from tests.jobs.studies import (
    BRIGHT_3D,
    ct_study,
    explain,
    objects,
    study_json,
)
from tests.jobs.study.test_run import FLAT


def test_several_methods_and_classes_are_maps_of_one_study(tmp_path):
    ct_study(tmp_path / "in")
    result = explain(
        tmp_path / "in", tmp_path / "out", *BRIGHT_3D, "--method", "cam", "--target", "all", "--dicom", "pm"
    )
    assert result.exit_code == 0, result.output
    maps = study_json(tmp_path / "out")["maps"]
    assert [(one["class_name"], one["method"]) for one in maps] == [
        ("bright", "grad-cam"), ("bright", "cam"), ("dark", "grad-cam"), ("dark", "cam"),
    ]  # fmt: skip
    assert len(objects(tmp_path / "out", "pm")) == 2


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("/home/jane/nets/models.py:make(3)", "models.py:make(3)"),
        ("monai:" + "x" * 99, "monai:" + "x" * 55 + "..."),
        ("hf:/data/überall", "hf:-berall"),
    ],
)
def test_the_models_name_fits_where_dicom_puts_it_and_holds_no_path(spec, name):
    assert coded_name(spec) == name


def test_a_pseudonym_is_taken_from_sources_that_cfcam_deidentified_and_from_no_other(tmp_path):
    source = dicoms.radiograph(np.random.default_rng(2).integers(0, 4000, (20, 30)))
    clean = Deidentifier(b"a key of sixteen bytes")(source)
    dicoms.save(clean, tmp_path / "clean.dcm")
    claims = dicoms.radiograph(np.random.default_rng(3).integers(0, 4000, (20, 30)))
    claims.PatientIdentityRemoved, claims.DeidentificationMethod = "YES", "by hand"
    dicoms.save(claims, tmp_path / "claims.dcm")
    for name, expected in (("clean", str(clean.PatientID)), ("claims", None)):
        assert explain(tmp_path / f"{name}.dcm", tmp_path / name, *FLAT, "--regions").exit_code == 0
        assert study_json(tmp_path / name)["pseudonym"] == expected

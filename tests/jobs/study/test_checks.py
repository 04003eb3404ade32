"""Masks of a study: measured beside the map, checked with the first map, in JSON, report and record."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("sqlalchemy")

from cfcam.clinical.audit.audit import Audit
from cfcam.files import sha256_of
from tests.jobs.studies import (
    BRIGHT_3D,
    MARKER,
    SHAPE,
    ct_study,
    explain,
    nodule_phantom,
    phantom_radiograph,
    study_json,
    study_rows,
)
from tests.jobs.study.test_run import DEMO, FLAT
from tests.jobs.world import draw


def mask_png(path, mask):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(path)
    return path


def checks_of(told):
    return {check["name"]: check for check in told["checks"]}


def test_an_organ_mask_of_a_radiograph_is_measured_and_checked(tmp_path):
    phantom_radiograph(tmp_path / "chest.dcm")
    nodule = nodule_phantom().masks["nodule"]
    mask = mask_png(tmp_path / "masks" / "chest.png", nodule)
    result = explain(
        tmp_path / "chest.dcm", tmp_path / "out", *DEMO, "--organ", tmp_path / "masks", "--report", "html", "--record",
        tmp_path / "audit.sqlite", "--dicom", "sr",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    told = study_json(tmp_path / "out")
    names = [region["name"] for region in told["maps"][0]["regions"]["regions"]]
    assert names == ["map", "organ"]
    organ = told["maps"][0]["regions"]["regions"][1]
    assert organ["count"] == nodule.sum()
    found = checks_of(told)
    assert any("energy" in name for name in found)
    assert {row["name"] for row in study_rows(tmp_path / "out")} == {"map", "organ"}
    (record,) = Audit(tmp_path / "audit.sqlite").records()
    assert record.details["mask_sha256"] == [sha256_of(mask)]
    assert set(record.details["checks"].values()) <= {"pass", "flag", "not-assessed"}
    assert len(record.details["checks"]) == len(found)
    (page,) = (tmp_path / "out").glob("*_report.html")
    assert "organ" in page.read_text()


def test_an_artefact_and_findings_of_a_volume(tmp_path):
    ct_study(tmp_path / "in")
    from cfcam.imaging import read_volume

    volume = read_volume(tmp_path / "in")
    bright = np.zeros(SHAPE, np.uint8)
    bright[tuple(slice(at - 1, at + 2) for at in MARKER)] = 1
    nib.save(nib.Nifti1Image(bright, volume.affine), tmp_path / "device.nii.gz")
    result = explain(
        tmp_path / "in", tmp_path / "out", *BRIGHT_3D, "--artefacts", tmp_path / "device.nii.gz", "--findings",
        tmp_path / "device.nii.gz",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    told = study_json(tmp_path / "out")
    outcomes = {name: check["outcome"] for name, check in checks_of(told).items()}
    assert "flag" in outcomes.values()  # the map lies on the device, and changes without it
    assert not any("No checks" in line for line in told["limits"])
    artefact = told["maps"][0]["regions"]["regions"][1]
    assert (artefact["name"], artefact["count"]) == ("artefacts", 27)
    assert artefact["energy"] > 5 * 27 / np.prod(SHAPE)  # far more than its share of the volume
    windows = explain(
        tmp_path / "in", tmp_path / "windows", *BRIGHT_3D, "--artefacts", tmp_path / "device.nii.gz", "--sliding", "9"
    )
    assert windows.exit_code == 0, windows.output
    assert any("was not tried" in line for line in study_json(tmp_path / "windows")["limits"])


def test_a_changed_mask_makes_the_study_anew_and_a_missing_one_is_told(tmp_path):
    draw(tmp_path / "in" / "a.png")
    mask = mask_png(tmp_path / "masks" / "a.png", np.eye(48, 64))
    arguments = [tmp_path / "in", tmp_path / "out", *FLAT, "--organ", tmp_path / "masks"]
    assert "1 explained" in explain(*arguments).stdout
    assert "1 already done" in explain(*arguments).stdout
    mask_png(mask, np.ones((48, 64)))
    assert "1 explained" in explain(*arguments).stdout
    mask.unlink()
    assert "1 explained" in explain(*arguments).stdout
    told = study_json(tmp_path / "out")
    assert {check["outcome"] for check in told["checks"]} == {"not assessed"}
    assert any("no mask for --organ was found" in line.lower() for line in told["limits"])


def test_an_empty_mask_is_told_and_measures_nothing(tmp_path):
    draw(tmp_path / "a.png")
    mask_png(tmp_path / "m.png", np.zeros((48, 64)))
    result = explain(tmp_path / "a.png", tmp_path / "out", *FLAT, "--organ", tmp_path / "m.png")
    assert result.exit_code == 0, result.output
    told = study_json(tmp_path / "out")
    assert told["maps"][0]["regions"]["regions"][1]["count"] == 0
    assert any("is empty" in line for line in told["limits"])


def test_no_name_of_a_mask_or_its_study_is_told(tmp_path):
    home = tmp_path / "PLANTED"
    phantom_radiograph(home / "PLANTED.dcm")
    for name, mask in (("small", np.zeros((30, 31))), ("empty", np.zeros((512, 512)))):
        mask_png(home / name / "PLANTED_lung.png", mask)
        result = explain(home / "PLANTED.dcm", tmp_path / name, *DEMO, "--organ", home / name, "--report", "html")
        assert "PLANTED" not in result.output
        for path in (tmp_path / name).rglob("*"):
            assert "PLANTED" not in path.name
            if path.suffix in (".json", ".jsonl", ".html", ".csv"):
                assert "PLANTED" not in path.read_text(), path.name


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--limits", "site.json"], "--limits is for checks"),
        (["--organ", "nowhere.png", "--regions"], "nowhere.png"),
    ],
)
def test_options_that_do_not_fit(tmp_path, options, words):
    draw(tmp_path / "a.png")
    (tmp_path / "site.json").write_text("{}")
    given = [str(tmp_path / word) if word == "site.json" else word for word in options]
    result = explain(tmp_path / "a.png", tmp_path / "out", *FLAT, *given)
    assert result.exit_code in (1, 2)
    assert words in result.stderr


def test_limits_of_the_site_are_used(tmp_path):
    draw(tmp_path / "a.png")
    mask_png(tmp_path / "m.png", np.eye(48, 64))
    outcomes = []
    for n, limit in enumerate((0.01, 0.99)):
        (tmp_path / "site.json").write_text(json.dumps({"organ_energy": limit, "min_probability": 0.0}))
        result = explain(
            tmp_path / "a.png", tmp_path / str(n), *FLAT, "--organ", tmp_path / "m.png", "--limits",
            tmp_path / "site.json",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        (check,) = [c for c in study_json(tmp_path / str(n))["checks"] if c["limit"] == limit]
        outcomes.append(check["outcome"])
    assert outcomes == ["pass", "flag"]

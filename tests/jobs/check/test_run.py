"""Checks without the command line: a network and images in, a report out."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cfcam.clinical.checks.results import Limits
from cfcam.errors import ImageError
from cfcam.jobs import preprocess_of
from cfcam.jobs.check.run import CheckRun, find_images
from cfcam.jobs.check.settings import CheckSettings
from cfcam.jobs.inputs.masks import RegionMasks
from cfcam.models import load
from cfcam.models.demo import make_phantom


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two pictures with a pacemaker, and where it is."""
    folder = tmp_path_factory.mktemp("world")
    for name in ("images", "devices"):
        (folder / name).mkdir()
    for seed, name in enumerate("ab"):
        phantom = make_phantom(seed, size=256, devices=["pacemaker"])
        Image.fromarray(phantom.image).save(folder / "images" / f"{name}.png")
        device = (phantom.masks["pacemaker"] | phantom.masks["lead"]).astype(np.uint8) * 255
        Image.fromarray(device).save(folder / "devices" / f"{name}.png")
    return folder


def run_of(network, settings, say=lambda text: None):
    loaded = load(network)
    return CheckRun(loaded, preprocess_of(loaded), settings, say)


def test_a_report_has_each_image_all_together_and_what_was_applied(world):
    settings = CheckSettings(
        target="consolidation", masks=(RegionMasks("artefacts", str(world / "devices")),), retest=False,
        limits=Limits(min_probability=0.0),
    )  # fmt: skip
    files = find_images(load("demo-shortcut"), [world / "images"])
    report = run_of("demo-shortcut", settings)(files)
    assert [image.name for image in report.images] == ["a.png", "b.png"]
    assert {image.label for image in report.images} == {"consolidation"}
    assert all(result.name.startswith("artefact") for image in report.images for result in image.results)
    assert report.flagged
    assert report.together[0].name.startswith("similar")
    told = report.as_dict()
    assert list(told) == ["cases", "all", "counts", "limits", "provenance"]
    assert told["limits"]["min_probability"] == 0.0
    assert told["cases"][0]["class"] == "consolidation"
    assert told["provenance"]["prepared"]


def test_a_run_that_is_asked_again_compares_only_the_new_images(world):
    run = run_of("demo", CheckSettings(retest=False, limits=Limits(min_probability=0.0)))
    first = run([world / "images" / "a.png"])
    again = run([world / "images" / "a.png"])
    assert first.together == again.together == []
    assert not first.flagged


def test_what_a_person_should_know_is_said(world):
    said = []
    settings = CheckSettings(masks=(RegionMasks("organ", str(world / "devices" / "{stem}_lung.png")),), retest=False)
    report = run_of("demo", settings, said.append)([world / "images" / "a.png"])
    assert any("no mask for --organ was found for a.png" in text for text in said)
    assert {result.outcome for result in report.images[0].results} == {"not assessed"}


def test_images_are_of_the_kind_that_the_network_takes(world, tmp_path):
    (tmp_path / "a.nii.gz").touch()
    assert find_images(load("demo"), [world / "images"]) == [world / "images" / name for name in ("a.png", "b.png")]
    with pytest.raises(ImageError):
        find_images(load("demo"), [tmp_path / "nowhere.png"])

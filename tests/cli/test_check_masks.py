"""Masks and boxes of every kind that ``cfcam check`` takes."""

import json
import re

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

pytest.importorskip("highdicom")
nib = pytest.importorskip("nibabel")

from cfcam.cli.app import app  # noqa: E402
from cfcam.errors import CfcamError  # noqa: E402
from cfcam.jobs.inputs.ground_truth import read_boxes  # noqa: E402
from cfcam.models.demo import make_phantom  # noqa: E402
from tests.clinical.checks.test_masks import full, write_seg  # noqa: E402
from tests.exchange.phantoms import ct_sources  # noqa: E402
from tests.imaging import dicoms  # noqa: E402

VOLUME_NETWORK = "tests/jobs/volume_networks.py:bright"


def check(*arguments):
    return CliRunner(env={"COLUMNS": "160"}).invoke(app, ["check", *(str(a) for a in arguments), "--no-retest"])


def results(result):
    cases = json.loads(result.stdout)["cases"]
    return {case["image"]: {c["name"]: c for c in case["checks"]} for case in cases}


@pytest.fixture
def strict(tmp_path):
    """Limits that assess every map, and widen no organ."""
    (tmp_path / "limits.json").write_text('{"min_probability": 0, "tolerance_mm": 0}')
    return "--limits", tmp_path / "limits.json"


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(10, size=128, findings=["consolidation"], devices=["pacemaker"])


@pytest.fixture
def picture(phantom, tmp_path):
    Image.fromarray(phantom.image).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_a_segmentation_of_a_radiograph_gives_the_numbers_of_the_same_mask_as_png(phantom, tmp_path):
    source = full(dicoms.radiograph(phantom.image.astype(int) * 16))
    dicoms.save(source, tmp_path / "cr.dcm")
    organ = phantom.masks["left lung"] | phantom.masks["right lung"]
    write_seg(tmp_path / "organ.dcm", [source], organ.astype(np.uint8))
    Image.fromarray(organ.astype(np.uint8) * 255).save(tmp_path / "organ.png")
    one, other = (check(tmp_path / "cr.dcm", "--organ", tmp_path / f"organ.{e}", "--json") for e in ("dcm", "png"))
    assert results(one) == results(other)
    (found,) = results(one).values()
    assert found["organ: energy"]["value"] > 0
    assert "PLANTED" not in one.output


def test_one_segmentation_of_a_series_serves_all_its_slices(tmp_path, strict):
    sources = [full(source) for source in ct_sources()]
    for number, source in enumerate(sources):
        dicoms.save(source, tmp_path / "ct" / f"{number}.dcm")
    mask = np.zeros((5, 24, 20), np.uint8)
    mask[1:3, 4:18, 4:10] = 1
    write_seg(tmp_path / "organ.dcm", sources, mask)
    shown = check(tmp_path / "ct", "--organ", tmp_path / "organ.dcm", "--json", *strict)
    found = list(results(shown).values())  # in the order of the slices
    assert len(found) == 5
    for n in (1, 2):
        assert "which is 17.5% of the picture" in found[n]["organ: energy"]["detail"]
    for n in (0, 3, 4):
        assert found[n]["organ: energy"]["outcome"] == "not assessed"
        assert "wholly outside" in found[n]["organ: energy"]["detail"]
    assert "PLANTED" not in shown.output


def test_a_network_of_volumes_takes_a_series_with_its_segmentation(tmp_path, strict):
    stored = np.zeros((6, 12, 12), int)
    stored[2:4, 3:9, 3:9] = 3000
    places = dicoms.positions(6, dicoms.AXIAL)
    sources = [full(dicoms.ct(p, at, spacing=(1.0, 1.0))) for p, at in zip(stored, places, strict=True)]
    for number, source in enumerate(sources):
        source.SOPInstanceUID = source.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number + 1}"
        dicoms.save(source, tmp_path / "ct" / f"{number}.dcm")
    write_seg(tmp_path / "bright.dcm", sources, (stored > 0).astype(np.uint8))
    arguments = [tmp_path / "ct", "-m", VOLUME_NETWORK, "--classes", "bright,dark", "--target", "bright", "--json"]
    shown = check(*arguments, "--organ", tmp_path / "bright.dcm", "--intensity", "unit", *strict)
    (found,) = results(shown).values()
    assert found["organ: enrichment"]["value"] > 2


def test_a_nifti_is_laid_over_a_volume_by_place(tmp_path, strict):
    voxels = np.zeros((12, 12, 9), np.float32)
    voxels[3:9, 3:9, 3:6] = 1
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "v.nii.gz")
    coarse = voxels[::3, ::3, ::3]
    nib.save(nib.Nifti1Image(coarse, np.diag([3.0, 3, 3, 1])), tmp_path / "m.nii.gz")
    shown = check(
        tmp_path / "v.nii.gz", "-m", VOLUME_NETWORK, "--target", "0", "--organ", tmp_path / "m.nii.gz", "--json",
        "--intensity", "unit", *strict,
    )  # fmt: skip
    assert "resampled by its place" in shown.stderr
    assert results(shown)["v.nii.gz"]["organ: enrichment"]["value"] > 2


@pytest.mark.parametrize(
    "table",
    ['image,boxes\nfolder/a.png,"[[20, 30, 60, 90]]"\n', "image;x0;y0;x1;y1\na.png;20;30;60;90\nb.png;1;1;2;2\n"],
    ids=["as cfcam evaluate reads them", "a line for each"],
)
def test_boxes_are_masks(picture, tmp_path, table):
    (tmp_path / "boxes.csv").write_text(table)
    mask = np.zeros((128, 128), np.uint8)
    mask[30:90, 20:60] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    boxes, drawn = (check(picture, "--organ", tmp_path / name, "--json") for name in ("boxes.csv", "m.png"))
    assert results(boxes) == results(drawn)


def test_a_picture_without_a_box_is_not_assessed_and_says_why(picture, tmp_path):
    (tmp_path / "boxes.csv").write_text("image,x0,y0,x1,y1\nother.png,20,30,60,90\n")
    found = results(check(picture, "--artefacts", tmp_path / "boxes.csv", "--json"))["a.png"]
    assert {c["outcome"] for c in found.values()} == {"not assessed"}
    assert "no box for --artefacts was found for a.png" in found["artefact: energy"]["detail"]
    assert len(found) == 5


def test_several_boxes_of_a_picture_are_joined_and_wrong_lines_are_named(tmp_path):
    file = tmp_path / "boxes.csv"
    file.write_text("image,x0,y0,x1,y1\na.png,1,2,3,4\na.png,5,6,7,8\nb.png,,,,\n")
    assert read_boxes(file) == {"a.png": ((1, 2, 3, 4), (5, 6, 7, 8)), "b.png": ()}
    file.write_text("image,x0,y0,x1,y1\na.png,1,2,three,4\n")
    with pytest.raises(CfcamError, match="line 2"):
        read_boxes(file)
    file.write_text("image,x0,y0\na.png,1,2\n")
    with pytest.raises(CfcamError, match="give the columns image and boxes"):
        read_boxes(file)


def test_an_empty_mask_is_not_assessed(picture, tmp_path):
    Image.fromarray(np.zeros((128, 128), np.uint8)).save(tmp_path / "m.png")
    found = results(check(picture, "--findings", tmp_path / "m.png", "--json"))["a.png"]
    assert "the mask m.png is empty" in found["findings: covered"]["detail"]


def test_a_segment_is_picked_with_a_number_behind_the_name(phantom, tmp_path):
    source = full(dicoms.radiograph(phantom.image.astype(int) * 16))
    dicoms.save(source, tmp_path / "cr.dcm")
    both = np.stack([phantom.masks["left lung"], phantom.masks["heart"]], axis=-1)[None].astype(np.uint8)
    write_seg(tmp_path / "two.dcm", [source], both, 2)
    Image.fromarray(phantom.masks["heart"].astype(np.uint8) * 255).save(tmp_path / "heart.png")
    picked = check(tmp_path / "cr.dcm", "--organ", f"{tmp_path / 'two.dcm'}#2", "--json")
    assert results(picked) == results(check(tmp_path / "cr.dcm", "--organ", tmp_path / "heart.png", "--json"))


def test_pictures_are_refused_by_a_network_of_volumes_and_its_options_by_others(picture):
    assert "the network takes volumes" in check(picture, "-m", VOLUME_NETWORK).stderr
    assert "the network takes pictures" in check(picture, "--spacing", "1").stderr


# --- the zone that a report names


@pytest.fixture
def lungs(phantom, tmp_path):
    """Masks of both lungs as zones; the consolidation of this phantom lies in one of them."""
    for side in ("left", "right"):
        Image.fromarray(phantom.masks[f"{side} lung"].astype(np.uint8) * 255).save(tmp_path / f"a_{side}.png")
    return [word for side in ("left", "right") for word in ("--zone", f"{side}={tmp_path}/{{stem}}_{side}.png")]


def test_the_zone_with_most_energy_is_held_against_the_reported_one(phantom, picture, lungs, tmp_path):
    finding = phantom.masks["consolidation"]
    side, other = sorted(("left", "right"), key=lambda s: -(finding & phantom.masks[f"{s} lung"]).sum())
    common = (picture, *lungs, "--target", "consolidation", "--json")
    right = results(check(*common, "--reported", side))["a.png"]["reported zone"]
    wrong = results(check(*common, "--reported", other))["a.png"]["reported zone"]
    assert (right["outcome"], wrong["outcome"]) == ("pass", "flag")
    assert right["value"] + wrong["value"] == pytest.approx(1)
    assert right["value"] == pytest.approx(wrong["limit"])
    (tmp_path / "reports.csv").write_text(f"image,zone\na.png,{other}\n")
    assert results(check(*common, "--reported", tmp_path / "reports.csv"))["a.png"]["reported zone"] == wrong
    (tmp_path / "reports.csv").write_text("image,zone\nanother.png,left\n")
    missing = results(check(*common, "--reported", tmp_path / "reports.csv"))["a.png"]["reported zone"]
    assert (missing["outcome"], missing["value"]) == ("not assessed", None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--reported", "left"], "belong together"),
        (["--zone", "left", "--zone", "right=b.png", "--reported", "left"], "give NAME=MASKS"),
        (["--zone", "left=a.png", "--reported", "left"], "two zones or more"),
        (["--zone", "left=a.png", "--zone", "right=b.png", "--reported", "no.csv"], "--reported no.csv: no such file"),
    ],
)
def test_zones_that_make_no_sense_are_refused_in_one_line(monkeypatch, tmp_path, picture, words, said):
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    result = check(picture, *words)
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())


def test_a_reported_zone_that_is_none_of_the_zones_is_refused(picture, lungs):
    result = check(picture, *lungs, "--reported", "middle")
    assert result.exit_code == 2
    assert "not among the zones left, right" in " ".join(result.output.split())


def test_a_dicom_file_called_after_its_patient_is_named_nowhere(phantom, tmp_path):
    dicoms.save(full(dicoms.radiograph(phantom.image.astype(int) * 16)), tmp_path / "in" / "PLANTED_Jane.dcm")
    organ = phantom.masks["left lung"] | phantom.masks["right lung"]
    masks = tmp_path / "masks"
    masks.mkdir()
    Image.fromarray(np.zeros_like(organ, np.uint8)).save(masks / "PLANTED_Jane.png")
    empty = check(tmp_path / "in", "--organ", masks, "--json", "--output", tmp_path / "out.json")
    Image.fromarray(organ.astype(np.uint8)[:50] * 255).save(masks / "PLANTED_Jane.png")
    refused = check(tmp_path / "in", "--organ", masks)
    (tmp_path / "in" / "PLANTED_Jane.dcm").write_bytes((tmp_path / "in" / "PLANTED_Jane.dcm").read_bytes()[:600])
    broken = check(tmp_path / "in")
    (name,) = results(empty)
    assert re.fullmatch(r"study-[0-9a-f]{8}", name)
    assert results(empty)[name]["organ: energy"]["outcome"] == "not assessed"
    assert (refused.exit_code, broken.exit_code) == (2, 2)
    for text in (empty.output, (tmp_path / "out.json").read_text(), refused.output, broken.output):
        assert "PLANTED" not in text
        assert "Jane" not in text

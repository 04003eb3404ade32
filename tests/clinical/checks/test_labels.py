"""Label maps as regions: their names, their grid, and what is refused."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as PILImage

from cfcam.clinical.checks.labels import read_label_names, read_labels
from cfcam.errors import InputError
from cfcam.imaging import read_image, read_volume

LABELS = np.zeros((4, 5, 6), np.uint8)
LABELS[1, :2], LABELS[2:, 3, 4] = 1, 5


@pytest.fixture
def here(tmp_path: Path) -> Path:
    affine = np.diag([2.0, 1.5, 3.0, 1.0])
    for name, voxels, place in (
        ("scan", np.random.default_rng(0).random((4, 5, 6), np.float32), affine),
        ("seg", LABELS, affine),
        ("moved", LABELS, affine + np.diag([0.5, 0, 0, 0])),
        ("shifted", LABELS, affine + np.eye(4, k=3) * 7),
        ("backwards", LABELS[:, ::-1], affine @ [[1, 0, 0, 0], [0, -1, 0, 4], [0, 0, 1, 0], [0, 0, 0, 1]]),
        ("upright", LABELS.transpose(2, 0, 1), affine[:, [2, 0, 1, 3]]),
        ("small", LABELS[:3], affine),
        ("soft", LABELS * np.float32(0.5), affine),
        ("empty", LABELS * np.uint8(0), affine),
    ):
        image = nib.Nifti1Image(voxels, place)
        image.set_sform(place, 1)
        image.set_qform(place, 1)
        nib.save(image, tmp_path / f"{name}.nii.gz")
    PILImage.fromarray(np.full((3, 4), 9, np.uint8)).save(tmp_path / "picture.png")
    PILImage.fromarray(np.array([[0, 1, 1, 2]] * 3, np.uint8)).save(tmp_path / "grey.png")
    colours = np.zeros((3, 4, 3), np.uint8)
    colours[:, 2:], colours[0] = (255, 0, 0), (0, 0, 128)
    PILImage.fromarray(colours).save(tmp_path / "colours.png")
    return tmp_path


def test_the_labels_of_a_volume_lie_where_they_lay(here: Path) -> None:
    volume = read_volume(here / "scan.nii.gz")
    regions = read_labels(here / "seg.nii.gz", volume, {1: "liver", 9: "spleen"})
    assert list(regions) == ["liver", "region 5", "spleen"]
    assert np.array_equal(regions["liver"], read_volume(here / "seg.nii.gz").voxels == 1)
    assert int(regions["region 5"].sum()) == 2
    assert not regions["spleen"].any()


@pytest.mark.parametrize("name", ["backwards", "upright"])
def test_the_same_voxels_in_another_order_or_direction_are_turned(here: Path, name: str) -> None:
    volume = read_volume(here / "scan.nii.gz")
    regions, due = (read_labels(here / f"{one}.nii.gz", volume) for one in (name, "seg"))
    assert list(regions) == list(due)
    assert all(bool((regions[region] == due[region]).all()) for region in due)


def test_grey_values_and_colours_of_a_picture_are_labels(here: Path) -> None:
    picture = read_image(here / "picture.png")
    grey = read_labels(here / "grey.png", picture, {2: "heart"})
    assert {name: int(mask.sum()) for name, mask in grey.items()} == {"region 1": 6, "heart": 3}
    coloured = read_labels(here / "colours.png", picture)
    assert {name: int(mask.sum()) for name, mask in coloured.items()} == {"#000080": 4, "#ff0000": 4}


@pytest.mark.parametrize(
    ("file", "of", "said"),
    [
        ("moved.nii.gz", "scan.nii.gz", "lie elsewhere than the image, a corner 1.5 mm away"),
        ("shifted.nii.gz", "scan.nii.gz", "lie elsewhere than the image, a corner 7 mm away"),
        ("small.nii.gz", "scan.nii.gz", r"are on another grid \(3 x 5 x 6\) than the image \(4 x 5 x 6\)"),
        ("soft.nii.gz", "scan.nii.gz", "hold other values than whole numbers"),
        ("empty.nii.gz", "scan.nii.gz", "are 0 everywhere"),
        ("grey.png", "scan.nii.gz", "give a NIfTI for a volume"),
        ("seg.nii.gz", "picture.png", "the picture has no place in space"),
    ],
)
def test_regions_that_do_not_fit_are_refused_in_one_line(here: Path, file: str, of: str, said: str) -> None:
    image = read_image(here / of) if of.endswith("png") else read_volume(here / of)
    with pytest.raises(InputError, match=f"{file}.*{said}") as refused:
        read_labels(here / file, image)
    assert "\n" not in str(refused.value)


def test_a_picture_of_another_size_is_refused(here: Path) -> None:
    PILImage.fromarray(np.ones((6, 8), np.uint8)).save(here / "large.png")
    with pytest.raises(InputError, match=r"large.png are on another grid \(6 x 8\) than the picture \(3 x 4\)"):
        read_labels(here / "large.png", read_image(here / "picture.png"))


def test_names_of_colours_and_one_name_for_two_are_refused(here: Path) -> None:
    picture = read_image(here / "picture.png")
    with pytest.raises(InputError, match=r"colours.png are coloured"):
        read_labels(here / "colours.png", picture, {1: "a"})
    with pytest.raises(InputError, match=r"two regions of grey.png have one name"):
        read_labels(here / "grey.png", picture, {1: "a", 2: "a"})


def test_names_are_read_from_a_table(tmp_path: Path) -> None:
    table = tmp_path / "names.csv"
    table.write_text("label,name\n1,liver\n2,'=spleen\n", encoding="utf-8")
    assert read_label_names(table) == {1: "liver", 2: "=spleen"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("number,name\n1,a\n", "no columns label and name"),
        ("label,name\nx,a\n", "label 'x' with the name 'a'"),
        ("label,name\n1,a\n1,b\n", "label 1 stands there twice"),
    ],
)
def test_a_table_that_names_no_labels_is_refused(tmp_path: Path, text: str, said: str) -> None:
    table = tmp_path / "names.csv"
    table.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=rf"^names.csv: {said}"):
        read_label_names(table)

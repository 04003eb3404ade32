"""Left is left: letters at the edges of pictures that say so, of each orientation, and at those of no other."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as PILImage

from cfcam.imaging import read_dicom, read_image
from cfcam.imaging.drawing.sides import lettered, letters_of
from tests.imaging.dicoms import ct, radiograph, save

STORED = (np.arange(80 * 120).reshape(80, 120) % 4000).astype(np.uint16)


def chest(tmp_path, orientation=None, animal=None):
    ds = radiograph(STORED)
    if orientation is not None:
        ds.PatientOrientation = orientation
    if animal is not None:
        ds.AnatomicalOrientationType = animal
    return read_dicom(save(ds, tmp_path / "a.dcm"))


@pytest.mark.parametrize(
    ("orientation", "letters"),
    [
        (["L", "F"], ("R", "L", "S", "I")),  # a chest as it is hung: the patient's right is on the left
        (["R", "F"], ("L", "R", "S", "I")),  # mirrored
        (["L", "H"], ("R", "L", "I", "S")),  # head down
        (["R", "H"], ("L", "R", "I", "S")),
        (["F", "L"], ("S", "I", "R", "L")),  # lying on its side
        (["F", "R"], ("S", "I", "L", "R")),
        (["H", "R"], ("I", "S", "L", "R")),
        (["P", "F"], ("A", "P", "S", "I")),  # from the side
        (["A", "F"], ("P", "A", "S", "I")),
        (["AL", "F"], ("P", "A", "S", "I")),  # askew: the nearest direction
        (["A", "FR"], ("P", "A", "S", "I")),  # a mammogram
    ],
)
def test_letters_are_those_of_the_header(tmp_path, orientation, letters):
    assert letters_of(chest(tmp_path, orientation)) == letters


@pytest.mark.parametrize("orientation", [None, [], ["L"], ["L", "R"], ["L", "L"], ["X", "F"], ["", "F"]])
def test_a_header_that_does_not_say_gives_no_letters(tmp_path, orientation):
    assert letters_of(chest(tmp_path, orientation)) is None


def test_the_letters_of_an_animal_on_four_legs_are_not_read(tmp_path):
    assert letters_of(chest(tmp_path, ["L", "F"], "QUADRUPED")) is None
    assert letters_of(chest(tmp_path, ["L", "F"], "BIPED")) == ("R", "L", "S", "I")


def test_a_slice_has_the_letters_of_its_place(tmp_path):
    stored = np.zeros((80, 120), np.int16)
    upright = read_dicom(save(ct(stored, (0, 0, 0)), tmp_path / "a.dcm"))
    assert letters_of(upright) == ("R", "L", "A", "P")
    ds = ct(stored, (0, 0, 0))
    ds.ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]
    ds.PatientOrientation = ["L", "P"]  # contradicts the place, which counts
    assert letters_of(read_dicom(save(ds, tmp_path / "b.dcm"))) == ("L", "R", "A", "P")


def test_a_picture_without_a_header_has_no_letters_and_stays_as_it_is(tmp_path):
    PILImage.fromarray(np.full((80, 120, 3), 90, np.uint8)).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert letters_of(image) is None
    picture = image.rgb()
    assert lettered(picture, None) is picture


def test_letters_stand_in_the_middle_of_their_edges_and_nowhere_else():
    picture = np.full((200, 300, 3), 90, np.uint8)
    told = lettered(picture, ("R", "L", "S", "I"))
    changed = (told != picture).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert {int(side) for side in (rows.min() < 12, rows.max() > 187, columns.min() < 12, columns.max() > 287)} == {1}
    assert not changed[25:-25, 25:-25].any()
    assert not changed[:80, :25].any()
    assert (picture == 90).all()
    for letters, same in ((("R", "L", "S", "I"), True), (("L", "R", "S", "I"), False)):
        other = lettered(picture, letters)
        assert (other[:, :25] == told[:, :25]).all() == same


def test_on_a_very_small_picture_letters_would_hide_what_they_name():
    small = np.full((63, 200, 3), 90, np.uint8)
    assert lettered(small, ("R", "L", "S", "I")) is small

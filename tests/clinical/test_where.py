"""Parts of a picture and of a patient in words: sides only where the file states them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cfcam.clinical.checks.peak_stability import PeakStability
from cfcam.clinical.origin import Origin
from cfcam.clinical.report import IndexEntry, study_numbers, write_index
from cfcam.clinical.report.page import render
from cfcam.clinical.where import part_of, steadiness, where
from tests.clinical.report.test_page import (
    HEIGHT,
    ORIGIN,
    WIDTH,
    Page,
    blob,
    empty_study,
    map_of,
    picture_study,
    volume_study,
)

TOP_RIGHT, SHAPE = (10, 95), (100, 100)


@pytest.mark.parametrize(
    ("directions", "expected"),
    [
        # rows, columns: where their index grows
        (("I", "L"), "patient's left, upper zone (right side of the picture)"),  # a chest as it is read
        (("I", "R"), "patient's right, upper zone (right side of the picture)"),  # stored the other way round
        (("S", "L"), "patient's left, lower zone (upper right third of the picture)"),  # feet up
        (("I", "A"), "front, upper zone (right side of the picture)"),  # a lateral view
        (("I", "P"), "back, upper zone (right side of the picture)"),
        (("P", "L"), "patient's left, front (upper right third of the picture)"),  # an axial slice
        (("A", "L"), "patient's left, back (upper right third of the picture)"),  # ... of a patient on the belly
        (("L", "I"), "patient's right, lower zone (upper right third of the picture)"),  # on its side
        ((), "upper right third of the picture (patient side not stated)"),
    ],
)
def test_of_a_picture_the_side_is_what_its_edges_say(directions, expected):
    assert part_of(TOP_RIGHT, SHAPE, directions) == expected


def test_the_nine_thirds_of_a_picture():
    found = [part_of((row, column), SHAPE, sides=False) for row in (10, 50, 90) for column in (10, 50, 90)]
    assert found == [
        "upper left third of the picture", "upper middle third of the picture", "upper right third of the picture",
        "left middle third of the picture", "central third of the picture", "right middle third of the picture",
        "lower left third of the picture", "lower middle third of the picture", "lower right third of the picture",
    ]  # fmt: skip
    # the border lies between pixels 32 and 33 of a hundred: middles at 32.5 and 33.5
    assert part_of((32, 50), SHAPE, sides=False).startswith("upper")
    assert part_of((33, 50), SHAPE, sides=False).startswith("central")
    assert part_of((50, 50), SHAPE, ("I", "L")) == "between left and right, middle zone (middle of the picture)"


def test_of_a_volume_the_thirds_are_along_the_patient():
    assert part_of((1, 2, 28), (30, 30, 30), ("S", "P", "L")) == "patient's left, front, lower zone of the volume"
    assert part_of((1, 2, 28), (30, 30, 30), ("R", "A", "S")) == "patient's left, back, upper zone of the volume"
    assert part_of((1, 15, 28), (30, 30, 30)) == (
        "first, middle and last third along the three axes of the volume (patient side not stated)"
    )


def test_the_side_of_a_paired_part_is_told_beside_it():
    assert part_of(TOP_RIGHT, SHAPE, ("I", "A"), "left breast") == (
        "front, upper zone (right side of the picture; left breast)"
    )
    assert part_of(TOP_RIGHT, SHAPE, (), "left breast") == (
        "upper right third of the picture (left breast; patient side not stated)"
    )
    assert Origin(body_part="breast", laterality="left").side == "left breast"
    assert Origin(body_part="chest", laterality="both").side == ""
    assert Origin(laterality="right").side == "right side of a paired part"


def test_report_json_and_index_say_the_same(tmp_path):
    study = picture_study(edges=("L", "I"), origin=ORIGIN)
    part = "patient's right, upper zone (left side of the picture)"
    assert where(study, study.maps[0]) == part  # row 60 of 240, column 80 of 320
    assert study_numbers(study)["maps"][0]["where"] == part
    assert study_numbers(study)["directions"] == ["I", "L"]
    text = Page(render(study)).text
    assert f"points most strongly to: {part}. Its peak: stability not measured." in text
    assert f"{part} row 60, column 80 30.0, 40.0 mm stability not measured" in text
    entry = IndexEntry.of(study, [])
    assert (entry.where, entry.peak) == (part, "stability not measured")
    page = Page(write_index([entry], tmp_path).read_text(encoding="utf-8")).text
    assert f"{part}; stability not measured" in page
    assert "2021-03-04, chest, PA (back to front)" in page


def test_a_volume_without_a_place_claims_no_side():
    study = volume_study(affine=None)
    assert "patient side not stated" in where(study, study.maps[0])
    assert where(volume_study(), volume_study().maps[0]) == "patient's right, front, lower zone of the volume"


def steady(study, stability):
    first = study.maps[0]
    maps = (replace(first, regions=replace(first.regions, stability=stability)), *study.maps[1:])
    return replace(study, maps=maps)


def test_the_share_of_motions_stands_wherever_the_peak_does():
    stays = steady(picture_study(), PeakStability(13, 17, ((60, 90), (61, 85)), (1, 3)))
    assert steadiness(stays, stays.maps[0]) == "stays under 13 of 17 small motions"
    text = Page(render(stays)).text
    assert text.count("stays under 13 of 17 small motions") >= 2
    assert study_numbers(stays)["maps"][0]["regions"]["stability"]["stayed"] == 13
    goes = steady(picture_study(edges=("L", "I")), PeakStability(12, 17, ((61, 85), (200, 300)), (1, 3)))
    assert steadiness(goes, goes.maps[0]) == (
        "stays under 12 of 17 small motions, in this part under 13; else it goes to patient's left, lower zone (right"
        " side of the picture): 3"
    )
    alt = next(found["alt"] for found in Page(render(goes)).all("img", class_="heat"))
    assert "row 60" not in alt
    assert "stays under 12 of 17" in alt


def test_of_many_other_parts_two_are_named_and_the_rest_counted():
    places = tuple((20 + 90 * down, 30 + 120 * across) for down in range(3) for across in range(3))
    goes = steady(picture_study(), PeakStability(2, 17, places, (4, 3, 2, 1, 1, 1, 1, 1, 1)))
    said = steadiness(goes, goes.maps[0])
    own, others = said.split("; else it goes to ")
    within = int(own.rpartition(" ")[2])
    counts = [int(part.rpartition(": ")[2]) for part in others.split(", ")]
    assert len(counts) == 3
    assert others.split(", ")[2].startswith("6 other parts: ")
    assert within + sum(counts) == 17


def test_a_map_that_is_the_same_everywhere_points_nowhere():
    flat = picture_study(maps=(map_of(np.ones((HEIGHT, WIDTH), np.float32)),))
    assert where(flat, flat.maps[0]) == (
        "no single place: its highest value is found more than a third of the picture apart"
    )
    two = np.maximum(blob((HEIGHT, WIDTH), (20, 20), 9), blob((HEIGHT, WIDTH), (200, 300), 9))
    apart = picture_study(maps=(map_of(two),))
    assert where(apart, apart.maps[0]).startswith("no single place")
    nothing = empty_study()
    assert where(nothing, nothing.maps[0]) == "nowhere: the map has no peak"
    assert steadiness(nothing, nothing.maps[0]) == ""


def test_the_index_says_which_map_is_of_a_class_that_is_not_predicted(tmp_path):
    study = picture_study(maps=picture_study().maps[2:])
    entry = IndexEntry.of(study, [])
    assert entry.doubt == "map of a class with p = 0.25: not what the network predicts"
    page = Page(write_index([entry, IndexEntry.of(picture_study(), [])], tmp_path).read_text(encoding="utf-8")).text
    assert page.count("not what the network predicts") == 1

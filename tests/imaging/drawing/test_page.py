"""Pages before they are pixels."""

from __future__ import annotations

import numpy as np
import pytest

from cfcam.errors import InputError
from cfcam.imaging.drawing.look import Look
from cfcam.imaging.drawing.page import Page, shrunk
from cfcam.imaging.drawing.parts import ink_of, place_legend
from cfcam.imaging.drawing.text import TextLine


def test_a_page_that_is_one_picture_is_that_picture():
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    page = Page.of(picture)
    assert (page.height, page.width) == (5, 7)
    assert (page.drawn() == picture).all()
    with pytest.raises(InputError, match="it must be uint8"):
        Page.of(picture[..., 0])


def test_pictures_stand_where_they_stand_on_paper_and_letters_are_written_over_them():
    box = np.full((4, 6, 3), 200, np.uint8)
    ink = ink_of("dark")
    bare = Page(40, 60, ink, [(3, 5, box)], []).drawn()
    assert (bare[3:7, 5:11] == 200).all()
    assert (bare[0, 0] == ink.paper).all()
    assert (bare == 200).all(axis=2).sum() == 24
    told = Page(40, 60, ink, [(3, 5, box)], [TextLine(20, 25, "a", 14, "#ffffff")]).drawn()
    changed = (told != bare).any(axis=2)
    assert changed[18:32, 18:34].any()
    assert changed.sum() == changed[15:35, 15:40].sum()


def test_a_smaller_picture_has_the_means_of_the_areas_that_its_pixels_cover():
    picture = np.zeros((4, 8, 3), np.uint8)
    picture[::2] = 100
    picture[:, 4:] = 40
    half = shrunk(picture, 0.5)
    assert half.shape == (2, 4, 3)
    assert (half[:, :2] == 50).all()
    assert (half[:, 2:] == 40).all()
    assert shrunk(picture, 1.0) is picture
    assert shrunk(np.zeros((1, 1000, 3), np.uint8), 0.1).shape == (1, 100, 3)


def test_a_page_is_shown_no_larger_than_it_may_be_and_a_small_one_as_it_is():
    page = Page.of(np.zeros((50, 200, 3), np.uint8))
    assert page.within(100).drawn().shape == (25, 100, 3)
    assert page.within(200) is page
    assert page.within(None) is page


@pytest.mark.parametrize(
    ("thresholds", "told"),
    [
        ((0.66, 0.66 + 1e-7), "outline from 0.66 on"),  # the last digits hang on what shared a batch
        ((0.66, 0.67), "outline from each map's own threshold on"),
    ],
)
def test_thresholds_that_print_alike_are_one(thresholds, told):
    texts = []
    place_legend(texts, [], 0, 0, 2000, Look(), ink_of("light"), thresholds)
    assert told in " ".join(text.line for text in texts)

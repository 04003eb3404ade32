from __future__ import annotations

import numpy as np
import pytest

from cfcam.errors import InputError
from cfcam.imaging.drawing import sheet
from cfcam.imaging.drawing.strip import MappedWord, word_strip

PICTURE = np.full((64, 64, 3), 120, np.uint8)


def test_each_word_stands_over_its_own_map(monkeypatch):
    pages = []

    def kept(*args, **kwargs):
        pages.append(sheet.contact_page(*args, **kwargs))
        return pages[-1]

    monkeypatch.setattr("cfcam.imaging.drawing.strip.contact_page", kept)
    heat = np.zeros((64, 64), np.float32)
    heat[:32] = 1
    words = [
        MappedWord("nodule", heat, probability=0.93),
        MappedWord("left", heat.T, margin=2.5),
        MappedWord("zone", heat, "no evidence"),
    ]
    drawn = word_strip(PICTURE, words, panel_size=96, title="nodule left zone")
    assert drawn.shape == (pages[0].height, pages[0].width, 3)
    lines = [text.line for text in pages[0].texts]
    assert [line for line in lines if line in {"original", "nodule", "left", "zone"}] == [
        "original",
        "nodule",
        "left",
        "zone",
    ]
    assert any("evidence for the word" in line for line in lines)
    assert sum(text.box is not None for text in pages[0].texts) >= 1  # the stamp over the third
    first, second = (pages[0].boxes[n][2] for n in (1, 2))
    assert abs(first[20, 48].astype(int) - 120).max() > 20 > abs(first[80, 48].astype(int) - 120).max()
    assert abs(second[48, 20].astype(int) - 120).max() > 20 > abs(second[48, 80].astype(int) - 120).max()


def test_a_strip_of_nothing_is_refused():
    with pytest.raises(InputError, match="at least one word"):
        word_strip(PICTURE, [])

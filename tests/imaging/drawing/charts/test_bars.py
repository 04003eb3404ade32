"""Bars of regions: as long as their shares, marked where chance would be."""

from __future__ import annotations

import numpy as np
import pytest

from cfcam.errors import InputError
from cfcam.imaging.drawing.charts.bars import BAR, TICK, Measured, outlined, region_page
from cfcam.maps import RegionShare, RegionShares


def shares(*rows: tuple[str, float | None, float], status: str = "ok") -> RegionShares:
    regions = [
        RegionShare(name, 1, area, share, None, None if share is None else share / area) for name, share, area in rows
    ]
    return RegionShares(tuple(regions), "grad-cam", "cat", 1.0, status, 0.0)


def test_bars_are_as_long_as_shares_and_the_largest_comes_first() -> None:
    picture = np.full((40, 60, 3), 90, np.uint8)
    table = shares(("small", 0.25, 0.5), ("large", 0.75, 0.5), ("nowhere", None, 0.0))
    page = region_page([Measured(picture, table, "0.93", {"small": (0.5, 0.25)})], title="cat.png")
    written = [text.line for text in page.texts]
    assert "grad-cam · cat 0.93" in written
    assert written.index("2 large") < written.index("1 small")
    assert "75% · x 1.5" in written
    assert not any("nowhere" in line for line in written)
    (number,) = (text for text in page.texts if text.line == "1")  # where the first region lies in the picture
    top, left, shown = page.boxes[0]
    assert (number.y - top) / len(shown) == pytest.approx(0.5)
    assert (number.x - left) / shown.shape[1] == pytest.approx(0.25)
    first, second = (box[2] for box in page.boxes[1:])
    lengths = [int((one[8] == BAR).all(1).sum()) for one in (first, second)]
    assert lengths[0] == pytest.approx(3 * lengths[1], abs=4)
    middle = np.flatnonzero((first[0] == TICK).all(1)).mean()  # chance is a half
    assert middle == pytest.approx(first.shape[1] / 2, abs=2)
    assert page.drawn().shape == (page.height, page.width, 3)


def test_a_region_without_a_name_is_called_by_its_label_in_the_picture_too() -> None:
    picture = np.full((40, 60, 3), 90, np.uint8)
    rows = [
        RegionShare(f"region {n}", 1, 0.5, share, None, 1.0, fall)
        for n, share, fall in ((3, 0.2, -0.5), (7, 0.8, 0.25))
    ]
    table = RegionShares(tuple(rows), "grad-cam", "cat", 1.0, "ok", 0.0)
    page = region_page([Measured(picture, table, places={"region 3": (0.5, 0.25), "region 7": (0.5, 0.75)})])
    written = [text.line for text in page.texts]
    assert [line for line in written if line.startswith("region")] == ["region 7", "region 3"]
    assert {text.line: text.x < 200 for text in page.texts if text.line in ("3", "7")} == {"3": True, "7": False}
    assert "80% · x 1.0 · falls by 0.25" in written
    assert "20% · x 1.0 · rises by 0.50" in written


def test_a_map_that_cannot_be_read_says_so_in_place_of_bars() -> None:
    table = shares(("a", None, 0.5), status="no positive evidence")
    page = region_page([Measured(np.zeros((8, 8, 3), np.uint8), table)])
    assert any("no positive evidence" in text.line for text in page.texts)
    assert len(page.boxes) == 1


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(InputError, match=r"^no regions to draw"):
        region_page([])


def test_regions_are_outlined_where_their_numbers_stand() -> None:
    picture = np.zeros((8, 10, 3), np.uint8)
    inside = np.zeros((8, 10), bool)
    inside[2:7, 3:8] = True
    drawn, places = outlined(picture, {"organ": inside, "nowhere": inside & False})
    ring = inside.copy()
    ring[3:6, 4:7] = False
    assert (drawn.any(-1) == ring).all()
    assert places == {"organ": (4.5 / 8, 5.5 / 10)}
    assert not picture.any()

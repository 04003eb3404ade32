"""How much of a map lies in each region, as bars beside the picture."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cfcam.errors import InputError
from cfcam.imaging.drawing.outline import border
from cfcam.imaging.drawing.overlay import check_rgb
from cfcam.imaging.drawing.page import Page
from cfcam.imaging.drawing.parts import GAP, MARGIN, Box, Ink, Theme, fitted_picture, ink_of, place_title
from cfcam.imaging.drawing.text import HEAD_SIZE, SMALL_SIZE, TextLine, line_height, wrapped_lines
from cfcam.maps import RegionShare, RegionShares

BAR, TICK = (240, 134, 52), (90, 200, 220)
"""Colours of a bar and of the mark of its region's area."""
BORDER = (235, 235, 235)
"""Of the outline of a region in the picture."""

_NAME, _LENGTH, _NUMBERS = 150, 200, 280  # widths of the columns, in pixels
_ROW, _THICK = 22, 12
_MOST = 14  # regions beside one picture; the tables have all


@dataclass(frozen=True, eq=False)
class Measured:
    """A picture and what lies in its regions.

    Attributes:
        picture: with its map, uint8 `(H, W, 3)`.
        shares: of the map.
        answer: what stands beside the class, such as its probability.
        places: name of a region -> where its number stands in the picture, row and column as shares of its size.
    """

    picture: NDArray[np.uint8]
    shares: RegionShares
    answer: str = ""
    places: Mapping[str, tuple[float, float]] = field(default_factory=dict)


def outlined(
    picture: NDArray[np.uint8], regions: Mapping[str, NDArray[np.bool_]]
) -> tuple[NDArray[np.uint8], dict[str, tuple[float, float]]]:
    """Draws the border of each region into a picture.

    Args:
        picture: uint8 `(H, W, 3)`.
        regions: name -> `(H, W)`.

    Returns:
        A new picture, and the places of the numbers, as `Measured` has them.
    """
    drawn = picture.copy()
    places: dict[str, tuple[float, float]] = {}
    for name, inside in regions.items():
        drawn[border(inside)[0]] = BORDER
        if len(at := np.argwhere(inside)):
            middle = at[np.abs(at - at.mean(0)).sum(1).argmin()]  # a place of the region, also of a bent one
            places[name] = (middle[0] + 0.5) / picture.shape[0], (middle[1] + 0.5) / picture.shape[1]
    return drawn, places


def region_page(
    measured: Sequence[Measured],
    *,
    title: str = "",
    footer: str = "research use only",
    panel_size: int = 320,
    theme: Theme = "dark",
) -> Page:
    """Draw each picture beside the bars of its regions, those with the largest shares first.

    A bar is the share of the map's positive evidence, from 0 to 1; the mark across it is the region's share of the
    area, which chance would give it. Beside it stand the share, the enrichment, the signed contribution and the fall of
    the score without the region, as far as they are known.

    Args:
        measured: pictures with their numbers, one below the other.
        title: a line over the page.
        footer: a small line under it.
        panel_size: the longer side of each picture in pixels.
        theme: "dark" or "light".

    Raises:
        InputError: there is nothing to draw, or a picture is none.
    """
    if not measured:
        raise InputError("no regions to draw: give one picture with its numbers at least")
    ink = ink_of(theme)
    texts: list[TextLine] = []
    boxes: list[Box] = []
    beside = MARGIN + panel_size + 2 * GAP
    width = beside + _NAME + _LENGTH + _NUMBERS + MARGIN
    y = place_title(texts, title, MARGIN, MARGIN, width, ink)
    for one in measured:
        check_rgb(one.picture)
        picture, size = fitted_picture(one.picture, panel_size)
        about = f"{one.shares.method} · {one.shares.label} {one.answer}".rstrip()
        _write(texts, MARGIN, y, about, HEAD_SIZE, ink.text, width - 2 * MARGIN, bold=True)
        y += line_height(HEAD_SIZE) + 3
        boxes.append((y, MARGIN, picture))
        marks = _marks(one.shares)
        for region in one.shares.largest(_MOST):
            if (place := one.places.get(region.name)) is not None:
                at, mark = (MARGIN + place[1] * size[1], y + place[0] * size[0]), marks[region.name]
                texts.append(TextLine(*at, mark, SMALL_SIZE, "#ffffff", bold=True, centred=True, box="#00000090"))
        below = _bars(texts, boxes, one.shares, beside, y, ink)
        y = max(y + size[0], below) + 2 * GAP
    for line in wrapped_lines(
        "bar: share of the map's positive evidence, 0 to 1; mark: share of the area (chance); x: enrichment;"
        f" falls, rises: the explained score (of a class its logit, without a unit) without the region; {footer}",
        SMALL_SIZE,
        width - 2 * MARGIN,
        most=4,
    ):
        _write(texts, MARGIN, y, line, SMALL_SIZE, ink.faint, width - 2 * MARGIN)
        y += line_height(SMALL_SIZE)
    return Page(y + MARGIN - 4, width, ink, boxes, texts)


def _marks(shares: RegionShares) -> dict[str, str]:
    """Returns what stands for each region in the picture: its label where it has no name, else its place in the list.

    It is not its place among the bars: "2" for region 3 would be read as region 2.
    """
    labels = [re.fullmatch(r"region (\d+)", region.name) for region in shares.regions]
    if all(labels):
        return {found[0]: found[1] for found in labels if found}
    return {region.name: str(number) for number, region in enumerate(shares.regions, start=1)}


def _bars(texts: list[TextLine], boxes: list[Box], shares: RegionShares, x: int, y: int, ink: Ink) -> int:
    """Adds the rows of one picture; returns the next free height."""
    shown, marks = shares.largest(_MOST), _marks(shares)
    for region in shown:
        name = region.name if region.name.endswith(f" {marks[region.name]}") else f"{marks[region.name]} {region.name}"
        _write(texts, x, y, name, SMALL_SIZE, ink.text, _NAME - GAP, height=_ROW)
        boxes.append((y + (_ROW - _THICK) // 2 - 2, x + _NAME, _bar(region, ink)))
        _write(texts, x + _NAME + _LENGTH + GAP, y, _numbers(region), SMALL_SIZE, ink.text, _NUMBERS - GAP, height=_ROW)
        y += _ROW
    said = [] if shown else [f"{shares.status}: there are no shares"]
    if (more := len(shares.regions) - len(shown)) > 0 and shown:
        said.append(f"{more} more in the table; those without a place in the picture have no number")
    if shares.outside is not None:
        said.append(f"outside of all regions: {shares.outside:.0%}")
    if shares.overlapping:
        said.append("regions overlap: their shares need not add up")
    for line in said:
        _write(texts, x, y, line, SMALL_SIZE, ink.faint, _NAME + _LENGTH + _NUMBERS, height=_ROW)
        y += _ROW
    return y


def _bar(region: RegionShare, ink: Ink) -> NDArray[np.uint8]:
    drawn = np.empty((_THICK + 4, _LENGTH + 1, 3), np.uint8)
    drawn[:] = ink.paper
    drawn[2:-2] = [
        int(ink.faint[i : i + 2], 16) // 2 + channel // 2 for i, channel in zip((1, 3, 5), ink.paper, strict=True)
    ]
    drawn[2:-2, : round((region.share or 0.0) * _LENGTH) + 1] = BAR
    at = round(region.area * (_LENGTH - 1))
    drawn[:, at : at + 2] = TICK
    return drawn


def _numbers(region: RegionShare) -> str:
    parts = [f"{region.share:.0%}", f"x {region.enrichment:.1f}"]
    if region.contribution is not None:
        parts.append(f"signed {region.contribution:+.2f}")
    if region.removal is not None:
        parts.append(f"{'rises' if region.removal < 0 else 'falls'} by {abs(region.removal):.2f}")
    return " · ".join(parts)


def _write(
    texts: list[TextLine],
    x: int,
    y: int,
    text: str,
    size: int,
    colour: str,
    width: int,
    *,
    bold: bool = False,
    height: int = 0,
) -> None:
    """Adds a line, shortened to a width; ``height``: of the row in whose middle it stands, 0 for its own."""
    middle = y + (height or line_height(size)) / 2
    fitting = wrapped_lines(text, size, width, most=1, bold=bold)
    texts += [TextLine(x, middle, line, size, colour, bold=bold) for line in fitting]

"""The palettes on offer, as they are sent to the page; written down, so that no page waits for matplotlib."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from cfcam import json_text
from cfcam.web.schemas import PaletteInfo

FILE = Path(__file__).with_name("static") / "palettes.json"
"""Made by ``python -m tests.web.palettes``; a test holds it to what pictures are drawn with."""

SIGNED = FILE.with_name("difference.json")
"""Likewise, the one of signed differences."""


@cache
def difference() -> PaletteInfo:
    """Returns the palette of signed differences, which is not on offer for maps: its middle stands for none."""
    return PaletteInfo(**json_text.read(SIGNED))


@cache
def palettes() -> tuple[PaletteInfo, ...]:
    """Returns the palettes on offer, the one that is taken unless another is asked for first."""
    return tuple(PaletteInfo(**one) for one in json_text.read(FILE))

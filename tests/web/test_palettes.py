import json

from cfcam.imaging.drawing.look import Look
from cfcam.web.palettes import FILE, SIGNED, difference, palettes
from cfcam.web.schemas import Defaults
from tests.web.palettes import offered, signed


def test_the_palettes_of_the_page_are_those_that_pictures_are_drawn_with():
    assert json.loads(FILE.read_text(encoding="utf-8")) == offered()  # else: python -m tests.web.palettes
    assert [one.name for one in palettes()] == [one["name"] for one in offered()]


def test_the_palette_of_differences_is_that_of_a_comparison():
    assert json.loads(SIGNED.read_text(encoding="utf-8")) == signed()
    assert difference().name not in [one.name for one in palettes()]  # its middle is white: no palette of maps


def test_the_page_draws_as_pictures_are_drawn():
    found = Defaults()
    assert Look(found.palette, found.opacity, found.blend) == Look()

import json

from cfcam.imaging.drawing.look import Look
from cfcam.web.palettes import FILE, palettes
from cfcam.web.schemas import Defaults
from tests.web.palettes import offered


def test_the_palettes_of_the_page_are_those_that_pictures_are_drawn_with():
    assert json.loads(FILE.read_text(encoding="utf-8")) == offered()  # else: python -m tests.web.palettes
    assert [one.name for one in palettes()] == [one["name"] for one in offered()]


def test_the_page_draws_as_pictures_are_drawn():
    found = Defaults()
    assert Look(found.palette, found.opacity, found.blend) == Look()

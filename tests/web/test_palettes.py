import json

from cfcam.web.palettes import FILE, palettes
from tests.web.palettes import offered


def test_the_palettes_of_the_page_are_those_that_pictures_are_drawn_with():
    assert json.loads(FILE.read_text(encoding="utf-8")) == offered()  # else: python -m tests.web.palettes
    assert [one.name for one in palettes()] == [one["name"] for one in offered()]

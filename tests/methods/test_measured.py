"""The scorecard's words are of methods that there are, and of all that its tables measure."""

from __future__ import annotations

import re
from pathlib import Path

from cfcam.methods import list_methods, list_pixel_methods
from cfcam.methods.measured import _SAID, NOT_MEASURED, said

SCORECARD = Path(__file__).parents[2] / "docs" / "scorecard.md"


def test_words_are_few_and_of_methods_that_there_are() -> None:
    assert _SAID.keys() <= {*list_methods(), *list_pixel_methods()}
    assert all(0 < len(words) < 90 and not words.endswith(".") for words in _SAID.values())
    assert said("libra-grad") == NOT_MEASURED


def test_what_the_tables_of_the_page_measure_has_words_and_nothing_else() -> None:
    page = SCORECARD.read_text(encoding="utf-8")
    tables = re.findall(r'--8<-- "(.*?/scorecard/.*?\.md)(?::\d+)?"', page)
    assert len(tables) > 5
    texts = [(SCORECARD.parents[1] / table).read_text(encoding="utf-8") for table in tables]
    measured = set(re.findall(r"^\| \*?([a-z][a-z0-9+-]+)\*? +\| \d", "\n".join(texts), re.MULTILINE))
    assert measured & {*list_methods(), *list_pixel_methods()} <= _SAID.keys()
    assert all(re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", "\n".join([page, *texts])) for name in _SAID)

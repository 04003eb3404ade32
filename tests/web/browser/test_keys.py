"""Keys that make maps and leave fields: the next method and class, panes before the first map, Escape in the review."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("playwright")
pytest.importorskip("sqlalchemy")

from cfcam.models import load
from tests.jobs.studies import phantom_radiograph
from tests.web.browser.hands import shown, state
from tests.web.browser.page import launched, opened, until
from tests.web.server import Served, served, settings_of


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as found:
        yield found


@pytest.fixture
def viewer(tmp_path: Path) -> Iterator[Served]:
    """A radiograph, the demo network, and an audit."""
    settings = settings_of(
        phantom_radiograph(tmp_path / "chest.dcm"),
        load=lambda: load("demo"), model="demo", audit=str(tmp_path / "audit.sqlite"), reviewer="A. Reader",
    )  # fmt: skip
    with served(settings) as found:
        yield found


def caption(page: Any, pane: int = 0) -> list[str]:
    """Method and class of a pane."""
    return page.get_by_test_id(f"caption-{pane}").inner_text().split(" · ")[:2]


def test_m_and_c_turn_the_active_map_and_each_press_is_one_turn(browser: Any, viewer: Served) -> None:
    with opened(browser, viewer.address) as page:
        shown(page)
        method, first = caption(page)
        assert method == "cf-cam"
        probabilities = page.evaluate("cfcam.study.probabilities")
        classes = sorted(probabilities, key=probabilities.get, reverse=True)
        assert first == classes[0]
        page.keyboard.press("m")
        page.keyboard.press("m")
        until(page, lambda: caption(page), ["grad-cam++", first])
        page.keyboard.press("m")  # round to the first, which is there
        until(page, lambda: caption(page), ["cf-cam", first])
        page.keyboard.press("Shift+M")
        until(page, lambda: caption(page), ["grad-cam++", first])
        page.keyboard.press("c")
        until(page, lambda: caption(page), ["grad-cam++", classes[1]])
        page.keyboard.press("Shift+C")
        page.keyboard.press("Shift+C")
        until(page, lambda: caption(page), ["grad-cam++", classes[-1]])
        assert len(state(page)["maps"]) == 1


def test_three_panes_asked_for_before_the_first_map_are_three_methods(browser: Any, viewer: Served) -> None:
    with opened(browser, viewer.address) as page:
        page.keyboard.press("3")
        maps = shown(page, 3)
        assert len(set(maps)) == 3
        assert sorted(caption(page, n)[0] for n in range(3)) == ["cf-cam", "grad-cam", "grad-cam++"]


def test_escape_leaves_a_field_and_what_follows_is_written_nowhere(browser: Any, viewer: Served) -> None:
    with opened(browser, viewer.address) as page:
        shown(page)
        page.keyboard.press("a")
        page.get_by_test_id("review-comment").wait_for()
        page.keyboard.press("Escape")
        page.get_by_test_id("panel").wait_for(state="hidden")
        assert page.evaluate("document.activeElement.dataset.testid") == "pane-0"
        page.keyboard.press("f")
        until(page, lambda: state(page)["fade"], True)
        page.keyboard.press("r")
        assert page.get_by_test_id("review-comment").input_value() == ""
        page.keyboard.type("beside it")
        page.keyboard.press("Enter")
        page.get_by_test_id("review-status").get_by_text("Recorded: reject").wait_for()
        page.keyboard.type("fl")
        until(page, lambda: (state(page)["fade"], state(page)["outline"]), (False, False))
        assert page.get_by_test_id("review-comment").input_value() == ""
        page.keyboard.press("e")  # the list, where the filter is a field too
        page.get_by_test_id("studies-filter").focus()
        page.keyboard.type("x")
        page.keyboard.press("Escape")
        assert page.evaluate("document.activeElement.dataset.testid") != "studies-filter"

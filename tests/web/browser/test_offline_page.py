"""The page in one file, opened from the disk: it asks for nothing, and shows what the server's page shows."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cfcam.clinical.regions import measure
from cfcam.jobs.runs.further import Seen
from cfcam.web.library.library import Library
from cfcam.web.offline import study_of
from tests.waiting import PATIENCE
from tests.web.browser.page import launched
from tests.web.browser.scripts import needs_browser
from tests.web.offline_pages import PAGES, SIDE, held, seen
from tests.web.server import served, settings_of

PLANE = """() => {
  const canvas = document.querySelector('[data-testid=pane-0] canvas');
  return [canvas.width, canvas.height, canvas.toDataURL()];
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as found:
        yield found


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """Opens a page from the disk without a network; fails if it asks for anything or complains."""
    context = browser.new_context(viewport={"width": 1280, "height": 720}, offline=True)
    complaints: list[str] = []

    def open_(one: Seen, fragment: str = "") -> Any:
        (file,) = PAGES(one).files
        shown = context.new_page()
        shown.set_default_timeout(1000 * PATIENCE)
        shown.on("request", lambda r: None if r.url.split("#")[0] == file.as_uri() else complaints.append(r.url))
        shown.on("console", lambda message: complaints.append(message.text))
        shown.on("pageerror", lambda error: complaints.append(str(error)))
        shown.goto(file.as_uri() + fragment)
        shown.wait_for_selector("html[data-ready]")
        return shown

    open_.complaints = complaints  # type: ignore[attr-defined]
    yield open_
    context.close()
    assert complaints == []


@needs_browser
def test_opened_from_the_disk_it_shows_the_probable_class_and_asks_for_nothing(opened: Any, tmp_path: Path) -> None:
    shown = opened(seen(tmp_path))
    shown.wait_for_selector("html[data-shown]")
    assert shown.get_by_test_id("study-name").inner_text() == "scan.png"
    assert shown.get_by_test_id("caption-0").inner_text().startswith("grad-cam · right · 88")
    assert shown.get_by_test_id("disclaimer").inner_text().startswith("Research use")


@needs_browser
def test_its_pixels_are_those_of_the_server(opened: Any, browser: Any, tmp_path: Path) -> None:
    one = seen(tmp_path)
    study = study_of(one)
    ours = opened(one, "#list=0")
    (detail,) = held(PAGES(one).files[0].read_bytes())["details"].values()
    with served(settings_of()) as viewer:
        viewer.app.state.library = Library([study])
        theirs = browser.new_page(viewport={"width": 1280, "height": 720})
        theirs.set_default_timeout(1000 * PATIENCE)
        theirs.goto(viewer.address + "#list=0")
        theirs.wait_for_selector("html[data-ready]")
        for wanted in (detail["maps"][0]["id"], detail["maps"][4]["id"]):  # the first map, and another class's
            planes = []
            for shown in (ours, theirs):
                look = {"maps": [wanted], "list": False, "opacity": 0.4, "palette": "inferno"}
                shown.evaluate("look => cfcam.state.set(look)", look)
                shown.wait_for_selector(f'html[data-shown="{wanted}"]')
                shown.evaluate("() => cfcam.viewer.drawn()")
                planes.append(shown.evaluate(PLANE))
            assert planes[0] == planes[1]
        theirs.close()


@needs_browser
def test_the_box_of_a_detector_is_drawn_around_what_its_map_explains(opened: Any, tmp_path: Path) -> None:
    one = seen(tmp_path)
    box = torch.tensor([[[torch.nan] * 4, [16.0, 8.0, 28.0, 20.0]]])  # of an input of 32, which shows 64 pixels
    boxed = replace(one, explanation=replace(one.explanation, boxes=box))
    drawn = []
    for each in (one, boxed):
        shown = opened(each, "#list=0")
        shown.wait_for_selector("html[data-shown]")
        shown.evaluate("() => cfcam.viewer.drawn()")
        width, height, url = shown.evaluate(PLANE)
        drawn.append(np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB"), int))
    rows, columns = np.nonzero(np.abs(drawn[0] - drawn[1]).sum(2) > 60)
    # The picture has 0.5 x 0.25 mm a pixel, and is shown at its proportions: as wide as half of its height.
    scale = min(height / SIDE, 2 * width / SIDE)
    left, top = (width - SIDE * scale / 2) / 2, (height - SIDE * scale) / 2
    edges = [left + 32 * scale / 2, left + 56 * scale / 2, top + 16 * scale, top + 40 * scale]
    assert [columns.min(), columns.max(), rows.min(), rows.max()] == pytest.approx(edges, abs=3)


@needs_browser
def test_it_is_used_with_the_keyboard(opened: Any, tmp_path: Path) -> None:
    shown = opened(seen(tmp_path))
    shown.keyboard.press("k")
    shown.get_by_test_id("maps-made").locator("button").first.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowDown", "Enter"):
        shown.keyboard.press(key)
    shown.get_by_test_id("caption-0").get_by_text("grad-cam · left").wait_for()
    shown.evaluate("() => cfcam.viewer.drawn()")
    coloured = shown.evaluate(PLANE)
    shown.keyboard.down("o")
    shown.evaluate("() => cfcam.viewer.drawn()")
    assert shown.evaluate(PLANE) != coloured
    shown.keyboard.up("o")
    shown.evaluate("() => cfcam.viewer.drawn()")
    assert shown.evaluate(PLANE) == coloured


@needs_browser
def test_it_shows_its_numbers_and_says_which_it_cannot_know(opened: Any, tmp_path: Path) -> None:
    one = seen(tmp_path)
    shown = opened(one)
    shown.keyboard.press("q")
    table = shown.get_by_test_id("numbers-table")
    table.wait_for()
    heat = one.preprocess.to_original(one.explanation.heatmaps("grad-cam")[0, 1], (SIDE, SIDE)).contiguous()
    region = measure(heat, (0.5, 0.25), "otsu").regions[0]
    size = table.locator("tr", has_text="Size").locator("td")
    assert float(size.get_attribute("title") or "") == region.size
    assert size.inner_text().endswith(" mm²")
    shown.evaluate("cfcam.state.set({threshold: 0.9})")
    told = shown.get_by_test_id("numbers-status")
    told.get_by_text("computed in Python").wait_for()
    assert "open the picture with cfcam view" in told.inner_text()
    assert table.count() == 0


@needs_browser
def test_what_needs_a_server_is_not_offered(opened: Any, tmp_path: Path) -> None:
    shown = opened(seen(tmp_path))
    assert shown.get_by_test_id("panel-numbers").count() == 1
    for panel in ("review", "compare", "layers"):
        assert shown.get_by_test_id(f"panel-{panel}").count() == 0
    shown.keyboard.press("x")
    assert shown.get_by_test_id("export-pdf").count() == 0
    with shown.expect_download() as found:
        shown.get_by_test_id("export-png").click()
    assert found.value.suggested_filename == "scan.png.png"
    with shown.expect_download() as found:
        shown.get_by_test_id("export-json").click()
    plain = json.loads(Path(found.value.path()).read_bytes())
    assert [one["method"] for one in plain["maps"]] == ["grad-cam"]


@needs_browser
def test_no_other_script_runs_in_it_and_nothing_is_sent(opened: Any, tmp_path: Path) -> None:
    shown = opened(seen(tmp_path))
    assert opened.complaints == []
    ran = shown.evaluate(
        """() => {
          const script = document.createElement('script');
          script.textContent = 'window.foreign = true';
          document.body.append(script);
          return window.foreign === true;
        }"""
    )
    assert ran is False
    assert shown.evaluate("() => fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'refused')") == "refused"
    assert len(opened.complaints) >= 2
    assert all("Content Security Policy" in line or "127.0.0.1:9" in line for line in opened.complaints)
    opened.complaints.clear()


@needs_browser
def test_a_name_is_text_and_never_markup(opened: Any, tmp_path: Path) -> None:
    evil = "</script><img src=x onerror=alert(1)><!--"
    shown = opened(seen(tmp_path, classes=(evil, evil[::-1]), name=evil))
    shown.keyboard.press("k")
    assert shown.get_by_test_id("study-name").inner_text() == evil
    assert shown.get_by_test_id("maps-made").get_by_text(evil, exact=True).first.is_visible()
    assert shown.locator("img[src=x]").count() == 0

"""Everybody can use the page: axe finds nothing, nothing is cut off, and a long list is short in the page."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi")
pytest.importorskip("playwright")
Axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe

from cfcam.web.library.study import Said  # noqa: E402
from tests.web.browser.page import launched, opened, still  # noqa: E402
from tests.web.browser.shown import blob, radiograph, study_map  # noqa: E402
from tests.web.server import Served, served, settings_of  # noqa: E402

MANY = 2000
SIZES = {"1280 x 720": {}, "200 %": {"width": 640, "height": 360, "device_scale_factor": 2}}
LONG = "a class of many words, and of more " * 4

UNREACHABLE = """(within) => {
  const missing = [];
  for (const one of document.querySelectorAll(within)) {
    if (!one.checkVisibility({ visibilityProperty: true }) || one.closest('#studies')) continue;
    one.scrollIntoView({ block: 'nearest', inline: 'nearest' });
    const { left, top, right, bottom } = one.getBoundingClientRect();
    const inside = left >= -1 && top >= -1 && right <= innerWidth + 1 && bottom <= innerHeight + 1;
    const name = one.dataset.testid || one.id || one.textContent;
    const over = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
    if (!inside) missing.push(`${name} is outside`);
    else if (!over || !(one === over || one.contains(over) || over.contains(one))) missing.push(`${name} is hidden`);
  }
  return missing;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as found:
        yield found


@pytest.fixture(scope="module")
def viewer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A radiograph with two maps, and an audit to record in."""
    folder = tmp_path_factory.mktemp("access")
    with served(settings_of(radiograph(folder), audit=str(folder / "audit.sqlite"))) as found:
        (brief,) = found.client.get("/api/studies").json()["studies"]
        study = found.app.state.library.find(brief["id"])
        for n, method in enumerate(("grad-cam", "cf-cam")):
            study.add(study_map(f"m-00000000000{n}", method, blob((256, 320), (100 + 40 * n, 120), 30)))
        yield found


def panels(page: Any) -> list[str]:
    """Names of the panels, as the rail has them."""
    names: list[str] = page.evaluate("[...document.querySelectorAll('#rail button')].map(one => one.dataset.testid)")
    assert len(names) >= 7
    return names


@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_nothing_in_any_panel_nor_in_the_help(browser: Any, viewer: Served, size: str) -> None:
    axe = Axe()

    def clean(what: str) -> None:
        found = axe.run(page)
        assert found.violations_count == 0, f"{what}: {found.generate_report()}"

    # axe is a script of its own, which the page's policy forbids: it is left out here, and here alone
    with opened(browser, viewer.address, bypass_csp=True, **SIZES[size]) as page:
        page.wait_for_selector("html[data-shown]", state="attached")
        clean("the first view")
        for name in panels(page):
            page.get_by_test_id(name).click()
            page.get_by_test_id("panel").wait_for()
            clean(name)
        page.keyboard.press("Escape")
        page.keyboard.press("?")
        page.get_by_test_id("help-dialog").wait_for()
        clean("help")


@pytest.mark.parametrize("size", SIZES)
def test_nothing_essential_is_cut_off(browser: Any, viewer: Served, size: str) -> None:
    with opened(browser, viewer.address, **SIZES[size]) as page:
        page.wait_for_selector("html[data-shown]", state="attached")
        for name in [None, *panels(page)]:
            if name:
                page.get_by_test_id(name).click()
            # a small screen's panel lies over what is below it, until it is closed: its own controls are asked for
            boxes = ["#panel", "#rail"] if name else ["body"]
            within = ", ".join(f"{box} {tag}" for box in boxes for tag in ("button", "input", "select", "textarea"))
            assert page.evaluate(UNREACHABLE, within) == [], name
            wide = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
            assert wide[0] <= wide[1], name
        page.keyboard.press("Escape")
        box = page.locator("[data-testid=pane-0] canvas").bounding_box()
        assert min(box["width"], box["height"]) >= 120
        page.get_by_test_id("help").click()
        last = page.locator("#help-content").locator("kbd").last
        last.scroll_into_view_if_needed()
        assert last.is_visible()
        page.keyboard.press("Escape")
        assert not page.get_by_test_id("help-dialog").is_visible()


def test_on_a_telephone_the_name_the_answer_and_the_ends_of_the_colour_bar_can_be_read(
    browser: Any, tmp_path: Path
) -> None:
    with served(settings_of(radiograph(tmp_path))) as viewer:
        (study,) = viewer.app.state.library.studies()
        study.tell(Said(predicted=LONG, probability=0.293))
        study.add(study_map("m-000000000000", "grad-cam", blob((256, 320), (100, 120), 30), class_name=LONG))
        with opened(browser, viewer.address, width=360, height=740) as page:
            page.wait_for_selector("html[data-shown]", state="attached")
            for part in ("study-name", "probability"):
                box = page.get_by_test_id(part).bounding_box()
                assert box["x"] + box["width"] <= 360, part
                assert box["width"] > 40, part
            assert page.get_by_test_id("probability").inner_text() == "29.3 %"
            assert page.locator("#bar-note").is_visible()
            head = page.locator("header").bounding_box()
            page.get_by_test_id("list-toggle").click()
            assert page.get_by_test_id("studies").bounding_box()["y"] == head["height"]  # it covers none of it
            assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_what_stands_on_a_white_picture_can_be_read(browser: Any, tmp_path: Path) -> None:
    scan = tmp_path / "white.nii"
    values = np.full((97, 60, 20), 1000, np.int16)  # as wide as the pane
    values[..., :6] = 0
    nibabel.Nifti1Image(values, np.diag([1.0, 1.0, 2.0, 1.0])).to_filename(scan)
    with served(settings_of(scan)) as viewer, opened(browser, viewer.address) as page:
        still(page)
        for part in ("letter-top", "letter-bottom", "where", "scale-bar"):
            shot = page.get_by_test_id(part).first.screenshot()
            grey = np.asarray(Image.open(io.BytesIO(shot)).convert("L")).astype(int)
            ground, ink = np.sort(grey.ravel())[[grey.size // 2, -1]] / 255
            ratio = (ink**2.2 + 0.05) / (ground**2.2 + 0.05)  # WCAG 2.2, 1.4.3
            assert ratio >= 4.5, f"{part}: {ratio:.1f}"


def test_of_two_thousand_pictures_few_are_in_the_page_and_end_goes_to_the_last(browser: Any, tmp_path: Path) -> None:
    for n in range(MANY):
        pixels = np.full((16, 16), n % 251, np.uint8)
        pixels[n % 16, n // 16 % 16] = 255  # no two neighbours alike
        Image.fromarray(pixels).save(tmp_path / f"picture{n:04}.png")
    with served(settings_of(tmp_path)) as viewer, opened(browser, viewer.address) as page:
        page.get_by_text(f"{MANY} studies").wait_for()
        rows = page.get_by_test_id("study")
        counts = []
        for at in (0, 0.3, 0.7, 1):
            page.get_by_test_id("studies-list").evaluate(
                "(list, at) => { list.scrollTop = at * list.scrollHeight; }", at
            )
            page.get_by_text(f"picture{round(at * (MANY - 1)):04}.png", exact=True).first.wait_for(state="attached")
            counts.append(page.evaluate("document.querySelectorAll('*').length"))
            assert rows.count() < 40
        assert max(counts) < 1500
        page.get_by_test_id("studies-list").evaluate("list => { list.scrollTop = 0; }")
        page.get_by_text("picture0000.png", exact=True).last.wait_for()
        page.get_by_test_id("studies-list").focus()
        page.keyboard.press("End")
        page.keyboard.press("Enter")
        page.locator("h1", has_text=f"picture{MANY - 1}.png").wait_for()
        assert page.get_by_test_id("position").inner_text() == f"{MANY} of {MANY}"

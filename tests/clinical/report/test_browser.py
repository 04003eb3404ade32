"""The pages in a browser: what is seen, what can be used with the keyboard, and that nothing is fetched."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cfcam.clinical.report import IndexEntry, write_index, write_report
from tests.clinical.report.test_page import empty_study, picture_study, volume_study
from tests.waiting import PATIENCE
from tests.web.browser.page import launched

pytestmark = pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="playwright is not installed")

PAGES = ["case-7_report", "volume-1_report", "bare_report", "case-7_patient", "bare_patient", "index"]

CONTRASTS = """() => {
  const light = (c) => {
    const parts = c.map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const c = numbers(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] === 1) return c.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll("main *, .research")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || element.closest(".stack") || !element.checkVisibility()) continue;
    const a = light(numbers(getComputedStyle(element).color)), b = light(behind(element));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    found.push([ratio, element.className, element.textContent.slice(0, 40)]);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pages")
    studies = [picture_study(), volume_study(), empty_study()]
    write_index([IndexEntry.of(study, write_report(study, root, patient_page=True)) for study in studies], root)
    return root


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as found:
        yield found


@pytest.fixture
def opened(browser: Any, folder: Path) -> Iterator[Any]:
    """Opens a page by name; fails if it asks for anything or complains."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    complaints: list[str] = []

    def open_(name: str) -> Any:
        page = context.new_page()
        page.set_default_timeout(1000 * PATIENCE)
        own = (folder / f"{name}.html").as_uri()
        page.on("request", lambda r: None if r.url == own or r.url.startswith("data:") else complaints.append(r.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(own)
        return page

    yield open_
    context.close()
    assert complaints == []


@pytest.mark.parametrize("name", PAGES)
def test_every_picture_is_shown_and_nothing_is_fetched(opened, name):
    page = opened(name)
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("name", PAGES)
def test_names_roles_and_structure(opened, name):
    page = opened(name)
    assert page.evaluate("document.documentElement.lang") == "en"
    assert page.title()
    assert page.evaluate("document.querySelectorAll('main').length") == 1
    assert page.evaluate("[...document.images].every(i => i.alt.trim())")
    assert page.evaluate("[...document.querySelectorAll('input')].every(i => i.labels.length === 1)")
    assert page.evaluate("[...document.querySelectorAll('fieldset')].every(f => f.querySelector('legend'))")
    assert page.evaluate("[...document.querySelectorAll('th')].every(h => h.scope && h.textContent.trim())")
    assert page.evaluate(
        "[...document.querySelectorAll('[id]')].every((e, _, all) => all.filter(o => o.id === e.id).length === 1)"
    )


@pytest.mark.parametrize("name", PAGES)
def test_text_stands_out_from_what_is_behind_it(opened, name):
    found = opened(name).evaluate(CONTRASTS)
    assert len(found) > 8
    assert min(found)[0] >= 4.5, min(found)  # WCAG 2.2, success criterion 1.4.3


@pytest.mark.parametrize("name", PAGES)
def test_a_narrow_window_shows_everything(opened, name):
    page = opened(name)
    page.set_viewport_size({"width": 380, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("name", ["case-7_report", "volume-1_report"])
def test_one_pair_stands_in_a_row_eight_centimetres_wide_each(opened, name):
    page = opened(name)
    page.set_viewport_size({"width": 1280, "height": 720})
    for media in ("screen", "print"):
        page.emulate_media(media=media)
        if media == "print":
            page.set_viewport_size({"width": 688, "height": 1000})  # A4 less its margins, in CSS pixels
        rows = page.locator(".pictures").evaluate_all(
            "rows => rows.map(r => [...r.querySelectorAll('.stack')].map(s => [s.getBoundingClientRect().width,"
            " s.closest('.picture').getBoundingClientRect().top]))"
        )
        assert len(rows) > 2
        for row in rows:
            assert len(row) == 2
            assert min(width for width, _ in row) >= 8 / 2.54 * 96
            assert row[0][1] == row[1][1], media


def opacities(page: Any, within: str) -> set[str]:
    return set(page.evaluate(f"[...document.querySelectorAll('{within} .heat')].map(e => getComputedStyle(e).opacity)"))


def test_facts_are_told_in_whole_words_on_a_telephone_and_links_are_large_enough_to_touch(opened):
    page = opened("case-7_report")
    page.set_viewport_size({"width": 360, "height": 740})
    widths = page.locator(".facts div").evaluate_all("all => all.map((one) => one.getBoundingClientRect().width)")
    assert min(widths) >= 11 * 16
    heights = (
        opened("index")
        .locator(".studies td a")
        .evaluate_all("all => all.map((one) => one.getBoundingClientRect().height)")
    )
    assert min(heights) >= 24  # WCAG 2.2, 2.5.8


def test_tables_with_sentences_are_scrolled_on_a_telephone_and_not_squeezed(opened):
    """A column of words was as wide as its longest word, and a row of the table higher than two screens."""
    heights = "[...document.querySelectorAll('.places tbody tr, .studies tbody tr')].map(one => one.offsetHeight)"
    for name in ("case-7_report", "index"):
        page = opened(name)
        page.set_viewport_size({"width": 380, "height": 800})
        rows = page.evaluate(heights)
        assert rows
        assert max(rows) < 400, rows
        assert page.evaluate("document.documentElement.scrollWidth") == 380


def test_the_map_fades_by_mouse_and_keyboard_without_a_script(opened):
    page = opened("case-7_report")
    assert opacities(page, "#maps") == {"0.5"}
    page.get_by_label("100 %").check()
    assert opacities(page, "#maps") == {"1"}
    assert opacities(page, "#uncertainty") == {"0.5"}
    page.keyboard.press("ArrowLeft")
    assert opacities(page, "#maps") == {"0.5"}
    page.get_by_label("0 %", exact=True).check()
    assert opacities(page, "#maps") == {"0"}


def test_outlines_can_be_left_out(opened):
    page = opened("case-7_report")
    outlines = page.locator("#maps .outline")
    assert outlines.count() == 3
    assert outlines.first.is_visible()
    page.get_by_label("outlines").uncheck()
    assert not outlines.first.is_visible()


def test_on_paper_the_opacity_is_the_one_that_is_stated(opened):
    page = opened("case-7_report")
    page.get_by_label("100 %").check()
    page.emulate_media(media="print")
    assert opacities(page, "#maps") == {"0.5"}
    assert not page.locator(".tools").is_visible()
    assert page.locator(".on-paper").is_visible()


def names(page: Any) -> list[str]:
    return [row.inner_text().strip() for row in page.locator("#studies tbody th:visible").all()]


def test_the_batch_is_sorted_by_any_column_and_what_is_not_known_comes_last(opened):
    page = opened("index")
    assert names(page) == ["case-7", "volume-1", "bare"]
    page.get_by_role("button", name="Study").click()
    assert names(page) == ["bare", "case-7", "volume-1"]
    page.get_by_role("button", name="Study").click()
    assert names(page) == ["volume-1", "case-7", "bare"]
    assert page.locator("th[aria-sort=descending]").inner_text().startswith("Study")
    page.get_by_role("button", name="Marked region").press("Enter")
    assert names(page)[2] == "bare"
    sizes = page.locator("#studies tbody tr td:nth-child(6)").evaluate_all("cells => cells.map(c => c.dataset.value)")
    assert float(sizes[0]) < float(sizes[1])
    page.get_by_role("button", name="Marked region").press("Enter")
    assert names(page)[2] == "bare"
    assert page.locator("th[aria-sort]").count() == 1


def test_the_batch_is_filtered_by_flags(opened):
    page = opened("index")
    page.get_by_label("flagged 1").check()
    assert names(page) == ["case-7"]
    page.get_by_label("checked, no flag 0").check()
    assert names(page) == []
    page.get_by_label("all 3").check()
    assert names(page) == ["case-7", "volume-1", "bare"]

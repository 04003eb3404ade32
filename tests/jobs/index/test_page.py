"""The page in a browser: sorted, filtered, opened and left, by mouse and by keyboard; nothing is fetched."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cfcam.jobs.index.entry import Entry, View
from cfcam.jobs.index.glance import GRID, packed
from cfcam.jobs.index.page import Facts, render, write_page
from cfcam.shown import probability_text
from tests import waiting
from tests.web.browser.page import launched

pytestmark = pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="playwright is not installed")

NAMES = {0: "benign", 1: "malignant"}
FACTS = Facts("networks.py:net", "features", ("grad-cam", "cf-cam"), total=6)


def picture(path: Path, colour: tuple[int, int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((60, 80, 3), colour, np.uint8)).save(path)


def entry(name: str, answer: int, confidence: float, label: int | None, *, rows: int = 8, **more: Any) -> Entry:
    heat = torch.zeros(GRID, GRID)
    heat[:rows] = 1
    return Entry(
        f"{name}.png",
        "ok",
        explained=answer,
        probability=confidence,
        answer=answer,
        confidence=confidence,
        label=label,
        thumb=f"index_files/{name}.jpg",
        original=f"../in/{name}.png",
        views=tuple(
            View(method, index, f"{name}_{method}_{NAMES[index]}.png") for method in FACTS.methods for index in NAMES
        ),
        further=((f"{name}_sheet.png", "sheet"),),
        peak=(0.5, rows / GRID / 2),
        grid=packed(heat),
        **more,
    )


ENTRIES = [
    entry("a10", 0, 0.6, 0),
    entry("a9", 1, 0.9996, 0, rows=2),
    entry("b", 1, 0.7, 0),
    entry("c", 1, 0.95, 1, rows=3),
    Entry("broken.png", "failed", error="is empty", label=1),
    entry("d", 0, 0.8, None, rows=16),
]


def written(folder: Path, entries: list[Entry] = ENTRIES, **how: Any) -> Path:
    for one in entries:
        if one.status == "failed":
            continue
        name = one.name.removesuffix(".png")
        picture(folder / "in" / one.name, (60, 60, 60))
        picture(folder / "out" / one.thumb, (200, 60, 60))
        for view in one.views:
            picture(folder / "out" / view.file, (200, 60, 100 * view.index))
        picture(folder / "out" / f"{name}_sheet.png", (0, 0, 0))
    return write_page(entries, NAMES, folder / "out", FACTS, **({"labelled": True} | how))


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as found:
        yield found


@pytest.fixture
def opened(browser: Any) -> Iterator[Any]:
    """Opens a page; fails if it asks for anything but files and data, or complains."""
    contexts, complaints = [], []

    def open_(file: Path, width: int = 1280, height: int = 720, **more: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": height}, **more)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(1000 * waiting.PATIENCE)
        here = file.parents[1].as_uri()
        page.on("request", lambda r: None if r.url.startswith((here, "data:")) else complaints.append(r.url))
        page.on("requestfailed", lambda r: complaints.append(f"failed: {r.url}"))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(file.as_uri())
        return page

    yield open_
    for context in contexts:
        context.close()
    assert complaints == []


def names(page: Any) -> list[str]:
    return [name.removesuffix(".png") for name in page.locator("#list .name").all_inner_texts()]


def until(page: Any, expression: str) -> None:
    """Waits for what is true soon; `wait_for_function` would evaluate a text in the page, which its policy forbids."""
    try:
        waiting.until(lambda: page.evaluate(expression), sleep=waiting.of_page(page))
    except AssertionError:
        raise AssertionError(f"does not become true: {expression}") from None


def shown(page: Any, which: str = "over") -> str:
    """The file of a large picture, once it is drawn."""
    until(page, f"(i => i.complete && i.naturalWidth > 0)(document.getElementById('{which}'))")
    return page.locator(f"#{which}").evaluate("i => i.src.split('/').slice(-2).join('/')")


def test_misclassified_pictures_come_first_the_surest_before_the_others(opened, page_file):
    page = opened(page_file)
    assert names(page) == ["a9", "b", "d", "broken", "a10", "c"]
    told = page.locator("#list .told").all_inner_texts()
    assert told[0].split("\n") == ["a9.png", "malignant", "0.9996", "✗ is benign"]  # never 1.000
    assert told[4].split("\n") == ["a10.png", "benign", "0.600", "✓ right"]
    assert told[3].split("\n") == ["broken.png", "is empty", "is malignant"]
    assert page.locator("#count").inner_text() == "6 pictures"
    assert page.title() == "5 explained pictures, networks.py:net"


def test_probabilities_are_worded_as_the_table_of_the_command_words_them(opened, tmp_path):
    values = (0.9924575, 0.0004, 1.0, 0.99951, 0.25)  # 0.9924575 is 0.992, and 0.993 by way of 0.9925
    entries = [entry(f"e{n}", 0, value, None) for n, value in enumerate(values)]
    entries.append(entry("contrast", 0, 0.5, None, margin=2.3149))
    page = opened(written(tmp_path, entries, labelled=False))
    said = [text.removeprefix("benign\n") for text in page.locator("#list .said").all_inner_texts()]
    assert said == [probability_text(value, 3) for value in (*values, 0.5)]
    assert said == ["0.992", "0.0004", ">0.9999", "0.9995", "0.250", "0.500"]
    page.get_by_label("Order").select_option("sure")
    assert names(page) == ["e2", "e3", "e0", "contrast", "e4", "e1"]
    page.locator("#list .card").nth(3).click()
    assert "margin of the logits\n+2.31\n" in page.locator("#facts").inner_text()


def test_names_in_the_confusion_table_are_broken_between_words_alone(opened, tmp_path):
    known = ["no finding", "nodule", "consolidation", "pleural effusion", "pacemaker"]
    entries = [entry(f"e{n}", n, 0.9, (n + 1) % 5) for n in range(5)]
    for one in entries:
        picture(tmp_path / "out" / one.thumb, (9, 9, 9))
        picture(tmp_path / "in" / one.name, (9, 9, 9))
    file = write_page(
        [replace(one, views=()) for one in entries], dict(enumerate(known)), tmp_path / "out", FACTS, labelled=True
    )
    page = opened(file)
    # each word is on one line: its range of letters has one box
    broken = page.evaluate("""[...document.querySelectorAll('.confusion th span')].flatMap((span) => {
        const text = span.firstChild, range = document.createRange();
        return [...text.data.matchAll(/\\S+/g)].filter((word) => {
            range.setStart(text, word.index);
            range.setEnd(text, word.index + word[0].length);
            return range.getClientRects().length !== 1;
        }).map((word) => word[0]);
    })""")
    assert broken == []
    spans = page.locator(".confusion th span")
    assert [spans.nth(n).get_attribute("title") for n in range(5)] == known
    assert spans.evaluate_all(
        "all => all.every(s => s.scrollWidth <= s.clientWidth && s.scrollHeight <= s.clientHeight)"
    )


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("given", "a10 a9 b c broken d"),
        ("name", "a9 a10 b broken c d"),
        ("class", "broken d a10 a9 c b"),
        ("sure", "a9 c d b a10 broken"),
        ("unsure", "a10 b d c a9 broken"),
        ("status", "broken a10 a9 b c d"),
        ("peak", "a9 c a10 b d broken"),
        ("top", "a9 c a10 b d broken"),
    ],
)
def test_sorting(opened, page_file, order, expected):
    page = opened(page_file)
    page.get_by_label("Order").select_option(order)
    assert names(page) == expected.split()


def test_typical_maps_are_like_the_mean_of_right_answers(opened, page_file):
    page = opened(page_file)
    page.get_by_label("Order").select_option("untypical")
    # c is the mean of its class itself; a9 and b are less like it; d covers its whole picture: no correlation
    assert names(page)[:2] == ["b", "a9"]
    assert set(names(page)[-2:]) == {"broken", "d"}


def test_filters_go_together_and_are_undone(opened, page_file):
    page = opened(page_file)
    page.get_by_label("Answer", exact=True).select_option("malignant")
    assert names(page) == ["a9", "b", "c"]
    page.get_by_label("Right or wrong").select_option("right")
    assert names(page) == ["c"]
    assert page.locator("#count").inner_text() == "1 of 6 pictures"
    page.get_by_role("button", name="Show all").click()
    assert len(names(page)) == 6
    page.get_by_label("Name").fill("A1")
    assert names(page) == ["a10"]
    page.get_by_label("Name").fill("zebra")
    assert page.get_by_text("No picture is like that.").is_visible()
    page.locator("#reset-too").click()
    page.get_by_label("Map", exact=True).select_option("failed")
    assert names(page) == ["broken"]


def test_accuracy_is_told_with_its_interval_and_a_cell_of_the_table_shows_its_pictures(opened, page_file):
    page = opened(page_file)
    assert page.get_by_text("50.0 % right").is_visible()
    assert page.get_by_text("2 of 4; 95 % interval 15.0 % to 85.0 % (Wilson)").is_visible()
    cell = page.get_by_role("button", name="2: benign taken for malignant")
    cell.click()
    assert names(page) == ["a9", "b"]
    assert cell.get_attribute("aria-pressed") == "true"
    cell.click()
    assert len(names(page)) == 6
    assert page.get_by_role("button", name="1: malignant taken rightly").is_visible()


def test_mean_maps_of_right_answers_and_of_errors(opened, page_file):
    page = opened(page_file)
    page.get_by_role("button", name="Mean maps").click()
    assert page.locator(".group h3").all_inner_texts() == [
        "benign, right",
        "malignant, right",
        "benign taken for malignant",
    ]
    assert page.locator(".group .large").all_inner_texts() == ["1", "1", "2"]
    assert page.get_by_text("one grid of 16 × 16 cells").is_visible()
    page.locator(".group.wrong .pick").click()
    assert page.locator("#count").inner_text() == "2 of 6 pictures: benign taken for malignant"
    assert names(page) == ["a9", "b"]


def test_typical_and_untypical_maps_open_from_their_class(opened, tmp_path):
    entries = [entry(f"e{n}", 0, 0.9, 0, rows=n) for n in (6, 7, 8, 9, 1, 15)]
    page = opened(written(tmp_path, entries))
    page.get_by_role("button", name="Mean maps").click()
    ups, downs = page.locator(".members").all()
    typical = [button.get_attribute("title") for button in ups.locator("button").all()]
    untypical = [button.get_attribute("title") for button in downs.locator("button").all()]
    assert len(typical) == len(untypical) == 3
    assert {text.split(".")[0] for text in untypical} >= {"e1", "e15"}
    assert not {text.split(",")[0] for text in typical} & {text.split(",")[0] for text in untypical}
    downs.locator("button").first.click()
    assert page.locator("#viewer-name").inner_text() == untypical[0].split(",")[0]


def test_a_click_opens_the_map_beside_its_original_and_holding_shows_the_original_in_its_place(opened, page_file):
    page = opened(page_file)
    page.locator("#list .card").nth(1).click()
    assert (shown(page), shown(page, "bare")) == ("out/b_grad-cam_benign.png", "in/b.png")
    hold = page.get_by_role("button", name="Hold for the original")
    box = hold.bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    assert shown(page) == "in/b.png"
    assert page.locator("#over-words").inner_text() == "Original"
    page.mouse.up()
    assert shown(page) == "out/b_grad-cam_benign.png"
    page.get_by_role("button", name="cf-cam").click()
    page.get_by_role("button", name="malignant", exact=True).click()
    assert shown(page) == "out/b_cf-cam_malignant.png"
    page.get_by_role("button", name="Next picture").click()
    assert shown(page) == "out/d_cf-cam_malignant.png"  # what was chosen stays chosen
    assert page.get_by_role("link", name="sheet").get_attribute("href") == "d_sheet.png"
    assert page.locator("#facts").inner_text().split("\n")[:2] == ["answer, probability", "benign 0.800"]
    page.get_by_role("button", name="Next picture").click()
    assert page.locator("#over-missing").inner_text() == "is empty"
    assert page.get_by_role("link", name="sheet").count() == 0


def test_an_opened_map_has_its_colour_bar_and_says_which_map_its_facts_are_of(opened, page_file):
    page = opened(page_file)
    page.locator("#list button", has_text="a10.png").click()
    legend, facts = page.locator("#legend"), page.locator("#facts")
    assert legend.locator("img").evaluate("image => image.naturalHeight") == 2  # the colours, and over mid-grey
    told = legend.inner_text()
    assert told.split()[:2] == ["0", "1"]
    for words in ("of each map's maximum", "up to 50%", "outline from each map's own threshold on"):
        assert words in told
    assert "answer, probability" in facts.inner_text()
    assert "grad-cam" not in facts.inner_text()
    page.locator("#methods button", has_text="cf-cam").click()
    assert "peak (grad-cam)" in facts.inner_text()  # not that of the map that is shown now
    page.keyboard.press("o")
    assert legend.is_visible()


def test_of_a_long_class_the_name_is_cut_and_not_the_number(opened, tmp_path):
    one = entry("a", 1, 0.7, 1)
    html = render([one], NAMES | {1: "a class of very many words " * 5}, FACTS)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "index.html").write_text(html.replace(one.thumb, ""), encoding="utf-8")
    page = opened(tmp_path / "out" / "index.html", width=360)
    card, number = page.locator(".card").bounding_box(), page.locator(".said span").bounding_box()
    assert page.locator(".said span").inner_text() == "0.700"
    assert number["x"] + number["width"] <= card["x"] + card["width"]
    assert number["width"] > 20


def test_the_keyboard_alone_finds_opens_and_leaves(opened, page_file):
    page = opened(page_file)
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "find"
    page.keyboard.type("a")
    assert names(page) == ["a9", "a10"]
    page.locator("#find").fill("")
    page.locator("#list").focus()
    place = "document.activeElement.parentElement.dataset.place"
    assert page.evaluate(place) == "0"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("End")
    assert page.evaluate(place) == "5"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    assert shown(page) == "out/a10_grad-cam_benign.png"
    page.keyboard.down("o")
    assert shown(page) == "in/a10.png"
    page.keyboard.up("o")
    page.keyboard.press("m")
    assert shown(page) == "out/a10_cf-cam_benign.png"
    page.keyboard.press("c")
    assert shown(page) == "out/a10_cf-cam_malignant.png"
    page.keyboard.press("Shift+M")
    assert shown(page) == "out/a10_grad-cam_malignant.png"
    page.keyboard.press("n")
    assert page.locator("#viewer-place").inner_text() == "6 of 6"
    page.keyboard.press("ArrowRight")
    assert page.locator("#viewer-place").inner_text() == "6 of 6"
    page.keyboard.press("Escape")
    assert not page.locator("#viewer").is_visible()
    until(page, f"{place} === '5'")  # a dialog tells that it was closed a moment later
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#help").is_visible()


def test_the_keys_work_from_the_first_picture_to_the_last(opened, page_file):
    page = opened(page_file)
    page.locator("#list .card").first.click()
    for place in (2, 3, 4, 5, 6):
        page.keyboard.press("n")
        assert page.locator("#viewer-place").inner_text() == f"{place} of 6"
    for place in (5, 4, 3, 2, 1):
        page.get_by_role("button", name="Previous picture").click()  # which is disabled at the first
        assert page.locator("#viewer-place").inner_text() == f"{place} of 6"
    page.keyboard.down("o")
    assert shown(page) == "in/a9.png"


def test_a_page_without_labels_says_nothing_of_right_and_wrong(opened, tmp_path):
    entries = [entry("a", 0, 0.9, None), entry("b", 1, 0.8, None)]
    page = opened(written(tmp_path, entries, labelled=False))
    assert page.locator("#measured, #label, #right, .true").count() == 0
    assert names(page) == ["a", "b"]
    page.get_by_role("button", name="Mean maps").click()
    assert page.locator(".group h3").all_inner_texts() == ["benign", "malignant"]


def test_a_self_contained_page_is_shown_without_its_folder(opened, tmp_path):
    file = written(tmp_path, self_contained=True)
    alone = tmp_path / "alone" / "page" / "index.html"
    alone.parent.mkdir(parents=True)
    shutil.copy(file, alone)
    page = opened(alone)
    assert page.locator("#list img").count() == 5
    assert page.evaluate("[...document.querySelectorAll('#list img')].every(i => i.naturalWidth > 0)")
    page.locator("#list .card").first.click()
    before = page.locator("#over").get_attribute("src")
    page.keyboard.down("o")
    assert page.locator("#over").get_attribute("src") == page.locator("#bare").get_attribute("src") != before
    page.keyboard.up("o")
    page.keyboard.press("m")


def test_ten_thousand_pictures_leave_the_document_small(opened, tmp_path):
    entries = [
        Entry(f"ward-{n % 40}/picture{n:05}.png", "ok", explained=n % 7, answer=n % 7, confidence=n / 1e4, label=n % 5)
        for n in range(10_000)
    ]
    names_of = {n: f"class {n}" for n in range(7)}
    facts = Facts("net", "features", ("grad-cam",), total=10_000)
    page = opened(write_page(entries, names_of, tmp_path, facts, labelled=True))
    assert page.locator("#list li").count() < 60
    assert page.locator("#list li").first.get_attribute("aria-setsize") == "10000"
    page.get_by_label("Order").select_option("given")
    page.locator("#list").focus()
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.title") == "ward-39/picture09999.png"
    assert page.locator("#list li").count() < 60
    page.evaluate("scrollTo(0, document.body.scrollHeight / 2)")
    until(page, "[...document.querySelectorAll('#list li')].some(e => Math.abs(Number(e.dataset.place) - 5000) < 30)")
    assert page.locator("#list li").count() < 60
    page.get_by_label("Name").fill("picture0777")
    assert len(names(page)) == 10
    nodes = page.evaluate("document.querySelectorAll('*').length")
    assert nodes < 900


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("state", ["pictures", "means", "viewer", "help"])
def test_axe_finds_no_violation(opened, page_file, scheme, state):
    axe = importlib.util.find_spec("axe_playwright_python")
    if axe is None:
        pytest.skip("axe-playwright-python is not installed")
    page = opened(page_file, color_scheme=scheme, bypass_csp=True)
    act = {
        "pictures": lambda: None,
        "means": page.get_by_role("button", name="Mean maps").click,
        "viewer": page.locator("#list .card").first.click,
        "help": page.locator("#show-help").click,
    }
    act[state]()
    page.evaluate(Path(axe.origin).with_name("axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document)")["violations"]
    assert [(v["id"], [n["html"][:120] for n in v["nodes"]]) for v in found] == []


@pytest.mark.parametrize("size", [(1280, 720), (640, 360), (380, 800)])  # the second is 200 % zoom of the first
def test_nothing_is_cut_off(opened, page_file, size):
    page = opened(page_file, *size)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("button", name="Mean maps").click()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("button", name="Pictures", exact=True).click()
    page.locator("#list .card").first.click()
    assert page.locator("#viewer").evaluate("v => v.scrollWidth <= v.clientWidth")
    box = page.locator("#left .frame").bounding_box()
    assert box["height"] >= 150
    assert box["y"] + box["height"] <= size[1]


def test_the_data_of_a_page_are_json_whatever_a_name_holds():
    html = render([Entry("</script><!-- &\u2028.png", "ok", explained=0)], {0: "<b>"}, FACTS)
    text = html.split('id="data">')[1].split("</script>")[0]
    data = json.loads(text)
    assert data["rows"][0][0] == "</script><!-- &\u2028.png"
    assert not set("<>&") & set(text)

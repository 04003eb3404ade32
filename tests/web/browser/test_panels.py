"""The panels: what they ask the server for, what they show of its answers, by mouse and by keyboard."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cfcam.clinical.regions import measure
from cfcam.web.library.library import Library
from cfcam.web.library.study import Study
from cfcam.web.offline import study_of
from tests.waiting import PATIENCE
from tests.web.browser.page import launched, still, until
from tests.web.browser.scripts import needs_browser
from tests.web.offline_pages import SIDE, seen
from tests.web.server import Served, served, settings_of

pytestmark = needs_browser

COUNT = 2000
CLASSES = ("left", "right")
PANELS = {"k": "choose", "q": "numbers", "b": "compare", "u": "layers", "x": "export", "i": "about"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as found:
        yield found


@pytest.fixture(scope="module")
def viewer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Two thousand studies that share one picture; the first has maps."""
    one = seen(tmp_path_factory.mktemp("studies"))
    first = study_of(replace(one, name="0000.png"))
    cache = first._cache
    others = [Study(f"place {n}", f"{n:04}.png", "picture", lambda: one.image, cache) for n in range(1, COUNT)]
    with served(settings_of()) as found:
        found.app.state.library = Library([first, *others])
        yield found


class Asked:
    """What the page asked with POST, and what it is answered."""

    def __init__(self) -> None:
        self.bodies: dict[str, list[Any]] = {}
        self.answers: dict[str, Any] = {}
        self.refusals: dict[str, str] = {}

    def answer(self, route: Any) -> None:
        path = route.request.url.split("/api/")[1].split("?")[0]
        if path not in self.answers and path not in self.refusals:
            route.continue_()
            return
        if route.request.method == "POST":
            self.bodies.setdefault(path, []).append(route.request.post_data_json)
        if path not in self.answers:
            route.fulfill(status=422, content_type="application/json", body=json.dumps({"error": self.refusals[path]}))
            return
        answer = self.answers[path]
        given = answer(route.request) if callable(answer) else answer
        if isinstance(given, bytes):
            headers = {"Content-Disposition": 'attachment; filename="s-1.pdf"'}
            route.fulfill(status=200, content_type="application/pdf", headers=headers, body=given)
        else:
            route.fulfill(status=200, content_type="application/json", body=json.dumps(given))


@pytest.fixture
def asked(viewer: Served) -> Asked:
    found = Asked()
    info = viewer.client.get("/api/info").json()
    model = {"name": "two-blocks", "layer": "features", "layers": ["stem", "features"], "classes": list(CLASSES)}
    methods = [{"name": name, "needs_gradients": True, "text": f"about {name}"} for name in ("grad-cam", "score-cam")]
    found.answers["info"] = {**info, "model": {**model, "loaded": True}, "methods": methods, "audit": True}
    found.answers["reviews"] = {"reviews": []}
    found.refusals["explain"] = "no network is here"
    found.answers["roi"] = lambda request: {"table": table_of(request.post_data_json["threshold"]), "text": ""}
    return found


def table_of(threshold: Any) -> Any:
    """What Python measures on a ramp from 0 to 1, its spacing 0.5 and 0.25 mm."""
    import torch

    ramp = torch.linspace(0, 1, SIDE * SIDE).reshape(SIDE, SIDE)
    return measure(ramp, (0.5, 0.25), 0.5 if threshold is None else threshold).as_dict()


@pytest.fixture
def page(browser: Any, viewer: Served, asked: Asked) -> Iterator[Any]:
    """The first study, open; fails if the page complains of anything that the server did not refuse."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 720}, permissions=["clipboard-read", "clipboard-write"]
    )
    complaints: list[str] = []
    context.set_default_timeout(1000 * PATIENCE)
    shown = context.new_page()
    shown.route("**/api/**", asked.answer)
    shown.on("console", lambda m: complaints.append(m.text) if m.type == "error" and "422" not in m.text else None)
    shown.on("pageerror", lambda error: complaints.append(str(error)))
    shown.goto(viewer.address)
    shown.wait_for_selector("html[data-shown]")
    yield shown
    context.close()
    assert complaints == []


def state(page: Any) -> Any:
    return page.evaluate("cfcam.state.get()")


def study(page: Any) -> Any:
    return page.evaluate("cfcam.study")


def point(page: Any, row: int, column: int) -> tuple[float, float]:
    """Where an index of the first pane lies on the screen."""
    still(page)
    box = page.get_by_test_id("pane-0").bounding_box()
    x, y = page.evaluate("([row, column]) => cfcam.viewer.pixelOf([row, column], 0)", [row, column])
    return box["x"] + x, box["y"] + y


# the list of studies


def test_of_two_thousand_studies_only_those_in_view_are_there(page: Any) -> None:
    assert page.get_by_test_id("studies-count").inner_text() == "2000 studies"
    rows = page.get_by_test_id("study")
    assert 5 < rows.count() < 40
    pictures: list[str] = []
    page.on("request", lambda request: pictures.append(request.url) if "thumbnail" in request.url else None)
    page.get_by_test_id("studies-list").evaluate("list => { list.scrollTop = list.scrollHeight; }")
    page.get_by_text("1999.png", exact=True).wait_for()
    page.locator("[data-testid=study] img[src]").first.wait_for()
    assert rows.count() < 40
    assert rows.last.get_attribute("aria-posinset") == str(COUNT)
    assert len(pictures) < 40


def test_the_list_is_gone_through_with_the_keyboard(page: Any) -> None:
    page.get_by_test_id("studies-list").focus()
    page.keyboard.press("End")
    page.get_by_text("1999.png", exact=True).wait_for()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    page.locator("h1", has_text="1998.png").wait_for()
    assert page.get_by_test_id("position").inner_text() == "1999 of 2000"
    page.keyboard.press("n")
    page.locator("h1", has_text="1999.png").wait_for()
    page.keyboard.press("p")
    page.locator("h1", has_text="1998.png").wait_for()


def test_the_list_is_filtered_and_next_stays_within_what_is_found(page: Any) -> None:
    page.get_by_test_id("studies-filter").fill("77")
    page.get_by_text("38 of these words").wait_for()
    page.get_by_test_id("study").first.click()
    page.locator("h1", has_text="0077.png").wait_for()
    page.get_by_test_id("next").click()
    page.locator("h1", has_text="0177.png").wait_for()
    page.get_by_test_id("studies-filter").fill("nothing is called so")
    page.get_by_text("none of these words").wait_for()


# class, method, layer


def test_a_map_that_is_there_is_shown_at_once(page: Any, asked: Asked) -> None:
    page.keyboard.press("k")
    page.get_by_test_id("maps-made").get_by_role("button", name="left grad-cam++").click()
    page.get_by_test_id("caption-0").get_by_text("grad-cam++ · left").wait_for()
    page.get_by_test_id("method").select_option("grad-cam")
    page.get_by_test_id("class-search").fill("rig")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.get_by_test_id("explain-show").click()
    page.get_by_test_id("caption-0").get_by_text("grad-cam · right").wait_for()
    assert page.get_by_test_id("choose-status").inner_text() == "already there"
    assert "explain" not in asked.bodies  # the first study has maps: nothing was asked for on opening it either


def test_a_new_map_is_asked_for_with_class_method_and_layer_and_shown_beside(page: Any, asked: Asked) -> None:
    new = {**study(page)["maps"][0], "id": "m-00000000beef", "method": "score-cam", "margin": 2.25, "probability": None}
    new |= {"class_index": -1, "class_name": "left against right", "layer": "stem"}
    asked.answers["explain"] = {"maps": [new], "probabilities": None, "seconds": {"forward": 0.31}, "notices": ["grey"]}
    page.keyboard.press("k")
    page.locator("[data-testid=class]", has_text="left").click()
    page.get_by_test_id("class-against").fill("right")
    page.get_by_test_id("method").select_option("score-cam")
    assert page.get_by_test_id("method-text").inner_text() == "about score-cam"
    page.get_by_test_id("layer").select_option("stem")
    page.get_by_test_id("explain-beside").click()
    page.get_by_test_id("pane-1").wait_for()
    (body,) = asked.bodies["explain"]
    expected = {"study": study(page)["id"], "methods": ["score-cam"], "targets": ["left vs right"], "layer": "stem"}
    assert body == expected
    assert state(page)["maps"][1] == "m-00000000beef"
    assert page.get_by_test_id("choose-status").inner_text().endswith(", the network 0.3 s")
    assert page.get_by_test_id("maps-made").get_by_text("margin +2.25").count() == 1


def test_what_the_network_cannot_do_is_said_in_the_panel(page: Any, asked: Asked) -> None:
    asked.refusals["explain"] = "score-cam: this network has no such layer; choose another"
    page.keyboard.press("k")
    page.get_by_test_id("method").select_option("score-cam")
    page.get_by_test_id("explain-show").click()
    page.get_by_test_id("choose-status").get_by_text("no such layer; choose another").wait_for()
    assert page.get_by_test_id("explain-show").get_attribute("aria-disabled") == "false"


def test_a_thousand_classes_are_found_by_their_names(page: Any) -> None:
    page.evaluate(
        "() => { cfcam.study.probabilities = Object.fromEntries([...Array(1000).keys()].map("
        "n => [`class ${n}`, n === 617 ? 0.5 : 0.5 / 999])); }"
    )
    page.keyboard.press("k")
    rows = page.get_by_test_id("class")
    assert rows.first.inner_text().split("\n") == ["class 617", "50.0 %"]
    assert rows.count() == 60
    assert page.get_by_text("940 more: search for a name").is_visible()
    page.get_by_test_id("class-search").fill("99")
    page.get_by_test_id("classes").get_by_text("class 199").wait_for()
    assert rows.count() == 19


# numbers and regions


def test_numbers_are_pythons_and_keep_every_digit(page: Any, asked: Asked) -> None:
    page.keyboard.press("q")
    page.get_by_test_id("numbers-table").wait_for()
    threshold = study(page)["maps"][0]["threshold"]
    assert asked.bodies["roi"][-1]["threshold"] is None  # the map's own
    assert float(page.get_by_test_id("numbers-value").input_value()) == pytest.approx(threshold, abs=5e-4)
    region = table_of(None)["regions"][0]
    cell = page.get_by_test_id("numbers-table").locator("tr", has_text="Mean").locator("td")
    assert float(cell.get_attribute("title")) == region["mean"]
    assert cell.inner_text() == f"{region['mean']:.3g}"
    page.get_by_test_id("numbers-csv").click()
    page.get_by_test_id("numbers-status").get_by_text("copied").wait_for()
    header, line = page.evaluate("navigator.clipboard.readText()").splitlines()
    row = dict(zip(header.split(","), line.split(","), strict=True))
    assert (float(row["size"]), row["unit"], float(row["sd"])) == (region["size"], "mm²", region["sd"])


def test_the_outline_stands_where_the_numbers_begin(page: Any, asked: Asked) -> None:
    page.keyboard.press("q")
    page.get_by_test_id("numbers-rule").select_option("quantile")
    page.get_by_test_id("numbers-status").wait_for(state="attached")
    until(page, lambda: asked.bodies["roi"][-1]["threshold"], "quantile:0.9")
    until(page, lambda: state(page)["threshold"], table_of("quantile:0.9")["threshold"])
    page.get_by_test_id("numbers-rule").select_option("shown")
    page.get_by_test_id("numbers-value").fill("0.25")
    until(page, lambda: (state(page)["threshold"], asked.bodies["roi"][-1]["threshold"]), (0.25, 0.25))


def test_a_region_is_drawn_by_mouse_moved_and_taken_back(page: Any, asked: Asked) -> None:
    page.keyboard.press("d")
    page.get_by_test_id("drawing").wait_for()
    corners = [[10, 12], [10, 40], [50, 40], [50, 12]]
    for row, column in corners:
        page.mouse.click(*point(page, row, column))
    until(page, lambda: asked.bodies["roi"][-1]["polygon"], corners)
    page.mouse.move(*point(page, 50, 12))
    page.mouse.down()
    page.mouse.move(*point(page, 55, 20), steps=4)
    page.mouse.up()
    until(page, lambda: asked.bodies["roi"][-1]["polygon"], [*corners[:3], [55, 20]])
    page.keyboard.press("Backspace")
    until(page, lambda: asked.bodies["roi"][-1]["polygon"], corners[:3])
    page.keyboard.press("Escape")
    assert state(page)["tool"] == "none"
    assert page.get_by_test_id("drawing").is_visible()  # what was drawn stays
    page.mouse.click(*point(page, 30, 30))
    page.wait_for_timeout(400)  # longer than the page waits before it asks
    assert asked.bodies["roi"][-1]["polygon"] == corners[:3]
    page.get_by_test_id("draw-clear").click()
    until(page, lambda: asked.bodies["roi"][-1]["polygon"], None)


def test_a_region_is_drawn_with_the_keyboard_alone(page: Any, asked: Asked) -> None:
    page.evaluate("cfcam.state.set({cursor: [20, 20]})")
    page.keyboard.press("d")
    for key in ("Enter", "Shift+ArrowRight", "Enter", "Shift+ArrowDown", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    until(page, lambda: asked.bodies["roi"][-1]["polygon"], [[20, 20], [20, 30], [31, 30]])
    page.get_by_test_id("corner").first.focus()
    page.keyboard.press("ArrowLeft")
    until(page, lambda: asked.bodies["roi"][-1]["polygon"][0], [20, 19])


# layers


def test_uncertainty_and_control_come_beside_the_map_they_are_of(page: Any, asked: Asked) -> None:
    shown = state(page)["maps"][0]
    spread = {**study(page)["maps"][0], "id": "m-0000000000bb", "kind": "uncertainty"}
    asked.answers["layers"] = {"maps": [spread]}
    page.keyboard.press("u")
    page.get_by_test_id("layer-uncertainty").click()
    page.get_by_test_id("pane-1").wait_for()
    assert asked.bodies["layers"] == [{"study": study(page)["id"], "map": shown, "kind": "uncertainty"}]
    assert state(page)["maps"] == [shown, "m-0000000000bb"]


# review


def test_a_key_chooses_and_only_enter_records(page: Any, asked: Asked) -> None:
    asked.answers["reviews"] = lambda request: (
        {"record_id": "r1", "time": "2026-11-29T03:00:00.000Z", "hash": "abcdef0123456789", "supersedes": None}
        if request.method == "POST"
        else {"reviews": []}
    )
    page.keyboard.press("r")
    assert page.get_by_test_id("verdict-reject").is_checked()
    page.get_by_test_id("reviewer").wait_for()
    assert "reviews" not in asked.bodies
    page.keyboard.press("Enter")  # without a name nothing is recorded
    page.get_by_test_id("review-status").get_by_text("needs a name").wait_for()
    assert "reviews" not in asked.bodies
    page.keyboard.type("Reader One")
    page.get_by_test_id("review-comment").focus()
    page.keyboard.type("a rib, no nodule")  # the letter a is a letter here
    assert page.get_by_test_id("verdict-reject").is_checked()
    page.keyboard.press("Enter")
    page.get_by_test_id("review-status").get_by_text("abcdef01").wait_for()
    (body,) = asked.bodies["reviews"]
    assert (body["study"], body["map"]) == (study(page)["id"], state(page)["maps"][0])
    assert (body["verdict"], body["comment"], body["reviewer"]) == ("reject", "a rib, no nodule", "Reader One")
    assert (body["amended"], body["view"]["original"], body["view"]["blend"]) == (None, False, "value")
    assert page.locator("[name=verdict]:checked").count() == 0  # the next Enter records nothing
    page.get_by_test_id("review-comment").press("Enter")
    assert len(asked.bodies["reviews"]) == 1


def test_a_record_says_whether_the_original_was_looked_at(page: Any, asked: Asked) -> None:
    asked.answers["reviews"] = lambda request: (
        {"record_id": "r1", "time": "2026-11-29T03:00:00.000Z", "hash": "ab" * 8, "supersedes": None}
        if request.method == "POST"
        else {"reviews": []}
    )
    page.keyboard.down("o")
    page.keyboard.up("o")
    page.keyboard.press("a")
    page.get_by_test_id("reviewer").fill("Reader One")
    page.get_by_test_id("reviewer").press("Enter")
    page.get_by_test_id("review-status").get_by_text("Recorded: accept").wait_for()
    (body,) = asked.bodies["reviews"]
    assert body["view"]["original"] is True


def test_an_amendment_has_the_class_and_the_region_that_were_given(page: Any, asked: Asked) -> None:
    asked.answers["reviews"] = lambda request: (
        {"record_id": "r1", "time": "2026-11-29T03:00:00.000Z", "hash": "ab" * 8, "supersedes": None}
        if request.method == "POST"
        else {"reviews": []}
    )
    page.keyboard.press("d")
    for row, column in ((10, 12), (10, 40), (50, 40)):
        page.mouse.click(*point(page, row, column))
    page.keyboard.press("Escape")
    page.get_by_test_id("panel-review").click()
    page.get_by_test_id("reviewer").fill("Reader One")
    page.get_by_test_id("verdict-amend").check()
    page.get_by_test_id("amend-class").select_option(label="left")
    page.get_by_test_id("amend-region").check()
    page.get_by_test_id("review-save").click()
    page.get_by_test_id("review-status").get_by_text("Recorded: amend").wait_for()
    (body,) = asked.bodies["reviews"]
    assert body["amended"] == {"class_index": 0, "polygon": [[10, 12], [10, 40], [50, 40]]}


def test_what_was_recorded_is_listed_with_what_came_before(page: Any, asked: Asked) -> None:
    given = {"map": state(page)["maps"][0], "time": "2026-11-29T03:00:00.000Z", "hash": "cd" * 32, "method": "grad-cam"}
    late = {**given, "verdict": "reject", "reviewer": "Two", "comment": "<b>no</b>"}
    early = {**given, "verdict": "accept", "reviewer": "One", "comment": ""}
    asked.answers["reviews"] = {"reviews": [{**late, "contested": True, "history": [early]}]}
    page.get_by_test_id("panel-review").click()
    row = page.get_by_test_id("review")
    row.wait_for()
    assert row.get_by_text("<b>no</b>", exact=True).is_visible()
    assert row.get_by_text("Readers differ on this map.").is_visible()
    row.locator("summary", has_text="1 before").click()
    assert row.get_by_text("One · ").is_visible()


# export, about


def test_files_are_asked_for_with_what_is_shown(page: Any, asked: Asked) -> None:
    asked.answers["exports"] = b"%PDF-"
    page.keyboard.press("x")
    with page.expect_download() as found:
        page.get_by_test_id("export-pdf").click()
    assert found.value.suggested_filename == "s-1.pdf"
    (body,) = asked.bodies["exports"]
    assert (body["format"], body["maps"], body["view"]["palette"]) == ("pdf", state(page)["maps"], "ember")
    page.get_by_test_id("export-every").check()
    with page.expect_download():
        page.get_by_test_id("export-json").click()
    assert asked.bodies["exports"][1]["maps"] == [one["id"] for one in study(page)["maps"]]


def test_a_raw_map_is_the_one_that_python_holds(page: Any, viewer: Served) -> None:
    page.keyboard.press("x")
    with page.expect_download() as found:
        page.get_by_test_id("raw-npy").click()
    (first,) = viewer.app.state.library.studies(text="0000.png")
    expected = first.map(state(page)["maps"][0]).raw_values()
    np.testing.assert_array_equal(np.load(Path(found.value.path())), expected)


def test_the_permalink_opens_this_very_view(page: Any, asked: Asked) -> None:
    look = {"opacity": 0.7, "palette": "viridis", "zoom": 2, "threshold": 0.3, "blend": "uniform", "cursor": [9, 30]}
    page.evaluate("look => cfcam.state.set(look)", look)
    page.keyboard.press("x")
    page.get_by_test_id("permalink").click()
    page.get_by_test_id("export-status").get_by_text("copied").wait_for()
    link = page.evaluate("navigator.clipboard.readText()")
    assert "token" not in link
    again = page.context.new_page()
    again.route("**/api/**", asked.answer)
    again.goto(link)
    again.wait_for_selector("html[data-shown]")
    assert {key: state(again)[key] for key in look} == look
    assert state(again)["maps"] == state(page)["maps"]


def test_it_is_said_what_is_shown_and_how(page: Any) -> None:
    page.keyboard.press("i")
    about = page.get_by_test_id("body-about")
    assert "opacity × map" in page.get_by_test_id("formula").inner_text()
    assert about.get_by_text("two-blocks").is_visible()
    page.evaluate("cfcam.state.set({blend: 'uniform'})")
    assert "also where the map is 0" in page.get_by_test_id("formula").inner_text()


def test_axe_finds_nothing_in_a_panel(page: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    for key in (*PANELS, "r", "d"):
        page.keyboard.press(key)
        page.get_by_test_id("panel").wait_for()
        still(page)
        violations = axe.Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
        assert [(key, one["id"], [node["html"] for node in one["nodes"]]) for one in violations] == []
        page.keyboard.press("Escape")

"""A prior beside the current study, by mouse and by keyboard, with the real server and a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi")
pytest.importorskip("playwright")

from cfcam.models import load
from cfcam.models.demo import make_phantom
from tests import waiting
from tests.web.browser.hands import Keyboard, Mouse, pixels, shown, state
from tests.web.browser.page import launched, opened
from tests.web.browser.shown import blob, scan, study_map
from tests.web.routes.test_compare import radiograph
from tests.web.server import served, settings_of

DOWN, RIGHT = 9, -6  # pixels that the patient moved between the studies
PANES = range(3)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as found:
        yield found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chest before a nodule came, and with it, moved."""
    place = tmp_path_factory.mktemp("chests")
    before, now = make_phantom(7, size=256).image, make_phantom(7, findings=["nodule"], size=256).image
    Image.fromarray(np.roll(now, (DOWN, RIGHT), (0, 1))).save(place / "current.png")
    Image.fromarray(before).save(place / "prior.png")
    return place


@pytest.fixture(scope="module")
def viewer(folder: Path) -> Iterator[Any]:
    model = load("demo")
    with served(settings_of(folder, load=lambda: model, model="demo", methods=("grad-cam",))) as found:
        yield found


def until(page: Any, holds: Callable[[], bool]) -> None:
    try:
        waiting.until(holds, sleep=waiting.of_page(page))
    except AssertionError:
        raise AssertionError(state(page)) from None


def laid(page: Any, hand: Mouse) -> list[str]:
    """Lays the prior beside the study that is open; returns the maps shown."""
    hand.panel("compare", "b")
    page.get_by_test_id("prior").wait_for()
    hand.click("prior")
    page.get_by_test_id("changes").wait_for()
    return shown(page, 3)


@pytest.mark.parametrize("hand", [Mouse, Keyboard])
def test_the_prior_stands_beside_on_this_studys_grid(browser: Any, viewer: Any, hand: type[Mouse]) -> None:
    with opened(browser, viewer.address) as page:
        first = shown(page)
        walker = hand(page)
        maps = laid(page, walker)
        assert maps[0] == first[0]
        told = [page.evaluate("id => cfcam.maps.of(id).kind", one) for one in maps]
        assert told == ["evidence", "prior", "difference"]
        assert (state(page)["scale"], page.get_by_test_id("prior").get_attribute("aria-pressed")) == ("common", "true")
        assert state(page)["threshold"] == 0.5  # the line stands where the numbers begin to call a place hot
        # what the panel says is what Python says
        answer = viewer.client.post(
            "/api/compare", json={"study": state(page)["study"], "prior": state(page)["compare"], "map": maps[0]}
        ).json()
        assert answer["difference"]["id"] == maps[2]
        rows = page.get_by_test_id("changes").locator("tbody tr.change")
        for n, change in enumerate(answer["changes"]):
            cells = rows.nth(n).locator("td")
            said = [cells.nth(k).get_attribute("title") for k in range(3)]
            for text, value in zip(said, (change["prior"], change["current"], change["change"]), strict=True):
                assert (None if text is None else float(text)) == value
            assert page.get_by_test_id("verdict").nth(n).inner_text().startswith(change["verdict"])
        assert "Beyond repeatability: probability" in page.get_by_test_id("compare-verdict").inner_text()
        said = page.get_by_test_id("compare-statement").inner_text()
        assert said == "A change of the map is not a change of disease."
        # its colours have another meaning than those beside it, whichever pane the colour bar is of
        assert page.get_by_test_id("caption-2").inner_text().startswith("difference · purple − · orange +")
        # the originals, while held: the prior's lies where the current one does, without the nodule
        coloured = [pixels(page, n) for n in PANES]
        walker.hold_original()
        until(page, lambda: page.get_by_test_id("caption-1").inner_text() == "original · prior")
        alone = [pixels(page, n) for n in PANES]
        walker.let_go()
        until(page, lambda: page.get_by_test_id("caption-1").inner_text().startswith("prior · grad-cam · nodule"))
        for n in PANES:
            assert np.ptp(alone[n].astype(int), axis=2).max() == 0  # no colour is left
            np.testing.assert_array_equal(pixels(page, n), coloured[n])
        np.testing.assert_array_equal(alone[2], alone[0])
        apart = np.abs(alone[1].astype(int) - alone[0]).max(axis=2)
        assert np.mean(apart > 8) < 0.12  # rim and nodule; where it lay before it is five times that
        assert (apart > 30).any()  # the nodule
        # orange where evidence came: red over blue, and never purple
        colours = coloured[2].astype(int)
        warm = colours[..., 0] - colours[..., 2]
        assert warm.max() > 60
        assert warm.min() > -20
        walker.click("compare-end")
        assert shown(page) == first
        assert (state(page)["compare"], state(page)["scale"], state(page)["threshold"]) == (None, "own", None)


def test_the_prior_moves_in_step_and_a_control_of_it_changes_its_pane_alone(browser: Any, viewer: Any) -> None:
    with opened(browser, viewer.address) as page:
        shown(page)
        laid(page, Mouse(page))
        before = [pixels(page, n) for n in PANES]
        page.evaluate("cfcam.state.set({zoom: 2})")
        zoomed = [pixels(page, n) for n in PANES]
        assert all((a != b).any() for a, b in zip(before, zoomed, strict=True))
        places = [page.evaluate("n => cfcam.viewer.pixelOf([100, 140], n)", n) for n in PANES]
        np.testing.assert_allclose(places, [places[0]] * 3, atol=1)  # CSS pixels of each pane
        page.evaluate("cfcam.state.set({zoom: 1})")
        # the palette is of maps; that of the difference stays
        page.evaluate("cfcam.state.set({palette: 'viridis'})")
        repainted = [pixels(page, n) for n in PANES]
        assert (repainted[0] != before[0]).any()
        np.testing.assert_array_equal(repainted[2], before[2])
        # another map in the right pane: the left one stays as it is
        maps = state(page)["maps"]
        page.evaluate("maps => cfcam.state.set({maps})", [maps[0], maps[1], maps[0]])
        until(page, lambda: page.evaluate("document.documentElement.dataset.shown") == ",".join([*maps[:2], maps[0]]))
        np.testing.assert_array_equal(pixels(page, 0), repainted[0])
        assert (pixels(page, 2) != repainted[2]).any()


def test_a_link_brings_the_prior_with_it_and_a_new_viewer_makes_it_anew(
    browser: Any, viewer: Any, folder: Path
) -> None:
    with opened(browser, viewer.address) as page:
        shown(page)
        maps = laid(page, Mouse(page))
        link = page.evaluate("cfcam.state.permalink()")
        before = [pixels(page, n) for n in PANES]
    with opened(browser, viewer.address + link) as page:
        assert shown(page, 3) == maps
        page.get_by_test_id("changes").wait_for()  # the panel was open
        for n in PANES:
            np.testing.assert_array_equal(pixels(page, n), before[n])
        page.get_by_test_id("compare-end").click()
        assert shown(page) == maps[:1]
        assert (state(page)["compare"], state(page)["scale"], state(page)["threshold"]) == (None, "own", None)
    model = load("demo")
    settings = settings_of(folder, load=lambda: model, model="demo", methods=("grad-cam",))
    with served(settings) as other, opened(browser, other.address + link) as page:
        page.get_by_test_id("changes").wait_for()  # all of it is made anew
        assert shown(page, 3) == maps
        assert page.get_by_test_id("toast").filter(has_text="no longer kept").count() == 0


def test_who_goes_on_to_another_study_or_to_one_pane_leaves_the_prior_behind(browser: Any, viewer: Any) -> None:
    with opened(browser, viewer.address) as page:
        shown(page)
        maps = laid(page, Mouse(page))
        page.get_by_test_id("pane-0").focus()
        page.keyboard.press("1")
        assert shown(page) == maps[:1]
        assert (state(page)["compare"], state(page)["scale"], state(page)["threshold"]) == (None, "own", None)
        laid(page, Stayed(page))
        page.get_by_test_id("pane-0").focus()
        page.keyboard.press("n")
        page.get_by_test_id("study-name").get_by_text("prior.png").wait_for()
        until(page, lambda: state(page)["maps"] != maps)
        assert (state(page)["compare"], state(page)["scale"], state(page)["threshold"]) == (None, "own", None)


class Stayed(Mouse):
    """Whose panel is open already."""

    def panel(self, name: str, key: str) -> None:
        pass


def test_titles_are_whole_at_three_panes(browser: Any, viewer: Any) -> None:
    with opened(browser, viewer.address, width=1100) as page:
        shown(page)
        laid(page, Mouse(page))
        for n in PANES:
            caption = page.get_by_test_id(f"caption-{n}")
            assert caption.get_attribute("title") == caption.inner_text().replace("\n", "")
            parts = caption.locator("span")
            for k in range(parts.count()):  # no part is cut
                assert parts.nth(k).evaluate("one => one.scrollWidth <= one.clientWidth + 1")
        # one that is wider than the pane is shortened, and whole in its title
        page.evaluate("""() => {
          const map = cfcam.maps.of(cfcam.state.get().maps[0]);
          cfcam.maps.add([{...map, class_name: "a class with a name that is much longer than any pane is wide"}]);
          cfcam.viewer.redraw();
        }""")
        caption = page.get_by_test_id("caption-0")
        until(page, lambda: "much longer than any pane" in (caption.get_attribute("title") or ""))
        pane, title = page.get_by_test_id("pane-0").bounding_box(), caption.bounding_box()
        assert title["x"] + title["width"] <= pane["x"] + pane["width"]


OVER = """() => {
  const over = [];
  for (const pane of document.querySelectorAll(".pane")) {
    const all = [...pane.querySelectorAll(".caption, .where, .letter")];
    const words = all.filter((one) => one.textContent && one.checkVisibility());
    const boxes = words.map((one) => one.getBoundingClientRect());
    boxes.forEach((a, n) => boxes.slice(n + 1).forEach((b, k) => {
      const apart = a.right <= b.left || b.right <= a.left || a.bottom <= b.top + 1 || b.bottom <= a.top + 1;
      if (!apart) over.push(`${words[n].textContent} and ${words[n + 1 + k].textContent}`);
    }));
  }
  return over;
}"""


@pytest.mark.parametrize("plane", ["axial", "all"])
def test_titles_places_and_letters_do_not_lie_over_each_other(browser: Any, tmp_path: Path, plane: str) -> None:
    with served(settings_of(scan(tmp_path))) as viewer:
        (brief,) = viewer.client.get("/api/studies").json()["studies"]
        study = viewer.app.state.library.find(brief["id"])
        for n in PANES:
            heat = blob((40, 48, 32), (20, 24, 16), 6)
            study.add(study_map(f"m-00000000000{n}", "grad-cam", heat, kind=["evidence", "prior", "control"][n]))
        with opened(browser, viewer.address) as page:
            for count in (1, 2, 3):
                page.evaluate("patch => cfcam.state.set(patch)", {
                    "maps": [f"m-00000000000{n}" for n in range(count)], "plane": plane,
                })  # fmt: skip
                shown(page, count)
                page.evaluate("cfcam.viewer.drawn()")
                assert page.evaluate(OVER) == [], count


def test_where_patients_are_not_known_and_many_the_prior_is_found_by_its_name(browser: Any, tmp_path: Path) -> None:
    for n in range(70):
        Image.fromarray(np.full((16, 16), n, np.uint8)).save(tmp_path / f"{n:03}.png")
    model = load("demo")
    settings = settings_of(tmp_path, load=lambda: model, model="demo")
    with served(settings) as viewer, opened(browser, viewer.address) as page:
        page.keyboard.press("b")
        page.get_by_test_id("no-prior").get_by_text("69 other studies are open").wait_for()
        page.get_by_test_id("prior-search").fill("04")
        rows = page.get_by_test_id("prior")
        until(page, lambda: rows.count() == 11)  # 004 and 040 to 049
        page.get_by_test_id("prior-search").fill("000")  # the one that is open
        page.get_by_test_id("no-prior").get_by_text("No study of this name").wait_for()


def test_the_same_patients_studies_are_offered_with_their_age_and_no_name(browser: Any, tmp_path: Path) -> None:
    for name, patient, date in (
        ("now", "P-1", "20200301"),
        ("before", "P-1", "20200101"),
        ("other", "P-2", "20200101"),
    ):
        radiograph(tmp_path, name, patient, date)
    model = load("demo")
    settings = settings_of(tmp_path, load=lambda: model, model="demo", methods=("grad-cam",))
    with served(settings) as viewer, opened(browser, viewer.address) as page:
        place = {study.given.path.stem: study.id for study in viewer.app.state.library.studies()}
        page.evaluate("id => cfcam.go(id)", place["now"])
        page.keyboard.press("b")
        row = page.get_by_test_id("prior")
        row.get_by_text("same patient · 60 days earlier").wait_for()
        assert (row.count(), row.get_attribute("data-prior")) == (1, place["before"])
        assert not any(secret in page.content() for secret in ("P-1", "Secret", "20200101"))
        page.evaluate("id => cfcam.go(id)", place["before"])
        row.get_by_text("same patient · dated 60 days later").wait_for()


def test_a_refusal_is_said_and_nothing_is_laid_beside(browser: Any, tmp_path: Path) -> None:
    Image.fromarray(make_phantom(7, findings=["nodule"], size=256).image).save(tmp_path / "current.png")
    noise = np.random.default_rng(0).integers(0, 255, (256, 256)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "prior.png")
    model = load("demo")
    with served(settings_of(tmp_path, load=lambda: model, model="demo", methods=("grad-cam",))) as viewer:
        context = browser.new_context()
        page = context.new_page()
        page.set_default_timeout(1000 * waiting.PATIENCE)
        page.goto(viewer.address)
        first = shown(page)
        page.keyboard.press("b")
        page.get_by_test_id("prior").click()
        page.get_by_test_id("compare-status").get_by_text("registration not good enough").wait_for()
        assert (state(page)["maps"], state(page)["compare"]) == (first, None)
        context.close()


@pytest.mark.parametrize("size", [{}, {"width": 640, "height": 360, "device_scale_factor": 2}], ids=["1280", "200 %"])
def test_axe_finds_nothing_while_a_prior_stands_beside(browser: Any, viewer: Any, size: dict[str, int]) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    with opened(browser, viewer.address, bypass_csp=True, **size) as page:
        shown(page)
        laid(page, Mouse(page))
        found = axe.run(page)
        assert found.violations_count == 0, found.generate_report()
        wide = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1]

"""A radiologist's walk, by mouse and by keyboard, and what each control does to the pixels."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("playwright")
pytest.importorskip("sqlalchemy")

from cfcam.clinical.audit import Audit
from cfcam.models import load
from tests.jobs.studies import phantom_radiograph
from tests.web.browser.page import launched, opened
from tests.web.browser.shown import radiograph, study_map
from tests.web.server import served, settings_of

PIXELS = """async (pane) => {
  await cfcam.viewer.drawn();
  const canvas = document.querySelector(`[data-testid=pane-${pane}] canvas`);
  const { width, height } = canvas;
  let text = "";
  for (const byte of canvas.getContext("2d").getImageData(0, 0, width, height).data) text += String.fromCharCode(byte);
  return [width, height, btoa(text)];
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as found:
        yield found


def pixels(page: Any, pane: int = 0) -> np.ndarray:
    """What a pane's canvas shows, `(height, width, 3)`."""
    width, height, text = page.evaluate(PIXELS, pane)
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)[..., :3].copy()


def state(page: Any) -> Any:
    return page.evaluate("cfcam.state.get()")


def shown(page: Any, count: int = 1) -> list[str]:
    """Waits until so many maps are painted; returns their ids."""
    for _ in range(300):
        maps = state(page)["maps"]
        if len(maps) == count and page.evaluate("document.documentElement.dataset.shown") == ",".join(maps):
            return maps
        page.wait_for_timeout(50)
    raise AssertionError((state(page), page.evaluate("document.documentElement.dataset.shown")))


class Mouse:
    """Everything by clicks."""

    def __init__(self, page: Any) -> None:
        self.page = page

    def click(self, name: str) -> None:
        self.page.get_by_test_id(name).click()

    def hold_original(self) -> None:
        self.page.get_by_test_id("original").hover()
        self.page.mouse.down()

    def let_go(self) -> None:
        self.page.mouse.up()

    def panel(self, name: str, key: str) -> None:
        del key
        self.click(f"panel-{name}")

    def beside(self, method: str) -> None:
        """Another method beside those shown."""
        self.page.get_by_test_id("method").select_option(method)
        self.click("explain-beside")

    def palette(self) -> None:
        self.page.get_by_test_id("display-palette").select_option("viridis")

    def window(self) -> None:
        field = self.page.get_by_test_id("window-width")
        field.fill(str(float(field.input_value()) / 2))
        field.blur()

    def reject(self, comment: str) -> None:
        self.click("panel-review")
        self.page.get_by_test_id("verdict-reject").check()
        self.page.get_by_test_id("review-comment").fill(comment)
        self.page.get_by_test_id("reviewer").fill("Dr. Reader")
        self.click("review-save")


class Keyboard(Mouse):
    """Everything by keys: what is clicked is reached with Tab, and pressed with Enter."""

    def click(self, name: str) -> None:
        self.reach(name)
        self.page.keyboard.press("Enter")

    def reach(self, name: str) -> None:
        for _ in range(120):
            if self.page.evaluate("document.activeElement.dataset.testid") == name:
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"Tab does not come to {name}")

    def hold_original(self) -> None:
        self.page.keyboard.down("o")

    def let_go(self) -> None:
        self.page.keyboard.up("o")

    def panel(self, name: str, key: str) -> None:
        self.page.get_by_test_id("pane-0").focus()
        self.page.keyboard.press(key)
        self.page.get_by_test_id(f"panel-{name}").and_(self.page.locator("[aria-pressed=true]")).wait_for()

    def choose(self, name: str, value: str) -> None:
        self.reach(name)
        select = self.page.get_by_test_id(name)
        for _ in range(60):
            if select.input_value() == value:
                return
            self.page.keyboard.press("ArrowDown")
        raise AssertionError(f"arrow keys do not come to {value} in {name}")

    def beside(self, method: str) -> None:
        self.page.get_by_test_id("pane-0").focus()
        self.page.keyboard.press({"grad-cam": "2", "grad-cam++": "3"}[method])

    def palette(self) -> None:
        self.page.keyboard.press("t")

    def window(self) -> None:
        self.reach("window-width")
        width = float(self.page.get_by_test_id("window-width").input_value())
        self.page.keyboard.press("Control+a")
        self.page.keyboard.type(str(width / 2))
        self.page.keyboard.press("Tab")

    def reject(self, comment: str) -> None:
        self.page.get_by_test_id("pane-0").focus()
        self.page.keyboard.press("r")
        self.reach("reviewer")
        self.page.keyboard.type("Dr. Reader")
        for _ in range(60):
            self.page.keyboard.press("Shift+Tab")
            if self.page.evaluate("document.activeElement.dataset.testid") == "review-comment":
                break
        self.page.keyboard.type(comment)
        self.page.keyboard.press("Enter")


@pytest.mark.parametrize("hand", [Mouse, Keyboard])
def test_a_radiologist_walks_from_the_picture_to_the_report(browser: Any, tmp_path: Path, hand: type[Mouse]) -> None:
    audit = tmp_path / "audit.sqlite"
    settings = settings_of(
        phantom_radiograph(tmp_path / "chest.dcm"), load=lambda: load("demo"), model="demo", audit=str(audit)
    )
    with served(settings) as viewer, opened(browser, viewer.address) as page:
        walker = hand(page)
        first = shown(page)
        coloured = pixels(page)
        # the original, while it is held
        walker.hold_original()
        page.wait_for_timeout(50)
        alone = pixels(page)
        assert np.ptp(alone.astype(int), axis=2).max() == 0  # no colour is left
        assert np.ptp(coloured.astype(int), axis=2).max() > 40
        walker.let_go()
        page.wait_for_timeout(50)
        np.testing.assert_array_equal(pixels(page), coloured)
        page.evaluate("cfcam.state.set({maps: []})")
        np.testing.assert_array_equal(pixels(page), alone)
        page.evaluate("id => cfcam.state.set({maps: [id]})", first[0])
        shown(page)
        # three methods side by side
        walker.panel("choose", "k")
        for count, method in ((2, "grad-cam"), (3, "grad-cam++")):
            walker.beside(method)
            shown(page, count)
        captions = [page.get_by_test_id(f"caption-{n}").inner_text().split(" · ")[0] for n in range(3)]
        assert sorted(captions) == ["cf-cam", "grad-cam", "grad-cam++"]
        assert page.get_by_test_id("pane-2").is_visible()
        # palette and window
        walker.panel("display", "j")
        before, link = pixels(page), page.evaluate("cfcam.state.permalink()")
        walker.palette()
        repainted = pixels(page)
        assert (repainted != before).any()
        walker.window()
        assert (pixels(page) != repainted).any()
        assert page.evaluate("cfcam.state.permalink()") != link
        assert state(page)["window"] is not None
        # the numbers are Python's
        walker.panel("numbers", "q")
        page.get_by_test_id("numbers-table").wait_for()
        body = {"study": state(page)["study"], "map": state(page)["maps"][state(page)["active"]], "threshold": None,
                "polygon": None}  # fmt: skip
        region = viewer.client.post("/api/roi", json=body).json()["table"]["regions"][0]
        for row, name in (("Size", "size"), ("Mean", "mean"), ("SD", "sd"), ("Maximum", "maximum")):
            cell = page.get_by_test_id("numbers-table").get_by_role("row", name=row).locator("td")
            assert float(cell.get_attribute("title")) == region[name], row
        # comment and reject
        walker.reject("beside the nodule")
        page.get_by_test_id("review-status").get_by_text("Recorded: reject").wait_for()
        record = [one for one in Audit(str(audit)).records() if one.action == "review"][-1]
        assert Audit(str(audit)).verify().ok
        told = {name: record.details[name] for name in ("decision", "comment", "reviewer", "map")}
        assert told == {
            "decision": "reject", "comment": "beside the nodule", "reviewer": "Dr. Reader", "map": body["map"]
        }  # fmt: skip
        # the report
        walker.panel("export", "x")
        with page.expect_download() as download:
            walker.click("export-pdf")
        assert Path(download.value.path()).read_bytes().startswith(b"%PDF")


def ramp() -> np.ndarray:
    """Rises from 0 in the middle of the picture to 1 at its right edge; nothing on the left."""
    heat = np.zeros((256, 320), np.float32)
    heat[64:192, 160:] = np.linspace(0, 1, 160, dtype=np.float32)
    return heat


CONTROLS = {
    "opacity": {"opacity": 0.8},
    "threshold of the outline": {"threshold": 0.7},
    "threshold of fading": {"outline": False, "fade": True, "threshold": 0.7},
    "no outline": {"outline": False},
    "palette": {"palette": "viridis"},
    "uniform": {"blend": "uniform"},
    "contour": {"blend": "contour"},
}


def test_each_control_changes_the_maps_pixels_and_never_the_originals(browser: Any, tmp_path: Path) -> None:
    with served(settings_of(radiograph(tmp_path))) as viewer:
        (brief,) = viewer.client.get("/api/studies").json()["studies"]
        study = viewer.app.state.library.find(brief["id"])
        study.add(study_map("m-000000000001", "grad-cam", ramp()))
        study.add(study_map("m-000000000002", "cf-cam", ramp(), scale_max=0.5))
        usual = {"maps": ["m-000000000001"], "opacity": 0.4, "threshold": 0.5, "outline": True, "fade": False,
                 "palette": "inferno", "blend": "value", "scale": "own"}  # fmt: skip
        with opened(browser, viewer.address) as page:
            page.evaluate("cfcam.state.set({maps: []})")
            alone = pixels(page)
            page.evaluate("usual => cfcam.state.set(usual)", usual)
            shown(page)
            x, _ = page.evaluate("cfcam.viewer.pixelOf([128, 150], 0)")
            left = slice(0, int(x))  # what lies ten columns and more left of the map
            plain = pixels(page)
            np.testing.assert_array_equal(plain[:, left], alone[:, left])
            for name, patch in CONTROLS.items():
                page.evaluate("patch => cfcam.state.set(patch)", usual | patch)
                now = pixels(page)
                assert (now != plain).any(), name
                # uniform is one opacity everywhere, also where the map is 0
                if name != "uniform":
                    np.testing.assert_array_equal(now[:, left], alone[:, left], err_msg=name)
            # a common scale: the map of half the maximum pales, the other stays
            both = {**usual, "maps": ["m-000000000001", "m-000000000002"]}
            page.evaluate("patch => cfcam.state.set(patch)", both)
            shown(page, 2)
            own = [pixels(page, n) for n in range(2)]
            page.evaluate("cfcam.state.set({scale: 'common'})")
            np.testing.assert_array_equal(pixels(page, 0), own[0])
            assert (pixels(page, 1) != own[1]).any()

"""A radiologist's walk, by mouse and by keyboard, and what each control does to the pixels."""

from __future__ import annotations

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
from tests.waiting import of_page, until
from tests.web.browser.hands import Keyboard, Mouse, pixels, shown, state
from tests.web.browser.page import launched, opened
from tests.web.browser.shown import radiograph, study_map
from tests.web.server import served, settings_of


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as found:
        yield found


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
        until(lambda: np.ptp(pixels(page).astype(int), axis=2).max() == 0, sleep=of_page(page))  # no colour is left
        alone = pixels(page)
        assert np.ptp(coloured.astype(int), axis=2).max() > 40
        walker.let_go()
        until(lambda: np.array_equal(pixels(page), coloured), sleep=of_page(page))
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

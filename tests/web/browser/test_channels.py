"""Which channel of a volume lies under the map: chosen by mouse or keyboard, said on the picture and in the link."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("playwright")
Axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe

from tests.imaging import dicoms  # noqa: E402
from tests.web.browser.hands import Keyboard, pixels, shown, state  # noqa: E402
from tests.web.browser.page import launched, opened, until  # noqa: E402
from tests.web.browser.shown import blob, study_map  # noqa: E402
from tests.web.server import Served, served, settings_of  # noqa: E402

SHAPE = (20, 24, 10)
BRIGHT = {"t1": 5, "t2": 10, "flair": 15}
"""The row (A) in which each sequence is bright; its grey values go up to 100 times that."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as found:
        yield found


def sequences(folder: Path) -> tuple[Path, ...]:
    for name, row in BRIGHT.items():
        values = np.zeros(SHAPE, np.int16)
        values[:, row] = 100 * row
        nibabel.Nifti1Image(values, np.diag([1.0, 1.0, 2.0, 1.0])).to_filename(folder / f"study_7_{name}.nii")
    return tuple(folder / f"study_7_{name}.nii" for name in BRIGHT)


@pytest.fixture
def viewer(tmp_path: Path) -> Iterator[Served]:
    """A study of three sequences with a map."""
    with served(settings_of(channels=sequences(tmp_path))) as found:
        (study,) = found.app.state.library.studies()
        study.add(study_map("m-000000000000", "grad-cam", blob(SHAPE, (10, 12, 5), 1), rule="otsu"))
        yield found


def bright_row(page: Any) -> int:
    """The row (A) of the scan that is brightest at its left edge, where there is no map: anterior is above."""
    column = pixels(page)[:, page.evaluate("Math.round(cfcam.viewer.pixelOf([19, 0, 5])[0] * devicePixelRatio)")]
    top, bottom = (page.evaluate(f"cfcam.viewer.pixelOf([19, {row}, 5])[1] * devicePixelRatio") for row in (23, 0))
    at = float(np.median(np.flatnonzero(column[:, 0] > 200)))
    return round(23 * (bottom - at) / (bottom - top))


def said(page: Any) -> str:
    text: str = page.get_by_test_id("where").inner_text()
    return text


def test_a_sequence_is_chosen_in_the_panel_and_a_link_to_it_opens_it(browser: Any, viewer: Served) -> None:
    with opened(browser, viewer.address) as page:
        shown(page)
        assert bright_row(page) == BRIGHT["t1"]
        assert said(page).endswith(" · t1")
        page.get_by_test_id("panel-display").click()
        control = page.get_by_label("Channel")
        assert control.locator("option").all_inner_texts() == ["0: t1", "1: t2", "2: flair"]
        window = page.get_by_test_id("display-window")
        assert window.locator("option").first.inner_text() == "99 % of its voxels"  # the file says none
        control.select_option("2")
        until(page, lambda: said(page).endswith(" · flair"), True)
        assert bright_row(page) == BRIGHT["flair"]
        assert page.evaluate("cfcam.viewer.valueAt([0, 15, 5]).grey") == 1500
        until(page, lambda: "channel=2" in page.url, True)
        link = page.url
    with opened(browser, link.replace("/#", "/?token=t0ken-of-the-tests-0123#")) as page:
        shown(page)
        until(page, lambda: said(page).endswith(" · flair"), True)
        assert bright_row(page) == BRIGHT["flair"]


def test_a_key_goes_to_the_next_sequence_which_has_a_window_of_its_own(browser: Any, viewer: Served) -> None:
    with opened(browser, viewer.address) as page:
        shown(page)
        page.evaluate("cfcam.state.set({ window: [0, 10] })")
        for number, name in ((1, "t2"), (2, "flair"), (0, "t1")):
            page.keyboard.press("Shift+W")
            until(page, lambda name=name: said(page).endswith(f" · {name}"), True)
            assert (state(page)["channel"], state(page)["window"]) == (number, None)
            assert page.evaluate("cfcam.viewer.windowNow().high") == 100 * BRIGHT[name]
        hands = Keyboard(page)
        hands.panel("display", "j")
        hands.choose("display-channel", "1")
        until(page, lambda: said(page).endswith(" · t2"), True)


def test_what_leaves_shows_the_sequence_and_says_which(viewer: Served, browser: Any) -> None:
    body = {"study": viewer.client.get("/api/studies").json()["studies"][0]["id"], "maps": ["m-000000000000"]}
    pictures = [
        viewer.client.post("/api/exports", json={**body, "format": "png", "view": {"channel": n, "opacity": 0}}).content
        for n in (0, 2)
    ]
    assert pictures[0] != pictures[1]
    report = viewer.client.post("/api/exports", json={**body, "format": "json", "view": {"channel": 1}}).json()
    assert "Of its 3 channels channel 1 is shown." in report["limits"]  # a file's name may be the patient's
    assert viewer.client.post("/api/exports", json={**body, "format": "png", "view": {"channel": 3}}).status_code == 422


def test_a_radiograph_says_that_its_millimetres_are_at_the_detector(browser: Any, tmp_path: Path) -> None:
    dicoms.save(dicoms.radiograph(np.full((200, 300), 900), spacing=(0.5, 0.5)), tmp_path / "film.dcm")
    with served(settings_of(tmp_path)) as viewer:
        (study,) = viewer.app.state.library.studies()
        study.add(study_map("m-000000000000", "grad-cam", blob((200, 300), (100, 150), 20), rule="otsu"))
        with opened(browser, viewer.address) as page:
            shown(page)
            assert page.get_by_test_id("scale-bar").get_attribute("data-measured") == "at the detector"
            page.keyboard.press("q")
            table = page.get_by_test_id("numbers-table")
            assert table.locator("tr", has_text="Size").locator("td").inner_text().endswith(" mm² at the detector")
            assert "mm at the detector from the first pixel" in page.get_by_test_id("body-numbers").inner_text()
            page.keyboard.press("h")
            readout = page.get_by_test_id("readout-0")
            until(page, lambda: readout.inner_text().endswith("50.0, 75.0 mm at the detector"), True)


def test_axe_finds_nothing_in_the_panel_with_channels_and_a_study_with_one_has_no_such_control(
    browser: Any, viewer: Served, tmp_path: Path
) -> None:
    with opened(browser, viewer.address, bypass_csp=True) as page:
        shown(page)
        page.get_by_test_id("panel-display").click()
        assert page.get_by_label("Channel").is_visible()
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
    with (
        served(settings_of(tmp_path / "study_7_t1.nii")) as alone,
        opened(browser, f"{alone.address}#channel=2") as page,
    ):
        page.get_by_test_id("panel-display").click()
        assert page.get_by_test_id("display-window").is_visible()
        assert not page.get_by_test_id("display-channel").is_visible()
        assert said(page).endswith("of 10")

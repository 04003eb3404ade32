"""Makes the pictures of the viewer for the documentation, of phantoms: `python docs/view_pictures.py`.

It needs the extra `view`, playwright and Chromium.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PILImage
from scipy import ndimage

from cfcam.models.demo import make_phantom

IMAGES = Path(__file__).parent / "images"
PICTURES = Path(__file__).parents[1] / "testimgs"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, viewed(PICTURES, Path(folder)) as page:
        shown(page, 1)
        page.get_by_test_id("studies").get_by_text("effusion-and-nodule").click()
        page.wait_for_timeout(500)
        shown(page, 1)
        save(page, "view.jpg")
        page.keyboard.press("e")  # the list folds away
        page.keyboard.press("3")
        shown(page, 3)
        save(page, "view-methods.jpg")
        page.keyboard.press("e")
        page.keyboard.press("1")
        page.keyboard.press("r")
        page.wait_for_timeout(1000)
        save(page, "view-review.jpg")
    with tempfile.TemporaryDirectory() as folder:
        studies = two_studies(Path(folder) / "studies")
        with viewed(studies, Path(folder)) as page:
            page.get_by_test_id("studies").get_by_text("2026-02.png").click()
            page.wait_for_timeout(500)
            shown(page, 1)
            page.keyboard.press("e")
            page.keyboard.press("b")
            page.get_by_test_id("prior").click()
            page.get_by_test_id("changes").wait_for()
            shown(page, 3)
            page.keyboard.press("Tab")
            save(page, "view-prior.jpg")


def two_studies(folder: Path) -> Path:
    """A phantom with a faint nodule, and later with a plain one, turned and shifted."""
    folder.mkdir()
    without, plain = (make_phantom(7, findings=found, size=512).image for found in ((), ("nodule",)))
    faint = np.rint(0.4 * without.astype(float) + 0.6 * plain).astype(np.uint8)
    moved = ndimage.rotate(plain, 3, reshape=False, order=1, mode="nearest")
    PILImage.fromarray(faint).save(folder / "2024-06.png")
    PILImage.fromarray(ndimage.shift(moved, (14, -10), order=1, mode="nearest")).save(folder / "2026-02.png")
    return folder


@contextmanager
def viewed(pictures: Path, folder: Path) -> Iterator[Any]:
    """The viewer of some pictures, in a browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        viewer = subprocess.Popen(  # noqa: S603 - our own command
            [
                *(sys.executable, "-m", "cfcam.cli", "view", str(pictures), "--model", "demo", "--quiet"),
                *("--record", str(folder / "answers.sqlite"), "--reviewer", "A. Reader"),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        address = (viewer.stdout.readline() if viewer.stdout else "").strip()
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.goto(address)
        yield page
        browser.close()
        viewer.terminate()


def shown(page: Any, count: int) -> None:
    """Waits until so many maps stand on the screen, and what was told of them is gone."""
    page.locator("html[data-shown]").wait_for(state="attached")
    for _ in range(200):
        here = page.evaluate("document.documentElement.dataset.shown.split(',').length")
        if here == count:
            break
        page.wait_for_timeout(100)
    page.wait_for_timeout(500)
    for close in page.locator("[data-testid=toasts] button").all():
        close.click()
    page.mouse.move(5, 5)


def save(page: Any, name: str) -> None:
    """Writes what is on the screen."""
    shot = PILImage.open(io.BytesIO(page.screenshot())).convert("RGB")
    shot.save(IMAGES / name, quality=85, optimize=True)


if __name__ == "__main__":
    main()

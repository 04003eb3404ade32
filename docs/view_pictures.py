"""Makes the pictures of the viewer for the documentation, of phantoms: `python docs/view_pictures.py`.

It needs the extra `view`, playwright and Chromium.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image as PILImage

IMAGES = Path(__file__).parent / "images"
PICTURES = Path(__file__).parents[1] / "testimgs"


def main() -> None:
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        viewer = subprocess.Popen(  # noqa: S603 - our own command
            [
                *(sys.executable, "-m", "cfcam.cli", "view", str(PICTURES), "--model", "demo", "--quiet"),
                *("--record", str(Path(folder, "answers.sqlite")), "--reviewer", "A. Reader"),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        address = (viewer.stdout.readline() if viewer.stdout else "").strip()
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.goto(address)
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

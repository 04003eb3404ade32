"""Makes the picture of a folder's page for the documentation, of phantoms: `python docs/folder_picture.py`.

It needs playwright and Chromium. The network is the one that has learnt the pacemaker; the phantoms are of a world in
which pacemakers come and go, so that the page has errors to begin with.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

from PIL import Image as PILImage

from cfcam.jobs import FolderRun, PageSettings, Save, Settings, find_inputs, read_labels
from cfcam.models import load
from cfcam.models.demo import sample_phantom

PICTURE = Path(__file__).parent / "images" / "folder.jpg"
COUNT = 60


def main() -> None:
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder:
        pictures, output = Path(folder, "phantoms"), Path(folder, "maps")
        pictures.mkdir()
        lines = ["image,label"]
        for seed in range(5000, 5400):
            phantom = sample_phantom(seed, size=384)
            if len(phantom.findings) > 1:
                continue
            name = f"phantom-{len(lines):03}.png"
            PILImage.fromarray(phantom.image).save(pictures / name)
            lines.append(f"phantoms/{name},{(*phantom.findings, 'no finding')[0]}")
            if len(lines) > COUNT:
                break
        labels = Path(folder, "labels.csv")
        labels.write_text("\n".join(lines), encoding="utf-8")
        model = load("demo-shortcut")
        inputs = find_inputs([pictures], output=output)
        page = PageSettings(read_labels(str(labels), inputs, model.classes))
        run = FolderRun(model, inputs, Settings(output=output, save=frozenset({Save.OVERLAY}), page=page))
        list(run)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
            shown = browser.new_page(viewport={"width": 1280, "height": 720}, color_scheme="dark")
            shown.goto((output / "index.html").absolute().as_uri(), wait_until="load")
            shown.evaluate("Promise.all([...document.querySelectorAll('#list img')].map(i => i.decode()))")
            shot = PILImage.open(io.BytesIO(shown.screenshot())).convert("RGB")
            shot.save(PICTURE, quality=85, optimize=True)
            browser.close()


if __name__ == "__main__":
    main()

"""An engineer's walk: an own network and folder, the page of the folder, mistakes first, layers, classes, raw maps.

The commands are run as they are typed. Every map is known beforehand: the network measures red and blue in blocks of
8 x 8 pixels (``stem``), then over 3 x 3 blocks (``features``), and the pictures hold squares that lie on the blocks.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi")
pytest.importorskip("playwright")

from tests.waiting import PATIENCE
from tests.web.browser.hands import Keyboard, Mouse, shown, state
from tests.web.browser.page import launched, opened, until

NETWORK = '''
import torch
from torch import nn

class Colours(nn.Module):
    """Red against blue."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 2, 8, stride=8, bias=False)
        self.features = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1, bias=False, groups=2), nn.ReLU())
        self.head = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.stem.weight.zero_()
            self.stem.weight[0, 0] = self.stem.weight[1, 2] = 1 / 64
            self.features[0].weight.fill_(1 / 9)
            self.head.weight.copy_(40 * torch.eye(2))

    def forward(self, x):
        return self.head(self.features(self.stem(x)).mean((2, 3)))
'''
SIDE = 64
SMALL_RED, LARGE_BLUE = (slice(8, 16), slice(8, 16)), (slice(32, 48), slice(40, 56))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as found:
        yield found


def picture(path: Path, red: tuple[slice, slice] | None, blue: tuple[slice, slice] | None) -> None:
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    for channel, where in ((0, red), (2, blue)):
        if where:
            pixels[(*where, channel)] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network, and pictures in folders of their classes; one of them holds more blue than red."""
    folder = tmp_path_factory.mktemp("engineer")
    (folder / "networks.py").write_text(NETWORK)
    picture(folder / "photos" / "red" / "plain.png", LARGE_BLUE, None)
    picture(folder / "photos" / "red" / "mistaken.png", SMALL_RED, LARGE_BLUE)
    picture(folder / "photos" / "blue" / "plain.png", None, LARGE_BLUE)
    return folder


MODEL = ("--model", "networks.py:Colours", "--classes", "red,blue", "--size", str(SIDE), "--mean", "0", "--std", "1")


def command(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "cfcam.cli", name, *arguments, *MODEL]


@contextmanager
def viewing(folder: Path, *arguments: str) -> Iterator[str]:
    """The address that `cfcam view` prints."""
    how: Any = {"cwd": folder, "stdout": subprocess.PIPE, "text": True, "env": os.environ}
    with subprocess.Popen(command("view", *arguments, "--quiet"), **how) as run:
        try:
            yield (run.stdout.readline() if run.stdout else "").strip()
        finally:
            run.terminate()


def reached(grid: np.ndarray) -> tuple[int, int, int, int]:
    """First and last row and column that hold something."""
    rows, columns = np.flatnonzero((grid > 0).any(1)), np.flatnonzero((grid > 0).any(0))
    return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])


@pytest.mark.parametrize("hand", [Mouse, Keyboard])
def test_an_engineer_walks_from_a_folder_to_raw_maps(browser: Any, work: Path, hand: type[Mouse]) -> None:
    how = ("-r", "--labels", "folders", "--method", "grad-cam", "--save", "overlay,maps")
    run = subprocess.run(
        command("explain", "photos", "--output", "maps", *how),
        cwd=work,
        check=False,
        capture_output=True,
        timeout=PATIENCE,
    )
    assert run.returncode == 0, run.stderr.decode()
    # the page of the folder: what was mistaken comes first, and opens
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    index = context.new_page()
    index.set_default_timeout(1000 * PATIENCE)
    index.goto((work / "maps" / "index.html").as_uri())
    first = index.locator("#list .name").first
    assert first.inner_text() == "red/mistaken.png"
    assert "is red" in index.locator("#list .told").first.inner_text()
    if hand is Mouse:
        first.click()
    else:
        index.keyboard.press("Tab")
        for _ in range(60):
            if index.evaluate("document.activeElement.closest('#list') !== null"):
                break
            index.keyboard.press("Tab")
        index.keyboard.press("Enter")
    index.locator("#viewer[open]").wait_for()
    assert "mistaken" in index.locator("#viewer-name").inner_text()
    context.close()
    # the same run in the viewer
    with viewing(work, "maps") as address, opened(browser, address, accept_downloads=True) as page:
        walker = hand(page)
        walker.open_study("red/mistaken.png")
        shown(page)
        walker.panel("choose", "k")
        walker.explain("blue", "stem")
        until(page, lambda: page.get_by_test_id("caption-0").inner_text().split(" · ")[:2], ["grad-cam", "blue"])
        walker.explain("red", "stem", beside=True)
        shown(page, 2)
        assert "red" in page.get_by_test_id("caption-1").inner_text()
        walker.panel("export", "x")
        layers = {}
        for n, name in enumerate(("blue", "red")):
            with page.expect_download() as download:
                walker.nth("raw-npy", n)
            layers[name] = np.load(download.value.path())
        # a cell fades out at the centres of its neighbours, 8 pixels further
        assert {name: grid.shape for name, grid in layers.items()} == {"blue": (SIDE, SIDE), "red": (SIDE, SIDE)}
        assert reached(layers["blue"]) == (28, 51, 36, 59)
        assert reached(layers["red"]) == (4, 19, 4, 19)
        assert len(state(page)["maps"]) == 2

"""Pictures and the shortest way to a run, for the tests of jobs and of the command line."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from cfcam.imaging import Preprocess
from cfcam.jobs import FolderRun, Save, Settings, find_inputs
from cfcam.jobs.runs.unchanged import FILE_NAME as NOTE
from cfcam.models import load

NETWORKS = Path(__file__).with_name("user_networks.py")
PLAIN = Preprocess(size=32, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def draw(path, *, corner=0, size=(48, 64), grey=60):
    """Writes a picture (height, width), dark grey with a white block in one of its corners (0 to 3, clockwise)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = size
    pixels = np.full((height, width, 3), grey, dtype=np.uint8)
    rows = slice(0, height // 4) if corner in (0, 1) else slice(height - height // 4, height)
    columns = slice(0, width // 4) if corner in (0, 3) else slice(width - width // 4, width)
    pixels[rows, columns] = 255
    Image.fromarray(pixels).save(path)
    return path


def folder_of(folder, count, suffix=".png"):
    return [draw(folder / f"picture{n}{suffix}", corner=n % 4, grey=40 + n % 160) for n in range(count)]


def run(paths, output, network="brightness", *, recursive=False, classes=("bright", "dark"), **settings):
    """A `FolderRun` with grad-cam on the user's network."""
    settings = {"methods": ("grad-cam",), "preprocess": PLAIN, "save": frozenset({Save.OVERLAY})} | settings
    model = load(f"{NETWORKS}:{network}", classes=classes)
    inputs = find_inputs(paths if isinstance(paths, list) else [paths], output=output, recursive=recursive)
    return FolderRun(model, inputs, Settings(output=output, **settings))


def lines(output):
    return [json.loads(line) for line in (output / "manifest.jsonl").read_text().splitlines()]


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def written(output):
    """All files of a folder, by name, but the note that only runs over files leave that are older than a moment."""
    return sorted(p.relative_to(output).as_posix() for p in output.rglob("*") if p.is_file() and p.name != NOTE)

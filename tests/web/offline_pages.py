"""Inputs of a run whose maps are known, and what the page in one file holds of them."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cfcam.explanation import Explanation
from cfcam.imaging import Image, Preprocess, Volume, VolumePreprocess
from cfcam.imaging.drawing.look import Look
from cfcam.jobs.runs.further import Seen
from cfcam.web.offline import OfflinePages, info_of, page_of, study_of
from cfcam.web.schemas import ModelInfo

SIDE = 64
PAGES = OfflinePages("two-blocks", Look("inferno", 0.4))


def seen(folder: Path, *, classes: tuple[str, ...] = ("left", "right"), name: str = "scan.png", **more: Any) -> Seen:
    """A ramp of greys, with evidence for the first class in its left half and for the second in its right half."""
    pixels = np.add.outer(np.arange(SIDE), np.arange(SIDE)).astype(np.uint8)
    image = Image(pixels, folder / "JANE-DOE" / "scan.png", "ab" * 32, spacing=(0.5, 0.25), **more)
    left = torch.tensor([[0.0, 0.0, 0.0, 0.0], [1.0, 0.5, 0.0, 0.0], [0.5, 0.2, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    maps = torch.stack([left, left.flip(1)])[None]
    explanation = Explanation(
        maps={"grad-cam": maps, "grad-cam++": maps.square(), "empty": -maps},
        targets=torch.tensor([[0, 1]]),
        scores=torch.tensor([[1.0, 3.0]]),
        logits=torch.tensor([[1.0, 3.0]]),
        probabilities=torch.tensor([[0.12, 0.88]]),
        layer="features",
        input_size=(32, 32),
        classes=classes,
        provenance={"model": {"sha256": "cd" * 32}},
    )
    preprocess = Preprocess(size=32, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return Seen(image, explanation, preprocess, name, folder / "scan", ("it is grey",))


def volume_seen(folder: Path) -> Seen:
    """A CT of (3, 4, 5) whose value tells its place, with evidence in one corner."""
    voxels = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    volume = Volume(voxels, np.diag([2.0, 3.0, 4.0, 1.0]))
    maps = torch.zeros(1, 1, 3, 4, 5)
    maps[0, 0, 2, 1, 3] = 2.0
    explanation = Explanation(
        maps={"grad-cam": maps},
        targets=torch.tensor([[0]]),
        scores=torch.tensor([[1.0]]),
        logits=torch.tensor([[1.0, 0.0]]),
        probabilities=torch.tensor([[0.73, 0.27]]),
        layer="features",
        input_size=(3, 4, 5),
        classes=("there", "not there"),
    )
    return Seen(volume, explanation, VolumePreprocess(), "ct", folder / "ct")


def page(one: Seen, **more: Any) -> bytes:
    return page_of(study_of(one), info_of(ModelInfo(name="two-blocks"), Look()), **more)


def held(content: bytes) -> Any:
    """What the page holds as JSON."""
    (text,) = re.findall(rb'<script type="application/json" id="cfcam-held">(.*?)</script>', content)
    return json.loads(text)


def files(content: bytes) -> dict[str, bytes]:
    """The files in the page, by their paths."""
    found = re.findall(rb'<script type="text/plain" data-file="(.*?)">(.*?)</script>', content)
    return {path.decode(): gzip.decompress(base64.b64decode(text)) for path, text in found}

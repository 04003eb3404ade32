"""The real pictures and networks beside the project (CFCAM_DATA), as samples for the scorecard."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks.adrenal import adrenal
from cfcam.metrics import Sample

Part = Literal["test", "tune"]
NAMES = ("imagenet-v2", "imagenet-v1", "ultrasound", "chest", "adrenal", "phantoms", "phantoms-shortcut")


@dataclass(frozen=True)
class Study:
    """A network and the samples of the test part that it is asked about."""

    model: nn.Module
    samples: list[Sample]
    layer: str
    what: str


def study(name: str, limit: int, part: Part = "test", *, skip: int = 0, parts: bool = False) -> Study:
    """Returns ``limit`` samples of a part, in a fixed random order and behind the first ``skip``, with the network.

    With ``parts``, phantoms are drawn once more without each of their parts.

    "tune" is what settings may be chosen on: other pictures, and of phantoms other patients.
    """
    found = (
        _phantoms(name, skip + limit, part, parts) if name.startswith("phantoms") else _study(name, skip + limit, part)
    )
    return replace(found, samples=found.samples[skip:])


def _study(name: str, limit: int, part: Part) -> Study:
    if name == "adrenal":
        network, samples = adrenal(folder() / "adrenalmnist3d-64" / "adrenalmnist3d_64.npz", part)
        return Study(network, samples[:limit], "layer3", "adrenal glands in 3-D (shapes), a MONAI ResNet-10")
    networks = _networks()
    if name.startswith("imagenet"):
        size, factory, layer = (
            (224, networks.imagenet_mobilenet_v2, "features.18")
            if name.endswith("v2")
            else (192, networks.imagenet_mobilenet_v1, "features.13")
        )
        samples = _imagenet(size, limit, part)
        return Study(factory().eval(), samples, layer, "ImageNet validation pictures with object boxes")
    if name == "ultrasound":
        samples = _ultrasound(limit, part)
        return Study(networks.busi_mobilenet_v2().eval(), samples, "features.18", "breast ultrasound, lesion masks")
    samples = _chest(limit, part)
    return Study(networks.cxr_mobilenet_v2().eval(), samples, "features.18", "chest radiographs with opacity")


def folder() -> Path:
    return Path(os.environ["CFCAM_DATA"])


def _networks() -> Any:
    spec = importlib.util.spec_from_file_location("cfcam_data_networks", folder() / "networks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _picture(path: Path, size: int, mode: str) -> Tensor:
    with Image.open(path) as picture:
        array = np.asarray(picture.convert(mode).convert("RGB").resize((size, size), Image.Resampling.BILINEAR))
    return torch.from_numpy((array.astype(np.float32) - 128) / 128).permute(2, 0, 1)


def _boxes(boxes: Iterable[Iterable[float]], scale: float, size: int) -> Tensor:
    truth = torch.zeros(size, size, dtype=torch.bool)
    for x0, y0, x1, y1 in boxes:
        truth[
            int(y0 * scale) : max(int(np.ceil(y1 * scale)), 1), int(x0 * scale) : max(int(np.ceil(x1 * scale)), 1)
        ] = True
    return truth


def _rows(path: Path, keep: Callable[[dict[str, str]], bool]) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if keep(row)]
    return [rows[i] for i in np.random.default_rng(7).permutation(len(rows))]


def _belongs(row: dict[str, str], part: Part) -> bool:
    return (row["split"] == "test") == (part == "test")


def _imagenet(size: int, limit: int, part: Part) -> list[Sample]:
    """One half of the 500 pictures each."""
    place = folder() / "imagenet-val-boxes"
    with (place / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    order = np.random.default_rng(42).permutation(len(rows))
    half = len(rows) // 2
    chosen = [rows[i] for i in (order[half:] if part == "test" else order[:half])]
    return [
        Sample(
            _picture(place / "images" / row["file"], size, "RGB"),
            int(row["label"]),
            _boxes(json.loads(row["boxes_x0y0x1y1_227"]), size / 227, size),
            row["file"],
        )
        for row in chosen[:limit]
    ]


def _ultrasound(limit: int, part: Part) -> list[Sample]:
    place = folder() / "busi-breast-ultrasound"
    rows = _rows(place / "labels.csv", lambda row: _belongs(row, part) and row["label"] != "normal")
    samples = []
    for row in rows[:limit]:
        with Image.open(place / "masks" / row["mask"]) as mask:
            truth = np.asarray(mask.convert("L").resize((224, 224), Image.Resampling.NEAREST)) > 127
        image = _picture(place / "images" / row["file"], 224, "L")
        label = {"benign": 0, "malignant": 1}[row["label"]]
        samples.append(Sample(image, label, torch.from_numpy(truth), row["file"]))
    return samples


def _chest(limit: int, part: Part) -> list[Sample]:
    """Radiographs with opacity, those with boxes first: without a box only localisation is not assessed."""
    place = folder() / "cxr-nih-pneumonia"
    boxes = json.loads((place / "boxes.json").read_text(encoding="utf-8"))["boxes"]
    rows = _rows(place / "labels.csv", lambda row: _belongs(row, part) and row["opacity"] == "1")
    rows.sort(key=lambda row: row["file"] not in boxes)
    samples = []
    for row in rows[:limit]:
        found = [(b["x"], b["y"], b["x"] + b["w"], b["y"] + b["h"]) for b in boxes.get(row["file"], [])]
        truth = _boxes(found, 224 / 512, 224) if found else None
        image = _picture(place / "images" / row["file"], 224, "L")
        samples.append(Sample(image, 1, truth, row["file"], patient=row["patient"]))
    return samples


def _phantoms(name: str, limit: int, part: Part, parts: bool) -> Study:
    from cfcam.jobs import preprocess_of
    from cfcam.jobs.cases.phantoms import phantom_cases
    from cfcam.models import load

    loaded = load("demo" if name == "phantoms" else "demo-shortcut")
    preprocess = preprocess_of(loaded)
    samples = [
        case.load(preprocess, loaded.classes, print)
        for case in phantom_cases(limit, seed=90_000 if part == "test" else 70_000, parts=parts)
    ]
    return Study(loaded.module, samples, "", "the project's phantoms, exact masks")

"""The automatic layer on every architecture of transformers and MONAI, and the maps at it."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import cfcam
from cfcam.capture import Capture, Network, automatic_layer
from cfcam.errors import LayerError
from tests.architectures import LARGER, MONAI, NEEDS_EINOPS, TRANSFORMERS, Architecture, by_name, organ

ROOT = Path(__file__).parents[2]
ALL = [*TRANSFORMERS, *MONAI]
MAPPED = [a for a in ALL if a.layer]
LARGER_ONES = {larger: name for name, all_ in LARGER.items() for larger in all_.split()}
SEGMENTATION = ("UNet", "BasicUNet", "SegResNet", "SwinUNETR", "UNETR")
_built: dict[str, nn.Module] = {}


def built(a: Architecture) -> nn.Module:
    if a.name.startswith(NEEDS_EINOPS) and importlib.util.find_spec("einops") is None:
        pytest.skip("MONAI's token networks need einops")
    if a.name not in _built:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            _built[a.name] = as_if_trained(a.build(), picture(a, 4))
    return _built[a.name]


def as_if_trained(model: nn.Module, x: Tensor) -> nn.Module:
    """Gives weights a size, and norms statistics, at which signals pass: fresh ones often end in constants."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim > 1 and "token" not in name and "position" not in name:
                mixing = 0.3 if "att" in name else 1.0  # a place stays with itself, as in a network that can see
                p.normal_(std=mixing * (2 / p[0].numel()) ** 0.5)
        for m in model.modules():
            if isinstance(m, nn.modules.batchnorm._BatchNorm):
                m.momentum = 1.0
        model.train()(x)
    return model.eval()


def picture(a: Architecture, batch: int = 1) -> Tensor:
    return torch.randn(batch, a.channels, *a.size, generator=torch.Generator().manual_seed(1))


def target(a: Architecture) -> object:
    """The predicted class, or the mean score of a class over the picture."""

    return organ if a.name.startswith(SEGMENTATION) or a.name.endswith(", segmentation") else None


@pytest.fixture(scope="module", autouse=True)
def _forget() -> object:
    yield
    _built.clear()


@pytest.mark.parametrize("a", MAPPED, ids=lambda a: a.name)
def test_the_layer_and_its_grid(a: Architecture) -> None:
    model, x = built(a), picture(a)
    capture = Capture(Network(model), x, layer=automatic_layer(Network(model), x), targets=target(a))
    assert capture.layer == a.layer
    assert (capture.grid.grid, capture.grid.prefix) == (a.grid, a.prefix)
    assert capture.activations.shape[2:] == a.grid
    assert capture.gradients.shape == (1, 1, *capture.activations.shape[1:])
    # The score depends on the layer, and at most of the places.
    assert (capture.gradients[0, 0] != 0).any(0).float().mean() >= 0.5


@pytest.mark.parametrize("a", MAPPED, ids=lambda a: a.name)
def test_a_change_in_the_picture_shows_at_its_place(a: Architecture) -> None:
    """Tokens lie in the order of the grid: rows and columns are not exchanged, nor shifted by other tokens."""
    if a.name in ("levit", "dpt, segmentation", "mobilenet_v2, segmentation"):
        pytest.skip("it takes from all places, by attention or pooling: without training none is a place's own")
    model, x = built(a), picture(a, 6 if len(a.size) == 2 else 2)
    network = Network(model)
    before = Capture(network, x, layer=a.layer, targets=target(a)).activations
    sides = [max(1, cells // 8) for cells in a.grid]  # of the changed part, in cells
    for corner in ((0,) * len(a.grid), *(tuple(n * (i == axis) for i, n in enumerate(a.grid)) for axis in range(2))):
        starts = [min(start, n - side) for start, n, side in zip(corner, a.grid, sides, strict=True)]
        window = tuple(
            slice(start * size // n, (start + side) * size // n)
            for start, side, size, n in zip(starts, sides, a.size, a.grid, strict=True)
        )
        other = x.clone()
        other[(slice(None), slice(None), *window)] *= -3
        change = (Capture(network, other, layer=a.layer, targets=target(a)).activations - before).norm(dim=1).mean(0)
        assert change.max() > 0
        place = torch.unravel_index(change.argmax(), change.shape)
        # Overlapping convolutions may see it most in the next cell, and no further; patches of 8 do not overlap.
        margin = 0 if a.grid[0] == 8 else 1
        for at, start, side in zip(place, starts, sides, strict=True):
            assert start - margin <= at < start + side + margin


@pytest.mark.parametrize("a", MAPPED, ids=lambda a: a.name)
def test_methods_run(a: Architecture) -> None:
    model, x = built(a), picture(a, 2)
    channels = Capture(Network(model), x[:1], layer=a.layer, targets=target(a)).activations.shape[1]
    methods = ["grad-cam", "cf-cam", *(["score-cam"] if channels <= 32 and len(a.size) == 2 else [])]
    e = cfcam.explain(model, x, methods, targets=target(a))
    assert e.layer == a.layer
    for method in methods:
        assert e.maps[method].shape == (2, 1, *a.grid)
        assert e.maps[method].isfinite().all()
        assert e.heatmaps(method).shape == (2, 1, *a.size)


@pytest.mark.parametrize("a", [a for a in ALL if not a.layer], ids=lambda a: a.name)
def test_what_has_no_grid_is_refused(a: Architecture) -> None:
    with pytest.raises(LayerError, match="name one with layer=") as error:
        cfcam.explain(built(a), picture(a))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["model.1", "model.1.submodule.1"])
def test_segmentation_at_a_named_layer(name: str) -> None:
    a = next(a for a in MONAI if a.name == "UNet, 2-D")
    e = cfcam.explain(built(a), picture(a), ["grad-cam", "cf-cam"], targets=target(a), layer=name)
    assert e.layer == name
    assert e.targets.tolist() == [[-1]]
    assert e.heatmaps("grad-cam").shape == (1, 1, 64, 64)


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("CFCAM_TORCHVISION"), reason="CFCAM_TORCHVISION names no folder (Makefile)")
@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_models_by_name(library: str, tmp_path: Path) -> None:
    """The classifiers of torchvision and 79 of timm, in a process of their own; larger and 79 more in `make soak`."""
    few = [] if os.environ.get("CFCAM_SOAK") else ["--without-siblings"]
    path = os.pathsep.join([os.environ["CFCAM_TORCHVISION"], str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "tests.architectures", library, *few],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1"},
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    found = {row["name"]: row for row in map(json.loads, done.stdout.splitlines())}
    for a in by_name(library)[:: 2 if few and library == "timm" else 1]:
        row = found[a.name]
        if few and a.name in LARGER_ONES:  # of the same modules as a smaller one, more of them or wider
            assert row == {"name": a.name, "sibling": LARGER_ONES[a.name]}
            continue
        assert row["status"] == "ok", row
        assert (tuple(row["grid"]), row["prefix"]) == (a.grid, a.prefix), row


def test_the_table_in_the_documentation_is_of_these() -> None:
    table = (ROOT / "docs" / "architectures.md").read_text(encoding="utf-8")
    for a in [*ALL, *by_name("torchvision"), *by_name("timm")]:
        rows = [line for line in table.splitlines() if line.startswith(f"| {a.name} |")]
        if a.layer is None:
            assert ["refused" in row for row in rows] == [True]
        else:
            where = f"| {' x '.join(map(str, a.grid))} | {a.prefix or ''} | ok |"
            assert any(where in row and (a.layer == "*" or f"`{a.layer}`" in row) for row in rows), a.name

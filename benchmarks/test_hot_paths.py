"""Hot paths under pytest-benchmark: ``pytest benchmarks --benchmark-only``. No time limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import cfcam
from benchmarks.networks import RESNET18, OneLayer, pictures
from cfcam.imaging import overlay
from cfcam.methods import ScoreCAM
from cfcam.methods.clustering import dbscan, squared_distances, squared_radius

Benchmark = Callable[..., Any]
CHANNELS = 1536  # three quarters of 2048: what CF-CAM clusters of a ResNet-50's last layer


@pytest.fixture(scope="module")
def resnet() -> torch.nn.Module:
    return RESNET18.build()


@pytest.fixture(scope="module")
def x() -> Tensor:
    return pictures(4, RESNET18.size)


@pytest.fixture(scope="module")
def features() -> Tensor:
    """Channels (1, 1536, 49) in groups of similar ones, sparse as behind a ReLU."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(40, 49, generator=generator)
    noise = 0.5 * torch.randn(CHANNELS, 49, generator=generator)
    return (centres[torch.arange(CHANNELS) % 40] + noise).relu()[None]


def test_forward(benchmark: Benchmark, resnet: torch.nn.Module, x: Tensor) -> None:
    with torch.inference_mode():
        benchmark(resnet, x)


@pytest.mark.parametrize("targets", [1, 14])
@pytest.mark.parametrize("method", ["cam", "grad-cam", "grad-cam++", "cf-cam"])
def test_explain(benchmark: Benchmark, resnet: torch.nn.Module, x: Tensor, method: str, targets: int) -> None:
    explainer = cfcam.Explainer(resnet, method, layer=RESNET18.layer)
    e = benchmark(explainer, x, list(range(targets)))
    assert e.maps[method].shape == (4, targets, 7, 7)


def test_squared_distances(benchmark: Benchmark, features: Tensor) -> None:
    assert benchmark(squared_distances, features).shape == (1, CHANNELS, CHANNELS)


def test_squared_radius(benchmark: Benchmark, features: Tensor) -> None:
    squared, count = squared_distances(features), torch.tensor([CHANNELS])
    assert benchmark(squared_radius, squared, count, 0.25) > 0


def test_dbscan(benchmark: Benchmark, features: Tensor) -> None:
    squared, count = squared_distances(features), torch.tensor([CHANNELS])
    radius = squared_radius(squared, count, 0.02)
    labels = benchmark(dbscan, squared, radius, torch.tensor([5.0]))
    assert labels.max() > 0


def test_score_cam_chunk(benchmark: Benchmark) -> None:
    """As many channels as one chunk holds, so that masks and scores, not the number of chunks, are timed."""
    network = OneLayer(32, map_size=14, stride=16).eval()
    explainer = cfcam.Explainer(network, ScoreCAM(batch_size=32), layer="features")
    benchmark(explainer, pictures(1, 224), 0)


def test_heatmaps(benchmark: Benchmark, resnet: torch.nn.Module, x: Tensor) -> None:
    e = cfcam.explain(resnet, x, "grad-cam++", targets=list(range(14)), layer=RESNET18.layer)
    heat = benchmark(e.heatmaps, "grad-cam++", (512, 512))
    assert heat.shape == (4, 14, 512, 512)


def test_overlay(benchmark: Benchmark) -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (1024, 1024, 3), dtype=np.uint8)
    assert benchmark(overlay, picture, rng.random((1024, 1024), dtype=np.float32)).shape == picture.shape

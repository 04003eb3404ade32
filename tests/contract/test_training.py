"""The contract while a network is trained: by every method the training is the same to the last bit."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch

import cfcam
from cfcam.integrations import TrainingMaps
from cfcam.methods import list_pixel_methods
from tests.integrations.learning import pictures, trained

MANY_PASSES = {"ss-cam", "is-cam", "integrated-gradients", "cf-cam-hierarchical", "cf-cam-bilateral", "cf-cam-guided"}
NEEDS_ATTENTION = {"attention-rollout", "legrad"}
METHODS = [name for name in (*cfcam.list_methods(), *list_pixel_methods()) if name not in MANY_PASSES]


@pytest.fixture(scope="module")
def without() -> Iterator[list[Any]]:
    return trained(lambda net, epoch: None, epochs=1)


@pytest.mark.parametrize("method", METHODS)
def test_a_training_is_the_same_to_the_last_bit(method: str, without: list[Any], tmp_path) -> None:
    x, labels, masks = pictures(2)
    maps = TrainingMaps(x, labels, masks=masks, method=method, layer="features.5", to=tmp_path, steps=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        beside = trained(maps, epochs=1)
    assert all(torch.equal(a, b) for a, b in zip(without, beside, strict=True))
    if method in NEEDS_ATTENTION:
        (first, *_) = maps.failures
        assert "\n" not in first
        assert "use grad-cam" in first
    else:
        assert maps.failures == []
        assert (tmp_path / "picture-1" / "epoch-000001.png").is_file()
        assert maps.strip(1).ndim == 3

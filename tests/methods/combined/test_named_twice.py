"""Layers that are put together are different ones."""

from __future__ import annotations

import pytest
import torch

import cfcam
from cfcam.errors import LayerError
from cfcam.methods import CFCAM, Fusion, GradCAM, Method, RefineCAM, WinsorCAM
from tests.networks import GapNet


@pytest.mark.parametrize(
    "method",
    [
        WinsorCAM(layers=("features.0", "features.0")),
        Fusion(base=GradCAM(), layers=("features.0", "features[0]")),
        RefineCAM(layers=("features.0", "features", "features")),
        CFCAM(layers=("features.0", "features.0")),
        CFCAM(layers=("features.0", "features.0"), views=2),
    ],
    ids=lambda method: method.label,
)
def test_a_layer_that_is_named_twice_is_refused(method: Method) -> None:
    """It would count double, and nothing in the map would tell."""
    with pytest.raises(LayerError, match=r"layer 'features(\.0)?' is named twice among .*: name it once"):
        cfcam.explain(GapNet().eval(), torch.randn(2, 3, 20, 24), method, layer="features")

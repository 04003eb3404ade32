"""A network need not take an empty batch: `view(len(x), -1)` of nothing is an error, as in MONAI's ResNets."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import cfcam
from cfcam import Status
from cfcam.metrics import Sample

MASKED = ("score-cam", "cf-cam-best", "ablation-cam", "ss-cam", "is-cam")


class Dead(nn.Module):
    """Its layer is 0 everywhere, so that no channel carries a mask and every map is empty."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU())
        self.head = nn.Linear(5, 2)
        with torch.no_grad():
            self.features[0].weight.zero_()
            self.features[0].bias.fill_(-1.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((2, 3)).view(x.shape[0], -1))


def test_the_network_of_these_tests_refuses_an_empty_batch() -> None:
    with pytest.raises(RuntimeError, match="reshape tensor of 0 elements"):
        Dead()(torch.zeros(0, 3, 8, 8))


@pytest.mark.parametrize("method", MASKED)
def test_methods_of_masked_passes_run_none_for_nothing(method: str) -> None:
    found = cfcam.explain(Dead().eval(), torch.randn(2, 3, 8, 8), method, layer="features", targets=0)
    assert (found.status[method] == Status.NO_POSITIVE_EVIDENCE).all()


def test_metrics_of_empty_maps_run_none_for_nothing() -> None:
    samples = [Sample(torch.randn(3, 16, 16), 0, torch.eye(16) > 0, str(n)) for n in range(3)]
    card = cfcam.evaluate(Dead().eval(), samples, ["grad-cam"], "all", controls=False, layer="features", steps=4)
    assert card.empty()["grad-cam"] == {"no positive evidence": 3}
    assert not [name for row in card.rows for name in row.values if name.startswith(("insertion", "deletion", "road"))]

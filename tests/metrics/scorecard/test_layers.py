"""Layers ranked by a quick scorecard on a few images."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import cfcam
from cfcam.errors import InputError, LayerError, MethodError, TargetError


class Stages(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *[nn.Sequential(nn.Conv2d(3 if n == 0 else 6, 6, 3, padding=1), nn.ReLU()) for n in range(9)]
        )
        self.classifier = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


def test_layers_are_ranked_and_the_best_is_used() -> None:
    from cfcam.capture import Network
    from cfcam.metrics import measure_layers, measured_layer
    from cfcam.metrics.scorecard.layers import candidate_layers

    torch.manual_seed(3)
    net, x = Stages().eval(), torch.randn(3, 3, 32, 32)
    names = [info.name for info in candidate_layers(Network(net), x, most=3)]
    assert names == ["features.6", "features.7", "features.8"]
    told: list[tuple[int, int]] = []
    scores = measure_layers(net, x, most=3, progress=lambda done, total: told.append((done, total)))
    assert told == [(n, 9) for n in range(10)]  # three layers, and three pairs in two ways
    assert [s.rank for s in scores] == sorted(s.rank for s in scores)
    assert {s.fusion for s in scores} == {None, "mean", "product"}
    best = measured_layer(net, x, most=3)
    assert best == measure_layers(net, x, most=3, fusions=False)[0].name
    assert cfcam.explain(net, x, "grad-cam", layer="measured").layer == measured_layer(net, x)


@pytest.mark.parametrize("method", ["winsor-cam", "smooth-grad"])
def test_a_method_whose_maps_know_no_layer_ranks_none(method: str) -> None:
    from cfcam.metrics import measure_layers

    torch.manual_seed(3)
    net, x = Stages().eval(), torch.randn(2, 3, 32, 32)
    with pytest.raises(MethodError, match=f"{method} gives the same map whichever layer is named"):
        measure_layers(net, x, method=method, most=3)


def test_layers_of_a_segmentation_are_measured_by_what_the_class_gets_in_its_place() -> None:
    from cfcam.capture import Capture, Network, Segmentation
    from cfcam.metrics import measure_layers

    torch.manual_seed(0)
    stages = [nn.Sequential(nn.Conv2d(1 if n == 0 else 8, 8, 3, padding=1), nn.ReLU()) for n in range(4)]
    net = nn.Sequential(*stages, nn.Conv2d(8, 3, 1)).eval()
    x = torch.randn(3, 1, 16, 16)
    mask = torch.zeros(16, 16)
    mask[4:9, 5:12] = 1
    target = Segmentation(1, mask)
    capture = Capture(Network(net), x, layer="3", targets=Segmentation(1, mask, reduction="mean"))
    expected = net(x).softmax(1)[:, 1, 4:9, 5:12].mean((1, 2))
    torch.testing.assert_close(capture.probabilities[:, 0], expected)
    scores = measure_layers(net, x, target)
    assert {s.layers[0] for s in scores if s.fusion is None} == {"0", "1", "2", "3"}
    assert repr(scores) == repr(measure_layers(net, x, Segmentation(1, mask, reduction="mean")))
    assert repr(scores) != repr(measure_layers(net, x, Segmentation(2, mask)))
    best = next(s.layers[0] for s in scores if s.fusion is None)
    assert cfcam.explain(net, x, "grad-cam", targets=target, layer="measured").layer == best
    with pytest.raises(TargetError, match="class 9"):
        measure_layers(net, x, Segmentation(9, mask))


def test_a_method_that_applies_to_one_layer_only_is_measured_there() -> None:
    from cfcam.metrics import measure_layers

    torch.manual_seed(3)
    found = measure_layers(Stages().eval(), torch.randn(2, 3, 32, 32), method="cam", most=3)
    assert [s.name for s in found] == ["features.8"]


def test_a_network_without_places_has_no_layer_to_rank_and_what_needs_none_is_named() -> None:
    from cfcam.metrics import measure_layers

    flat = nn.Sequential(nn.Flatten(), nn.Linear(48, 3)).eval()
    with pytest.raises(LayerError, match=r"there is none to compare; .* need none \(smooth-grad"):
        measure_layers(flat, torch.rand(2, 3, 4, 4))


@pytest.mark.parametrize(
    ("given", "error"),
    [
        *(({"seed": seed}, InputError) for seed in (2**64, "a", 0.5)),
        *(({"most": most}, InputError) for most in (0, 1.5, None, "all")),
        *(({"method": method}, MethodError) for method in (None, 3, ["grad-cam"], "nope")),
        *(({"classes": classes}, TargetError) for classes in (3, True)),
        ({"layers": "nowhere"}, LayerError),
    ],
)
def test_what_is_none_of_its_kind_is_named_before_anything_is_measured(given: dict, error: type[Exception]) -> None:
    from cfcam.metrics import measure_layers

    with pytest.raises(error, match=rf"{next(iter(given))}|no method|nowhere|classes"):
        measure_layers(Stages(), torch.rand(2, 3, 8, 8), **given)


def test_one_layer_may_be_named_alone() -> None:
    from cfcam.metrics import measure_layers

    assert [score.name for score in measure_layers(Stages().eval(), torch.rand(2, 3, 8, 8), layers="features.8")] == [
        "features.8"
    ]


def test_where_nothing_can_be_measured_no_layer_is_the_best() -> None:
    """The first candidate was."""
    nothing = torch.full((2, 3, 8, 8), float("nan"))
    with pytest.raises(LayerError, match=r"nothing could be measured of .*features\.8: on none of these images"):
        cfcam.explain(Stages().eval(), nothing, "grad-cam", layer="measured")

"""SESS against its windows, one by one."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import cfcam
from cfcam.errors import MethodError
from cfcam.methods import SESS, GradCAM, HiResCAM, ScoreCAM
from tests.contract.snapshot import snapshot
from tests.methods.test_oracles import inputs, network
from tests.networks import GapNet

MODE = {1: "linear", 2: "bilinear", 3: "trilinear"}


def unit(maps: Tensor) -> Tensor:
    peak = maps.relu().flatten(1).amax(1).reshape(-1, *[1] * (maps.ndim - 1))
    return torch.where(peak > 0, maps.relu() / peak, 0)


@pytest.mark.parametrize("keep", [1.0, 0.4])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_by_its_windows(dims: int, keep: float) -> None:
    net, x = network(dims, GapNet, channels=4), inputs(dims)[:1]
    size = x.shape[2:]
    method = SESS(HiResCAM(), scales=(1.0, 2.0), stride=1.0, keep=keep)
    maps = cfcam.explain(net, x, method, targets=2, layer="features").maps["hires-cam-sess"]
    found = []
    for scale in (1, 2):
        large = F.interpolate(x, [scale * n for n in size], mode=MODE[dims], align_corners=False)
        for corner in itertools.product(range(scale), repeat=dims):
            at = [slice(c * n, (c + 1) * n) for c, n in zip(corner, size, strict=True)]
            window = large[(..., *at)]
            map_ = cfcam.explain(net, window, "hires-cam", targets=2, layer="features").maps["hires-cam"][:, 0]
            over = F.interpolate(unit(map_)[:, None], list(size), mode=MODE[dims], align_corners=False)
            probability = net(window).softmax(1)[0, 2].detach()
            canvas = torch.zeros(1, 1, *large.shape[2:], dtype=x.dtype)
            canvas[(..., *at)] = over * probability
            laid = F.interpolate(canvas, list(size), mode=MODE[dims], align_corners=False) if scale > 1 else canvas
            found.append((float(probability), laid, laid > 1e-3 * probability))
    kept = sorted(found, key=lambda one: -one[0])[: max(1, round(keep * len(found)))]
    stack, shown = (torch.stack([one[n] for one in kept]) for n in (1, 2))
    torch.testing.assert_close(maps, stack.sum(0) / shown.sum(0).clamp(min=1))


def test_of_the_input_alone_it_is_its_base_scaled_and_weighted() -> None:
    net, x = network(2, GapNet, channels=4), inputs(2)
    e = cfcam.explain(net, x, [SESS(GradCAM(), scales=(1.0,)), "grad-cam"], targets=[0, 1], layer="features")
    heat = e.heatmaps("grad-cam")
    torch.testing.assert_close(e.heatmaps("grad-cam-sess"), heat / heat.amax((2, 3), keepdim=True).clamp(min=1e-12))
    peaks = e.maps["grad-cam-sess"].amax((2, 3))
    assert (peaks <= e.probabilities[:, :2] + 1e-9).all()


def test_images_and_classes_one_by_one_and_nothing_left_behind() -> None:
    net, x = network(2, GapNet, channels=4), inputs(2)
    method = SESS(ScoreCAM(), scales=(1.0, 1.5), keep=0.5)
    state = snapshot(net)
    both = cfcam.explain(net, x, method, targets=[0, 2], layer="features").maps["score-cam-sess"]
    assert snapshot(net) == state
    assert both.shape == (3, 2, 14, 10)
    alone = cfcam.explain(net, x[1:2], method, targets=2, layer="features").maps["score-cam-sess"]
    torch.testing.assert_close(alone, both[1:2, 1:])


def test_what_is_not_finite_shows() -> None:
    net, x = network(2, GapNet, channels=4), inputs(2)
    x[1, 0, 3, 3] = torch.nan
    e = cfcam.explain(net, x, SESS(scales=(1.0,)), targets=0, layer="features")
    assert [str(s) for s in e.status["grad-cam-sess"][:, 0]] == ["ok", "not finite", "ok"]


@pytest.mark.parametrize("settings", [{"scales": ()}, {"scales": (0.5,)}, {"stride": 0.0}, {"keep": 1.5}], ids=str)
def test_parameters_that_make_no_sense_are_refused(settings: dict) -> None:
    with pytest.raises(MethodError, match=f"SESS.{next(iter(settings))}="):
        SESS(**settings)

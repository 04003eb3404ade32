"""The same maps as Captum, torch-cam and MONAI where they define the same thing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import cfcam
from cfcam.methods import ScoreCAM
from tests.networks import FlattenNet, GapNet, rescale


def normalised(maps: Tensor) -> Tensor:
    flat = maps.flatten(1)
    return (flat - flat.amin(1, keepdim=True)) / (flat.amax(1, keepdim=True) - flat.amin(1, keepdim=True))


@pytest.mark.parametrize(("dims", "kind"), [(2, GapNet), (2, FlattenNet), (3, GapNet)])
def test_grad_cam_equals_captums(dims: int, kind: type[GapNet]) -> None:
    from captum.attr import LayerGradCam

    net = kind(dims).eval()
    x = torch.randn(3, 3, *{2: (14, 10), 3: (6, 8, 10)}[dims])
    target = torch.tensor([2, 0, 3])
    expected = LayerGradCam(net, net.features).attribute(x, target=target, relu_attributions=True)
    maps = cfcam.explain(net, x, "grad-cam", targets=target, layer="features").maps["grad-cam"]
    assert maps.amax() > 0
    torch.testing.assert_close(maps, expected, atol=1e-6 * float(maps.max()), rtol=1e-5)


def test_score_cam_equals_torch_cams_in_its_softmax_form() -> None:
    from torchcam.methods import ScoreCAM as TorchCamScoreCAM

    net = rescale(GapNet()).eval()
    x = torch.randn(1, 3, 14, 10)
    with TorchCamScoreCAM(net, target_layer=net.features, input_shape=(3, 14, 10)) as extractor:
        net(x)
        expected = extractor(1, normalized=True)[0]
    method = ScoreCAM(score="logit", normalize="softmax")
    maps = cfcam.explain(net, x, method, targets=1, layer="features").maps["score-cam"]
    torch.testing.assert_close(normalised(maps[0]), normalised(expected), atol=1e-5, rtol=1e-4)


def test_cam_equals_monais() -> None:
    from monai.networks.nets import DenseNet121
    from monai.visualize import CAM

    net = DenseNet121(spatial_dims=2, in_channels=1, out_channels=3).eval()
    x = torch.randn(2, 1, 64, 64)
    expected = CAM(net, target_layers="class_layers.relu", fc_layers="class_layers.out")(x, class_idx=[2, 2])
    e = cfcam.explain(net, x, "cam", targets=2)
    assert e.layer == "class_layers.relu"
    # MONAI upsamples and inverts min-max; the raw map is the same up to that scaling.
    ours = nn.functional.interpolate(e.maps["cam"], size=(64, 64), mode="bilinear", align_corners=False)
    torch.testing.assert_close(normalised(ours), 1 - normalised(expected), atol=1e-4, rtol=1e-3)

"""float16: gradients that vanish on the way, or overflow, agree with those of float32 and float64."""

import copy

import pytest
import torch
from torch import nn

import cfcam
from cfcam.capture import Capture, Network


class Net(nn.Module):
    """Convolutions, the mean over places (a gradient of 1 / places), a linear head with a factor."""

    def __init__(self, axes=2, factor=1.0, width=16):
        super().__init__()
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
        self.f, self.g = nn.Sequential(conv(1, width, 1), nn.ReLU()), nn.Sequential(conv(width, width, 1), nn.ReLU())
        self.fc, self.factor = nn.Linear(width, 3), factor

    def forward(self, x):
        return self.fc(self.g(self.f(x)).flatten(2).mean(2)) * self.factor


class Shallow(Net):
    """As little as a volume of 160 x 160 x 160 needs."""

    def forward(self, x):
        return self.fc(self.f(x).flatten(2).mean(2))


def built(make=Net, **settings):
    torch.manual_seed(3)
    net = make(**settings).eval()
    with torch.no_grad():
        net.fc.weight /= 8  # as small as those of a wide layer
    return net


def picture(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


def correlation(a, b):
    return min(
        torch.corrcoef(torch.stack([p.flatten().double(), q.flatten().double()]))[0, 1].item()
        for p, q in zip(a.flatten(0, 1), b.flatten(0, 1), strict=True)
    )


METHODS = ["grad-cam", "grad-cam++", "layer-cam", "hires-cam", "xgrad-cam", "eigen-grad-cam", "cf-cam", "refine-cam"]


def test_a_volume_of_160_behind_a_mean():
    net, x = built(Shallow, axes=3), picture(1, 1, 160, 160, 160)
    right = cfcam.explain(net, x, "grad-cam", layer="f", targets=[0, 1]).maps["grad-cam"]
    found = cfcam.explain(net.half(), x.half(), "grad-cam", layer="f", targets=[0, 1]).maps["grad-cam"]
    usable = [k for k in range(2) if right[0, k].any()]
    assert usable
    assert correlation(found[:, usable], right[:, usable]) > 0.999


@pytest.mark.parametrize("method", [*METHODS, "smooth-grad-cam++"])
@pytest.mark.parametrize("layer", ["f", "g"])
def test_every_gradient_method_keeps_its_map(method, layer):
    net, x = built(), picture(1, 1, 512, 512)
    settings = {"layer": layer, "targets": "all"}
    right = cfcam.explain(net, x, method, **settings).maps[method]
    found = cfcam.explain(copy.deepcopy(net).half(), x.half(), method, **settings).maps[method]
    usable = [k for k in range(3) if right[:, k].flatten(1).any(1).all()]
    assert usable
    # By the rounding of the forward pass, which differs between processors, a gate of layer-cam behind two layers may
    # open or close, and a channel may fall to another cluster of cf-cam.
    least = {"layer-cam": 0.998, "cf-cam": 0.995}.get(method, 0.999)
    assert correlation(found[:, usable], right[:, usable]) > least


@pytest.mark.parametrize("factor", [2.0**-12, 1.0, 3e3, 2.0**14])
def test_scaling_neither_overflows_nor_changes_the_size(factor):
    net = built(factor=factor)
    x = picture(2, 1, 64, 64) * (1e-2 if factor > 1 else 1)  # so that the scores themselves fit into float16
    right = Capture(Network(copy.deepcopy(net).double()), x.double(), layer="g", targets=[0, 1]).gradients
    found = Capture(Network(copy.deepcopy(net).half()), x.half(), layer="g", targets=[0, 1]).gradients
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), right, rtol=1e-2, atol=float(right.abs().max()) * 1e-2)


def test_an_image_whose_gradient_overflows_lowers_its_own_scale_only():
    from cfcam.capture.half_precision import gradients

    leaf = torch.ones(3, 4, dtype=torch.float16, requires_grad=True)
    factors = torch.tensor([[2.0**-20], [1.0], [1024.0]], dtype=torch.float16)
    (found,) = gradients((leaf * factors * 2.0**-5).sum(1), [leaf], half=True)
    assert torch.equal(found, torch.tensor([[2.0**-25], [2.0**-5], [32.0]]).expand(3, 4))


def test_what_is_not_finite_stays_so():
    net = built().half()
    x = picture(2, 1, 16, 16).half()
    x[0, 0, 0, 0] = torch.nan
    e = cfcam.explain(net, x, "grad-cam", layer="f", targets=0)
    assert e.status["grad-cam"].tolist()[0] == ["not finite"]
    alone = cfcam.explain(net, x[1:], "grad-cam", layer="f", targets=0)
    assert torch.equal(e.maps["grad-cam"][1:], alone.maps["grad-cam"])


def test_autocast_in_float16():
    net, x = built(), picture(1, 1, 1024, 1024)
    right = cfcam.explain(net, x, "grad-cam", layer="f", targets="all").maps["grad-cam"]
    with torch.autocast("cpu", dtype=torch.float16):
        found = cfcam.explain(net, x, "grad-cam", layer="f", targets="all").maps["grad-cam"]
    usable = [k for k in range(3) if right[0, k].any()]
    assert correlation(found[:, usable], right[:, usable]) > 0.999


def test_float32_and_bfloat16_begin_with_one(monkeypatch):
    seeds = []
    grad = torch.autograd.grad

    def watched(outputs, inputs, grad_outputs=None, **options):
        seeds.append(grad_outputs)
        return grad(outputs, inputs, grad_outputs, **options)

    monkeypatch.setattr(torch.autograd, "grad", watched)
    for net, x in ((built(), picture(1, 1, 8, 8)), (built().bfloat16(), picture(1, 1, 8, 8).bfloat16())):
        cfcam.explain(net, x, "grad-cam", layer="f", targets=0)
    assert seeds
    assert all(seed is None for seed in seeds)


def test_the_automatic_layer_is_that_of_float32():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.block, self.norm = nn.Conv2d(1, 8, 2, 2), nn.Linear(8, 8), nn.LayerNorm(8)
            self.fc = nn.Linear(8, 2)

        def forward(self, x):
            t = self.embed(x).flatten(2).mT
            return self.fc(self.norm(t + self.block(t)).mean(1)) * 2.0**-14

    torch.manual_seed(0)
    net, x = Tokens().eval(), picture(1, 1, 64, 64)
    right = cfcam.explain(net, x, "grad-cam").layer
    assert cfcam.explain(copy.deepcopy(net).half(), x.half(), "grad-cam").layer == right

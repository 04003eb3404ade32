"""Checks of the input, and of whether it is what the network was trained on."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import cfcam
from cfcam import diagnose
from cfcam.capture import Adapter
from cfcam.diagnosis.passes import observed
from cfcam.diagnosis.setup import smooth_noise
from cfcam.imaging import Image, Preprocess
from cfcam.models.demo import EXAMPLES, load_demo_network, make_phantom
from tests.diagnosis.networks import PREPROCESS, Net, gravest, image, phantoms
from tests.networks import FlattenNet, GapNet


def trained(mean: float = 0.0, std: float = 1.0) -> GapNet:
    """A network whose BatchNorm remembers noise with this mean and standard deviation."""
    net = GapNet(norm=True)
    norm = net.features[1]
    norm.momentum = None
    with torch.no_grad():
        net.features[:2].train()(smooth_noise((1, 3, 64, 64)) * std + mean)
    return net.eval()


def test_the_distance_from_the_batch_norm_is_that_of_normal_distributions() -> None:
    net, x = trained(), image() * 3 + 0.5
    norm = net.features[1]
    reached = net.features[0](x).detach().double()
    v, m = reached.var((0, 2, 3), unbiased=False) + norm.eps, reached.mean((0, 2, 3))
    s, r = norm.running_var.double() + norm.eps, norm.running_mean.double()
    expected = []
    for c in range(8):
        q = torch.distributions.Normal(m[c], v[c].sqrt())
        p = torch.distributions.Normal(r[c], s[c].sqrt())
        expected.append(float(torch.distributions.kl_divergence(q, p)))
    (found,) = observed(cfcam.capture.Network(net), x).norms
    assert found.name == "features.1"
    assert found.divergence == pytest.approx(sorted(expected)[3], rel=1e-5)  # torch's median is the lower one
    assert found.distance == pytest.approx(sorted((abs(m - r) / s.sqrt()).tolist())[3], rel=1e-5)


def test_pixels_that_were_not_scaled() -> None:
    x = phantoms("nodule") * torch.tensor(PREPROCESS.std).view(3, 1, 1) + torch.tensor(PREPROCESS.mean).view(3, 1, 1)
    found = diagnose(load_demo_network(), x * 255)
    assert gravest(found) == ["input", "normalisation"]
    assert "0 to 255" in found["input"].means
    assert found["normalisation"].values["divergence"] > 100


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.5, 0.5)])
@pytest.mark.parametrize("known", [False, True])
def test_another_normalisation_is_suspected_and_the_right_one_is_found(mean: float, std: float, known: bool) -> None:
    wrong = Preprocess(mean=(mean,) * 3, std=(std,) * 3)
    x = torch.stack([wrong(Image(make_phantom(**EXAMPLES[n]).image, None, "")) for n in ("nodule", "effusion")])
    found = diagnose(load_demo_network(), x, preprocess=wrong if known else None)
    assert found.ok
    assert found["normalisation"].severity == "warning"
    assert found["normalisation"].advice.startswith("--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225")
    tried = found["normalisation"].values["tried"]
    assert min(tried, key=tried.get) == "ImageNet's normalisation"


def test_a_network_for_raw_pixels_is_recognised() -> None:
    net = trained(mean=120, std=60)
    pixels = (smooth_noise((1, 3, 64, 64)) * 60 + 120).clamp(0, 255)
    assert diagnose(net, pixels)["normalisation"].severity == "ok"
    assert diagnose(net, pixels / 255)["normalisation"].advice.startswith("--mean 0 --std 0.0039")


def test_what_cannot_be_assessed_says_so() -> None:
    found = diagnose(Net().eval(), image())
    assert found["normalisation"].severity == "note"
    assert "no BatchNorm" in found["normalisation"].seen
    assert "made up" in diagnose(load_demo_network())["normalisation"].seen


@pytest.mark.parametrize(
    ("x", "advice"),
    [
        (torch.zeros(3, 32, 32), "x[None]"),
        (torch.randn(2, 32, 32, 3), "x.movedim(-1, 1)"),
        (torch.randint(0, 255, (2, 3, 32, 32), dtype=torch.uint8), "/ 255"),
        (torch.full((1, 3, 32, 32), torch.nan), "nan_to_num"),
        ([[0.0]], "torch.as_tensor"),
        (torch.zeros(5), "x[None]"),
    ],
)
def test_inputs_of_the_wrong_form(x: object, advice: str) -> None:
    found = diagnose(Net().eval(), x)  # type: ignore[arg-type]
    assert found["input"].severity == "problem"
    assert advice in found["input"].advice


def test_a_grey_picture_for_a_colour_network() -> None:
    found = diagnose(Net().eval(), image(channels=1))
    assert gravest(found) == ["run"]
    assert found["run"].values == {"channels": 1, "wanted": 3}
    assert "x.expand(-1, 3, -1, -1)" in found["run"].advice
    repeated = diagnose(Net().eval(), image(channels=1).expand(-1, 3, -1, -1))
    assert repeated.ok
    assert any("grey" in f.seen for f in repeated.of("note"))
    assert not any("grey" in f.seen for f in diagnose(Net().eval(), image()).findings)


def test_a_volume_for_a_network_of_pictures() -> None:
    found = diagnose(Net().eval(), torch.randn(1, 3, 8, 32, 32))
    assert gravest(found) == ["run"]
    assert "Conv2d" in found["run"].seen


def test_a_size_that_does_not_fit_and_one_that_does() -> None:
    found = diagnose(FlattenNet(size=(32, 32)).eval(), image(size=48))
    assert gravest(found) == ["run"]
    assert found["run"].values == {"input": [2, 3, 48, 48], "runs_on": [32, 32], "runs_at": [[32, 32]]}
    assert found["run"].advice == "--size 32"


def test_position_embeddings_of_another_size() -> None:
    class Embedded(Net):
        def __init__(self) -> None:
            super().__init__()
            self.img_size = 32
            self.pos_embed = nn.Parameter(torch.randn(1, 8, 16, 16))

        def tail(self, A: Tensor) -> Tensor:
            return super().tail(A + F.interpolate(self.pos_embed, A.shape[2:]))

    net = Embedded().eval()
    assert diagnose(net, image(size=32))["size"].severity == "ok"
    found = diagnose(net, image(size=48))
    assert found.ok
    assert found["size"].severity == "warning"
    assert "pos_embed" in found["size"].means
    assert found["size"].advice == "--size 32"
    assert diagnose(net).input_shape == (1, 3, 32, 32)


def test_a_network_that_takes_more_than_pictures_is_told_of_the_adapter() -> None:
    class Two(Net):
        def forward(self, x: Tensor, age: Tensor) -> Tensor:
            return super().forward(x) + age

    found = diagnose(Two().eval(), image())
    assert gravest(found) == ["run"]
    assert "Adapter" in found["run"].seen


@pytest.mark.parametrize("n", [1, 3])
def test_a_network_in_an_adapter_is_well(n: int) -> None:
    class Two(Net):
        def forward(self, x: Tensor, age: Tensor) -> Tensor:
            return super().forward(x) + age[:, None]

    ages = torch.rand(n)
    net = Adapter(Two().eval(), lambda x, images: (x[:, :3], ages[images]))
    found = diagnose(net, image(n, channels=4))
    assert found.ok, found
    assert found["batch"].severity == "ok"
    assert found.layer == "model.features"

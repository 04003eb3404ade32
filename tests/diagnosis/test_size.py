"""At which size, and how resized, a network saw pictures in training: told where something tells, else left open."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import nn

from cfcam import diagnose
from cfcam.diagnosis import fit as diagnosis_fit
from cfcam.diagnosis import size as diagnosis_size
from cfcam.diagnosis.fit import Moments, judged
from cfcam.imaging import Preprocess, read_image
from cfcam.imaging.stated import ASSUMED


class Flat(nn.Module):
    """Patches of `step` pixels, and a layer for exactly `grid` x `grid` of them."""

    def __init__(self, step, grid):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, step, stride=step), nn.ReLU())
        self.head = nn.Linear(4 * grid * grid, 2)

    def forward(self, x):
        return self.head(self.features(x).flatten(1))


class Positions(Flat):
    """The same with a class token and an embedding of positions that is not interpolated."""

    def __init__(self, step, grid):
        super().__init__(step, grid)
        self.positions = nn.Parameter(torch.randn(1, 4, grid * grid + 1))
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        patches = self.features(x).flatten(2)
        return self.head((torch.cat([patches.mean(2, keepdim=True), patches], 2) + self.positions).mean(2))


class Pooled(nn.Module):
    """Runs at any size, or at sizes that can be divided."""

    def __init__(self, divisor=1, norm=False):
        super().__init__()
        torch.manual_seed(3)
        layers, channels = [], 3
        for wanted in (12, 16, 24, 24):
            layers += [nn.Conv2d(channels, wanted, 3, 2, 1), *([nn.BatchNorm2d(wanted, momentum=None)] if norm else [])]
            layers.append(nn.ReLU())
            channels = wanted
        self.features, self.head, self.divisor = nn.Sequential(*layers), nn.Linear(channels, 2), divisor

    def forward(self, x):
        if x.shape[-1] % self.divisor:
            raise ValueError(f"{x.shape[-1]} is not a multiple of {self.divisor}")
        return self.head(self.features(x).mean((2, 3)))


def prepared(pixels, way="stretch", /, **stated):
    sources = {"size": ASSUMED, "resize": ASSUMED, "interpolation": ASSUMED} | stated
    return Preprocess(size=pixels, resize=way, mean=(0.5,) * 3, std=(0.5,) * 3, sources=sources)


def noise(size, count=1):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def draw(path, seed, size):
    """Discs and lines of several sizes on a soft ground, with grain of the picture's own pixels."""
    rng = np.random.default_rng(seed)
    picture = Image.new("L", size, 90)
    pen = ImageDraw.Draw(picture)
    for _ in range(25):
        x, y, r = rng.uniform(0, size[0]), rng.uniform(0, size[1]), rng.uniform(3, 40)
        pen.ellipse((x - r, y - r, x + r, y + r), fill=int(rng.integers(20, 235)))
        pen.line((x, y, *rng.uniform(0, min(size), 2)), fill=int(rng.integers(20, 235)), width=2)
    values = np.asarray(picture) + rng.normal(0, 12, (size[1], size[0]))
    Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wide")
    return [draw(folder / f"{n:02}.png", n, (360, 220)) for n in range(40)]


@pytest.fixture(scope="module")
def square(tmp_path_factory):
    folder = tmp_path_factory.mktemp("square")
    return [draw(folder / f"{n:02}.png", n, (280, 280)) for n in range(40)]


def remembering(files, how):
    """A network whose BatchNorms remember exactly some pictures, prepared in one way."""
    network = Pooled(norm=True).train()
    with torch.no_grad():
        network(torch.stack([how(read_image(file)) for file in files]))
    return network.eval()


def examined(network, files, how):
    x = torch.stack([how(read_image(file)) for file in files])
    return diagnose(network, x, preprocess=how, files=files)


@pytest.mark.parametrize(("make", "side"), [(lambda: Flat(8, 12), 96), (lambda: Positions(16, 12), 192)])
def test_a_network_of_one_size_alone_says_which_when_another_is_assumed(make, side):
    finding = diagnose(make().eval(), noise(224), preprocess=prepared(224))["run"]
    assert f"it runs on {side} x {side} only, of the usual sizes" in finding.means
    assert finding.advice == f"--size {side}"
    assert finding.values["runs_at"] == [[side, side]]


def test_the_assumed_size_is_right_where_it_is_the_only_one():
    finding = diagnose(Flat(8, 28).eval(), noise(224), preprocess=prepared(224))["size"]
    assert finding.severity == "ok"
    assert finding.seen == "224 x 224: of the usual sizes it runs at this one only"
    assert finding.values["runs_at"] == [[224, 224]]


def test_sizes_that_one_layer_takes_for_the_same():
    finding = diagnose(Flat(32, 9).eval(), noise(288), preprocess=prepared(288))["size"]
    assert finding.severity == "warning"
    assert "it runs at 288 x 288 and 299 x 299; nobody states at which it was trained" in finding.seen
    assert finding.values["runs_at"] == [[288, 288], [299, 299]]


@pytest.mark.parametrize("x", [None, noise(224)])
def test_any_size_is_said_and_what_is_assumed(x):
    finding = diagnose(Pooled().eval(), x, preprocess=prepared(224))["size"]
    assert finding.severity == "note"
    assert "it runs at any size; at which it was trained nobody states, and 224 x 224 is assumed" in finding.seen
    assert "pictures do not tell here: it has no BatchNorm" in finding.means


def test_noise_of_the_usual_size_is_of_an_assumed_one():
    finding = diagnose(Pooled().eval())["size"]
    assert "224 x 224 is assumed" in finding.seen


def test_a_size_that_is_given_is_not_doubted():
    finding = diagnose(Pooled().eval(), noise(224), preprocess=prepared(224, size="given"))["size"]
    assert finding.severity == "ok"
    assert "assumed" not in finding.seen


def test_sizes_that_can_be_divided():
    finding = diagnose(Pooled(divisor=128).eval(), noise(224), preprocess=prepared(224))["run"]
    assert finding.values["runs_at"] == [[128, 128], [256, 256]]
    assert "not every size can be divided" in finding.means
    assert finding.advice == "--size 256, if that is how it was trained: nobody states which"


def test_trying_sizes_is_cheap_and_ends_in_time(monkeypatch):
    tried = []
    monkeypatch.setattr(diagnosis_size, "observed", lambda network, x: tried.append(x.shape[-1]) or True)
    diagnose(Pooled().eval(), noise(224), preprocess=prepared(224))
    assert tried == [128, 256]  # of which one is twice the other: it is a network of any size
    monkeypatch.setattr(diagnosis_size, "_SECONDS", -1.0)
    finding = diagnose(Flat(8, 28).eval(), noise(224), preprocess=prepared(224))["size"]
    assert "15 of them were not tried, for the time" in finding.seen
    assert finding.severity == "warning"


def test_batch_norms_leave_out_a_size_that_is_assumed_wrongly(wide):
    network = remembering(wide[:24], prepared(96))
    found = examined(network, wide[24:], prepared(224))
    finding = found["size"]
    assert finding.severity == "warning"
    assert "224 x 224 is assumed, and at " in finding.seen
    assert [96, 96] in finding.values["fits"]
    assert [224, 224] not in finding.values["fits"]
    assert "no proof" in finding.means
    assert finding.values["divergence"]["stretch 96 x 96"] < finding.values["divergence"]["stretch 224 x 224"] / 2


def test_the_right_size_is_not_doubted(wide):
    finding = examined(remembering(wide[:24], prepared(96)), wide[24:], prepared(96))["size"]
    assert finding.severity in ("ok", "note")
    assert [96, 96] in finding.values["fits"]


def test_pictures_unlike_those_of_training_tell_nothing(wide):
    network = remembering(wide[:24], prepared(96))
    network.features[1].running_mean += 3
    network.features[4].running_mean += 3
    finding = examined(network, wide[24:], prepared(224))["size"]
    assert finding.severity == "note"
    assert "in none of the ways: see normalisation" in finding.means


def test_few_pictures_and_little_time_tell_nothing(wide, monkeypatch):
    network = remembering(wide[:24], prepared(96))
    finding = examined(network, wide[:5], prepared(224))["size"]
    assert "it was given 5 pictures, and 8 to 16 are needed" in finding.means
    monkeypatch.setattr(diagnosis_fit, "SECONDS", 0.0)
    assert "that would take more than 0 seconds" in examined(network, wide[24:], prepared(224))["size"].means


@pytest.mark.parametrize("truth", ["stretch", "pad"])
def test_the_way_of_resizing_is_judged_on_pictures_that_are_not_square(wide, truth):
    other = {"stretch": "pad", "pad": "stretch"}[truth]
    network = remembering(wide[:24], prepared(128, truth))
    finding = examined(network, wide[24:], prepared(128, other, size="given"))["resizing"]
    assert finding.severity == "warning"
    assert truth in finding.values["fits"]
    assert other not in finding.values["fits"]
    right = examined(network, wide[24:], prepared(128, truth, size="given"))["resizing"]
    assert right.severity in ("ok", "note")
    assert truth in right.values["fits"]


@pytest.mark.parametrize("stated", [{}, {"size": "given"}])
def test_square_pictures_do_not_tell_how_they_were_resized(square, stated):
    network = remembering(square[:24], prepared(96))
    finding = examined(network, square[24:], prepared(96, **stated))["resizing"]
    assert finding.severity == "note"
    assert "all are square" in finding.means


def test_a_way_that_is_given_is_not_doubted(wide):
    network = remembering(wide[:24], prepared(128, "pad"))
    found = examined(network, wide[24:], prepared(128, size="given", resize="given"))
    assert "resizing" not in found


def test_nothing_of_the_network_is_changed(wide):
    network = remembering(wide[:24], prepared(96))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    examined(network, wide[24:], prepared(224))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_the_divergence_is_that_of_normal_distributions():
    norm = nn.BatchNorm2d(1, eps=0.0)
    norm.running_mean.fill_(1.0)
    norm.running_var.fill_(4.0)
    one = Moments(norm, torch.tensor([[2.0], [4.0]]).double(), torch.tensor([[5.0], [17.0]]).double())
    even = torch.full((1, 2), 0.5).double()
    variance, distance = 11 - 9, (3 - 1) ** 2 / 4  # mean 3, mean square 11
    expected = (variance / 4 + distance - 1 - np.log(variance / 4)) / 2
    assert float(one.divergence(even)) == pytest.approx(expected)


def test_a_way_is_left_out_only_beyond_doubt():
    norm = nn.BatchNorm2d(1, eps=0.0)
    norm.running_var.fill_(1.0)
    draw = torch.Generator().manual_seed(0)
    base = 0.1 * torch.randn(16, 1, generator=draw).double()

    def seen(shift):
        mean = base + shift
        return [Moments(norm, mean, mean.square() + 1)]

    near, far = ("stretch", (96, 96)), ("stretch", (224, 224))
    assert judged({near: seen(0.1), far: seen(1.0)}).possible == (near,)
    assert set(judged({near: seen(0.1), far: seen(0.11)}).possible) == {near, far}

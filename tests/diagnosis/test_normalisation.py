"""Which normalisation a network without BatchNorms wants: named where its answers leave little doubt, else not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cfcam import diagnose
from cfcam.diagnosis.normalisation import BYTES, HALVES, IMAGENET, UNIT, Answers, _best, normalised
from cfcam.imaging import Preprocess
from cfcam.imaging.stated import ASSUMED


class Sharp(nn.Module):
    """Sure of each picture, and of different ones differently, if pixels come as trained: classes by brightness."""

    def __init__(self, mean=0.0, std=1.0):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 1), nn.Linear(3, 3)
        self.mean, self.std_ = mean, std
        with torch.no_grad():
            self.head.weight.copy_(torch.eye(3))
            self.head.bias.zero_()

    def forward(self, x):
        pixels = (self.conv(x) * 0).mean(1) + x.mean(1) * self.std_ + self.mean  # 0..1 again, if x is as trained
        level = pixels.mean((1, 2))
        centres = torch.tensor([0.2, 0.5, 0.8])
        return self.head(60 * (0.15 - (level[:, None] - centres).abs()).clamp(min=0))


def pictures(count=24):
    level = torch.tensor([0.2, 0.5, 0.8]).repeat(count // 3)
    noise = 0.1 * torch.rand(count, 3, 12, 12, generator=torch.Generator().manual_seed(0)) - 0.05
    return level.reshape(-1, 1, 1, 1) + noise


def prepared(mean, std):
    sources = dict.fromkeys(("mean", "std", "size", "resize", "interpolation"), ASSUMED)
    return Preprocess(size=12, mean=(mean,) * 3, std=(std,) * 3, sources=sources)


def found(network, used, count=24):
    x = pictures(count)
    how = {IMAGENET: Preprocess(size=12, sources={"mean": ASSUMED, "std": ASSUMED}), HALVES: prepared(0.5, 0.5),
           UNIT: prepared(0.0, 1.0), BYTES: prepared(0.0, 1 / 255)}[used]  # fmt: skip
    return diagnose(network.eval(), normalised(x)[used], preprocess=how)


@pytest.mark.parametrize(("mean", "std", "wanted"), [(0.0, 1.0, UNIT), (0.449, 0.226, IMAGENET), (0.0, 1 / 255, BYTES)])
@pytest.mark.parametrize("used", [IMAGENET, HALVES, UNIT, BYTES])
def test_what_the_network_wants_is_named(mean, std, wanted, used):
    finding = found(Sharp(mean, std), used)["normalisation"]
    assert finding.values["best"] == wanted
    assert finding.values["used"] == used
    if used == wanted:
        assert finding.severity == "ok"
    else:
        assert finding.severity == "warning"
        assert f"the network seems to want {wanted}, and is given {used}" in finding.seen
        assert "no proof" in finding.means
    assert set(finding.values["tried"]) >= {IMAGENET, HALVES, UNIT, BYTES}


def test_a_network_that_answers_the_same_always_is_not_judged():
    class Same(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 2, 1), nn.Linear(2, 2)

        def forward(self, x):
            return self.head(self.conv(x).mean((2, 3)) * 0)

    finding = found(Same(), IMAGENET)["normalisation"]
    assert finding.severity == "note"
    assert finding.seen.startswith("not assessed: which normalisation the network wants cannot be judged")


def test_few_pictures_are_not_judged():
    finding = found(Sharp(), IMAGENET, 6)["normalisation"]
    assert finding.seen.startswith("not assessed")
    assert "6 pictures" in finding.seen


def test_all_given_pictures_are_looked_at_for_the_normalisation():
    assert found(Sharp(), IMAGENET, 30)["normalisation"].values["pictures"] == 30
    assert found(Sharp(), IMAGENET, 60)["normalisation"].values["pictures"] == 32


def test_entropy_and_information_are_what_they_are_called():
    p = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]], [[0.5, 0.5]]], dtype=torch.float64)
    log2 = torch.tensor(2.0, dtype=torch.float64).log()
    answers = Answers(torch.stack([0 * log2, 0 * log2, log2]), p, None)
    even = torch.full((1, 3), 1 / 3, dtype=torch.float64)
    torch.testing.assert_close(answers.information(even), (log2 - log2 / 3)[None])


def test_both_must_say_so():
    torch.manual_seed(0)
    sure = torch.zeros(20, 1, 2, dtype=torch.float64)
    sure[:, :, 0] = 1  # of the same, always: it is surest, and tells nothing
    unsure = torch.tensor([[0.9, 0.1], [0.1, 0.9]], dtype=torch.float64).repeat(10, 1)[:, None]
    entropy = -torch.xlogy(unsure, unsure).sum((1, 2))
    assert _best({"a": Answers(torch.zeros(20).double(), sure, 1.0), "b": Answers(entropy, unsure, 1.0)})[0] is None
    telling = sure.clone()
    telling[::2] = torch.tensor([0.0, 1.0], dtype=torch.float64)
    both = {"a": Answers(torch.zeros(20).double(), telling, 0.9), "b": Answers(entropy, unsure, 0.8)}
    assert _best(both)[0] == "a"
    assert _best(both | {"b": Answers(entropy, unsure, 0.95)})[0] is None  # mirrored pictures agree better with b


def test_how_the_pictures_were_prepared_is_a_finding():
    finding = found(Sharp(), IMAGENET)["preparation"]
    assert finding.severity == "warning"
    assert "normalised with ImageNet's mean and SD: not stated by the network" in finding.values["assumed"][0]
    assert "preparation" not in diagnose(Sharp().eval(), pictures(9), preprocess=Preprocess(size=12))

"""Whether an image's answer depends on the others in its batch: `cfcam.diagnose` says so, and what mixes them."""

from __future__ import annotations

import pytest
from torch import Tensor, nn

from cfcam import diagnose
from tests.diagnosis.networks import Net, image
from tests.diagnosis.test_repeat import Net as Small
from tests.diagnosis.test_repeat import diagnosed


def test_images_that_mix_in_a_batch() -> None:
    class Mixing(Net):
        def tail(self, A: Tensor) -> Tensor:
            return super().tail(A - A.mean(0, keepdim=True) + 1)

    found = diagnose(Mixing().eval(), image())
    assert found["batch"].severity == "problem"
    norm = nn.BatchNorm2d(8, track_running_stats=False)

    class Normed(Net):
        def __init__(self) -> None:
            super().__init__()
            self.norm = norm

        def tail(self, A: Tensor) -> Tensor:
            return super().tail(self.norm(A).relu())

    assert diagnose(Normed().eval(), image())["batch"].severity == "problem"
    assert diagnose(Net().eval(), image())["batch"].severity == "ok"


def test_one_image_at_a_time() -> None:
    class Alone(Net):
        def tail(self, A: Tensor) -> Tensor:
            return self.classifier(A.mean((2, 3)).reshape(1, 8))

    found = diagnose(Alone().eval(), image(1))
    assert found["batch"].severity == "warning"
    assert "batch_size=1" in found["batch"].advice


class NormTrains(Small):
    def forward(self, x: Tensor) -> Tensor:
        self.f[1].train()
        return super().forward(x)


class BatchStatistics(Small):
    def __init__(self) -> None:
        super().__init__()
        self.f[1] = nn.BatchNorm2d(6, track_running_stats=False)


class AttendsOverBatch(Small):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 1)

    def forward(self, x: Tensor) -> Tensor:
        f = self.f(x).mean((2, 3))[:, None]  # (images, 1, channels): the images are taken for the sequence
        return self.fc(self.attention(f, f, f)[0][:, 0])


class Sequence(Small):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.f(x).mean((2, 3)).cumsum(0))  # as nn.LSTM: the first image does not see the others


class FromFourOn(Small):
    def forward(self, x: Tensor) -> Tensor:
        f = self.f(x).mean((2, 3))
        return self.fc(f + f.mean(0) if len(x) >= 4 else f)


class OfThree(Small):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.f(x).view(3, 6, -1).mean(2))


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        (NormTrains, "BatchNorm 'f.1' runs in training mode"),
        (BatchStatistics, "BatchNorm 'f.1' runs in training mode, or keeps no statistics"),
        (Sequence, ""),
        (FromFourOn, ""),
        (AttendsOverBatch, "first seen in the output of 'attention' (MultiheadAttention)"),
    ],
)
def test_images_that_do_mix_and_where(kind: type[Small], cause: str) -> None:
    found = diagnosed(kind)
    assert found["repeat"].severity == "ok"
    assert found["batch"].severity == "problem"
    assert cause in found["batch"].seen
    assert "images mix" in found["batch"].means


def test_blank_pictures_do_not_hide_that_images_mix() -> None:
    assert diagnose(BatchStatistics().eval(), image(2) * 0)["batch"].severity == "problem"


def test_a_batch_size_written_into_forward() -> None:
    found = diagnosed(OfThree)
    assert found["batch"].severity == "warning"
    assert "runs on 3 images and not on one" in found["batch"].seen
    assert "a batch size is written into its forward" in found["batch"].means
    assert found["layer"].severity == "ok"
    assert found["evidence"].check == "evidence"

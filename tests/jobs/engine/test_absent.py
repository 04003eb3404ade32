"""A class that an image does not have costs the others nothing, and is told in one line."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cfcam import Explanation
from cfcam.errors import TargetError
from cfcam.explainer_windows import Windows
from cfcam.jobs.engine.inference import Engine, prepare_methods

CLASSES = ("background", "lesion", "cyst", "ghost")


class Places(nn.Module):
    """A segmentation whose every place sees itself alone: above 0 is a lesion, below a cyst, and nothing a ghost."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv3d(1, 2, 1, bias=False)
        self.head = nn.Conv3d(2, 4, 1)
        self.features.weight.data = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1, 1)
        self.head.weight.data = torch.tensor([[0.0, 0], [2, 0], [0, 1], [0, 0]]).view(4, 2, 1, 1, 1)
        self.head.bias.data = torch.tensor([0.0, 0, 0, -9])

    def forward(self, x):
        return self.head(self.features(x).relu())


def engine(*targets: str | int, windows: int | None = None) -> Engine:
    found = Engine(Places(), prepare_methods(["hires-cam"]), targets, layer="features", classes=CLASSES, batch_size=2)
    found.windows = None if windows is None else Windows(windows, 0.5)
    return found


def scan(cyst: float = -1.0) -> torch.Tensor:
    """A lesion of 3 in the first corner and a cyst in the last, in 8 x 4 x 12 voxels."""
    x = torch.zeros(1, 8, 4, 12)
    x[0, 1, 1, 1], x[0, 7, 3, 9:] = 3.0, cyst
    return x


@pytest.mark.parametrize("windows", [None, 4])
@pytest.mark.parametrize("targets", [("lesion", "ghost", "cyst"), ("ghost", 1, 2), ("all",)])
def test_the_others_are_explained_whole_and_in_windows(windows, targets):
    """By hand: the map of a class is its logit where it is predicted, 2 x 3 and 1; windows without are 0."""
    lesion, cyst = torch.zeros(8, 4, 12), torch.zeros(8, 4, 12)
    lesion[1, 1, 1], cyst[7, 3, 9:] = 6.0, 1.0
    (found,) = engine(*targets, windows=windows)([scan()])
    assert isinstance(found, Explanation)
    of = dict(zip(found.targets[0].tolist(), found.maps["hires-cam"][0], strict=True))
    assert set(of) - {0} == {1, 2}
    torch.testing.assert_close(of[1].reshape(8, 4, 12), lesion)
    torch.testing.assert_close(of[2].reshape(8, 4, 12), cyst)
    assert found.said == (("ghost is predicted nowhere in this image: there is no map of it",),)


def test_of_a_batch_only_the_image_without_it_says_so():
    both, none = engine("lesion", "cyst")([scan(), scan(cyst=0.0)])
    assert both.targets.tolist() == [[1, 2]]
    assert both.said == ((),)
    assert none.targets.tolist() == [[1]]
    assert none.said == (("cyst is predicted nowhere in this image: there is no map of it",),)
    (several,) = engine("all")([scan(cyst=0.0)])
    assert several.said == (("cyst, ghost are predicted nowhere in this image: there is no map of them",),)


def test_where_none_is_there_the_image_fails_as_before():
    with_it, without = engine("cyst", "ghost")([scan(), scan(cyst=0.0)])
    assert with_it.targets.tolist() == [[2]]
    assert str(without).startswith(
        "cyst is predicted nowhere in this image, so there is nothing to explain: name another"
    )
    with pytest.raises(TargetError, match="no class is called 'nowhere'"):
        engine("lesion", "nowhere")([scan()])

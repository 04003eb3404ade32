"""The contract of methods on other tasks: boxes of a detector, windows of a segmentation, files of several modalities.

What `test_methods.py` states of classes of an image is stated here of each task, for every method that applies to it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import cfcam
from cfcam.capture import Detections, Detector
from cfcam.clinical.removal import Removal
from cfcam.errors import CfcamError, TargetError
from cfcam.explainer_windows import explain_windows
from tests.contract.snapshot import snapshot
from tests.contract.test_methods import METHODS, SEVERAL_PASSES, assert_same

CONV, NORM = {2: nn.Conv2d, 3: nn.Conv3d}, {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
NEEDS_POOLING = {"cam", "finer-cam"}  # which look at one class against others, by the weights of a linear classifier


def features(axes: int, channels: int, wide: int = 6) -> nn.Sequential:
    conv, norm = CONV[axes], NORM[axes]
    return nn.Sequential(
        conv(channels, wide, 3, padding=1), norm(wide), nn.ReLU(), conv(wide, wide, 3, padding=1), nn.ReLU()
    )


class Quarters(nn.Module):
    """Two classes at a box on each quarter of the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.features = features(2, 3)
        self.head = nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return 8 * self.head(nn.functional.adaptive_avg_pool2d(self.features(x), 2))


def read(logits: Tensor, size: tuple[int, int]) -> Detections:
    h, w = size[0] / 2, size[1] / 2
    boxes = logits.new_tensor([[0, 0, w, h], [w, 0, 2 * w, h], [0, h, w, 2 * h], [w, h, 2 * w, 2 * h]])
    return Detections(boxes.expand(len(logits), 4, 4), logits.flatten(2).transpose(1, 2))


class Organs(nn.Module):
    """Three classes at each place of a volume, each of which is somewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.features = features(3, 2)
        self.head = nn.Conv3d(6, 3, 1)
        self.head.weight.data.abs_()  # all of them speak for each class somewhere

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


@dataclass(frozen=True)
class Task:
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    layer: str
    targets: Any
    wrong: Any
    without: frozenset[str] = frozenset()

    def net(self) -> nn.Module:
        torch.manual_seed(3)
        return self.make().eval()

    def x(self) -> Tensor:
        return torch.rand(self.shape, generator=torch.Generator().manual_seed(5))

    def explain(self, net: nn.Module, x: Tensor, method: str, targets: Any = None) -> cfcam.Explanation:
        return cfcam.explain(net, x, method, targets=targets or self.targets, layer=self.layer)


class Windows(Task):
    def explain(self, net: nn.Module, x: Tensor, method: str, targets: Any = None) -> cfcam.Explanation:
        explainer = cfcam.Explainer(net, method, layer=self.layer)
        return explain_windows(explainer, x, 4, overlap=0.0, targets=targets or self.targets)


# Asked for at all places, so that no class is missing in one of the images.
PLACES = [cfcam.Segmentation(c, torch.ones(4, 4, 8, dtype=torch.bool)) for c in (1, 2)]
TASKS = {
    "box": Task(
        lambda: Detector(Quarters(), read), (2, 3, 8, 12), "model.features",
        [cfcam.Box([0, 0, 6, 4]), cfcam.MissingBox([6, 4, 12, 8], 1), "box at 0,4,6,8"],
        cfcam.Box([0, 0, 60, 4]), frozenset(NEEDS_POOLING),
    ),
    "windows": Windows(Organs, (2, 2, 4, 4, 8), "features", PLACES, 7, frozenset(NEEDS_POOLING)),
    "modalities": Task(
        lambda: nn.Sequential(OrderedDict(features=features(3, 4), pool=nn.AdaptiveAvgPool3d(1), flat=nn.Flatten(),
                                          head=nn.Linear(6, 3))), (2, 4, 4, 6, 5), "features", [0, 2], 7
    ),
}  # fmt: skip
BOTH = [(task, method) for task in TASKS for method in METHODS if method not in TASKS[task].without]


@pytest.fixture(params=BOTH, ids=lambda both: "-".join(both))
def both(request: pytest.FixtureRequest) -> tuple[Task, str]:
    return TASKS[request.param[0]], request.param[1]


def test_images_and_targets_do_not_mix_and_nothing_is_left_behind(both: tuple[Task, str]) -> None:
    """Maps are finite, an image alone is as in a batch, a target alone as among others, in any mode of the network."""
    task, method = both
    net, x = task.net(), task.x()
    together = task.explain(net, x, method).maps[method]
    assert together.isfinite().all()
    assert together.shape[:2] == (2, len(task.targets))
    assert not together.requires_grad
    x.requires_grad_()
    output = net(x)
    (output.values if isinstance(output, Detections) else output).sum().backward()
    net.train().requires_grad_(False)
    state, gradient = snapshot(net), x.grad.clone()
    with torch.no_grad():
        alone = task.explain(net, x[1:], method).maps[method]
        single = task.explain(net, x, method, task.targets[-1:]).maps[method]
    assert snapshot(net) == state
    assert torch.equal(x.grad, gradient)
    assert_same(alone, together[1:], 1e-4)
    assert_same(single, together[:, -1:], 1e-4)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("method", ["grad-cam", "hires-cam", "cf-cam", "eigen-cam"])
def test_precision(name: str, method: str) -> None:
    task = TASKS[name]
    net, x = task.net(), task.x()
    exact = task.explain(net, x, method)
    double = task.explain(task.net().double(), x.double(), method)
    assert double.maps[method].dtype == torch.float64
    assert_same(double.maps[method].float(), exact.maps[method], 1e-3)
    coarse = task.explain(task.net().bfloat16(), x.bfloat16(), method)
    assert coarse.maps[method].dtype == torch.float32
    likeness = nn.functional.cosine_similarity(coarse.maps[method].flatten(2), exact.maps[method].flatten(2), 2)
    assert float(likeness.min()) > 0.95


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("method", ["grad-cam", "score-cam"])
def test_a_mistake_is_one_line_and_leaves_nothing(name: str, method: str) -> None:
    task = TASKS[name]
    net = task.net().train()
    state = snapshot(net)
    with pytest.raises(TargetError) as error:
        task.explain(net, task.x(), method, [task.wrong])
    assert "\n" not in str(error.value)
    assert snapshot(net) == state


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("method", ["hires-cam", "score-cam"])
def test_a_network_that_raises_is_left_as_it_was(name: str, method: str) -> None:
    task = TASKS[name]
    net, passes = task.net().train(), []

    def fail(*_: object) -> None:
        passes.append(1)
        if len(passes) > (method in SEVERAL_PASSES):
            raise RuntimeError("the user's own error")

    net.register_forward_hook(fail)
    state = snapshot(net)
    with pytest.raises(RuntimeError, match="the user's own error"):
        task.explain(net, task.x(), method)
    passes.clear()
    assert snapshot(net) == state


def test_regions_of_an_image_do_not_depend_on_others_and_asking_the_network_leaves_nothing() -> None:
    task = TASKS["modalities"]
    net, x = task.net().train(), task.x()
    masks = {"front": torch.arange(4) < 2, "left": torch.arange(5) < 2}
    shape = {"front": (4, 1, 1), "left": (1, 1, 5)}
    masks = {name: mask.view(shape[name]).expand(4, 6, 5) for name, mask in masks.items()}
    explainer = cfcam.Explainer(net, "hires-cam", layer="features")
    state, before = snapshot(net), x.clone()
    e = explainer(x, [0, 2])
    for n in range(2):
        removal = Removal(explainer, x[n : n + 1], [0, 2], target=1)
        of_batch = e.by_region(masks, image=n, target=1, removal=removal)
        alone = explainer(x[n : n + 1], 2).by_region(masks, removal=Removal(explainer, x[n : n + 1], 2))
        for one, other in zip(of_batch, alone, strict=True):
            assert one.name == other.name
            assert one.share == pytest.approx(other.share, rel=1e-4)
            assert one.contribution == pytest.approx(other.contribution, rel=1e-4)
            assert one.removal == pytest.approx(other.removal, rel=1e-4)
    assert snapshot(net) == state
    assert torch.equal(x, before)
    with pytest.raises(CfcamError) as error:
        e.by_region({"front": masks["front"][:3]})
    assert "\n" not in str(error.value)
    assert snapshot(net) == state

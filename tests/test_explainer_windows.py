"""Sliding windows: where the network is local the blend is the whole map, and nowhere are there seams."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cfcam.errors import InputError, TargetError
from cfcam.explainer import Explainer
from cfcam.explainer_windows import explain_windows
from cfcam.methods.base import Method
from tests.contract.snapshot import snapshot
from tests.networks import CONV, GapNet

CELL = 4


class Local(nn.Module):
    """Cells of 4 voxels that do not see each other, added up (or averaged): equivariant to shifts by a cell."""

    def __init__(self, dims: int = 3, classes: int = 3, *, mean: bool = False) -> None:
        super().__init__()
        conv = CONV[dims]
        self.features = nn.Sequential(conv(1, 6, CELL, stride=CELL), nn.ReLU(), conv(6, 8, 1), nn.ReLU())
        self.classifier = nn.Linear(8, classes)
        self.mean = mean

    def forward(self, x):
        flat = self.features(x).flatten(2)
        return self.classifier(flat.mean(2) if self.mean else flat.sum(2))


class Bright(nn.Module):
    """Two logits: the mean of the first and of the second channel of cells of 2 voxels."""

    def __init__(self, dims: int = 2) -> None:
        super().__init__()
        self.features = CONV[dims](2, 2, 2, stride=2, bias=False, groups=2)
        nn.init.constant_(self.features.weight, 1 / 2**dims)

    def forward(self, x):
        return self.features(x).flatten(2).mean(2)


def smooth(*shape, seed=0):
    """Noise without fine structure, so that neighbouring cells of a map are alike."""
    coarse = torch.randn(
        *shape[:2], *[max(2, s // 12) for s in shape[2:]], generator=torch.Generator().manual_seed(seed)
    )
    return F.interpolate(coarse, shape[2:], mode={4: "bicubic", 5: "trilinear"}[len(shape)])


@pytest.mark.parametrize("weight", ["gaussian", "hann", "constant"])
@pytest.mark.parametrize(
    ("dims", "spatial", "window"), [(2, (40, 24), 16), (3, (24, 32, 16), (16, 8, 16)), (3, (28, 20, 12), 8)]
)
def test_windows_of_a_local_network_blend_to_the_map_of_the_whole(dims, spatial, window, weight):
    x = torch.randn(2, 1, *spatial)
    explainer = Explainer(Local(dims), ["grad-cam", "grad-cam++"])
    whole = explainer(x, [0, 2])
    blended = explain_windows(explainer, x, window, 0.5, [0, 2], weight=weight, batch_size=3)
    torch.testing.assert_close(blended.maps["grad-cam"], whole.maps["grad-cam"])
    assert blended.input_size == spatial
    torch.testing.assert_close(blended.heatmaps("grad-cam"), whole.heatmaps("grad-cam"))


def test_the_map_of_cam_does_not_depend_on_the_windows_even_where_features_are_averaged():
    x = torch.randn(1, 1, 32, 24, 24)
    explainer = Explainer(Local(mean=True), "cam")
    whole = explainer(x, 1).maps["cam"]
    torch.testing.assert_close(explain_windows(explainer, x, 16, 0.25, 1).maps["cam"], whole)


def test_an_image_no_larger_than_the_window_is_explained_as_ever():
    x = torch.randn(1, 1, 16, 16, 12)
    explainer = Explainer(Local(), "grad-cam")
    torch.testing.assert_close(
        explain_windows(explainer, x, 64).maps["grad-cam"], explainer(x).maps["grad-cam"], rtol=0, atol=0
    )


class Squared(Bright):
    """The gradient of a window grows with its own brightness, so that the windows' maps differ in scale."""

    def forward(self, x):
        return super().forward(x) ** 2


def at_seams(maps, window):
    """Largest step of a map (..., cells of 2 voxels) where windows that overlap by half end, over that elsewhere."""
    steps = maps.diff(dim=-1).abs().flatten(0, -2).amax(0)
    seams = torch.arange(window // 2, 2 * maps.shape[-1], window // 2) // 2 - 1
    elsewhere = torch.ones(len(steps), dtype=torch.bool)
    elsewhere[seams] = False
    return float(steps[seams].max() / steps[elsewhere].max())


@pytest.mark.parametrize("window", [16, 32])
@pytest.mark.parametrize("dims", [2, 3])
def test_no_step_shows_where_windows_end(dims, window):
    shape = (1, 2, *[16] * (dims - 1), 128)
    ramp = torch.linspace(0.1, 1, 128).expand(shape)
    noise = 1 + 0.3 * smooth(*shape, seed=2)
    explainer = Explainer(Squared(dims), "grad-cam")
    for x, hard in ((ramp, 4), (noise, 1.1)):
        size = (*[16] * (dims - 1), window)
        tiled = explain_windows(explainer, x, size, 0.0, 0, weight="constant").maps["grad-cam"][0, 0]
        flat = explain_windows(explainer, x, size, 0.5, 0, weight="constant").maps["grad-cam"][0, 0]
        assert at_seams(tiled, window) > hard  # the measure sees seams
        assert at_seams(flat, window) > hard
        for weight in ("gaussian", "hann"):
            blended = explain_windows(explainer, x, size, 0.5, 0, weight=weight).maps["grad-cam"][0, 0]
            assert at_seams(blended, window) < 1


def test_a_window_with_little_evidence_stays_weak():
    x = torch.zeros(1, 2, 8, 32)
    x[:, 0, :, :16] = 1.0
    x[:, 0, :, 16:] = 0.1
    maps = explain_windows(Explainer(Bright(), "grad-cam"), x, 8, 0.0, 0, weight="constant").maps["grad-cam"][0, 0]
    left, right = maps[:, :8], maps[:, 8:]
    torch.testing.assert_close(right, 0.1 * left)


def test_all_windows_are_explained_for_the_class_of_the_whole():
    x = torch.zeros(1, 2, 8, 32)
    x[:, 0, :, :8] = 0.9  # one of four windows holds class 0, and more of it
    x[:, 1, :, 8:] = 0.5  # the others class 1
    explainer = Explainer(Bright(), "grad-cam", classes=["first", "second"])
    by_mean = explain_windows(explainer, x, 8, 0.0)
    torch.testing.assert_close(by_mean.logits, torch.tensor([[0.9 / 4, 0.5 * 3 / 4]]))
    assert by_mean.label(0, 0) == "second"
    torch.testing.assert_close(by_mean.probabilities, by_mean.logits.softmax(1))
    torch.testing.assert_close(by_mean.scores, by_mean.logits[:, 1:])
    assert by_mean.maps["grad-cam"][..., :4].abs().max() == 0  # though that window alone is of the other class
    assert (by_mean.maps["grad-cam"][..., 4:] > 0).all()
    by_max = explain_windows(explainer, x, 8, 0.0, aggregate="max")
    torch.testing.assert_close(by_max.logits, torch.tensor([[0.9, 0.5]]))
    assert by_max.label(0, 0) == "first"
    assert by_max.provenance["windows"] == {
        "size": [8, 8], "overlap": 0.0, "weight": "gaussian", "aggregate": "max", "count": 4,
    }  # fmt: skip


def test_overlapping_windows_are_averaged_with_equalweights():
    x = torch.rand(1, 2, 8, 20)
    e = explain_windows(Explainer(Bright(), "grad-cam"), x, 8, 0.5, [0, 1])
    starts = [0, 4, 8, 12]
    by_hand = torch.stack([x[..., at : at + 8].mean((2, 3)) for at in starts]).mean(0)
    torch.testing.assert_close(e.scores, by_hand)


def test_a_batch_is_its_images_one_by_one_and_windows_may_share_a_pass():
    x = torch.rand(3, 2, 24, 16, 16)
    x[1, 0] += 1
    x[[0, 2], 1] += 1
    explainer = Explainer(Bright(3), ["grad-cam", "grad-cam++"])
    together = explain_windows(explainer, x, 8, batch_size=5)
    assert together.targets.tolist() == [[1], [0], [1]]
    for n in range(3):
        alone = explain_windows(explainer, x[n : n + 1], 8)
        assert together.targets[n].equal(alone.targets[0])
        for method in explainer.methods:
            torch.testing.assert_close(together.maps[method][n], alone.maps[method][0])
        torch.testing.assert_close(together.logits[n], alone.logits[0])


def test_every_kind_of_target():
    x = torch.randn(2, 1, 16, 16, 16)
    explainer = Explainer(Local(), "grad-cam", classes=["a", "b", "c"])

    def third(output):
        return output[:, 2]

    e = explain_windows(explainer, x, 8, 0.5, ["b", third, "top-2", 0])
    assert e.targets[:, [0, 1, 4]].tolist() == [[1, -1, 0]] * 2
    assert e.targets[:, 2:4].equal(e.logits.topk(2, dim=1).indices)
    assert e.target_names[1] == "third"
    torch.testing.assert_close(
        e.maps["grad-cam"][:, 1], explain_windows(explainer, x, 8, 0.5, 2).maps["grad-cam"][:, 0]
    )
    per_image = explain_windows(explainer, x, 8, 0.5, torch.tensor([2, 0]))
    assert per_image.targets.tolist() == [[2], [0]]
    assert explain_windows(explainer, x, 8, 0.5, "all").targets.tolist() == [[0, 1, 2]] * 2


@pytest.mark.parametrize("extent", [33, 34, 35])
def test_an_image_that_is_no_multiple_of_the_cells_keeps_its_places(extent):
    x = torch.zeros(1, 2, 8, extent)
    x[:, 0, :, 20:24] = 1
    explainer = Explainer(Bright(), "grad-cam")
    e = explain_windows(explainer, x, 8, 0.5, 0)
    heat = e.heatmaps("grad-cam")[0, 0].mean(0)
    centre = (heat * (torch.arange(extent) + 0.5)).sum() / heat.sum()
    assert abs(float(centre) - 22) < 1  # half a cell


def test_a_constant_map_stays_constant_to_the_last_voxel():
    x = torch.ones(1, 2, 9, 29)
    maps = explain_windows(Explainer(Bright(), "grad-cam"), x, 8, 0.3, 0).maps["grad-cam"]
    torch.testing.assert_close(maps, torch.full_like(maps, float(maps.mean())))


@dataclass(frozen=True)
class Fine(Method):
    """The input itself: a map of another resolution than the layer's."""

    name: ClassVar[str] = "fine"

    def __call__(self, capture):
        return capture.input[:, :1].expand(-1, capture.scores.shape[1], *capture.input.shape[2:])


@dataclass(frozen=True)
class Odd(Fine):
    """A map of three cells, whatever the window."""

    name: ClassVar[str] = "odd"

    def __call__(self, capture):
        return capture.input.new_zeros(*capture.scores.shape, *[3] * (capture.input.ndim - 2))


def test_maps_of_any_resolution_that_fits_the_windows():
    x = torch.rand(1, 2, 8, 24)
    e = explain_windows(Explainer(Bright(), ["grad-cam", Fine()]), x, 8, 0.5, 0)
    torch.testing.assert_close(e.maps["fine"][0, 0], x[0, 0])
    assert e.maps["grad-cam"].shape[2:] == (4, 12)
    with pytest.raises(InputError, match=r"maps of odd have cells of 2\.66667 voxels"):
        explain_windows(Explainer(Bright(), [Odd()]), x, 8, 0.5, 0)


def test_a_map_that_is_not_finite_shows():
    x = torch.rand(1, 2, 8, 24)
    x[0, 0, 0, 0] = torch.nan
    e = explain_windows(Explainer(Bright(), "grad-cam"), x, 8, 0.0, 0)
    assert str(e.status["grad-cam"][0, 0]) == "not finite"
    assert e.maps["grad-cam"][..., 4:].isfinite().all()


def test_nothing_of_the_model_or_the_process_changes():
    model, x = nn.Sequential(GapNet(3, norm=True)).train(), torch.randn(1, 3, 16, 8, 8)
    before = snapshot(model)
    explain_windows(Explainer(model, ["grad-cam", "score-cam"]), x, 8)
    assert snapshot(model) == before


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"window": 11}, r"a window of 11 voxels becomes 2 cells of layer 'features'.* 8 or 12"),
        ({"window": (8, 8)}, "window"),
        ({"window": 0}, "window"),
        ({"window": 8, "overlap": 1.0}, "overlap is 1.0"),
        ({"window": 8, "weight": "box"}, "gaussian, hann, constant"),
        ({"window": 8, "aggregate": "median"}, "mean, max"),
        ({"window": 8, "batch_size": 0}, "batch_size is 0"),
    ],
)
def test_what_is_out_of_range_is_one_line(options, complaint):
    explainer = Explainer(Local(), "grad-cam", layer="features")
    with pytest.raises(InputError, match=complaint) as caught:
        explain_windows(explainer, torch.randn(1, 1, 16, 16, 24), **options)
    assert "\n" not in str(caught.value)


def test_a_class_that_is_not_there_is_found_before_the_windows_run():
    with pytest.raises(TargetError, match="class 7 is out of range"):
        explain_windows(Explainer(Local(), "grad-cam"), torch.randn(1, 1, 24, 8, 8), 8, targets=7)


def test_weights_are_symmetric_and_fall_from_the_middle():
    from cfcam.blending import weights

    for weight in ("gaussian", "hann"):
        along = weights((8,), weight)
        torch.testing.assert_close(along, along.flip(0))
        assert all(a < b for a, b in pairwise(along[:4].tolist()))
        assert along.min() > 0
    assert weights((4, 6), "gaussian").shape == (4, 6)
    # Hann windows that overlap by half add up to the same everywhere: sin² + cos²
    hann = weights((8,), "hann")
    torch.testing.assert_close(hann[:4] + hann[4:], torch.ones(4, dtype=torch.float64))


class Places(nn.Module):
    """A segmentation whose every place sees itself alone: background, what is above 0, what is below."""

    def __init__(self, dims: int = 2) -> None:
        super().__init__()
        self.features = CONV[dims](1, 2, 1, bias=False)
        self.head = CONV[dims](2, 3, 1, bias=False)
        shape = [1] * dims
        self.features.weight.data = torch.tensor([1.0, -1.0]).view(2, 1, *shape)
        self.head.weight.data = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 1.0]]).view(3, 2, *shape)

    def forward(self, x):
        return self.head(self.features(x).relu())


def scene():
    """A place of class 1 in one corner of 8 x 12, and a larger one of class 2 in the opposite corner."""
    x = torch.zeros(1, 1, 8, 12)
    x[..., 1, 1:3], x[..., 5:8, 9:12] = 3.0, -1.0
    return x


def test_a_class_of_a_segmentation_is_explained_where_the_whole_image_shows_it():
    explainer = Explainer(Places(), "hires-cam", layer="features")
    blended, whole = explain_windows(explainer, scene(), 4, targets=[1, 2]), explainer(scene(), [1, 2])
    # Place by place gradient times activation: 2 x 3 at the two places of class 1, 1 x 1 at the nine of class 2.
    expected = torch.zeros(2, 8, 12)
    expected[0, 1, 1:3], expected[1, 5:8, 9:12] = 6.0, 1.0
    torch.testing.assert_close(blended.maps["hires-cam"][0], expected)
    torch.testing.assert_close(blended.maps["hires-cam"], whole.maps["hires-cam"])
    torch.testing.assert_close(blended.scores, torch.tensor([[12.0, 9.0]]))
    torch.testing.assert_close(blended.scores, whole.scores)
    torch.testing.assert_close(blended.logits, whole.logits)
    assert blended.targets.tolist() == [[1, 2]]
    assert blended.target_names == whole.target_names == ("where predicted",) * 2


@pytest.mark.parametrize("overlap", [0.0, 0.5])
@pytest.mark.parametrize(("spatial", "window"), [((20, 26), 8), ((19, 22), (8, 12)), ((10, 12, 14), (6, 12, 8))])
def test_however_a_class_of_a_segmentation_is_named_its_score_and_its_map_are_the_same(spatial, window, overlap):
    """The score is the sum of the blend at the places where the blend, and not a window, shows the class."""
    from cfcam import Segmentation

    torch.manual_seed(0)
    conv = CONV[len(spatial)]
    network = nn.Sequential(conv(1, 4, 3, padding=1), nn.ReLU(), conv(4, 3, 3, padding=1)).eval()
    explainer = Explainer(network, "hires-cam", layer="1", classes=["a", "b", "c"])
    x = torch.randn(2, 1, *spatial)
    e = explain_windows(explainer, x, window, overlap, [0, 1, 2])
    own = [[float(logits[c][logits.argmax(0) == c].sum()) for c in range(3)] for logits in e.logits]
    torch.testing.assert_close(e.scores, torch.tensor(own), rtol=1e-4, atol=1e-3)
    several = [["c", "b"], [Segmentation(2), Segmentation("b")], "all", "top-3", [2, "predicted"], ["top-2", 0]]
    by_image = [torch.tensor([[2, 1], [2, 1]]), torch.tensor([[2, 1], [0, 2]]).numpy(), torch.tensor([0, 2])]
    for targets in [2, None, *several, *by_image]:
        found = explain_windows(explainer, x, window, overlap, targets)
        for n, row in enumerate(found.targets.tolist()):
            torch.testing.assert_close(found.scores[n], e.scores[n, row])
            torch.testing.assert_close(found.maps["hires-cam"][n], e.maps["hires-cam"][n, row])
        assert not hasattr(targets, "tolist") or found.targets.flatten().tolist() == targets.flatten().tolist()


@pytest.mark.parametrize("network", [Local(2), nn.Sequential(CONV[2](1, 4, 1), nn.ReLU(), CONV[2](4, 3, 1))])
def test_rows_of_zeros_and_ones_are_no_classes_of_windows_either(network):
    explainer = Explainer(network.eval(), "grad-cam", layer="features" if isinstance(network, Local) else "1")
    with pytest.raises(TargetError, match="hold zeros and ones, one a class"):
        explain_windows(explainer, torch.randn(1, 1, 16, 16), 8, targets=torch.tensor([[0, 0, 1]]))


def test_windows_without_the_class_are_not_explained_and_have_a_map_of_0():
    explainer = Explainer(Places(), "hires-cam", layer="features")
    of_one, of_both = (explain_windows(explainer, scene(), 4, overlap=0.0, targets=t) for t in (1, [1, 2]))
    assert of_one.provenance["windows"]["count"] == 6
    assert of_one.provenance["windows"]["explained"] == 1
    assert of_both.provenance["windows"]["explained"] == 2
    assert of_one.maps["hires-cam"].count_nonzero() == 2
    assert of_one.input_size == (8, 12)


def test_the_largest_class_of_a_segmentation_is_that_of_the_whole():
    """In the first window it is class 1; in all of the image, class 2."""
    explainer = Explainer(Places(), "grad-cam", layer="features")
    assert explain_windows(explainer, scene(), 4, targets="predicted").targets.tolist() == [[2]]
    from cfcam import Segmentation

    assert explain_windows(explainer, scene(), 4, targets=Segmentation()).targets.tolist() == [[2]]


def test_a_mask_on_the_whole_image_is_cut_for_each_window():
    from cfcam import Segmentation

    mask = torch.zeros(8, 12, dtype=torch.bool)
    mask[1, 1] = mask[6, 10] = True
    explainer = Explainer(Places(), "hires-cam", layer="features")
    for reduction, factor in (("sum", 1.0), ("mean", 0.5)):
        target = Segmentation(1, mask, reduction)
        found = explain_windows(explainer, scene(), 4, targets=target)
        assert found.scores.item() == pytest.approx(6.0 * factor)  # 2 x 3 at one place, 0 at the other
        expected = torch.zeros(8, 12)
        expected[1, 1] = 6.0 * factor
        torch.testing.assert_close(found.maps["hires-cam"][0, 0], expected)
        assert found.target_names == ("class 1 in the mask",)
    by_image = explain_windows(
        explainer, scene().expand(2, -1, -1, -1), 4, targets=Segmentation(1, mask.expand(2, 8, 12))
    )
    torch.testing.assert_close(by_image.scores, torch.full((2, 1), 6.0))
    with pytest.raises(TargetError, match=r"the mask is \(4, 4\) for an input of \(8, 12\)"):
        explain_windows(explainer, scene(), 4, targets=Segmentation(1, mask[:4, :4]))


def test_a_class_that_is_nowhere_in_the_image_is_told_in_one_line():
    from cfcam import Segmentation

    with pytest.raises(TargetError, match="class 2 is predicted nowhere in this image"):
        explain_windows(Explainer(Places(), "grad-cam", layer="features"), scene().abs(), 4, targets=2)
    with pytest.raises(TargetError, match="nothing but background is predicted"):
        explain_windows(Explainer(Places(), "grad-cam", layer="features"), scene() * 0, 4, targets=Segmentation())

"""Boxes of a detector whose maps are worked out by hand: two channels, two halves, a box on each."""

from __future__ import annotations

import math
from collections import OrderedDict

import pytest
import torch
from torch import nn

import cfcam
from cfcam.capture import Detections, Detector
from cfcam.capture.targets.boxes import BoxScore
from cfcam.capture.targets.scores import Scores
from cfcam.errors import LayerError, OutputError, TargetError

X = torch.zeros(1, 2, 4, 8)
X[0, 0, :2, :4] = 2.0  # class 0 in the left half: a mean of 1 over its 16 places
X[0, 1, 0, 4:] = 4.0  # class 1 in the right half: likewise
X[0, 0, 3, 7] = 1.6  # and a little of class 0 there: a mean of 0.1
LEFT, RIGHT = [0.0, 0.0, 4.0, 4.0], [4.0, 0.0, 8.0, 4.0]


class Halves(nn.Module):
    """A box on each half; the logit of class c there is 3 times the mean of channel c, less 1."""

    def __init__(self, reading: str = "sigmoid", turned: bool = False, more: list[list[float]] | None = None) -> None:
        super().__init__()
        self.features = nn.Conv2d(2, 2, 1, bias=False)
        self.features.weight.data = torch.eye(2)[..., None, None]
        self.reading, self.turned, self.more = reading, turned, more or []

    def forward(self, x: torch.Tensor) -> Detections:
        maps = self.features(x)
        logits = torch.stack([3 * half.mean((2, 3)) - 1 for half in maps.chunk(2, dim=3)], 1)
        boxes = torch.tensor([LEFT, RIGHT]).expand(len(x), 2, 4)
        for box in self.more:
            boxes = torch.cat([boxes, torch.tensor([box]).expand(len(x), 1, 4)], 1)
            logits = torch.cat([logits, logits[:, :1]], 1)
        if self.turned:  # each picture in an order of its own, as queries may come
            turn = maps.flatten(1).sum(1).frac() > 0.5
            boxes = torch.where(turn[:, None, None], boxes.flip(1), boxes)
            logits = torch.where(turn[:, None, None], logits.flip(1), logits)
        if self.reading == "softmax":
            logits = torch.cat([logits, torch.zeros_like(logits[..., :1])], 2)
        return Detections(boxes, logits.sigmoid() if self.reading == "given" else logits, self.reading)


def explained(targets, methods="hires-cam", net=None, x=X, **keywords):
    return cfcam.explain(net or Halves(), x, methods, targets=targets, layer="features", **keywords)


@pytest.mark.parametrize("reading", ["sigmoid", "given"])
def test_the_gradient_by_hand(reading):
    """Log-odds of a sigmoid are its logit, whose gradient is 3 / 16 in its half and its channel."""
    e = explained(cfcam.TopBoxes(2), ["hires-cam", "grad-cam"], Halves(reading))
    torch.testing.assert_close(e.scores, torch.tensor([[2.0, 2.0]]), rtol=1e-5, atol=1e-5)
    left, right = 3 / 16 * X[0, 0].clone(), 3 / 16 * X[0, 1].clone()
    left[:, 4:], right[:, :4] = 0, 0
    torch.testing.assert_close(e.maps["hires-cam"][0], torch.stack([left, right]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(e.maps["grad-cam"][0], 3 / 32 * X[0], rtol=1e-4, atol=1e-5)
    assert e.target_names == ("class 0 at (0, 0, 4, 4)", "class 1 at (4, 0, 8, 4)")


def test_log_odds_of_a_softmax_are_against_all_other_classes_and_no_object():
    e = explained(cfcam.Box(RIGHT, 1), net=Halves("softmax"))
    others = [3 * 0.1 - 1, 0.0]
    assert float(e.scores) == pytest.approx(2 - math.log(sum(map(math.exp, others))), abs=1e-5)
    # dz_1 / dA_1 - p_0|others dz_0 / dA_0: at (3, 7) only channel 0 is there, and speaks against
    against = math.exp(others[0]) / sum(map(math.exp, others))
    assert float(e.maps["hires-cam"][0, 0, 0, 5]) == pytest.approx(3 / 16 * 4, abs=1e-5)
    assert float(e.maps["hires-cam"][0, 0, 3, 7]) == pytest.approx(-against * 3 / 16 * 1.6, abs=1e-5)


@pytest.mark.parametrize("reading", ["sigmoid", "given"])
def test_another_class_at_a_box_and_why_there_is_none(reading):
    """What speaks for a box speaks against that there is none: a score of -z, and so a map of the other sign."""
    e = explained([cfcam.Box(RIGHT, 0), cfcam.MissingBox([5, 1, 8, 4], 0)], net=Halves(reading))
    z = 3 * 0.1 - 1
    torch.testing.assert_close(e.scores, torch.tensor([[z, -z]]), rtol=1e-5, atol=1e-5)
    assert e.target_names == ("class 0 at (4, 0, 8, 4)", "no class 0 at (5, 1, 8, 4)")
    p = 1 / (1 + math.exp(-z))
    assert [e.probability(0, k) for k in (0, 1)] == pytest.approx([p, 1 - p], abs=1e-5)
    expected = torch.zeros(4, 8)
    expected[3, 7] = 3 / 16 * 1.6
    torch.testing.assert_close(e.maps["hires-cam"][0], torch.stack([expected, -expected]), rtol=1e-4, atol=1e-5)


def test_what_speaks_against_a_box_is_the_map_of_why_there_is_none():
    """A channel 2 on the left half that lowers the logit of each box there: it alone is why there is none."""
    net = Halves()
    net.features.weight.data[0, 1] = -1.0  # class 0 is lowered by what shows class 1
    e = explained(cfcam.MissingBox(RIGHT, 0), ["hires-cam", "score-cam", "occlusion"], net=net)
    expected = torch.zeros(4, 8)  # dz / dA_0 = 3 / 16, and A_0 = -4 where class 1 shows, 1.6 in the corner
    expected[0, 4:], expected[3, 7] = 3 / 16 * 4, -3 / 16 * 1.6
    torch.testing.assert_close(e.maps["hires-cam"][0, 0], expected, rtol=1e-4, atol=1e-5)
    assert (e.heatmaps("hires-cam")[0, 0, 0, 4:] > 0.9).all()
    assert e.heatmaps("hires-cam")[0, 0, :, :4].max() == 0
    assert float(e.maps["occlusion"][0, 0, 0, 5]) > 0 > float(e.maps["occlusion"][0, 0, 3, 7])


def test_a_map_for_each_box_of_each_image_from_one_pass():
    net, x = Halves(), torch.cat([X, X.flip(3), X])
    passes = []
    net.features.register_forward_hook(lambda *_: passes.append(1))
    boxes = torch.tensor([[LEFT, RIGHT], [RIGHT, LEFT], [RIGHT, RIGHT]])
    e = explained(cfcam.Box(boxes), net=net, x=x)
    assert len(passes) == 1
    assert e.maps["hires-cam"].shape == (3, 2, 4, 8)
    assert e.target_names == ("object in box 1", "class 1 in box 2")
    alone = explained(cfcam.Box(RIGHT), x=X).maps["hires-cam"]
    torch.testing.assert_close(e.maps["hires-cam"][2, :1], alone[0])
    torch.testing.assert_close(e.maps["hires-cam"][1].flip(2), e.maps["hires-cam"][0])


@pytest.mark.parametrize("reading", ["sigmoid", "softmax", "given"])
def test_many_boxes_in_one_pass_back_have_the_maps_that_each_has(reading):
    net, two = Halves(reading), [cfcam.Box(LEFT), cfcam.Box(RIGHT)]
    few, many = (explained(targets, net=net).maps["hires-cam"] for targets in (two, two * 5))
    torch.testing.assert_close(many, few.repeat(1, 5, 1, 1))


def test_a_box_is_followed_where_queries_come_in_another_order():
    methods, boxes = ["score-cam", "occlusion", "hires-cam"], [cfcam.Box(LEFT), cfcam.Box(RIGHT)]
    still, turned = (explained(boxes, methods, Halves(turned=turn)) for turn in (False, True))
    assert len({int(Halves(turned=True)(X * f).boxes[0, 0, 0]) for f in (0.31, 0.6, 0.77, 1.0)}) == 2
    for method in methods:
        torch.testing.assert_close(still.maps[method], turned.maps[method])


def test_what_is_not_found_again_has_the_probability_0():
    class Leaves(Halves):
        def forward(self, x):
            found = super().forward(x)
            there = (x.flatten(1).sum(1) > X.sum() - 1e-3)[:, None, None]
            return Detections(torch.where(there, found.boxes, found.boxes + 100), found.values)

    net = Leaves()
    images = torch.zeros(1, dtype=torch.long)
    score = BoxScore(torch.tensor([LEFT]), torch.zeros(1, dtype=torch.long), (4, 8), "")
    assert score(net(X), None, images, probability=True).item() == pytest.approx(1 / (1 + math.exp(-2)))
    assert score(net(X * 0.5), None, images, probability=True).item() == 0
    assert score(net(X * 0.5), None, images, probability=False).item() == -16


def test_a_box_moves_with_its_picture():
    scores = Scores(
        torch.tensor([[-1]]), {0: BoxScore(torch.tensor([[0.0, 1.0, 3.0, 4.0]]), torch.zeros(1).long(), (4, 8), "")}
    )
    assert scores.moved(lambda maps: maps.flip(3)).functions[0].boxes.tolist() == [[5, 1, 8, 4]]
    assert scores.moved(torch.zeros_like).functions[0].boxes.tolist() == [[0, 0, 0, 0]]


def test_of_boxes_round_one_object_the_best_counts():
    net = Halves(more=[[0, 0, 4, 3]])  # the same object again
    assert explained(cfcam.TopBoxes(2), net=net).target_names == (
        "class 0 at (0, 0, 4, 4)", "class 1 at (4, 0, 8, 4)"
    )  # fmt: skip
    with pytest.raises(TargetError, match="top-3 boxes of class 0: the detector has 2 in image 0"):
        explained(cfcam.TopBoxes(3, 0), net=net)
    found = net(X).found(0.5)
    assert [(one.box, one.label) for one in found[0]] == [(tuple(LEFT), 0), (tuple(RIGHT), 1)]


def test_a_box_that_fits_two_is_refused():
    net = Halves(more=[[0, 0, 8, 2.2]])
    with pytest.raises(TargetError, match=r"fits two boxes of the detector, \(0, 0, 4, 4\) and \(0, 0, 8, 2\)"):
        explained(cfcam.Box([0, 0, 5.5, 3.0]), net=net)
    assert explained(cfcam.Box([0, 0, 4, 4]), net=net).target_names == ("class 0 at (0, 0, 4, 4)",)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (cfcam.Box([0, 0, 40, 4]), r"the box \(0, 0, 40, 4\) is not in the image of 8 x 4 pixels"),
        (cfcam.Box([-3, 0, 4, 4]), "is not in the image"),
        (cfcam.Box([4, 0, 4, 4]), "is empty: give corners"),
        (cfcam.Box([4, 3, 6, 2]), "is empty: give corners"),
        (cfcam.Box([math.nan, 3, 6, 4]), "is empty: give corners"),
        (cfcam.Box([0.1, 0.1, 0.5, 0.9]), "smaller than a pixel: multiply"),
        (cfcam.Box([[0, 0, 4, 4]] * 3), r"boxes of shape \(3, 4\) for 1 images"),
        (cfcam.Box([0, 0, 4]), r"boxes of shape \(3,\)"),
        (cfcam.Box(LEFT, 2), "class 2 is out of range: the network has 2 classes"),
        (cfcam.Box(LEFT, "lamp"), "no class is called 'lamp'"),
        (cfcam.MissingBox(LEFT, 5), "class 5 is out of range"),
        (cfcam.TopBoxes(1, 9), "class 9 is out of range"),
        (cfcam.TopBoxes(3), "top-3 boxes: the detector has 2 in image 0; give a k of 1 to 2"),
        (cfcam.TopBoxes(0), r"TopBoxes\(0\): k is how many objects, a whole number from 1"),
        (cfcam.TopBoxes(-1), r"TopBoxes\(-1\): k is how many"),
        (cfcam.Box([3, 0, 5, 4]), r"overlaps \(3, 0, 5, 4\) by a half \(the nearest, .* by 0.20\)"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(target, said):
    with pytest.raises(TargetError, match=said) as error:
        explained(target, classes=["left", "right"])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("target", [None, 1, "top-2", "left"])
def test_a_class_of_a_detector_is_asked_for_box_by_box(target):
    with pytest.raises(
        OutputError, match=r"a detector, whose classes .* give the target box-1 .* TopBoxes\(1\), Box\(...\) or"
    ):
        explained(target, classes=["left", "right"])


def test_class_names_of_another_number_and_a_network_that_is_no_detector():
    with pytest.raises(TargetError, match="3 class names for a detector with 2 classes"):
        explained(cfcam.TopBoxes(), classes=["a", "b", "c"])
    net = nn.Sequential(nn.Conv2d(2, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(TargetError, match=r"returns a Tensor: wrap it in cfcam.Detector"):
        cfcam.explain(net, X, "grad-cam", targets=cfcam.Box(LEFT), layer="0")


def test_a_class_of_which_the_detector_says_nothing_there():
    class Silent(Halves):
        def forward(self, x):
            found = super().forward(x)
            return Detections(found.boxes, found.values * torch.eye(2), "given")

    with pytest.raises(TargetError, match=r"a box at \(0, 0, 4, 4\), but says nothing of class 1 there"):
        explained(cfcam.Box(LEFT, 1), net=Silent("given"))


ON_A_GRID = [name for name in cfcam.list_methods() if name not in {"attention-rollout", "legrad", "cam", "finer-cam"}]


@pytest.mark.parametrize("method", ON_A_GRID)
def test_the_contract_of_methods_holds_for_boxes(method):
    """Maps are finite, an image alone is as in a batch, a box alone as with others, and the network stays as it was."""
    torch.manual_seed(2)
    net = Halves()
    net.features = nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 2, 1))
    net, x = net.eval(), torch.rand(3, 2, 8, 16)
    before = {name: value.clone() for name, value in net.state_dict().items()}

    def maps(images, *boxes):
        found = cfcam.explain(net, images, method, targets=[cfcam.Box(box) for box in boxes], layer="features.2")
        return found.maps[method]

    together = maps(x, LEFT, RIGHT)
    assert together.isfinite().all()
    tolerance = {"rtol": 1e-3, "atol": 1e-5 * float(together.abs().amax()) + 1e-7}
    torch.testing.assert_close(maps(x[2:], LEFT, RIGHT), together[2:], **tolerance)
    torch.testing.assert_close(maps(x, RIGHT), together[:, 1:], **tolerance)
    assert all(value.equal(before[name]) for name, value in net.state_dict().items())


def test_a_probability_of_1_to_all_digits_has_no_gradient_and_says_so():
    net = Halves("given")
    net.features.weight.data *= 40
    with pytest.raises(TargetError, match="is 1 to all digits of"):
        explained(cfcam.TopBoxes(), net=net)
    assert explained(cfcam.TopBoxes(), net=net.double(), x=X.double() * 0.2).scores.isfinite().all()


def test_no_layer_is_chosen_for_a_detector_and_one_is_offered():
    with pytest.raises(LayerError, match=r"no layer can be chosen for a detector, .* the last layer before its heads$"):
        cfcam.explain(Halves(), X, "grad-cam", targets="box-1")
    detector = Detector(nn.Sequential(OrderedDict(backbone=Halves().features, other=nn.Conv2d(2, 2, 1))), _one_box)
    with pytest.raises(
        LayerError, match=r"name the end of its backbone \(layer=, --layer\), such as 'model.backbone'$"
    ):
        cfcam.explain(detector, X, "grad-cam", targets="box-1")


def test_what_is_offered_for_a_detector_has_seen_the_picture():
    """DETR's backbone ends with codes of places, which are the same for every picture."""

    class Backbone(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.position_embedding = Halves().features, nn.Conv2d(2, 2, 1)

        def forward(self, x):
            found = self.body(x)
            return found + self.position_embedding(torch.ones_like(found))

    both = nn.Sequential(OrderedDict(backbone=Backbone(), other=nn.Conv2d(2, 2, 1)))
    both[0].register_forward_hook(lambda module, given, found: (found,))
    both[1].register_forward_pre_hook(lambda module, given: given[0])
    with pytest.raises(LayerError, match=r"such as 'model\.backbone\.body'$"):
        cfcam.explain(Detector(both, _one_box), X, "grad-cam", targets="box-1")


def _one_box(maps, size):
    return Detections(torch.tensor([[LEFT]]).expand(len(maps), 1, 4), maps.mean((2, 3))[:, None])


def test_the_network_is_left_as_it_was():
    detector = Detector(Halves(), lambda output, size: output).train()
    before = torch.get_rng_state()
    cfcam.explain(detector, X, ["grad-cam", "score-cam"], targets=cfcam.TopBoxes(), layer="model.features")
    assert detector.training
    assert torch.equal(before, torch.get_rng_state())
    assert not detector.model.features._forward_hooks


@pytest.mark.parametrize("kind", [cfcam.Box, lambda boxes: cfcam.MissingBox(boxes, 0)])
@pytest.mark.parametrize("boxes", ["abc", None, [[1, 2, 3, 4], [1]], {"x0": 1}])
def test_what_is_no_corners_is_one_line(kind, boxes):
    with pytest.raises(TargetError, match=r"Box: boxes are corners x0, y0, x1, y1 in pixels, .*, and no ") as told:
        kind(boxes)
    assert "\n" not in str(told.value)


def test_a_missing_box_is_of_a_class():
    with pytest.raises(TargetError, match=r"give the class that is missing there"):
        cfcam.MissingBox(LEFT)

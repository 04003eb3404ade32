"""Boxes that a text asks for: what is read, which box is meant, in whose pixels."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import cfcam
from cfcam.capture.targets.asked_boxes import AskedBoxes, _below
from cfcam.capture.targets.box_words import BoxWords, read_box
from cfcam.capture.targets.scores import NotPredictedError, class_index
from cfcam.errors import TargetError
from tests.capture.targets.test_boxes import LEFT, RIGHT, X, explained

NAMES = ["left", "right"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("box-1", BoxWords(rank=1)),
        ("mass in box-12", BoxWords("mass", rank=12)),
        ("2 in box-1", BoxWords(2, rank=1)),
        ("boxes-0.25", BoxWords(least=0.25)),
        ("box at 4,5", BoxWords(place=(4, 5))),
        ("large mass  at 1, 2.5,3 ,4", BoxWords("large mass", place=(1, 2.5, 3, 4))),
        ("no mass at 0,0,8,8", BoxWords("mass", place=(0, 0, 8, 8), missing=True)),
        ("no finding", None),
        ("box", None),
        ("fracture at 3", None),
        ("mass vs box", None),
        ("top-3", None),
    ],
)
def test_what_is_read(text, words):
    assert read_box(text) == words


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("box-0", "counted from 1"),
        ("boxes-1", "a probability from 0, below 1"),
        ("boxes-0.5.5", "a probability from 0, below 1"),
        ("box at 1,2,3", "give a point X,Y, or the corners"),
        ("box at 1,-", "give a point X,Y, or the corners"),
        ("box at 1,1e999", "give a point X,Y, or the corners"),
        ("box at 4,4,1,1", "is empty"),
        ("no box at 1,2,3,4", "is asked as"),
        ("no mass at 3,4", "with four corners"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(text, said):
    with pytest.raises(TargetError, match=said) as error:
        read_box(text)
    assert "\n" not in str(error.value)


def test_it_is_read_without_torch():
    code = "import sys, cfcam.capture.targets.box_words as b; b.read_box('box-1'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("text", "target", "name"),
    [
        ("box-1", cfcam.Box(LEFT), "box 1: left"),
        ("box-2", cfcam.Box(RIGHT), "box 2: right"),
        ("right in box-1", cfcam.Box(LEFT, 1), "right in box 1"),
        ("box at 5,1", cfcam.Box(RIGHT), "right at 5,1"),
        ("left at 7,3", cfcam.Box(LEFT), "left at 7,3"),
        ("box at 0,0,4,4", cfcam.Box(LEFT), "left at 0,0,4,4"),
        ("left at 4,0,8,4", cfcam.Box(RIGHT, 0), "left at 4,0,8,4"),
        ("no left at 5,1,8,4", cfcam.MissingBox([5, 1, 8, 4], 0), "no left at 5,1,8,4"),
    ],
)
def test_a_text_and_a_target_ask_the_same(text, target, name):
    """Maps of `Box` and `MissingBox` are worked out by hand in test_boxes.py."""
    x = X.clone()
    x[0, 0] *= 1.2  # box 1 is the left one
    e = explained([text, target], ["hires-cam", "score-cam"], x=x, classes=NAMES)
    assert e.target_names[0] == name
    for maps in e.maps.values():
        assert torch.equal(maps[:, 0], maps[:, 1])
    assert torch.equal(e.boxes[:, 0], e.boxes[:, 1])
    assert e.probability(0, 0) == pytest.approx(float(e.scores[0, 0].sigmoid()))


def test_all_boxes_of_a_probability_or_more():
    p = float(torch.tensor(2.0).sigmoid())
    assert explained(f"boxes-{p - 0.01:.3f}", classes=NAMES).target_names == ("box 1: left", "box 2: right")
    with pytest.raises(NotPredictedError, match=r"no box has a probability of 0.9 or more, the greatest is 0.88"):
        explained("boxes-0.9")
    with pytest.raises(NotPredictedError, match=r"of 0.8808 or more, the greatest is 0.88:"):
        explained("boxes-0.88080")  # sigmoid(2) is 0.880797
    assert [_below(p, 0.9999) for p in (0.99988, 0.99, 0.9998999)] == ["0.99988", "0.99", "0.9998999"]
    two = torch.cat([X, X * torch.tensor([1.0, 0.0])[:, None, None]])
    with pytest.raises(NotPredictedError, match=r"have from 1 to 2 boxes of a probability of 0.5 or more: ex"):
        explained("boxes-0.5", x=two)


def test_pixels_of_a_picture_of_which_the_input_shows_a_part():
    """A picture twice as wide and three times as high, of which a margin of 10 is cut off on each side."""
    shown = 10.0, 10.0, 22.0, 26.0  # top, left, bottom, right: 12 x 16 pixels are 4 x 8 of the input

    def asked(text):
        return AskedBoxes(read_box(text), shown, shown)

    expected = explained(cfcam.Box(RIGHT))
    e = explained([asked("box at 18,10,26,22"), asked("box at 25,11"), asked("no 1 at 20,12,26,22")])
    assert e.target_names == ("class 1 at 18,10,26,22", "class 1 at 25,11", "no class 1 at 20,12,26,22")
    assert torch.equal(e.maps["hires-cam"][:, 0], expected.maps["hires-cam"][:, 0])
    assert torch.equal(e.maps["hires-cam"][:, 1], expected.maps["hires-cam"][:, 0])
    assert e.boxes[0, 0].tolist() == RIGHT  # of the input: what is drawn is brought back by the picture's own geometry
    assert e.boxes[0, 2].tolist() == pytest.approx([5, 2 / 3, 8, 4])
    with pytest.raises(NotPredictedError, match=r"'at 2,2' is not in the part of the picture that the network sees"):
        explained(asked("box at 2,2"))
    with pytest.raises(NotPredictedError, match=r"overlaps \(14, 10, 22, 22\) by a half \(the nearest, \(10, 10, 18"):
        explained(asked("box at 14,10,22,22"))


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("lamp in box-1", TargetError, "no class is called 'lamp'"),
        ("5 in box-1", TargetError, "class 5 is out of range"),
        ("box-3", NotPredictedError, "there is no box 3: the detector has 2 there: give box-1 to box-2"),
        ("box at 9,30", NotPredictedError, "not in the part of the network's input: give x from 0 to 8 and y from 0"),
        ("box at 0,0,8,9", NotPredictedError, "not in the part of the network's input"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(text, kind, said):
    with pytest.raises(kind, match=said) as error:
        explained(text, classes=NAMES)
    assert "\n" not in str(error.value)


def test_a_classifier_has_no_boxes():
    net = torch.nn.Sequential(torch.nn.Conv2d(2, 2, 1), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    with pytest.raises(TargetError, match="a box is explained of a detector, and the network returns a Tensor"):
        cfcam.explain(net, X, "grad-cam", targets="box-1", layer="0")
    with pytest.raises(TargetError, match="boxes lie on pictures"):
        cfcam.explain(net, torch.zeros(1, 2, 4, 4, 4), "grad-cam", targets="box-1", layer="0")


def test_boxes_are_saved(tmp_path):
    e = explained(["box-1", "no right at 0,0,4,4"], classes=NAMES)
    again = cfcam.Explanation.load(e.save(tmp_path))
    assert torch.equal(again.boxes, e.boxes)
    assert again.probability(0, 1) == e.probability(0, 1)
    assert e.select(targets=slice(1, 2)).boxes.tolist() == [[[0, 0, 4, 4]]]


def test_a_box_beside_a_class_of_another_target():
    e = explained(["box-1", lambda found: found.values[:, 0, 0]])
    assert e.boxes[0, 1].isnan().all()
    assert e.probability(0, 1) is None


@pytest.mark.parametrize(
    "text",
    ["box 1", "box1", "BOX-1", "box-1.5", "boxes 0.5", "box at 10", "box at a,b", "left in box 1"],
)
def test_mistyped_words_for_boxes_are_told_which_there_are(text):
    assert read_box(text) is None
    with pytest.raises(TargetError, match=r"no class is called .* boxes of a detector are asked for as box-1, "):
        class_index(text, NAMES)


@pytest.mark.parametrize("name", ["zebra", "boxer", "no finding", "boxfish"])
def test_another_unknown_name_is_told_of_no_boxes(name):
    with pytest.raises(TargetError) as told:
        class_index(name, NAMES)
    assert "detector" not in str(told.value)

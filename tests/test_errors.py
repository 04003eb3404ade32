"""Whatever is given for an argument of a public entry: it works, or one line of the house says what to give."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import cfcam
from cfcam.capture import Adapter
from cfcam.errors import (
    InputError,
    MethodError,
    TargetError,
    check_called,
    check_text,
    shown,
    whole_number,
    without_name,
)
from cfcam.integrations import LightningMaps, TrainingMaps, TransformersMaps
from cfcam.models import TextModel
from cfcam.models.demo.captioner import load_demo_captioner

WRONG = {
    "a text": "foo",
    "a digit": "1",
    "an empty text": "",
    "a large number": 10**9,
    "a negative number": -1,
    "a fraction": 1.5,
    "not a number": float("nan"),
    "None": None,
    "texts": ["a"],
    "an empty list": [],
    "nested lists": [[1, [2]]],
    "a mapping": {"a": 1},
    "a set": {1, 2},
    "an object": object(),
    "bytes": b"x",
    "a class": int,
    "a bool": True,
    "a function": lambda *given, **named: None,
    "a tensor": torch.tensor([0.5, 0.25, 0.125]),
    "an array": np.zeros((2, 2)),
    "a complex number": 1j,
}
PICTURE = np.full((64, 64), 40, np.uint8)
X = torch.linspace(-1, 1, 2 * 3 * 16 * 16).reshape(2, 3, 16, 16)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()


class Finder(nn.Module):
    """A detector of one box."""

    def __init__(self):
        super().__init__()
        self.c = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return self.c(x).mean((2, 3))


def read(output, size):
    return cfcam.Detections(torch.tensor([[[1.0, 1, 9, 9]]]).expand(len(output), 1, 4), output[:, None], "sigmoid")


@pytest.fixture(scope="module")
def shared():
    net, text = network(), load_demo_captioner()
    known = TrainingMaps(X, layer="0")
    known(net, 1)
    explained = cfcam.explain(net, X, layer="0")
    labels = np.zeros((16, 16), int)
    labels[:8] = 1
    detector = cfcam.Detector(Finder().eval(), read)
    found = cfcam.explain_text(text, PICTURE, "", "nodule")

    def ask(target):
        return cfcam.explain(net, X, targets=target, layer="0")

    def ask_box(target):
        return cfcam.explain(detector, X, targets=target, layer="model.c")

    def adapted(**given):
        return cfcam.explain(Adapter(**{"model": net, "arguments": lambda x, images: x} | given), X, targets=0)

    return {
        "TrainingMaps": lambda **given: TrainingMaps(**{"images": X} | given),
        "maps()": lambda **given: known(**{"network": net, "count": 1} | given),
        "close": lambda **given: known.close(**given),
        "maps.strip": known.strip,
        "LightningMaps": LightningMaps,
        "TransformersMaps": TransformersMaps,
        "add_to": TransformersMaps(known).add_to,
        "by_region": lambda **given: explained.by_region(**{"masks": labels} | given),
        "named mask": lambda mask: explained.by_region({"a": mask}),
        "heatmaps": lambda **given: explained.heatmaps(**{"method": explained.methods[0]} | given),
        "explain_text": lambda **given: cfcam.explain_text(
            **{"model": text, "pictures": PICTURE, "prompt": "", "text": "nodule"} | given
        ),
        "TextModel": lambda **given: TextModel(**{"model": text.model, "processor": text.family.processor} | given),
        "passage": lambda others: text.passage(PICTURE, "", "nodule", others=others),
        "text.strip": lambda **given: found.strip(**{"picture": PICTURE} | given),
        "to_dict": found.to_dict,
        "Adapter": adapted,
        "Detector": lambda **given: cfcam.explain(
            cfcam.Detector(**{"model": Finder(), "read": read} | given),
            X,
            targets=cfcam.TopBoxes(1),
            layer="model.c",
        ),
        "Detections": lambda **given: cfcam.Detections(
            **{"boxes": torch.tensor([[[1.0, 1, 9, 9]]]), "values": torch.zeros(1, 1, 3)} | given
        ),
        "Explainer": lambda **given: cfcam.Explainer(**{"model": net, "methods": "grad-cam"} | given),
        "explain": lambda **given: cfcam.explain(**{"model": net, "x": X, "layer": "0", "targets": 0} | given),
        "TopK": lambda k: ask(cfcam.TopK(k)),
        "ClassTarget": lambda label: ask(cfcam.ClassTarget(label)),
        "Contrast": lambda **given: ask(cfcam.Contrast(**{"a": 0, "b": 1} | given)),
        "Regression": lambda **given: ask(cfcam.Regression(**given)),
        "PerImage": lambda function: cfcam.PerImage(function),
        "Token": lambda **given: cfcam.Token(**{"which": 0} | given),
        "Answer": lambda **given: cfcam.Answer(**{"a": "yes", "b": "no"} | given),
        "EachWord": cfcam.EachWord,
        "Box": lambda **given: ask_box(cfcam.Box(**{"boxes": (1, 1, 9, 9)} | given)),
        "TopBoxes": lambda **given: ask_box(cfcam.TopBoxes(**{"k": 1} | given)),
        "MissingBox": lambda **given: ask_box(cfcam.MissingBox(**{"boxes": (1, 1, 9, 9), "label": 0} | given)),
    }


ARGUMENTS = {
    "TrainingMaps": "images targets names masks pictures method layer classes probability output network every unit"
    " to steps",
    "maps()": "network count to step",
    "close": "to step",
    "maps.strip": "picture most",
    "LightningMaps": "maps",
    "TransformersMaps": "maps",
    "add_to": "trainer",
    "by_region": "masks method image target names removal",
    "named mask": "mask",
    "heatmaps": "method size",
    "explain_text": "model pictures prompt text methods targets score layer most_tokens",
    "TextModel": "model processor tokenizer",
    "passage": "others",
    "text.strip": "picture method image",
    "to_dict": "image",
    "Adapter": "model arguments output",
    "Detector": "model read",
    "Detections": "boxes values reading",
    "Explainer": "model methods layer classes probability output",
    "explain": "x targets",
    "TopK": "k",
    "ClassTarget": "label",
    "Contrast": "a b",
    "Regression": "index lower",
    "PerImage": "function",
    "Token": "which score",
    "Answer": "a b",
    "EachWord": "score",
    "Box": "boxes label",
    "TopBoxes": "k label",
    "MissingBox": "boxes label",
}


@pytest.mark.parametrize(
    ("entry", "argument"), [(entry, name) for entry, names in ARGUMENTS.items() for name in names.split()]
)
def test_an_argument_of_a_wrong_kind_is_one_line_of_the_house(shared, entry, argument, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a text is a folder that maps are written into
    for kind, value in WRONG.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # maps of a training: the training goes on
            try:
                shared[entry](**{argument: value})
            except cfcam.CfcamError as error:
                line = str(error)
                assert "\n" not in line, f"{kind}: {line}"
                assert 10 < len(line) < 500, f"{kind}: {line}"
            except Exception as error:  # noqa: BLE001 (any other one is what this looks for)
                pytest.fail(f"{entry}({argument}={kind}): {type(error).__name__}: {error}")


@pytest.mark.parametrize(
    ("entry", "given", "said"),
    [
        ("TrainingMaps", {"masks": "foo"}, "masks is 'foo', which holds no numbers: give a tensor or an array (2, 16"),
        ("TrainingMaps", {"every": "2"}, "every='2': give a whole number, 1 or more"),
        ("TrainingMaps", {"steps": -1}, "steps=-1: give a whole number, 0 or more"),
        ("TrainingMaps", {"pictures": "a.png"}, "pictures is 'a.png': give 2 pictures, one for each image"),
        ("TrainingMaps", {"network": 3}, "network is 3: give a function from what is trained"),
        ("TrainingMaps", {"probability": "softmin"}, "probability='softmin' is unknown: did you mean 'softmax'?"),
        ("TrainingMaps", {"names": "ab"}, "names is 'ab': give a list of 2 texts, one for each image"),
        ("explain_text", {"prompt": 3}, 'the prompt is 3: give one text for all pictures, "" for none'),
        ("explain_text", {"prompt": ["a", "b"]}, "the prompt is a list: give one text for all pictures"),
        ("explain_text", {"text": None, "most_tokens": 0}, "most_tokens=0: give a whole number, 1 or more"),
        ("LightningMaps", {"maps": X}, "maps is an object of type Tensor: give TrainingMaps(images, labels, to=...)"),
        ("by_region", {"image": "0"}, "image='0': give a whole number"),
        ("by_region", {"names": ["liver"]}, "names is a list: give a mapping from labels to names"),
        ("by_region", {"removal": 0.5}, "removal is 0.5: give cfcam.clinical.removal.Removal(...), or a function"),
        ("Adapter", {"arguments": {"x": 1}}, "Adapter: arguments is a dict: give a function, lambda x,"),
        ("Adapter", {"arguments": lambda x, images: None}, "Adapter: arguments returned None: return what the model"),
        ("Detector", {"read": "boxes"}, "Detector: read is 'boxes': give a function of the model's output"),
        ("text.strip", {"image": 1}, "image 1: there are 1, counted from 0"),
        ("Contrast", {"a": 1.5}, "a class is 1.5: give its index or its name"),
    ],
)
def test_it_says_what_where_and_what_next(shared, entry, given, said):
    with pytest.raises(cfcam.CfcamError) as raised:
        shared[entry](**given)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"count": "1"}, "maps of epoch '1': InputError: the count of epochs='1': give a whole number; the training"),
        ({"network": 3}, "maps of epoch 1: InputError: the network is 3: give the torch.nn.Module that is trained"),
        ({"step": "a"}, "maps of epoch 1: InputError: step='a': give a whole number"),
        ({"to": 3}, "maps of epoch 1: InputError: maps cannot be written to 3: give a folder"),
    ],
)
def test_a_training_is_not_stopped_by_what_its_maps_are_given(given, said):
    maps, net = TrainingMaps(X, layer="0"), network()
    with pytest.warns(RuntimeWarning) as warned:
        assert maps(**{"network": net, "count": 1} | given) is None
    assert said in str(warned[0].message)
    assert maps(net, 2)  # the next time is as if nothing had been


def test_whole_numbers_are_those_of_all_libraries():
    given = (3, 3.0, np.int64(3), torch.tensor(3), np.array(3))
    assert [whole_number(value, "k") for value in given] == [3] * 5
    for wrong in (True, "3", 3.5, torch.tensor(3.0), None, [3]):
        with pytest.raises(TargetError, match=r"^k=.*: give a whole number, 1 or more$"):
            whole_number(wrong, "k", 1, TargetError)


def test_what_was_given_is_shown_short():
    assert [shown(value) for value in ("a\nb", 2.5, None, int, [1], np.zeros(3))] == [
        r"'a\nb'",
        "2.5",
        "None",
        "the class int",
        "a list",
        "an object of type ndarray",
    ]
    assert len(shown("a" * 500)) == 40


def test_a_text_and_a_function_are_asked_for_in_words():
    check_text("a", "name")
    check_called(len, "read", "a function")
    with pytest.raises(InputError, match=r"^name is 3: give a text$"):
        check_text(3, "name")
    with pytest.raises(MethodError, match=r"^read is the class int: give a function$"):
        check_called(int, "read", "a function", MethodError)


@pytest.mark.parametrize(
    ("target", "asked"),
    [
        (lambda output: output[:, 0], "a callable"),
        (cfcam.PerImage(lambda output, images: output[:, 0]), "a callable"),
        (cfcam.Contrast(0, 1), "a contrast of two classes"),
        (cfcam.Regression(0), "a number that the network estimates"),
    ],
)
def test_methods_of_classes_say_what_they_were_asked_instead(target, asked):
    net = network()
    with pytest.raises(MethodError, match=f"^cam explains classes only, and a target is {asked}: use grad-cam"):
        cfcam.explain(net, X, "cam", targets=target)
    with pytest.raises(MethodError, match=f"^finer-cam compares classes, and a target is {asked}: use grad-cam for it"):
        cfcam.explain(net, X, "finer-cam", targets=target)


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("cam", "a target is a word of a text: use grad-cam"),
        ("finer-cam", "a target is a word of a text: use grad-cam"),
        ("legrad", "legrad reads the attention of networks that classify, and VisionEncoderDecoderModel writes a text"),
        ("attention-rollout", "networks that classify, and VisionEncoderDecoderModel writes a text: use hires-cam"),
    ],
)
def test_methods_that_map_no_words_say_so(method, said):
    with pytest.raises(MethodError) as raised:
        cfcam.explain_text(load_demo_captioner(), PICTURE, "", "nodule", methods=method)
    assert said in str(raised.value)


@pytest.mark.parametrize("method", ["cam", "finer-cam"])
def test_methods_of_classes_map_no_boxes(method):
    with pytest.raises(MethodError, match=r"a target is a box of a detector: use grad-cam"):
        cfcam.explain(cfcam.Detector(Finder().eval(), read), X, method, targets=cfcam.TopBoxes(1), layer="model.c")


def test_a_reason_is_told_without_the_name_in_front_however_it_was_written():
    path = Path("scans/a b.png")
    for name in ("scans/a b.png", "a b.png", "'scans/a b.png'", "scans/a b.png: a b.png"):
        assert without_name(f"{name}: is empty", path) == "is empty"
    for reason in ("is empty", "b.png: is empty", "other/a b.png: is empty"):
        assert without_name(reason, path) == reason

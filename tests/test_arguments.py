"""Arguments of the wrong kind: each gives one line that says what is due."""

from collections import UserDict
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import PIL.Image
import pytest
import torch
from torch import nn

import cfcam
from cfcam.capture import Adapter
from cfcam.errors import CfcamError, InputError, LayerError, MethodError, TargetError
from cfcam.imaging import Preprocess, VolumePreprocess
from cfcam.methods import Fusion, GradCAM
from cfcam.methods.base import Method


class Pooled(nn.Module):
    def __init__(self, channels=3, classes=4, axes=2):
        super().__init__()
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
        self.f, self.head = nn.Sequential(conv(channels, 4, 3), nn.ReLU()), nn.Linear(4, classes)

    def forward(self, x):
        return self.head(self.f(x).flatten(2).mean(2))


class MeanOfTheLast(Pooled):
    """Takes a picture without a batch axis in silence, and gives one row of scores."""

    def forward(self, x):
        return self.head(self.f(x).mean((-2, -1)))


class Permuting(Pooled):
    """Takes (N, H, W, C)."""

    def forward(self, x):
        return super().forward(x.movedim(-1, 1))


def net(**settings):
    torch.manual_seed(0)
    return Pooled(**settings).eval()


def x(*shape):
    return torch.rand(*(shape or (2, 3, 16, 16)), generator=torch.Generator().manual_seed(1))


def one_line(error, *words):
    text = str(error.value)
    assert "\n" not in text
    assert all(word in text for word in words), text


@dataclass(frozen=True)
class Own(Method):
    name: ClassVar[str] = "own"
    uses_gradients: ClassVar[bool] = False
    give: object = None

    def __call__(self, capture):
        return self.give(capture)


WRONG_MAPS = {
    "without targets": lambda c: c.activations.sum(1),
    "one target for all": lambda c: c.activations.sum(1, keepdim=True),
    "one image for all": lambda c: c.activations[:1, :4],
    "targets before images": lambda c: c.activations[:, :4].transpose(0, 1),
    "channels": lambda c: c.activations[:, :4, None],
    "weights only": lambda c: c.activations[:, :4].flatten(2).mean(2),
    "no places": lambda c: c.activations[:, :4, :0],
    "numpy": lambda c: c.activations[:, :4].numpy(),
    "nothing": lambda c: None,
    "several": lambda c: (c.activations[:, :4],) * 2,
    "whole numbers": lambda c: c.activations[:, :4].long(),
    "truths": lambda c: c.activations[:, :4] > 0,
}


@pytest.mark.parametrize("wrong", WRONG_MAPS)
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_method_that_returns_something_else_than_maps(wrong, wrapped):
    own = Own(WRONG_MAPS[wrong])
    with pytest.raises(MethodError) as error:
        cfcam.explain(net(), x(), Fusion(base=own, layers=("f",)) if wrapped else own, layer="f", targets="all")
    one_line(error, "Own returned", "(2, 4, H, W)")


def test_maps_with_a_graph_are_kept_without_it():
    e = cfcam.explain(net(), x(), Own(lambda c: c.activations[:, :1].clone().requires_grad_()), targets=0)
    assert not e.maps["own"].requires_grad


@pytest.mark.parametrize(
    ("methods", "words"),
    [
        (GradCAM, ("GradCAM is a class", "GradCAM()")),
        ([GradCAM], ("GradCAM is a class",)),
        ({"mine": GradCAM}, ("GradCAM is a class",)),
        (None, ("None is no method",)),
        (3, ("3 is no method",)),
        ([], ("no method given",)),
        ({}, ("no method given",)),
        ({1: "grad-cam"}, ("called 1",)),
        ({"": "grad-cam"}, ("called ''",)),
        ([lambda capture: capture.activations], ("is no method",)),
    ],
)
def test_what_is_no_method(methods, words):
    with pytest.raises(MethodError) as error:
        cfcam.explain(net(), x(), methods)
    one_line(error, *words)


def test_a_method_class_that_lacks_what_provenance_needs():
    class Plain(Method):
        name = "plain"

        def __call__(self, capture):
            return capture.activations[:, :1]

    @dataclass(frozen=True)
    class Nameless(Method):
        def __call__(self, capture):
            return capture.activations[:, :1]

    for method, words in ((Plain(), ("Plain", "@dataclass")), (Nameless(), ("Nameless", "name"))):
        with pytest.raises(MethodError) as error:
            cfcam.explain(net(), x(), method)
        one_line(error, *words)


@pytest.mark.parametrize("layer", [["f"], ("f",), 0, 1.0, True, b"f", {"f"}, nn.ReLU])
def test_a_layer_that_is_no_name(layer):
    with pytest.raises(LayerError) as error:
        cfcam.explain(net(), x(), "grad-cam", layer=layer)
    one_line(error, "give one dotted name", *(["Fusion"] if isinstance(layer, (list, tuple)) else []))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lambda: {"pixel_values": x()}, ("pixel_values", "Adapter")),
        (lambda: UserDict(image=x(), age=x(2, 1)), ("image, age", "Adapter")),
        (lambda: [x()[0], x()[1]], ("list", "torch.stack")),
        (lambda: (x(), x()), ("tuple", "Adapter")),
        (lambda: x().numpy(), ("ndarray", "torch.from_numpy")),
        (lambda: PIL.Image.new("RGB", (16, 16)), ("Image", "Preprocess")),
        (lambda: "picture.png", ("str",)),
        (lambda: None, ("NoneType",)),
        (lambda: (x() * 255).byte(), ("uint8", "floating-point")),
        (lambda: x()[0, 0], ("batch", "x[None, None]")),
        (lambda: x()[0], ("batch axis", "x[None]")),
        (lambda: x()[0].movedim(0, -1), ("batch axis", "x.movedim(-1, 0)[None]")),
        (lambda: x().movedim(1, -1), ("channels are last", "x.movedim(-1, 1)")),
        (lambda: x(2, 1, 16, 16), ("takes 3 channels", "has 1")),
        (lambda: x(2, 4, 16, 16), ("takes 3 channels", "has 4")),
    ],
)
@pytest.mark.parametrize("layer", [None, "f"])
def test_an_input_of_another_kind(given, words, layer):
    with pytest.raises(InputError) as error:
        cfcam.explain(net(), given(), "grad-cam", layer=layer)
    one_line(error, *words)


@pytest.mark.parametrize("layer", [None, "f"])
def test_a_picture_without_batch_axis_that_the_network_takes(layer):
    torch.manual_seed(0)
    with pytest.raises(InputError) as error:
        cfcam.explain(MeanOfTheLast().eval(), x()[0], "grad-cam", layer=layer)
    one_line(error, "batch axis", "x[None]")
    volume = net(axes=3, channels=1)
    with pytest.raises(InputError) as error:
        cfcam.explain(volume, x(1, 8, 8, 8), "grad-cam", layer=layer)
    one_line(error, "(N, C, D, H, W)", "x[None]")


@pytest.mark.parametrize("layer", [None, "f"])
def test_a_network_that_turns_channels_first_itself(layer):
    torch.manual_seed(0)
    model = Permuting().eval()
    with pytest.raises(InputError) as error:
        cfcam.explain(model, x().movedim(1, -1), "grad-cam", layer=layer)
    one_line(error, "Adapter", "movedim(1, -1)")
    adapter = Adapter(model, lambda x, images: x.movedim(1, -1))
    e = cfcam.explain(adapter, x(), "grad-cam", layer="model.f", targets=1)
    own = cfcam.explain(net(), x(), "grad-cam", layer="f", targets=1)
    assert torch.equal(e.maps["grad-cam"], own.maps["grad-cam"])


def test_networks_that_loop_over_pictures_without_batch_axis_go_on():
    class Looping(Pooled):
        def forward(self, x):
            return torch.cat([super(Looping, self).forward(one[None]) for one in x])

    torch.manual_seed(0)
    model = Looping().eval()
    assert cfcam.explain(model, x()[:1], "grad-cam", layer="f").maps["grad-cam"].shape == (1, 1, 14, 14)


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (torch.tensor([[0, 1, 0, 0], [0, 0, 0, 1]]), ("zeros and ones", "argmax(1)")),
        (torch.tensor([[0, 1, 0, 1], [1, 0, 0, 1]]), ("zeros and ones",)),
        (torch.tensor([[0.0, 1, 0, 0]] * 2), ("float32", "argmax(1)")),
        (torch.tensor([[False, True, False, False]] * 2), ("bool",)),
        (np.array(1.7), ("float64",)),
        (torch.tensor(1.7), ("float32",)),
        (torch.tensor(True), ("bool",)),
        (np.array(["cat", "dog"]), ("names in a list",)),
        ([[0, 1], [1, 2]], ("image by image", "tensor (N, K)")),
        ([torch.tensor([0, 1]), torch.tensor([1, 2])], ("image by image",)),
        ([np.array([0, 1])], ("image by image",)),
        ([torch.tensor(1.5)], ("Tensor",)),
        ([1.0], ("float",)),
        ({"class": 1}, ("dict",)),
        (cfcam.TopK, ("TopK is a class",)),
        ([], ("empty",)),
        (torch.tensor([1, 2, 3]), ("(3,) for 2 images",)),
    ],
)
def test_targets_of_another_kind(targets, words):
    with pytest.raises(TargetError) as error:
        cfcam.explain(net(), x(), "grad-cam", targets=targets)
    one_line(error, *words)


@pytest.mark.parametrize("targets", [np.int64(1), torch.tensor(1), [np.int64(1)], [torch.tensor(1)], np.array([1, 1])])
def test_whole_numbers_of_any_kind_are_classes(targets):
    assert cfcam.explain(net(), x(), "grad-cam", targets=targets).targets.tolist() == [[1], [1]]


def test_two_classes_in_any_order_are_indices():
    e = cfcam.explain(net(classes=2), x(), "grad-cam", targets=torch.tensor([[1, 0], [0, 1]]))
    assert e.targets.tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mean": 0.5}, ("mean is 0.5", "a single number", "(0.5,)")),
        ({"mean": torch.tensor(0.5)}, ("mean is 0.5", "a single number")),
        ({"std": np.float32(0.5)}, ("std is 0.5", "a single number")),
        ({"mean": "0.5"}, ("mean is '0.5'",)),
        ({"mean": ("0.5",)}, ("mean is ('0.5',)",)),
        ({"mean": None}, ("mean is None",)),
        ({"std": {1: 2}}, ("std is",)),
    ],
)
def test_means_that_are_no_numbers_of_channels(settings, words):
    for kind in (Preprocess, VolumePreprocess):
        with pytest.raises(InputError) as error:
            kind(**settings)
        one_line(error, *words)


@pytest.mark.parametrize(
    "settings", [{"size": "224"}, {"size": 224.0}, {"size": (224, 224.5)}, {"size": None}, {"crop_ratio": "0.9"}]
)
def test_settings_of_pictures_of_another_type(settings):
    with pytest.raises(InputError) as error:
        Preprocess(**settings)
    one_line(error, next(iter(settings)))


@pytest.mark.parametrize("settings", [{"window": 5}, {"window": ("a", 2)}, {"size": "64"}, {"spacing": "1"}])
def test_settings_of_volumes_of_another_type(settings):
    with pytest.raises(InputError) as error:
        VolumePreprocess(**settings)
    one_line(error, next(iter(settings)))


def test_arrays_and_tensors_are_numbers_too():
    plain = Preprocess(size=(8, 8), mean=(0.5, 0.25, 0.5), std=(1.0, 2.0, 1.0))
    for make in (np.array, torch.tensor, list):
        given = Preprocess(size=make([8, 8]), mean=make([0.5, 0.25, 0.5]), std=make([1.0, 2.0, 1.0]))
        assert given == plain
    assert Preprocess(size=np.int64(8)).input_size == (8, 8)
    assert issubclass(InputError, CfcamError)


@pytest.mark.parametrize("classes", [b"abcd", {"a", "b", "c", "d"}, frozenset("abcd"), dict.fromkeys("abcd")])
def test_class_names_are_a_list_of_texts(classes):
    """A set was taken for names, in an order of its own."""
    with pytest.raises(TargetError) as error:
        cfcam.explain(net(), x(), "grad-cam", classes=classes)
    one_line(error, "give a list of names")


def changes(out):
    return out.mul_(2)[:, 1]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (lambda out: out[:, 9], ("IndexError", "(2, 4)")),
        (lambda out, more: out, ("TypeError",)),
        (lambda out: out.nothing, ("AttributeError", "nothing")),
        (lambda out: out.view(7, 7), ("RuntimeError",)),
        (changes, ("changes", "in place", "clone()")),
    ],
)
@pytest.mark.parametrize("layer", [None, "f"])
def test_a_callable_that_fails_or_changes_the_output(target, words, layer):
    """Raw errors; a callable that works in place doubled the logits that are reported."""
    with pytest.raises(TargetError) as error:
        cfcam.explain(net(), x(), "grad-cam", targets=target, layer=layer)
    one_line(error, f"target {target.__name__}", *words)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (x().to_sparse(), ("sparse", "to_dense")),
        (torch.nested.nested_tensor([x()[0], x()[1]], layout=torch.jagged), ("nested",)),
        (x().to("meta"), ("meta device",)),
        (x()[..., :2, :2], ("too small",)),
    ],
    ids=["sparse", "nested", "meta", "small"],
)
@pytest.mark.parametrize("layer", [None, "f"])
def test_tensors_that_are_no_pictures_to_run_on(given, words, layer):
    with pytest.raises(InputError) as error:
        cfcam.explain(net(), given, "grad-cam", layer=layer)
    one_line(error, *words)


def test_the_whole_network_is_no_layer():
    whole = net()
    with pytest.raises(LayerError) as error:
        cfcam.explain(whole, x(), "grad-cam", layer=whole)
    one_line(error, "whole Pooled")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"stpes": 3}, ("'stpes'", "did you mean 'steps'")),
        ({"xyz": 1}, ("'xyz'", "there are explained")),
        ({"batch_size": 0}, ("batch_size is 0",)),
        ({"batch_size": None}, ("batch_size is None",)),
        ({"limit": -1}, ("limit is -1",)),
        ({"limit": 1.5}, ("limit is 1.5",)),
    ],
)
def test_settings_of_an_evaluation(settings, words):
    with pytest.raises(CfcamError) as error:
        cfcam.evaluate(net(), x(), ["grad-cam"], "average-drop", **settings)
    one_line(error, *words)


class Views(Pooled):
    """Test-time augmentation: a flipped copy of each picture, or two crops, in one batch."""

    def __init__(self, crops):
        super().__init__()
        self.crops = crops

    def forward(self, x):
        views = (x[..., :12, :12], x[..., 4:, 4:]) if self.crops else (x, x.flip(-1))
        return super().forward(torch.cat(views)).unflatten(0, (2, -1)).mean(0)


@pytest.mark.parametrize("crops", [False, True])
@pytest.mark.parametrize("layer", [None, "f"])
def test_views_of_a_picture_in_one_batch(crops, layer):
    """Refused for a reason that was not so: "no spatial extent: the network flattens it first"."""
    with pytest.raises(LayerError) as error:
        cfcam.explain(Views(crops).eval(), x(), "grad-cam", layer=layer)
    one_line(error, "cannot be told")
    assert "spatial extent" not in str(error.value)

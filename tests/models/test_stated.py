"""What a network, its checkpoint or a file beside its weights states of its pictures, and who is said to say so."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from cfcam.errors import ModelError
from cfcam.models import load
from cfcam.models.stated import understood
from cfcam.models.stated_by_module import of_module, of_transform

HALF = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
NETWORK = """
from torch import nn

class Net(nn.Module):
    def __init__(self, channels=3):
        super().__init__()
        self.conv, self.head = nn.Conv2d(channels, 4, 3), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.conv(x).relu().mean((2, 3)))

def make(channels=3):
    return Net(channels)

def timm_like():
    net = Net()
    net.pretrained_cfg = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "input_size": (3, 96, 96), "crop_pct": 0.9,
                          "interpolation": "bicubic", "url": "x"}
    return net

def says():
    net = Net()
    net.preprocess = {"size": 64, "mean": 0.5, "std": 0.25}
    return net

def both():
    return Net(), {"size": [64, 32], "mean": [0.5] * 3, "std": [0.25] * 3, "resize": "pad"}

def nothing_read():
    return Net(), "the usual"

def misspelt():
    return Net(), {"means": 0.5}
"""


class Net(nn.Module):
    def __init__(self, channels=3):
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3)

    def forward(self, x):
        return self.conv(x).mean((2, 3))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "nets.py"
    path.write_text(NETWORK)
    return path


@pytest.fixture
def weights(file):
    path = file.parent / "weights" / "best.pt"
    path.parent.mkdir()
    torch.save(load(f"{file}:make").module.state_dict(), path)
    return path


def loaded(file, weights=None, name="make"):
    return load(f"{file}:{name}", weights=weights)


def test_nothing_stated_is_nothing_known(file, weights):
    found = loaded(file, weights)
    assert (found.preprocess, found.sources, found.notes) == ({}, {}, ())


@pytest.mark.parametrize("name", ["best.preprocess.json", "best.pt.json", "best.json", "preprocess.json"])
@pytest.mark.parametrize("nest", [None, "preprocess", "normalization", "pretrained_cfg"])
def test_a_file_beside_the_weights(name, nest, file, weights):
    (weights.parent / name).write_text(json.dumps(HALF if nest is None else {nest: HALF}))
    found = loaded(file, weights)
    assert found.preprocess == {"mean": (0.5,) * 3, "std": (0.25,) * 3}
    assert found.sources == dict.fromkeys(("mean", "std"), f"stated beside the weights ({name})")
    assert loaded(file).preprocess == {}  # without these weights it says nothing


def test_a_file_of_results_states_nothing(file, weights):
    (weights.parent / "best.json").write_text(json.dumps({"mean": 0.93, "std": 0.02, "size": 12, "accuracy": [0.9]}))
    (weights.parent / "config.json").write_text("[not json")
    assert loaded(file, weights).preprocess == {}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "repair it or take it away"),
        ("[]", "holds no JSON object"),
        ('{"means": 1}', "says means, which cfcam does not know"),
        ('{"mean": "grey"}', "mean is grey: give a number"),
    ],
)
def test_a_preparation_that_cannot_be_used_is_refused(content, words, file, weights):
    (weights.parent / "best.preprocess.json").write_text(content)
    with pytest.raises(ModelError, match=r"best\.preprocess\.json") as error:
        loaded(file, weights)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_one_number_is_for_all_channels_of_the_network(file, weights):
    torch.save(load(f"{file}:make(channels=4)").module.state_dict(), weights)
    (weights.parent / "best.preprocess.json").write_text('{"mean": 0.5, "std": 0.25}')
    assert loaded(file, weights, "make(channels=4)").preprocess == {"mean": (0.5,) * 4, "std": (0.25,) * 4}


def test_an_image_processor_of_transformers_beside_the_weights(file, weights):
    processor = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": {"shortest_edge": 256}, "resample": 1}
    processor |= {"crop_size": 224, "do_center_crop": True, "do_flip_channel_order": True}
    (weights.parent / "processor_config.json").write_text(json.dumps({"image_processor": processor}))
    found = loaded(file, weights)
    assert found.preprocess == {
        "mean": (0.5,) * 3, "std": (0.5,) * 3, "size": 224, "resize": "shorter-side+crop", "crop_ratio": 0.875,
        "order": "bgr",
    }  # fmt: skip
    assert found.sources["interpolation"] == "assumed: the network states lanczos, which cfcam does not have"


def test_the_weights_file_itself(file, tmp_path):
    state = load(f"{file}:make").module.state_dict()
    torch.save({"state_dict": state, "preprocess": HALF}, tmp_path / "a.pt")
    save_file(state, tmp_path / "a.safetensors", metadata={"preprocess": json.dumps(HALF), "format": "pt"})
    for name in ("a.pt", "a.safetensors"):
        found = loaded(file, tmp_path / name)
        assert found.preprocess == {"mean": (0.5,) * 3, "std": (0.25,) * 3}
        assert found.sources["mean"] == "stated in the weights' file"


def test_what_a_file_of_ones_own_states(file):
    timm = loaded(file, name="timm_like")
    assert timm.preprocess == {
        "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "size": 96, "resize": "shorter-side+crop",
        "crop_ratio": 96 / 106,  # timm rounds 96 / 0.9 down
        "interpolation": "bicubic",
    }  # fmt: skip
    assert timm.sources["mean"] == "stated by the network (timm's pretrained_cfg)"
    assert loaded(file, name="says").preprocess == {"size": 64, "mean": (0.5,) * 3, "std": (0.25,) * 3}
    both = loaded(file, name="both")
    assert both.preprocess == {"size": (64, 32), "mean": (0.5,) * 3, "std": (0.25,) * 3, "resize": "pad"}
    assert both.sources["size"] == "stated by the network (beside it from both)"
    with pytest.raises(ModelError, match="returned the network and a str, which does not say how"):
        loaded(file, name="nothing_read")
    with pytest.raises(ModelError, match="says means, which cfcam does not know"):
        loaded(file, name="misspelt")


def test_what_the_network_states_gives_way_to_what_lies_beside_the_weights(file, weights):
    (weights.parent / "best.json").write_text(json.dumps(HALF))
    found = loaded(file, weights, "timm_like")
    assert (found.preprocess["mean"], found.preprocess["size"]) == ((0.5,) * 3, 96)
    # timm's configuration is of timm's weights, not of these
    assert found.sources["size"] == "assumed: as for file's own weights, not stated by these"


@pytest.mark.parametrize(
    ("said", "resize"),
    [
        ({"resize_mode": "shortest", "fill_color": 0}, {"resize": "shorter-side+crop", "crop_ratio": 1.0}),
        ({"resize_mode": "squash", "fill_color": 0}, {"resize": "stretch"}),
        ({"resize_mode": "longest", "fill_color": 0}, {"resize": "pad"}),
        ({"resize_mode": "longest", "fill_color": 127}, {}),
    ],
)
def test_what_open_clip_says_of_its_pictures(said, resize):
    """As its image_transform does it: the shorter side and a cut, both sides, or the longer side and a border."""
    net = Net()
    values = {"mean": (0.5, 0.4, 0.3), "std": (0.2,) * 3, "interpolation": "bicubic"}
    net.preprocess_cfg = {"size": (224, 224), "mode": "RGB", **values, **said}
    found = of_module(net)
    assert found.values == {"size": 224, **values, **resize}
    if not resize:
        assert found.sources["resize"] == "assumed: the network states longest with the colour 127"


OPENAI = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}
SIGLIP = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "interpolation": "bicubic", "resize_mode": "squash"}


@pytest.mark.parametrize(
    ("said", "vision", "values"),
    [
        # what a file does not say is OpenCLIP's own: OpenAI's mean and SD, bicubic, the shorter side, 224
        (
            {},
            {"layers": 12},
            {"size": 224, "resize": "shorter-side+crop", "crop_ratio": 1.0, "interpolation": "bicubic"},
        ),
        (None, {"image_size": 336}, {"size": 336, "resize": "shorter-side+crop", "crop_ratio": 1.0}),
        # the size that the network is built for decides, whatever the other part says
        ({"size": 224, **SIGLIP}, {"image_size": 384}, {"size": 384, "resize": "stretch", "mean": (0.5,) * 3}),
        ({"mean": 0.5, "std": 0.25}, {}, {"mean": (0.5,) * 3, "std": (0.25,) * 3}),
        # "random" is for training, bicubic else; and two sides that differ are resized bicubic whatever is said
        ({"interpolation": "random"}, {}, {"interpolation": "bicubic"}),
        ({"interpolation": "bilinear"}, {}, {"interpolation": "bilinear"}),
        ({"interpolation": "bilinear"}, {"image_size": [96, 64]}, {"size": (96, 64), "interpolation": "bicubic"}),
        (
            {"interpolation": "bilinear", "resize_mode": "squash"},
            {"image_size": [96, 64]},
            {"interpolation": "bilinear"},
        ),
    ],
)
def test_the_file_that_open_clip_writes_beside_its_weights(said, vision, values, file, weights):
    open_clip = weights.rename(weights.with_name("open_clip_pytorch_model.bin"))
    content = {"model_cfg": {"embed_dim": 512, "vision_cfg": vision, "text_cfg": {}}}
    content |= {} if said is None else {"preprocess_cfg": said}
    (weights.parent / "open_clip_config.json").write_text(json.dumps(content))
    found = loaded(file, open_clip)
    assert found.preprocess == {**OPENAI, **found.preprocess, **values}
    if said == {}:
        assert found.preprocess == {**OPENAI, **values}
        assert set(found.sources.values()) == {"stated beside the weights (open_clip_config.json)"}


def test_weights_of_two_libraries_in_one_folder_have_each_its_own_file(file, weights):
    """As in the folders of timm's CLIP towers: timm cuts 0.9 of the shorter side, OpenCLIP all of it."""
    (weights.parent / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"vision_cfg": {}}}))
    timm = {"input_size": [3, 224, 224], "crop_pct": 0.9, "mean": [0.1] * 3, "std": [0.2] * 3}
    (weights.parent / "config.json").write_text(json.dumps({"architecture": "vit", "pretrained_cfg": timm}))
    of_timm = loaded(file, weights)
    of_open_clip = loaded(file, weights.rename(weights.with_name("open_clip_model.bin")))
    assert (of_timm.preprocess["crop_ratio"], of_open_clip.preprocess["crop_ratio"]) == (224 / 248, 1.0)
    assert (of_timm.preprocess["mean"], of_open_clip.preprocess["mean"]) == ((0.1,) * 3, OPENAI["mean"])
    assert of_timm.preprocess["interpolation"] == "bicubic"  # timm's, where its file names none


@pytest.mark.parametrize(
    "content",
    [
        {"crop_pct": "all", "input_size": [3, 9, 9]},
        {"input_size": 224, "crop_pct": 0.9},
        {"crop_mode": ["squash"], "input_size": [3, 9, 9]},
        {"crop_pct": 0.9, "mean": [None] * 3, "std": [1.0] * 3},
        {"resize_mode": ["squash"]},
        {"resize_mode": "squash", "mean": "grey", "std": "grey"},
        {"image_mean": 0.5, "image_std": {"a": 1}},
        {"model_cfg": {"vision_cfg": 3}},
        {"model_cfg": {"vision_cfg": {}}, "preprocess_cfg": ["RGB"]},
    ],
)
def test_what_a_library_would_not_write_is_named_with_its_file(content):
    with pytest.raises(ModelError, match=r"^best\.json cannot be understood .* repair it or take it away$"):
        understood({"pretrained_cfg": content}, "stated", "best.json")


def fake(name, **attributes):
    return type(name, (), attributes)()


def test_a_chain_of_transforms():
    resize = fake("Resize", size=256, interpolation=SimpleNamespace(value="bicubic"))
    chain = [resize, fake("CenterCrop", size=(224, 224)), fake("ToTensor")]
    normal = fake("Normalize", mean=[0.5, 0.4, 0.3], std=[0.2, 0.2, 0.2])
    found = of_transform(fake("Compose", transforms=[*chain, normal]), "s", "it")
    assert found.values == {
        "interpolation": "bicubic", "size": 224, "resize": "shorter-side+crop", "crop_ratio": 0.875,
        "mean": (0.5, 0.4, 0.3), "std": (0.2,) * 3,
    }  # fmt: skip
    bytes_ = [fake("Resize", size=(96, 96)), fake("PILToTensor"), fake("Normalize", mean=[127.5], std=[51.0])]
    found = of_transform(fake("Compose", transforms=bytes_), "s", "it")
    assert found.values == {"size": 96, "resize": "stretch", "mean": (0.5,), "std": (0.2,)}
    squashed = [fake("Resize", size=(256, 256)), *chain[1:], normal]
    found = of_transform(fake("Compose", transforms=squashed), "s", "it")
    assert [found.values[name] for name in ("size", "resize", "crop_ratio")] == [224, "stretch+crop", 0.875]
    larger = [fake("Resize", size=(224, 224)), fake("CenterCrop", size=(256, 256)), normal]
    longer = [fake("Resize", size=256, max_size=300), *chain[1:], normal]  # less than 256 where it is elongated
    sharp = [fake("Resize", size=(96, 96), antialias=False), normal]
    odds = [("GaussianBlur", [*chain, fake("GaussianBlur"), normal]), ("Lambda", [*chain, fake("Lambda"), normal])]
    odds += [("CenterCrop", larger), ("Resize", longer), ("Resize", sharp), ("Normalize", [*chain, normal, normal])]
    for odd, steps in odds:
        found = of_transform(fake("Compose", transforms=steps), "s", "it")
        assert found.values == {}
        assert f"it holds {odd}, which cfcam does not have" in found.notes[0]
    lanczos = fake("Resize", size=256, interpolation=SimpleNamespace(value="lanczos"))
    found = of_transform(fake("Compose", transforms=[lanczos, *chain[1:], normal]), "s", "it")
    assert (found.values["size"], found.values["crop_ratio"]) == (224, 0.875)
    assert found.sources["interpolation"] == "assumed: the network states lanczos, which cfcam does not have"


@pytest.mark.parametrize(("mean", "std", "scale"), [(0.485, 0.229, 1.0), (123.675, 58.4, 1 / 255)])
@pytest.mark.parametrize("names", [("mean", "std"), ("pixel_mean", "pixel_std")])
def test_a_network_that_normalises_by_itself(names, mean, std, scale):
    net = Net()
    for name, value in zip(names, (mean, std), strict=True):
        net.register_buffer(name, torch.full((1, 3, 1, 1), value))
    found = of_module(net)
    assert found.values == {"mean": (0.0,), "std": (scale,)}  # for all channels
    assert found.sources["mean"] == f"the network normalises by itself ({names[0]}, {names[1]})"


def test_what_a_norm_keeps_is_no_normalisation_of_the_input():
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    net.register_buffer("mean", torch.zeros(5))
    net.register_buffer("std", torch.ones(5))
    assert of_module(net) is None


def test_other_weights_than_the_librarys_own(tmp_path, monkeypatch):
    """What timm states is of timm's weights; with others in the network it is an assumption, and said to be."""
    net = Net()
    net.pretrained_cfg = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "input_size": (3, 64, 64), "interpolation": "random"}
    timm = SimpleNamespace(
        is_model=lambda name: True,
        get_pretrained_cfg=lambda name: SimpleNamespace(hf_hub_id=None),
        create_model=lambda name, pretrained: net,
    )
    monkeypatch.setitem(sys.modules, "timm", timm)
    torch.save(net.state_dict(), tmp_path / "a.pt")
    own, others = load("timm:some@pretrained"), load("timm:some", weights=tmp_path / "a.pt")
    assert own.sources["mean"] == "stated by the network (timm's pretrained_cfg)"
    assert own.sources["interpolation"] == "assumed: the network states random, which cfcam does not have"
    assert others.preprocess == own.preprocess
    assert others.sources["mean"] == "assumed: as for timm's own weights, not stated by these"


def test_the_demo_networks_say_what_they_were_trained_with():
    assert load("demo").sources["mean"] == "stated by the network (its training)"


def test_what_says_nothing():
    assert understood({"epoch": 3, "mean": [1, 2], "lr": 0.1}, "s", "w") is None
    assert understood(7, "s", "w") is None

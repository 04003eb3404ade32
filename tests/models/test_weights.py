"""Weights from files: what is read, what is refused, and what a user is told."""

import argparse
import json
import os
import pickle
import tarfile
import zipfile
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from cfcam.errors import ModelError
from cfcam.models import load_weights, read_classes, read_state_dict, replace_head
from cfcam.models.head import find_head


def network(classes: int = 3) -> nn.Module:
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(1, 4, 3),
            norm=nn.BatchNorm2d(4),
            pool=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
            fc=nn.Linear(4, classes),
        )
    )


def equal(a: nn.Module, b: nn.Module) -> bool:
    one, two = a.state_dict(), b.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def refused(call, *arguments, **keywords) -> str:
    """The message of the ModelError, which is one line."""
    with pytest.raises(ModelError) as caught:
        call(*arguments, **keywords)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 900
    return message


@pytest.fixture
def trained() -> nn.Module:
    torch.manual_seed(7)
    net = network()
    net.norm.running_mean.uniform_()
    return net


def prefixed(state, prefix):
    return {prefix + name: value for name, value in state.items()}


FORMS = {
    "plain": lambda state: state,
    "DataParallel": lambda state: prefixed(state, "module."),
    "Lightning": lambda state: {
        "epoch": 3,
        "state_dict": prefixed(state, "model."),
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2)}}}],
    },
    "Lightning with a weighted loss": lambda state: {
        "state_dict": prefixed(state, "model.") | {"criterion.pos_weight": torch.ones(3)}
    },
    "compiled and distributed": lambda state: {"model_state_dict": prefixed(state, "module._orig_mod.")},
    "compiled in part": lambda state: {k.replace("conv.", "conv._orig_mod."): v for k, v in state.items()},
    "twice nested": lambda state: {"model": {"state_dict": state}, "optimizer": {"state": {}}},
    "AveragedModel": lambda state: prefixed(state, "module.") | {"n_averaged": torch.tensor(5)},
    "without BatchNorm counters": lambda state: {
        name: value for name, value in state.items() if not name.endswith("num_batches_tracked")
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_checkpoint_gives_the_same_network(form, trained, tmp_path):
    torch.save(FORMS[form](trained.state_dict()), tmp_path / "w.pt")
    net = network()
    load_weights(net, tmp_path / "w.pt")
    assert equal(net, trained)


def test_safetensors_by_suffix_and_by_content(trained, tmp_path):
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    (tmp_path / "w.bin").write_bytes((tmp_path / "w.safetensors").read_bytes())
    for name in ("w.safetensors", "w.bin"):
        net = network()
        assert load_weights(net, tmp_path / name) == ()
        assert equal(net, trained)


def test_torch_save_of_the_old_format(trained, tmp_path):
    torch.save(trained.state_dict(), tmp_path / "w.pt", _use_new_zipfile_serialization=False)
    net = network()
    load_weights(net, str(tmp_path / "w.pt"))
    assert equal(net, trained)


def test_half_precision_is_cast_to_the_networks_type(trained, tmp_path):
    torch.save(trained.half().state_dict(), tmp_path / "w.pt")
    net = network()
    load_weights(net, tmp_path / "w.pt")
    assert net.fc.weight.dtype == torch.float32
    assert equal(net, trained.float())


def test_the_first_of_several_nests_is_taken_and_named(trained, tmp_path):
    torch.save({"ema": network().state_dict(), "model": trained.state_dict()}, tmp_path / "w.pt")
    net = network()
    (note,) = load_weights(net, tmp_path / "w.pt")
    assert equal(net, trained)
    assert "model, ema" in note
    assert "'model' were taken" in note


def test_entries_beside_the_network_are_named(trained, tmp_path):
    state = prefixed(trained.state_dict(), "net.") | {"loss.weight": torch.ones(1)}
    torch.save(state, tmp_path / "w.pt")
    (note,) = load_weights(network(), tmp_path / "w.pt")
    assert "loss.weight" in note


def test_a_prefix_of_the_networks_own_is_kept(trained, tmp_path):
    own = nn.ModuleDict({"backbone": nn.Linear(2, 2)})
    for state in (
        own.state_dict(),
        prefixed(own.state_dict(), "backbone."),
        prefixed(own.state_dict(), "model."),
    ):
        torch.save(state, tmp_path / "w.pt")
        net = nn.ModuleDict({"backbone": nn.Linear(2, 2)})
        load_weights(net, tmp_path / "w.pt")
        assert equal(net, own)


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("new_format", [True, False])
def test_pickled_code_is_refused_and_not_run(new_format, trained, tmp_path):
    content = {"state_dict": trained.state_dict(), "extra": Evil(tmp_path / "ran")}
    torch.save(content, tmp_path / "w.pt", _use_new_zipfile_serialization=new_format)
    message = refused(load_weights, network(), tmp_path / "w.pt")
    assert "arbitrary Python objects (posix.system), which cfcam refuses to run" in message
    assert "torch.save(model.state_dict()" in message
    assert not (tmp_path / "ran").exists()
    torch.load(tmp_path / "w.pt", weights_only=False)  # the file is as dangerous as it claims to be
    assert (tmp_path / "ran").exists()


def test_bare_pickles_and_whole_modules_are_refused(tmp_path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(Evil(tmp_path / "ran")))
    torch.save(network(), tmp_path / "b.pt")
    torch.save({"model": {}, "args": argparse.Namespace(lr=1)}, tmp_path / "c.pt")
    for name in ("a.pkl", "b.pt", "c.pt"):
        assert "refuses to run" in refused(load_weights, network(), tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_torchscript_and_archives_are_refused_before_torch_opens_them(tmp_path, monkeypatch):
    torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)).save(str(tmp_path / "script.pt"))
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a/weights.txt", "1 2 3")
    with tarfile.open(tmp_path / "old.tar", "w") as archive:
        archive.add(tmp_path / "other.zip", "x")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch.load was called"))
    assert "TorchScript" in refused(read_state_dict, tmp_path / "script.pt")
    assert "not one of PyTorch's" in refused(read_state_dict, tmp_path / "other.zip")
    assert "tar archive" in refused(read_state_dict, tmp_path / "old.tar")


def test_files_that_are_no_weights(trained, tmp_path):
    save_file(trained.state_dict(), tmp_path / "whole.safetensors")
    torch.save(trained.state_dict(), tmp_path / "whole.pt")
    torch.save(trained.state_dict(), tmp_path / "whole_old.pt", _use_new_zipfile_serialization=False)
    torch.save({"epoch": 3, "optimizer": {"lr": 0.1}}, tmp_path / "nothing.pt")
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    for whole in ("whole.safetensors", "whole.pt", "whole_old.pt"):
        data = (tmp_path / whole).read_bytes()
        (tmp_path / f"cut_{whole}").write_bytes(data[: int(len(data) * 0.7)])
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "page.pt").write_bytes(b"<!DOCTYPE html><html>not found</html>")
    (tmp_path / "lfs.pt").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    (tmp_path / "keras.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    expected = {
        "absent.pt": "does not exist",
        "empty.pt": "is empty",
        "page.pt": "neither a PyTorch nor a safetensors file",
        "lfs.pt": "git lfs pull",
        "keras.h5": "HDF5",
        "cut_whole.safetensors": "not a valid safetensors file",
        "cut_whole.pt": "damaged or cut short",
        "cut_whole_old.pt": "damaged or cut short",
        "nothing.pt": "no tensors (only epoch, optimizer)",
        "tensor.pt": "one Tensor",
        "": "are a folder",
    }
    for name, words in expected.items():
        message = refused(read_state_dict, tmp_path / name)
        assert words in message
        assert str(tmp_path / name).rstrip("/") in message


def test_a_checkpoint_that_contains_itself_ends(tmp_path):
    content: dict = {"epoch": 1}
    content["model"] = content
    torch.save(content, tmp_path / "w.pt")
    assert "no tensors" in refused(read_state_dict, tmp_path / "w.pt")


def test_a_differing_classifier_names_the_option(trained, tmp_path):
    torch.save(network(2).state_dict(), tmp_path / "w.pt")
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    message = refused(load_weights, trained, tmp_path / "w.pt", network="small")
    assert "w.pt does not fit small: 2 of another shape" in message
    assert "fc.weight is 2x4 in the file, 3x4 here" in message
    assert message.endswith("only the classifier differs, use --num-classes 2")
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())


def test_a_mismatch_counts_and_names_the_first_three(trained, tmp_path):
    state = trained.state_dict()
    state["conv.weight"] = torch.zeros(4, 3, 3, 3)
    for name in ("norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"):
        del state[name]
    state["extra"] = torch.zeros(1)
    torch.save(state, tmp_path / "w.pt")
    message = refused(load_weights, network(), tmp_path / "w.pt")
    assert "4 of its 9 tensors missing (norm.weight, norm.bias, norm.running_mean and 1 more)" in message
    assert "1 unexpected (extra)" in message
    assert "conv.weight is 4x3x3x3 in the file, 4x1x3x3 here" in message


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state | {"extra": torch.zeros(1)},
        lambda state: {name: value for name, value in state.items() if name != "fc.bias"},
        lambda state: state | {"fc.weight": state["fc.weight"].to_sparse()},
    ],
    ids=["unexpected", "missing", "sparse"],
)
def test_weights_that_do_not_fit_leave_the_network_as_it_was(change, trained, tmp_path):
    torch.save(change(trained.state_dict()), tmp_path / "w.pt")
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert "w.pt does not fit the network" in refused(load_weights, net, tmp_path / "w.pt")
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_weights_of_another_network(tmp_path):
    torch.save({"blocks.0.w": torch.zeros(2), "blocks.1.w": torch.zeros(2)}, tmp_path / "w.pt")
    assert "the weights of another network" in refused(load_weights, network(), tmp_path / "w.pt")


def test_a_classifier_built_another_way(trained, tmp_path):
    state = trained.state_dict()
    state["fc.1.weight"], state["fc.1.bias"] = state.pop("fc.weight"), state.pop("fc.bias")
    torch.save(state, tmp_path / "w.pt")
    assert "built another way" in refused(load_weights, network(), tmp_path / "w.pt")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite(value, trained, tmp_path):
    trained.conv.weight.data[0, 0, 0, :2] = value
    trained.fc.bias.data[1] = value
    torch.save(trained.state_dict(), tmp_path / "w.pt")
    message = refused(load_weights, network(), tmp_path / "w.pt")
    assert "conv.weight holds 2 NaN or infinite values of 36, as do 1 more tensors" in message


class SqueezeAndConvHead(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(nn.Linear(4, 2), nn.Conv2d(4, 4, 1))
        self.head_conv = nn.Conv2d(4, 5, 1)


class HeadFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 5)
        self.attention = nn.MultiheadAttention(4, 2)
        self.features = nn.Conv2d(4, 4, 1)


@pytest.mark.parametrize(
    ("net", "name"),
    [
        (network(), "fc"),
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 5, 1), nn.ReLU()), "1"),
        (nn.Sequential(nn.Conv3d(1, 4, 3), nn.Conv3d(4, 5, 1)), "1"),
        (SqueezeAndConvHead(), "head_conv"),
        (HeadFirst(), "fc"),
    ],
)
def test_the_classifier_is_found(net, name):
    assert find_head(net)[0] == name


def test_replaced_head_keeps_inputs_type_and_bias():
    net = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Linear(4, 3, bias=False)).double()
    assert replace_head(net, 7) == "1"
    assert net[1].weight.shape == (7, 4)
    assert net[1].weight.dtype == torch.float64
    assert net[1].bias is None
    fitting = net[1]
    replace_head(net, 7)
    assert net[1] is fitting
    squeeze = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 5, 1))
    replace_head(squeeze, 2)
    assert squeeze(torch.zeros(1, 1, 5, 5)).shape == (1, 2, 3, 3)


def test_a_head_under_two_names_is_replaced_under_both():
    net = network()
    net.alias = net.fc
    replace_head(net, 2)
    assert net.alias is net.fc
    assert net.fc.out_features == 2


@pytest.mark.parametrize("net", [nn.Sequential(nn.Conv2d(1, 4, 3)), nn.Linear(2, 2), nn.ReLU()])
def test_no_head_to_replace(net):
    assert "networks.py:my_network(classes=5)" in refused(replace_head, net, 5)


@pytest.mark.parametrize("number", [0, -1, True, 2.0])
def test_numbers_of_classes_that_are_none(number):
    assert "whole number" in refused(replace_head, network(), number)


CLASS_FILES = {
    "a.txt": "cat\ndog\n\n\n",
    "bom.txt": "\ufeffcat\r\ndog\r\n",
    "list.json": '["cat", "dog"]',
    "by_index.json": '{"1": "dog", "0": "cat"}',
    "by_name.json": '{"dog": 1, "cat": 0}',
    "imagenet.json": '{"0": ["n02123045", "cat"], "1": ["n02084071", "dog"]}',
    "pairs.json": '[["n02123045", "cat"], ["n02084071", "dog"]]',
}


@pytest.mark.parametrize("name", CLASS_FILES)
def test_class_names(name, tmp_path):
    (tmp_path / name).write_bytes(CLASS_FILES[name].encode())
    assert read_classes(tmp_path / name) == ("cat", "dog")
    assert read_classes(["cat", "dog"]) == ("cat", "dog")


def test_imagenets_two_cranes_are_told_apart(tmp_path):
    (tmp_path / "c.json").write_text('{"0": ["n1", "crane"], "1": ["n2", "crane"], "2": ["n3", "tench"]}')
    assert read_classes(tmp_path / "c.json") == ("crane (n1)", "crane (n2)", "tench")


def test_half_a_character_in_a_name_is_refused_where_it_is_read(tmp_path):
    (tmp_path / "c.json").write_bytes(b'["cat", "\\ud83d"]')
    assert "half of a surrogate pair" in refused(read_classes, tmp_path / "c.json")
    assert "index 1 holds half of a character" in refused(read_classes, ["cat", "dog\ud83d"])


WRONG_CLASS_FILES = {
    "empty.txt": (b"\n\n", "no class names"),
    "hole.txt": (b"cat\n\ndog\n", "blank line 2"),
    "twice.txt": (b"cat\ndog\ncat\n", "'cat' stands at index 0 and 2"),
    "latin.txt": "Dreißig".encode("latin-1"),
    "broken.json": (b'["cat", ', "is no JSON (line 1, column 9"),
    "empty.json": (b"[]", "no class names"),
    "gap.json": (b'{"0": "cat", "2": "dog"}', "none has index 1"),
    "from_one.json": (b'{"cat": 1, "dog": 2}', "none has index 0"),
    "same_index.json": (b'{"cat": 0, "dog": 0}', "the index 0 to two classes"),
    "same_key.json": (b'{"cat": 0, "cat": 1}', "'cat' twice"),
    "keys.json": (b'{"a": "cat"}', "which index"),
    "numbers.json": (b"[1, 2]", "not a class name"),
    "text.json": (b'"cat"', "JSON str"),
}


@pytest.mark.parametrize("name", WRONG_CLASS_FILES)
def test_wrong_class_files(name, tmp_path):
    content = WRONG_CLASS_FILES[name]
    data, words = content if isinstance(content, tuple) else (content, "not UTF-8")
    (tmp_path / name).write_bytes(data)
    message = refused(read_classes, tmp_path / name)
    assert words in message
    assert name in message


def test_class_names_that_are_no_file_or_no_text(tmp_path):
    assert "does not exist" in refused(read_classes, tmp_path / "absent.txt")
    assert "cannot read" in refused(read_classes, tmp_path)
    assert "text, not 3" in refused(read_classes, ["cat", 3])
    assert "no class names" in refused(read_classes, [])
    assert "empty name" in refused(read_classes, ["cat", " "])


def test_imagenets_own_list_of_classes(data):
    file = data / "imagenet-mobilenet-weights" / "imagenet_classes.json"
    names = read_classes(file)
    assert len(names) == len(set(names)) == 1000
    assert names[0] == json.loads(file.read_text())[0][1]

"""Weights in several files, and what the types are told that they are stored in."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from cfcam.errors import ModelError
from cfcam.models import load, load_weights, read_state_dict

NETWORK = """
from torch import nn

def make():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
"""


def network() -> nn.Module:
    torch.manual_seed(7)
    layers = (nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    return nn.Sequential(*layers).eval()


def refused(call, *arguments) -> str:
    with pytest.raises(ModelError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def state():
    return network().state_dict()


def in_two(folder, state, suffix, save, lacks=""):
    """The weights in two files, and their index, as transformers and accelerate write them."""
    names = [f"model-0000{number}-of-00002{suffix}" for number in (1, 2)]
    where = {name: names[name.startswith("4.")] for name in state}
    for file in names:
        save({name: state[name] for name in state if where[name] == file and name != lacks}, folder / file)
    index = folder / f"model{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": where}))
    return index


@pytest.mark.parametrize(("suffix", "save"), [(".safetensors", save_file), (".bin", torch.save)])
def test_an_index_gives_the_weights_of_all_its_files(suffix, save, state, tmp_path):
    index = in_two(tmp_path, state, suffix, save)
    (tmp_path / "net.py").write_text(NETWORK)
    found = load(f"{tmp_path / 'net.py'}:make", weights=index)
    assert found.notes == ()
    assert all(torch.equal(value, state[name]) for name, value in found.module.state_dict().items())


def test_files_of_an_index_that_are_not_there_are_named(state, tmp_path):
    index = in_two(tmp_path, state, ".safetensors", save_file, lacks="4.bias")
    assert refused(read_state_dict, index).endswith("lack 4.bias: copy or download them again")
    assert "give one of its files: model.safetensors.index.json" in refused(read_state_dict, tmp_path)
    part = tmp_path / "model-00002-of-00002.safetensors"
    assert refused(load_weights, network(), part).endswith("give the index that lies beside them (….index.json)")
    part.unlink()
    assert refused(read_state_dict, index) == f"the weights file {part} does not exist: check the path"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"weight_map": {}}, "names no files of weights"),
        ({"weight_map": ["a.pt"]}, "names no files of weights"),
        ([], "names no files of weights"),
        ({"weight_map": {"a": "../a.pt"}}, "names '../a.pt', which is no file of weights beside it"),
        ({"weight_map": {"a": 3}}, "names '3', which is no file of weights beside it"),
        ({"weight_map": {"a": "model.index.json"}}, "names 'model.index.json', which is no file of weights"),
    ],
)
def test_an_index_that_names_something_else(content, words, tmp_path):
    (tmp_path / "model.index.json").write_text(json.dumps(content))
    assert words in refused(read_state_dict, tmp_path / "model.index.json")


def stored(state, dtype):
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in state.items()}


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2, torch.float64]
)
def test_weights_of_another_type_are_cast_and_said_to_be(dtype, state, tmp_path):
    file = tmp_path / "w.safetensors"
    save_file(stored(state, dtype), file)
    net = network()
    how = "rounded" if dtype == torch.float64 else "the same"
    there = str(dtype).removeprefix("torch.")
    said = f"{file} stores 8 tensors in {there}, the network runs in float32: the values are {how}"
    assert load_weights(net, file) == (said,)
    assert all(torch.equal(value, state[name].to(dtype).to(value)) for name, value in net.state_dict().items())


def test_weights_beyond_what_the_network_runs_in_are_refused(state, tmp_path):
    state["4.weight"][0, 0] = 1e6
    torch.save(state, tmp_path / "w.pt")
    net = network().half()
    before = net[4].weight.clone()
    message = refused(load_weights, net, tmp_path / "w.pt")
    assert message.endswith("4.weight holds values beyond float16, in which the network runs: build it in float32")
    assert torch.equal(net[4].weight, before)


def test_whole_numbers_in_the_place_of_weights_are_refused(state, tmp_path):
    """Without their scale they are other numbers: PyTorch copies them as they are."""
    save_file(state | {"4.weight": torch.ones(3, 4, dtype=torch.int8)}, tmp_path / "w.safetensors")
    message = refused(load_weights, network(), tmp_path / "w.safetensors")
    assert "stores 4.weight in int8 where the network has float32, as quantised weights are" in message
    assert message.endswith("or dequantise them with the library that did it")


@pytest.mark.parametrize("scales", ["weight_scale", "weight_scale_inv", "weight.absmax", "SCB", "zero_point", "qzeros"])
def test_weights_with_the_scales_of_a_library_are_refused_as_quantised(scales, state, tmp_path):
    save_file(state | {f"4.{scales}": torch.ones(3)}, tmp_path / "w.safetensors")
    message = refused(load_weights, network(), tmp_path / "w.safetensors")
    assert f"1 unexpected (4.{scales})" in message
    assert "these are quantised weights: give those of before they were quantised" in message


@pytest.mark.filterwarnings("ignore")
def test_weights_for_a_network_that_is_quantised_are_its_factorys_to_load(state, tmp_path):
    torch.save(state, tmp_path / "w.pt")
    quantised = torch.ao.quantization.quantize_dynamic(network(), {nn.Linear})
    message = refused(load_weights, quantised, tmp_path / "w.pt")
    assert message.startswith("the network is quantised (4._packed_params")
    assert message.endswith("let the factory that builds it load its weights")


def test_an_exported_network_is_no_file_of_weights(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"\x08\t\x12\x07pytorch")
    assert refused(read_state_dict, tmp_path / "net.onnx").endswith("give the PyTorch weights that it was made from")
    torch.export.save(torch.export.export(network(), (torch.zeros(2, 1, 8, 8),)), tmp_path / "net.pt2")
    assert "net.pt2 is an exported program (torch.export)" in refused(read_state_dict, tmp_path / "net.pt2")


def test_a_distributed_checkpoint_is_told_how_it_becomes_a_file(state, tmp_path):
    from torch.distributed.checkpoint import FileSystemWriter, save
    from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

    save({"model": state}, storage_writer=FileSystemWriter(tmp_path / "dcp"), no_dist=True)
    assert refused(read_state_dict, tmp_path / "dcp").endswith("format_utils.dcp_to_torch_save")
    dcp_to_torch_save(tmp_path / "dcp", tmp_path / "w.pt")
    assert all(torch.equal(value, state[name]) for name, value in read_state_dict(tmp_path / "w.pt")[0].items())

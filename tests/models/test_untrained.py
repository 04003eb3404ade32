"""A user's factory whose network nobody trained: told by making it twice."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cfcam.models import load
from cfcam.models.built import RANDOM
from cfcam.models.untrained import looks_untrained

FILE = """
import sys
import torch
from torch import nn

CALLS = []


def fresh():
    print("made")
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))


def loaded():
    network = fresh()
    network.load_state_dict(torch.load({weights!r}, weights_only=True))
    return network


def with_a_new_head():
    network = loaded()
    network[4] = nn.Linear(4, 3)
    return network


def constant():
    network = fresh()
    for parameter in network.parameters():
        nn.init.constant_(parameter, 0.5)
    return network


def trained_here():
    network = fresh().train()
    network(torch.rand(4, 3, 8, 8))
    return network


def plain():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
    )


def trained_without_normalisation():
    network = plain()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-2)
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(torch.randn(4, 3, 8, 8)), torch.tensor([0, 1, 0, 1])).backward()
        optimizer.step()
    return network


def volume():
    torch.manual_seed(4)
    return nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 2)
    )


def volume_with_a_trained_head():
    network = volume().eval()
    network(torch.rand(4, 1, 8, 8, 8))[:, 0].sum().backward()
    torch.optim.SGD(network[4].parameters(), lr=1e-4).step()
    return network


def too_small():
    torch.manual_seed(4)
    return nn.Sequential(nn.Conv3d(1, 2, 3), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(2, 2))


def once():
    if hasattr(sys, "_cfcam_made"):
        raise RuntimeError("only once")
    sys._cfcam_made = True
    return fresh()


def seeded():
    torch.manual_seed(4)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 4),
    )


def a_step(part=""):
    network = seeded().eval()
    parameters = [one for name, one in network.named_parameters() if name.startswith(part)]
    optimizer = torch.optim.SGD(parameters, lr=1e-4)
    network(torch.rand(4, 3, 16, 16))[:, 0].sum().backward()
    optimizer.step()
    return network


def only_the_head():
    return a_step("6.")


def seen_a_batch():
    network = seeded().train()
    network(torch.rand(4, 3, 16, 16))
    return network


def rounded():
    return seeded().half().float()


network = fresh()
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    weights = tmp_path / "weights.pt"
    path = tmp_path / "networks.py"
    path.write_text(FILE.format(weights=str(weights)), encoding="utf-8")
    trained = {name: value * 1.1 for name, value in load(f"{path}:fresh").module.state_dict().items()}
    torch.save(trained, weights)
    return path


@pytest.mark.parametrize("name", ["fresh", "network", "plain"])
def test_a_network_at_its_initialisation_is_called_untrained(file: Path, name: str) -> None:
    assert load(f"{file}:{name}").notes == (RANDOM,)


@pytest.mark.parametrize("name", ["loaded", "constant"])
def test_weights_that_are_the_same_twice_were_loaded_or_are_constants(file: Path, name: str) -> None:
    assert load(f"{file}:{name}").notes == ()


def test_a_new_head_on_loaded_weights_is_named(file: Path) -> None:
    (note,) = load(f"{file}:with_a_new_head").notes
    assert note.startswith("no weights given, and with_a_new_head draws 2 of ")
    assert "(4.weight, 4.bias): maps that depend on them mean nothing" in note


def test_with_weights_nothing_is_said_and_it_is_made_once(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert load(f"{file}:fresh", weights=file.with_name("weights.pt")).notes == ()
    assert capsys.readouterr().out.count("made") == 2  # the file itself makes one


def test_of_a_factory_that_cannot_be_called_twice_the_one_network_is_looked_at(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.delattr(sys, "_cfcam_made", raising=False)
    assert "looks untrained" in load(f"{file}:once").notes[0]
    del sys._cfcam_made


def test_the_second_network_moves_no_random_numbers_and_says_nothing(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = load(f"{file}:fresh", num_classes=5)
    assert torch.equal(torch.get_rng_state(), before)
    assert capsys.readouterr().out.count("made") == 2
    again = load(f"{file}:fresh", num_classes=5)
    assert torch.equal(first.module[4].weight, again.module[4].weight)


@pytest.mark.parametrize("name", ["trained_here", "trained_without_normalisation"])
def test_a_factory_that_trains_its_network_each_time_is_not_called_random(file: Path, name: str) -> None:
    (note,) = load(f"{file}:{name}").notes
    assert "mean nothing if it does not train them" in note
    assert note != RANDOM
    assert "makes other weights each time it is called" in note


def test_a_seeded_network_at_its_start_looks_untrained(file: Path) -> None:
    (note,) = load(f"{file}:seeded").notes
    assert note.startswith("no weights given, and the network looks untrained: all of its 4 normalisations and layers")
    assert "\n" not in note


def test_a_small_head_is_enough_to_tell_and_one_of_six_numbers_is_not(file: Path) -> None:
    (note,) = load(f"{file}:volume").notes
    assert note.startswith("no weights given, and the network looks untrained: all of its 2 normalisations and layers")
    assert load(f"{file}:too_small").notes == ()


@pytest.mark.parametrize("name", ["a_step", "only_the_head", "seen_a_batch", "rounded", "volume_with_a_trained_head"])
def test_one_step_of_training_of_one_layer_is_enough_to_say_nothing(file: Path, name: str) -> None:
    assert load(f"{file}:{name}").notes == ()


@pytest.mark.parametrize("kind", ["ViT", "ConvNext", "ResNet", "Swin"])
def test_networks_of_transformers_before_and_after_a_step(kind: str) -> None:
    transformers = pytest.importorskip("transformers")
    small = {
        "ViT": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24,
                "image_size": 32, "patch_size": 8},
        "ConvNext": {"hidden_sizes": [8, 8, 8, 16], "depths": [1, 1, 1, 1]},
        "ResNet": {"embedding_size": 8, "hidden_sizes": [8, 8, 8, 16], "depths": [1, 1, 1, 1]},
        "Swin": {"image_size": 32, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4},
    }[kind]  # fmt: skip
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**small, num_labels=4)
    network = getattr(transformers, f"{kind}ForImageClassification")(config).eval()
    assert "looks untrained" in str(looks_untrained(network))
    network(torch.rand(2, 3, 32, 32)).logits[:, 0].sum().backward()
    torch.optim.AdamW(network.parameters(), lr=1e-6).step()
    assert looks_untrained(network) is None


@pytest.mark.parametrize(
    "name", ["imagenet_mobilenet_v2", "imagenet_mobilenet_v1", "cxr_mobilenet_v2", "busi_mobilenet_v2"]
)
def test_trained_networks_are_never_called_untrained(name: str, data: Path) -> None:
    assert load(f"{data}/networks.py:{name}").notes == ()

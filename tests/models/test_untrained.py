"""A user's factory whose network nobody trained: told by making it twice."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cfcam.models import load
from cfcam.models.built import RANDOM

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


def once():
    if hasattr(sys, "_cfcam_made"):
        raise RuntimeError("only once")
    sys._cfcam_made = True
    return fresh()


network = fresh()
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    weights = tmp_path / "weights.pt"
    path = tmp_path / "networks.py"
    path.write_text(FILE.format(weights=str(weights)), encoding="utf-8")
    torch.save(load(f"{path}:fresh").module.state_dict(), weights)
    return path


@pytest.mark.parametrize("name", ["fresh", "network"])
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


def test_a_factory_that_cannot_be_called_twice_is_taken_at_its_word(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.delattr(sys, "_cfcam_made", raising=False)
    assert load(f"{file}:once").notes == ()
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


def test_a_factory_that_trains_its_network_each_time_is_not_called_random(file: Path) -> None:
    (note,) = load(f"{file}:trained_here").notes
    assert note != RANDOM
    assert "makes other weights each time it is called" in note

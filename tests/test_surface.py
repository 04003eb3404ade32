"""Rooms may move; what users hold on to stays: public names with their parameters, commands with their options."""

from __future__ import annotations

import json

import pytest

from tests import surface

KEPT = json.loads(surface.KEPT.read_text())


@pytest.mark.parametrize("room", surface.ROOMS)
def test_every_public_name_is_there_and_is_called_as_before(room):
    assert KEPT["names"][room].items() <= surface.public_names()[room].items()


@pytest.mark.parametrize("command", KEPT["commands"])
def test_every_command_takes_and_says_what_it_did(command):
    now = json.loads(json.dumps(surface.commands()[command], default=str))
    by_name = {tuple(option["names"]): option for option in now}
    for option in KEPT["commands"][command]:
        assert by_name[tuple(option["names"])] == option

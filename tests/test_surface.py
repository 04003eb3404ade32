"""Rooms may move; what users hold on to stays: public names with their parameters, commands with their options."""

from __future__ import annotations

import json
from importlib import import_module

import pytest

from tests import surface

KEPT = json.loads(surface.KEPT.read_text())
ROOMS_THAT_WERE_MODULES = {  # what pages said to import from modules that are packages now
    "cfcam.capture.layers": "LayerInfo choose_layer find_layer",
    "cfcam.capture.targets": "AllClasses ClassTarget Target TopK",
    "cfcam.clinical.audit": "Audit Certificate FIELDS check_place exported_head verify_export",
    "cfcam.clinical.checks": (
        "Limits artefact_intervention artefact_sensitivity finding_coverage plausibility rank_accuracy retest_stability"
        " similar_cases without_mask zone_agreement"
    ),
    "cfcam.clinical.comparison": (
        "Change Comparison ComparisonError StudyMaps check_comparable check_patient compare register"
    ),
    "cfcam.clinical.uncertainty": (
        "NotAvailableError augmentation ensemble mc_dropout method_disagreement summarise to_uncertainty"
    ),
    "cfcam.exchange.deidentify": "Deidentifier",
    "cfcam.exchange.dicom": "check_installed check_kinds fitting_kinds save_bytes write_objects",
    "cfcam.jobs.compare": "ComparePairs CompareSettings PairResult",
    "cfcam.jobs.evidence": "EvidenceRun EvidenceSettings Pack",
    "cfcam.metrics.scorecard": "Comparison Scorecard Summary evaluate format_number scorecard",
}


@pytest.mark.parametrize("room", surface.ROOMS)
def test_every_public_name_is_there_and_is_called_as_before(room):
    assert KEPT["names"][room].items() <= surface.public_names()[room].items()


@pytest.mark.parametrize(("room", "names"), ROOMS_THAT_WERE_MODULES.items())
def test_a_room_that_was_a_module_hands_out_what_the_module_had(room, names):
    assert [name for name in names.split() if not hasattr(import_module(room), name)] == []


@pytest.mark.parametrize("command", KEPT["commands"])
def test_every_command_takes_and_says_what_it_did(command):
    now = json.loads(json.dumps(surface.commands()[command], default=str))
    by_name = {tuple(option["names"]): option for option in now}
    for option in KEPT["commands"][command]:
        assert by_name[tuple(option["names"])] == option

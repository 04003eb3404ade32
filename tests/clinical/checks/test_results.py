"""Limits come from a file; a set is judged by its share of flags."""

import pytest
import torch

from cfcam.clinical import checks
from cfcam.clinical.checks.results import Limits, Outcome
from cfcam.errors import InputError
from tests.clinical.checks.test_map_checks import box, by_name


def test_limits_come_from_a_file_and_mistakes_are_refused(tmp_path):
    file = tmp_path / "limits.json"
    file.write_text('{"artefact_energy": 0.05}')
    assert Limits.read(file) == Limits(artefact_energy=0.05)
    for text, why in (
        ('{"artifact": 1}', "artifact"), ('{"artefact_energy": "x"}', "number"), ("[]", "object"), ("{", "JSON"),
    ):  # fmt: skip
        file.write_text(text)
        with pytest.raises(InputError, match=why):
            Limits.read(file)
    with pytest.raises(InputError, match="none"):
        Limits.read(tmp_path / "none.json")


def test_a_set_is_judged_by_the_share_of_flags_among_assessed_cases():
    one = box((4, 4), 0)
    on, off, none = torch.zeros(3, 4, 4)
    on[0], off[2:] = 1, 1
    cases = [checks.artefact_sensitivity(heat, one) for heat in (on, off, off, none)]
    found = by_name(checks.over_cases(cases, Limits(flagged_cases=0.3)))["all cases: artefact: peak inside"]
    assert (found.value, found.outcome) == (pytest.approx(1 / 3), Outcome.FLAG)
    assert "1 of 3" in found.detail
    empty = checks.over_cases([checks.artefact_sensitivity(none, one)], Limits())
    assert {result.outcome for result in empty} == {Outcome.NOT_ASSESSED}

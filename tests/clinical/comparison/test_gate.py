"""What reads an option of the command line must not wait for numpy: `cfcam compare --gate`, `--region-threshold`."""

import subprocess
import sys

import numpy as np
import pytest

from cfcam.clinical.comparison import Gate, RegistrationError, register
from cfcam.errors import InputError
from tests.clinical.comparison.test_registration import motion, phantom, placed, seen_through


def test_a_gate_and_a_rule_for_regions_are_read_without_numpy():
    code = (
        "import sys; from cfcam.clinical.comparison.gate import Gate; from cfcam.clinical.region_rule import read_rule;"
        " print(Gate.parse('overlap=0.5').overlap, read_rule('quantile:0.9'), 'numpy' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split("\n")[0] == "0.5 ('quantile', 0.9) False"


def test_the_gate_says_with_numbers_what_is_wrong_and_what_can_be_done():
    image = phantom(size=128)
    noise = np.random.default_rng(0).normal(size=image.shape).astype(np.float32)
    found = register(placed(image), placed(noise))
    with pytest.raises(
        RegistrationError, match=r"correlation 0\.\d+.*at least 0\.5 wanted.*--no-registration.*--gate"
    ) as caught:
        Gate().check(found)
    assert caught.value.registration is found
    assert "\n" not in str(caught.value)


def test_the_gate_limits_the_transform_itself():
    image = phantom(size=128)
    found = register(placed(image), placed(seen_through(image, motion(image.shape, 8, (10, 0)))))
    assert Gate().problems(found.quality) == []
    assert [words.split()[0] for words in Gate(rotation=5).problems(found.quality)] == ["rotation"]
    assert [words.split()[0] for words in Gate(shift=0.05).problems(found.quality)] == ["shift"]
    assert [words.split()[0] for words in Gate(overlap=0.99).problems(found.quality)] == ["overlap"]


def test_a_gate_is_read_from_text():
    assert Gate.parse("correlation=0.3, overlap = 0.5") == Gate(correlation=0.3, overlap=0.5)
    assert Gate.parse("") == Gate()
    for wrong in ("correlaton=0.3", "correlation", "correlation=x", "overlap=nan"):
        with pytest.raises(InputError):
            Gate.parse(wrong)

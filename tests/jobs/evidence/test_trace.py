"""Requirements and the tests that show them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cfcam.jobs.evidence.files import EvidenceError
from cfcam.jobs.evidence.trace import requirements, traced

ROOT = Path(__file__).parents[3]


def test_every_test_of_the_requirements_exists():
    named_tests = {one.test for one in requirements()}
    files = sorted({test.partition("::")[0] for test in named_tests})
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-p", "no:cacheprovider", *files],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    collected = {line.partition("[")[0] for line in done.stdout.splitlines() if "::" in line}
    assert named_tests - collected == set()


JUNIT = """<testsuites><testsuite>
<testcase classname="tests.methods.test_oracles" name="test_cf_cam[2]"/>
<testcase classname="tests.methods.test_oracles" name="test_cf_cam[3]"><failure message="x"/></testcase>
<testcase classname="tests.methods.test_peers" name="test_grad_cam_equals_captums"/>
<testcase classname="tests.contract.test_methods" name="test_the_class_matters"><skipped/></testcase>
</testsuite></testsuites>"""


def test_results_come_from_junit_and_the_worst_variant_counts(tmp_path):
    (tmp_path / "junit.xml").write_text(JUNIT)
    found = {one.test.partition("::")[2]: one for one in traced(tmp_path / "junit.xml")}
    assert (found["test_cf_cam"].result, found["test_cf_cam"].variants) == ("failed", 2)
    assert found["test_grad_cam_equals_captums"].result == "passed"
    assert found["test_the_class_matters"].result == "skipped"
    assert found["test_gradient_methods"].result == "not run"
    assert {one.result for one in traced(None)} == {"not run"}
    (tmp_path / "junit.xml").write_text("<!DOCTYPE x [<!ENTITY a 'b'>]><testsuite/>")
    with pytest.raises(EvidenceError, match="declares entities"):
        traced(tmp_path / "junit.xml")
    (tmp_path / "junit.xml").write_text("no xml")
    with pytest.raises(EvidenceError, match="pytest --junit-xml"):
        traced(tmp_path / "junit.xml")

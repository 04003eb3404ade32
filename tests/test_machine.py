"""The suite on a bare machine: what is not there is skipped and said, in one way, in one place."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import machine

ROOT = Path(__file__).parents[1]
SUITE = """
import pytest

def test_one(data): raise AssertionError("ran without data")
def test_two(): pytest.skip("frobnicator is not installed: apt-get install frob")
def test_three(): pytest.skip("frobnicator is not installed: apt-get install frob")
def test_four(): pass
"""


@pytest.mark.parametrize("value", [None, ""])
def test_no_data_and_an_empty_name_of_the_data_are_the_same(monkeypatch, value):
    monkeypatch.delenv(machine.DATA, raising=False)
    if value is not None:
        monkeypatch.setenv(machine.DATA, value)
    with pytest.raises(pytest.skip.Exception, match="not set"):
        machine.data_folder()


def test_data_that_is_named_and_not_there_is_no_reason_to_skip(monkeypatch, tmp_path):
    monkeypatch.setenv(machine.DATA, str(tmp_path / "moved"))
    with pytest.raises(pytest.fail.Exception, match="moved"):
        machine.data_folder()


def test_nothing_else_asks_the_environment_for_the_data():
    asking = re.compile(r"""environ(\.get\(|\[)["']CFCAM_DATA|["']CFCAM_DATA["'] (not )?in os""")
    found = [path.name for path in (ROOT / "tests").rglob("*.py") if asking.search(path.read_text(encoding="utf-8"))]
    assert found == []


def test_make_exports_no_data_where_none_lies_beside_the_clone(tmp_path):
    if shutil.which("make") is None:
        pytest.skip("make is not installed: apt-get install make")
    clone = tmp_path / "empty" / "clone"
    clone.mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", clone)
    shown = "show: ; @echo data=$${CFCAM_DATA-unset}"

    def told() -> str:
        command = ["make", "--no-print-directory", f"--eval={shown}", "show"]
        done = subprocess.run(command, cwd=clone, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
        return done.stdout.strip()

    assert told() == "data=unset"
    (tmp_path / "empty" / "shared" / "data").mkdir(parents=True)
    assert told() == f"data={tmp_path / 'empty' / 'shared' / 'data'}"


@pytest.mark.parametrize("complete", [False, True])
def test_a_run_ends_with_a_table_of_what_was_skipped_and_a_complete_one_may_lack_nothing(
    tmp_path, monkeypatch, complete
):
    (tmp_path / "tests").mkdir()
    for name in ("__init__.py", "conftest.py", "machine.py", "orthanc.py", "quick.py"):
        shutil.copy(ROOT / "tests" / name, tmp_path / "tests")
    (tmp_path / "tests" / "test_it.py").write_text(SUITE)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    data: real data\n")
    monkeypatch.delenv(machine.DATA, raising=False)
    monkeypatch.setenv(machine.COMPLETE, "1" if complete else "")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert "2  frobnicator is not installed: apt-get install frob" in lines
    assert "1  CFCAM_DATA is not set: the real pictures and networks are not here" in lines
    assert done.returncode == (1 if complete else 0), done.stdout

"""Runs that are killed at random, and go on: every input exactly once, the same files.

``make soak`` sets CFCAM_SOAK and runs the long form: 400 pictures, 120 cases, 24 studies, ten kills of each.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time

import pytest

from cfcam.jobs.evaluate.findings import Findings, write_tables
from tests.jobs.evaluate.test_run import phantoms
from tests.jobs.evaluate.test_run import run as run_evaluation
from tests.jobs.runs.test_shards import timeless
from tests.jobs.studies import explain, phantom_radiograph
from tests.jobs.world import NETWORKS, draw, lines, run, written
from tests.waiting import PATIENCE

SOAK = bool(os.environ.get("CFCAM_SOAK"))
COUNT, KILLS = (400, 10) if SOAK else (60, 2)
EXPLAIN = """
import sys
from pathlib import Path
from tests.jobs.world import run
list(run(Path(sys.argv[1]), Path(sys.argv[2]), batch_size=2))
"""
EVALUATE = """
import sys
from pathlib import Path
from tests.jobs.test_kill import evaluated
evaluated(Path(sys.argv[1]), Path(sys.argv[2]))
"""
STUDY = """
import sys
from tests.jobs.test_kill import studied
studied(sys.argv[1], sys.argv[2])
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for n in range(COUNT):
        draw(folder / f"{n}.png", corner=n % 4, grey=20 + n % 150)
    return folder


def evaluated(cases, output):
    """Measures cases, and writes the tables of their numbers."""
    write_tables(Findings.of(run_evaluation(cases, output)()), output)


def studied(folder, output):
    """Explains radiographs as studies, and writes what hospitals take."""
    words = ["--model", f"{NETWORKS}:brightness", "--size", "32", "--mean", "0", "--std", "1", "--classes", "a,b"]
    made = explain(folder, output, *words, "--method", "grad-cam", "--report", "html", "--dicom", "seg,sr,sc")
    assert made.exit_code == 0, made.output


def _killed(code, source, output, grown, generator):
    """Starts a run and kills it once it has entered something, a little later."""
    process = subprocess.Popen([sys.executable, "-c", code, str(source), str(output)])
    before, patience = _size(grown), time.monotonic() + PATIENCE
    while process.poll() is None and _size(grown) <= before:
        assert time.monotonic() < patience
        time.sleep(0.002)
    time.sleep(generator.uniform(0, 0.02))
    process.kill()
    return process.wait()


def _size(path):
    return path.stat().st_size if path.exists() else 0


def _left_behind(out):
    return [name for name in written(out) if name.endswith(".tmp") or "lock" in name]


def test_a_run_that_is_killed_at_random_goes_on_to_the_same_files(tmp_path, pictures):
    generator = random.Random(1)  # noqa: S311
    out = tmp_path / "out"
    killed = sum(_killed(EXPLAIN, pictures, out, out / "manifest.jsonl", generator) < 0 for _ in range(KILLS))
    assert killed >= 1
    list(run(pictures, out, batch_size=2))
    found = lines(out)
    assert sorted(line["input"] for line in found) == sorted(str(path) for path in pictures.iterdir())
    assert {line["status"] for line in found} == {"done"}
    assert not _left_behind(out)
    once = tmp_path / "once"
    list(run(pictures, once, batch_size=2))
    files = {name for name in written(once) if name.endswith(".png")}
    assert {name for name in written(out) if name.endswith(".png")} == files
    assert all((out / name).read_bytes() == (once / name).read_bytes() for name in files)


def test_an_evaluation_that_is_killed_at_random_goes_on_to_the_same_numbers(tmp_path):
    generator = random.Random(2)  # noqa: S311
    cases = phantoms(tmp_path / "in", 120 if SOAK else 6)
    out, once = tmp_path / "out", tmp_path / "once"
    kills = KILLS if SOAK else 1
    killed = sum(_killed(EVALUATE, cases, out, out / "rows.jsonl", generator) < 0 for _ in range(kills))
    assert killed >= 1
    evaluated(cases, out)
    evaluated(cases, once)
    assert not _left_behind(out)
    for name in ("per_image.csv", "summary.csv"):
        assert (out / name).read_bytes() == (once / name).read_bytes()


@pytest.mark.skipif(not SOAK, reason="takes minutes: make soak; in short tests/jobs/test_faults.py ends a study")
def test_studies_that_are_killed_at_random_go_on_to_the_same_files(tmp_path, monkeypatch):
    """Objects say when they were made: for the same bytes that is said from outside."""
    pytest.importorskip("highdicom")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    generator = random.Random(3)  # noqa: S311
    for n in range(24):
        phantom_radiograph(tmp_path / "in" / f"{n}.dcm")
    out, once = tmp_path / "out", tmp_path / "once"
    killed = sum(_killed(STUDY, tmp_path / "in", out, out / "manifest.jsonl", generator) < 0 for _ in range(KILLS))
    assert killed >= 1
    studied(tmp_path / "in", out)
    studied(tmp_path / "in", once)
    assert not _left_behind(out)
    found, expected = timeless(out), timeless(once)
    assert found.keys() == expected.keys()
    assert {name for name in expected if found[name] != expected[name]} == set()

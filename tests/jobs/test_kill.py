"""Folder runs that are killed at random, and go on: every input exactly once, the same files.

``make soak`` sets CFCAM_SOAK and runs the long form: 400 pictures, ten kills.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time

import pytest

from tests.jobs.world import draw, lines, run, written
from tests.waiting import PATIENCE

COUNT, KILLS = (400, 10) if os.environ.get("CFCAM_SOAK") else (60, 2)
EXPLAIN = """
import sys
from pathlib import Path
from tests.jobs.world import run
list(run(Path(sys.argv[1]), Path(sys.argv[2]), batch_size=2))
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for n in range(COUNT):
        draw(folder / f"{n}.png", corner=n % 4, grey=20 + n % 150)
    return folder


def _killed(code, pictures, output, grown, generator):
    """Starts a run and kills it once it has entered something, a little later."""
    process = subprocess.Popen([sys.executable, "-c", code, str(pictures), str(output)])
    before, patience = _size(grown), time.monotonic() + PATIENCE
    while process.poll() is None and _size(grown) <= before:
        assert time.monotonic() < patience
        time.sleep(0.002)
    time.sleep(generator.uniform(0, 0.02))
    process.kill()
    return process.wait()


def _size(path):
    return path.stat().st_size if path.exists() else 0


def test_a_run_that_is_killed_at_random_goes_on_to_the_same_files(tmp_path, pictures):
    generator = random.Random(1)  # noqa: S311
    out = tmp_path / "out"
    killed = sum(_killed(EXPLAIN, pictures, out, out / "manifest.jsonl", generator) < 0 for _ in range(KILLS))
    assert killed >= 1
    list(run(pictures, out, batch_size=2))
    found = lines(out)
    assert sorted(line["input"] for line in found) == sorted(str(path) for path in pictures.iterdir())
    assert {line["status"] for line in found} == {"done"}
    assert not [name for name in written(out) if name.endswith(".tmp") or "lock" in name]
    once = tmp_path / "once"
    list(run(pictures, once, batch_size=2))
    files = {name for name in written(once) if name.endswith(".png")}
    assert {name for name in written(out) if name.endswith(".png")} == files
    assert all((out / name).read_bytes() == (once / name).read_bytes() for name in files)

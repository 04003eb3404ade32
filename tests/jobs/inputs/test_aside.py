"""Small pictures are read by processes of their own, to the same end as by the run itself, and these end with it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cfcam.files import stamp_of
from cfcam.imaging import Preprocess, read_image
from cfcam.jobs import State
from cfcam.jobs.inputs import aside
from cfcam.jobs.inputs.aside import Aside, Wanted, is_small
from cfcam.jobs.runs import flow
from tests.jobs.runs.test_shards import timeless
from tests.jobs.world import draw, lines, run
from tests.waiting import until


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of the input's size and of others, grey and in colours; a broken one, an elongated one, a large file."""
    place = tmp_path_factory.mktemp("pictures")
    noise = np.random.default_rng(0)
    for n in range(14):
        shape = [(32, 32, 3), (32, 32), (48, 40, 3)][n % 3]
        Image.fromarray(noise.integers(0, 255, shape, dtype=np.uint8)).save(place / f"{n:02}.png")
    (place / "03x.png").write_bytes(b"no picture")
    Image.fromarray(noise.integers(0, 255, (400, 400, 3), dtype=np.uint8)).save(place / "05x.png")
    Image.fromarray(noise.integers(0, 255, (1200, 900), dtype=np.uint8)).save(place / "06x.jpg", quality=1)
    return place


def wanted(*paths):
    return Wanted(paths, 64_000_000, None)


def test_a_picture_that_was_read_aside_is_the_picture(folder):
    reader = Aside()
    try:
        some = [folder / "00.png", folder / "03x.png", folder / "01.png", folder / "nothing.png"]
        (stamp, first), broken, (_, second), missing = reader(wanted(*some))
        assert (broken, missing) == (None, None)
        assert stamp in (None, stamp_of(some[0]))  # None as long as the file is of just now
        for found, path in ((first, some[0]), (second, some[2])):
            here = read_image(path)
            assert np.array_equal(found.pixels, here.pixels)
            assert (found.sha256, found.path, found.notices) == (here.sha256, here.path, here.notices)
            with pytest.raises(ValueError, match="read-only"):
                found.pixels[0] = 0
    finally:
        reader.close()


def test_a_stamp_is_that_of_before_and_what_unfolds_is_left_to_the_run(folder, monkeypatch):
    monkeypatch.setattr(aside, "is_settled", lambda stamp: True)
    how = 64_000_000, None
    stamp, _ = aside._found(str(folder / "00.png"), *how)
    assert stamp == stamp_of(folder / "00.png")
    monkeypatch.setattr(aside, "_LARGEST", 32 * 32 * 3 - 1)
    assert aside._found(str(folder / "00.png"), *how) is None
    assert aside._found(str(folder / "01.png"), *how) is not None  # grey: a third of the bytes
    assert aside._found(str(folder / "00.png"), 100, None) is None  # too many pixels: the run says so


def test_small_is_a_file_of_few_bytes(folder):
    assert [is_small(folder / name) for name in ("00.png", "05x.png", "nothing.png", "")] == [True, False, False, False]


@pytest.mark.parametrize("prepared", [{}, {"store": True}], ids=["files", "store"])
def test_a_run_writes_the_same_whoever_has_read(folder, tmp_path, monkeypatch, prepared):
    asked = []
    monkeypatch.setattr(flow, "Aside", lambda: Counting(asked))
    how = {"methods": ("grad-cam",), "batch_size": 16} | prepared
    statuses = [o.status for o in run(folder, tmp_path / "here", **how)]
    assert not asked
    monkeypatch.setattr(flow, "MANY", 1)
    monkeypatch.setattr(flow, "_CORES", 2)
    assert [o.status for o in run(folder, tmp_path / "aside", **how)] == statuses
    assert sum(one is not None for found in asked for one in found) >= 8
    assert statuses.count(State.FAILED) == 1
    assert [line["error"] for line in lines(tmp_path / "aside")] == [line["error"] for line in lines(tmp_path / "here")]
    assert timeless(tmp_path / "aside") == timeless(tmp_path / "here")


def test_a_batch_that_cannot_be_prepared_together_is_prepared_one_by_one(folder, tmp_path, monkeypatch):
    def fails(self, images):
        tried.append(len(images))
        raise IndexError("of one of them")

    tried = []
    monkeypatch.setattr(Preprocess, "together", fails)
    monkeypatch.setattr(flow, "MANY", 1)
    monkeypatch.setattr(flow, "_CORES", 2)
    statuses = [o.status for o in run(folder, tmp_path / "out", methods=("grad-cam",), batch_size=16)]
    assert tried
    assert (statuses.count(State.DONE), statuses.count(State.FAILED)) == (16, 1)


class Counting(Aside):
    def __init__(self, asked):
        super().__init__()
        self._asked = asked

    def __call__(self, wanted):
        found = super().__call__(wanted)
        self._asked.append(found)
        return found


def test_a_run_goes_on_without_a_process_that_was_killed(folder, tmp_path, monkeypatch):
    class Killed(Aside):
        def __call__(self, wanted):
            self._process.kill()
            self._process.wait()
            return super().__call__(wanted)

    monkeypatch.setattr(flow, "Aside", Killed)
    monkeypatch.setattr(flow, "MANY", 1)
    monkeypatch.setattr(flow, "_CORES", 2)
    outcomes = list(run(folder, tmp_path / "out", methods=("grad-cam",), batch_size=16))
    assert [o.status for o in outcomes].count(State.DONE) == 16


def test_the_process_ends_with_a_run_that_is_killed(folder):
    code = f"""
import sys
from pathlib import Path
from cfcam.jobs.inputs.aside import Aside, Wanted
reader = Aside()
assert reader(Wanted((Path({str(folder / "00.png")!r}),), 10**6, None))[0] is not None
print(reader._process.pid, flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        child = int(parent.stdout.readline())
        os.kill(parent.pid, signal.SIGKILL)
    until(lambda: not _runs(child))


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_it_loads_no_torch(tmp_path):
    draw(tmp_path / "a.png")
    reader = Aside()
    try:
        reader(wanted(tmp_path / "a.png"))
        loaded = Path(f"/proc/{reader._process.pid}/maps").read_bytes()
        assert b"libpython" in loaded or b"python" in loaded
        assert b"libtorch" not in loaded
    finally:
        reader.close()

"""What is done is told by sizes and times, and by content where these say too little, or where that is asked for."""

import os
import time
from pathlib import Path

from cfcam.files import is_settled, stamp_of
from cfcam.jobs import Input, Kind, State
from cfcam.jobs.runs.manifest import Manifest
from cfcam.jobs.runs.standing import stamp_before, stamps_of, untouched
from tests.jobs.world import draw, lines, run

HOUR = 3_600_000_000_000


def settled(monkeypatch):
    """From here on files are taken for as old as they would be in an hour."""
    later = time.time_ns() + HOUR
    monkeypatch.setattr("cfcam.files.time.time_ns", lambda: later)


def fresh(monkeypatch):
    """From here on the clock stands: what is written is never older than a moment, however long that takes."""
    now = time.time_ns()
    monkeypatch.setattr("cfcam.files.time.time_ns", lambda: now)


def states(source, out, **settings):
    return [outcome.status for outcome in run(source, out, **settings)]


def unread(monkeypatch):
    def refuse(path):
        raise AssertionError(f"{path} is read")

    monkeypatch.setattr("cfcam.jobs.runs.standing.sha256_of", refuse)
    monkeypatch.setattr("cfcam.jobs.runs.pictures.sha256_of", refuse)


def test_a_stamp_stands_for_a_file_once_its_clock_has_gone_on(tmp_path, monkeypatch):
    fresh(monkeypatch)
    path = draw(tmp_path / "a.png")
    assert not is_settled(stamp_of(path))
    assert stamp_before(Input(path)) is None
    settled(monkeypatch)
    assert stamp_before(Input(path)) == stamp_of(path)
    assert stamp_before(Input(tmp_path, kind=Kind.VOLUME)) is None
    assert stamp_before(Input(tmp_path)) is None
    assert stamps_of(None, ["a.png"], tmp_path) == {}
    assert stamps_of((1, 2, 3, 4), ["a.png"], tmp_path) == {"": (1, 2, 3, 4), "a.png": stamp_of(path)}


def test_of_what_is_done_nothing_is_read_again(tmp_path, monkeypatch):
    settled(monkeypatch)
    draw(tmp_path / "in" / "a.png")
    assert states(tmp_path / "in", tmp_path / "out") == [State.DONE]
    assert set(lines(tmp_path / "out")[0]["stamps"]) == {"", "a_grad-cam.png"}
    unread(monkeypatch)
    assert states(tmp_path / "in", tmp_path / "out") == [State.SKIPPED]
    (record,) = Manifest.read(tmp_path / "out")
    assert untouched(record, tmp_path / "in" / "a.png", tmp_path / "out")
    assert not untouched(record, tmp_path / "in" / "b.png", tmp_path / "out")


def test_an_input_or_a_file_with_its_old_size_and_time_but_other_content_is_done_again(tmp_path, monkeypatch):
    settled(monkeypatch)
    source, out = draw(tmp_path / "in" / "a.png"), tmp_path / "out"
    states(tmp_path / "in", out)
    for path in (source, out / "a_grad-cam.png"):
        before, data = path.stat(), bytearray(path.read_bytes())
        data[-20] ^= 1  # in the sum that ends the pixels: decoders pass it over, and its size is the same
        path.write_bytes(data)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert stamp_of(path)[:2] == (before.st_size, before.st_mtime_ns)
        again = states(tmp_path / "in", out)
        assert again != [State.SKIPPED], path


def test_content_counts_where_stamps_do_not_and_where_it_is_asked_for(tmp_path, monkeypatch):
    settled(monkeypatch)
    source, out = draw(tmp_path / "in" / "a.png"), tmp_path / "out"
    states(tmp_path / "in", out)
    os.utime(source)  # touched: as it is after a copy
    assert states(tmp_path / "in", out) == [State.SKIPPED]
    asked: list[Path] = []
    real = stamp_of
    monkeypatch.setattr("cfcam.jobs.runs.standing.stamp_of", lambda path: asked.append(Path(path)) or real(path))
    assert states(tmp_path / "in", out, verify=True) == [State.SKIPPED]
    assert asked == []


def test_what_was_written_while_the_clock_stood_has_no_stamp(tmp_path, monkeypatch):
    fresh(monkeypatch)
    draw(tmp_path / "in" / "a.png")
    states(tmp_path / "in", tmp_path / "out")
    assert "stamps" not in lines(tmp_path / "out")[0]
    assert states(tmp_path / "in", tmp_path / "out") == [State.SKIPPED]

"""Faults of the machine around a run: another run in its folder, a disk that is full, files that go away."""

from __future__ import annotations

import itertools
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import datetime

import pytest
from pydicom.data import get_testdata_file
from typer.testing import CliRunner

from cfcam.cli.app import app
from cfcam.errors import CfcamError, DiskError
from cfcam.exchange.deidentify.deidentifier import Deidentifier
from cfcam.exchange.deidentify.folder import deidentify_folder
from cfcam.files import append_line, own_output, sha256_of, stays_inside
from cfcam.imaging.drawing.look import Look
from cfcam.jobs.compare.pairs import make_pair, read_pairs
from cfcam.jobs.compare.run import ComparePairs
from cfcam.jobs.compare.settings import CompareSettings
from cfcam.jobs.evaluate.page import write_report
from cfcam.jobs.evaluate.rows import RowsFile
from cfcam.jobs.inputs.shard import Shard
from cfcam.jobs.runs.manifest import Manifest
from cfcam.jobs.runs.status import status
from cfcam.locks import NAME, alone_in, at_work
from cfcam.models import load
from cfcam.models.classes import read_classes
from cfcam.web.offline import OfflinePages
from tests.jobs.evaluate.test_run import bright as evaluation
from tests.jobs.evaluate.test_run import phantoms
from tests.jobs.studies import phantom_radiograph
from tests.jobs.world import NETWORKS, PLAIN, draw, folder_of, lines, run, written


@contextmanager
def another_run(folder):
    """Another run is at work in a folder: another thread holds it."""
    held, end = threading.Event(), threading.Event()

    def work():
        folder.mkdir(parents=True, exist_ok=True)
        with alone_in(folder):
            held.set()
            end.wait()

    thread = threading.Thread(target=work)
    thread.start()
    assert held.wait(60)
    try:
        yield
    finally:
        end.set()
        thread.join()


def _explain(source, output):
    list(run(source, output))


def _evaluate(source, output):
    evaluation(source, output)()


def _compare(source, output):
    settings = CompareSettings(output=output, preprocess=PLAIN, registration="none")
    pair = make_pair(source / "picture0.png", source / "picture1.png")
    return ComparePairs(load(f"{NETWORKS}:brightness"), settings).run([pair])


def _deidentify(source, output):
    deidentify_folder(source, output, Deidentifier(b"0" * 32))


@pytest.mark.parametrize("door", [_explain, _evaluate, _compare, _deidentify])
def test_of_two_runs_in_one_folder_the_second_is_refused_and_writes_nothing(tmp_path, door):
    folder_of(tmp_path / "in", 2)
    out = tmp_path / "out"
    with another_run(out), pytest.raises(CfcamError, match=r"another run is at work there \(process \d+ on "):
        door(tmp_path / "in", out)
    assert written(out) == []


def test_a_run_that_was_set_up_before_another_began_is_refused_when_it_begins(tmp_path):
    folder_of(tmp_path / "in", 2)
    late, scored = run(tmp_path / "in", tmp_path / "out"), evaluation(tmp_path / "in", tmp_path / "scores")
    with another_run(tmp_path / "out"), another_run(tmp_path / "scores"):
        for one in (lambda: list(late), scored):
            with pytest.raises(CfcamError, match="another run is at work there"):
                one()
    assert (tmp_path / "scores" / "rows.jsonl").read_bytes().count(b"\n") == 1  # its header alone
    assert len(list(late)) == len(lines(tmp_path / "out")) == 2
    card = scored()
    with another_run(tmp_path / "scores"), pytest.raises(CfcamError, match="another run is at work there"):
        write_report(card, tmp_path / "scores")


@contextmanager
def files_of(most):
    """No file may grow beyond so many bytes: as a disk that is full, and without a disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 256 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = os.getuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("no disk can be mounted here: needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def _each_once(output, count):
    found = lines(output)
    assert [line["status"] for line in found] == ["done"] * count
    assert len({line["input"] for line in found}) == count


def test_a_run_on_a_disk_that_fills_stops_at_the_first_and_goes_on_once_there_is_room(tmp_path, small_disk):
    folder_of(tmp_path / "in", 24)
    out, ballast = small_disk / "maps", small_disk / "ballast"
    ballast.write_bytes(b"0" * 200_000)
    with pytest.raises(DiskError, match=rf"^{out}: cannot be written into any more \(No space left on device\)"):
        list(run(tmp_path / "in", out, batch_size=2))
    before = Manifest.read(out)  # where the disk ended in the middle of a line, the last is torn
    assert {str(line.status) for line in before} <= {"done"}
    assert len(before) < 24
    ballast.unlink()
    list(run(tmp_path / "in", out, batch_size=2))
    _each_once(out, 24)
    assert not [name for name in written(out) if name.endswith((".tmp", "-lock"))]


@pytest.mark.parametrize(("what", "most"), [("run.json", 400), ("an overlay", 2500), ("the manifest", 4000)])
def test_nothing_is_entered_as_failed_that_the_disk_refused(tmp_path, what, most):
    for n in range(12):
        draw(tmp_path / "in" / f"{n}.png", corner=n % 4, size=(300, 400) if what == "an overlay" else (48, 64))
    with files_of(most), pytest.raises(DiskError, match=r"out: cannot be written into any more \(.+\): check the disk"):
        list(run(tmp_path / "in", tmp_path / "out", batch_size=2))
    whole = Manifest.read(tmp_path / "out") if (tmp_path / "out" / "manifest.jsonl").exists() else []
    assert {str(line.status) for line in whole} <= {"done"}
    list(run(tmp_path / "in", tmp_path / "out"))
    _each_once(tmp_path / "out", 12)


@pytest.mark.parametrize("door", [_explain, _evaluate, _compare, _deidentify])
def test_a_disk_that_is_read_only_is_told_before_anything_is_computed(tmp_path, small_disk, door):
    folder_of(tmp_path / "in", 2)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(CfcamError, match=r"cannot be written into \(Read-only file system\): choose another"):
        door(tmp_path / "in", small_disk / "out")


def test_very_many_failures_and_names_of_classes_cost_no_more_each_than_few(tmp_path):
    """Seconds of the processor: where each was looked for among all, 2000 took 1.7 and 60 000 names 25."""
    (tmp_path / "in").mkdir()
    for n in range(2000):
        (tmp_path / "in" / f"{n}.png").write_bytes(b"no picture")
    failing, begin = run(tmp_path / "in", tmp_path / "out"), time.process_time()
    assert {str(outcome.status) for outcome in failing} == {"failed"}
    assert time.process_time() - begin < 1.2
    begin = time.process_time()
    assert len(read_classes([f"class {n}" for n in range(60_000)])) == 60_000
    assert time.process_time() - begin < 2.5


def test_a_folder_that_goes_away_ends_the_run_which_says_so(tmp_path):
    folder_of(tmp_path / "in", 12)
    going = iter(run(tmp_path / "in", tmp_path / "out", batch_size=1))
    next(going)
    while (tmp_path / "out").exists():
        shutil.rmtree(tmp_path / "out", ignore_errors=True)  # what is being written may come in between
    with pytest.raises(DiskError, match=r"out: cannot be written into any more"):
        list(going)


def test_a_picture_that_goes_away_or_changes_fails_alone(tmp_path):
    paths = folder_of(tmp_path / "in", 12)
    going = iter(run(tmp_path / "in", tmp_path / "out", batch_size=1))
    next(going)
    paths[-1].unlink()
    paths[-2].write_bytes(b"no picture any more")
    assert [str(outcome.status) for outcome in going] == ["done"] * 9 + ["failed"] * 2


def test_lines_that_cannot_be_written_are_told_with_their_folder(tmp_path):
    with (
        files_of(10),
        pytest.raises(DiskError, match=rf"^{tmp_path}: cannot be written into any more \(File too large"),
    ):
        append_line(tmp_path / "rows.jsonl", {"n": "0" * 100})


def _removed(folder):
    shutil.rmtree(folder)
    return folder / "page"


def test_a_scorecard_for_which_there_is_no_room_is_told_with_its_folder(tmp_path):
    folder_of(tmp_path / "in", 2)
    out = tmp_path / "scores"
    card = evaluation(tmp_path / "in", out)()
    with files_of(2500), pytest.raises(DiskError, match=rf"^{out}: cannot be written into any more \(.+\): check the"):
        write_report(card, out)
    assert write_report(card, out)[1][0].is_file()
    with pytest.raises(FileNotFoundError, match="nowhere"), own_output(out):  # what is read is no disk that is full
        (tmp_path / "nowhere").read_bytes()
    with pytest.raises(DiskError, match=rf"^{out}: cannot be written into any more"), own_output(out):
        _removed(out).touch()


def _command(source, output):
    words = ["explain", str(source), "--model", f"{NETWORKS}:brightness", "--output", str(output), "--batch-size", "1"]
    return CliRunner().invoke(app, [*words, "--mean", "0,0,0", "--std", "1,1,1", "--size", "32", "--save", "overlay"])


def test_a_command_on_a_full_disk_ends_with_1_and_one_that_is_asked_to_end_with_143_and_both_go_on(
    tmp_path, monkeypatch
):
    folder_of(tmp_path / "in", 40)
    with files_of(400):
        full = _command(tmp_path / "in", tmp_path / "out")
    assert full.exit_code == 1, full.output
    assert "cannot be written into any more" in full.stderr

    append = Manifest.append

    def asked(manifest, record):
        append(manifest, record)
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(Manifest, "append", asked)
        asked_to_end = _command(tmp_path / "in", tmp_path / "out")
    assert asked_to_end.exit_code == 143, asked_to_end.output
    assert "interrupted" in asked_to_end.stderr
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert 1 <= len(lines(tmp_path / "out")) < 40
    assert _command(tmp_path / "in", tmp_path / "out").exit_code == 0
    _each_once(tmp_path / "out", 40)


def _evaluate_command(source, output):
    words = ["evaluate", str(source), "--model", f"{NETWORKS}:brightness", "--output", str(output), "--batch-size", "1"]
    words += ["--mean", "0,0,0", "--std", "1,1,1", "--size", "32", "--classes", "nodule,effusion", "--methods", "cam"]
    return CliRunner().invoke(app, [*words, "--metrics", "energy,hit-rate"])


def _study_command(source, output):
    words = ["explain", str(source), "--model", f"{NETWORKS}:brightness", "--output", str(output), "--batch-size", "1"]
    words += ["--mean", "0", "--std", "1", "--size", "32", "--classes", "bright,dark", "--method", "grad-cam"]
    return CliRunner().invoke(app, [*words, "--dicom", "sc"])


@pytest.mark.parametrize("kind", ["evaluation", "study"])
def test_evaluations_and_studies_that_are_asked_to_end_do_so_with_143_and_go_on(kind, tmp_path, monkeypatch):
    out, source = tmp_path / "out", tmp_path / "in"
    if kind == "evaluation":
        command, what, name, count, source = _evaluate_command, RowsFile, "rows.jsonl", 5, phantoms(source, 5)
    else:
        pytest.importorskip("highdicom")
        command, what, name, count = _study_command, Manifest, "manifest.jsonl", 3
        for n in range(count):
            phantom_radiograph(source / f"{n}.dcm")
    append = what.append

    def asked(lines, record):
        append(lines, record)
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(what, "append", asked)
        asked_to_end = command(source, out)
    assert asked_to_end.exit_code == 143, asked_to_end.output
    assert at_work(out) == []
    before = (out / name).read_bytes()
    assert before.count(b"\n") >= 1
    again = command(source, out)
    assert again.exit_code == 0, again.output
    assert [line for line in before.splitlines() if line not in (out / name).read_bytes().splitlines()] == []
    entered = [line["key"] for line in map(json.loads, (out / name).read_bytes().splitlines()) if "key" in line]
    entered = entered or [line["input"] for line in lines(out)]
    assert len(entered) == len(set(entered)) == count


def _jumping(by):
    """A clock that goes back, or far ahead, each time it is looked at."""
    seen = itertools.count()
    return lambda: 1.8e9 + by * next(seen)


@pytest.mark.parametrize("by", [-3600.0, 1e7])
def test_a_clock_that_jumps_changes_no_run_and_no_duration(by, tmp_path, monkeypatch):
    folder_of(tmp_path / "in", 4)
    clock = _jumping(by)
    monkeypatch.setattr(time, "time", clock)
    moments = type(
        "Moments", (datetime,), {"now": classmethod(lambda cls, zone=None: cls.fromtimestamp(clock(), zone))}
    )
    monkeypatch.setattr("cfcam.jobs.inputs.run_file.datetime", moments)
    monkeypatch.setattr("cfcam.jobs.runs.status.datetime", moments)
    for part in (Shard(1, 2), Shard(2, 2), None):
        list(run(tmp_path / "in", tmp_path / "out", batch_size=1, shard=part))
    _each_once(tmp_path / "out", 4)
    assert all(0 <= line["seconds"] < 1000 for line in lines(tmp_path / "out"))
    (entry,) = json.loads((tmp_path / "out" / "run.json").read_text())["runs"].values()
    assert 0 <= entry["seconds"] < 1000
    with alone_in(tmp_path / "out"):  # as if it were at work
        found = status(tmp_path / "out")
    assert (found.done, found.failed) == (4, 0)
    assert found.rate >= 0
    assert found.seconds_left is None or found.seconds_left >= 0


WITHOUT_SHARED_MEMORY = """
import os, sys
from pathlib import Path
import pytest
from pydicom.data import get_testdata_file
from cfcam.exchange.deidentify.apart import Apart
from cfcam.exchange.deidentify.deidentifier import Deidentifier
from tests.jobs.world import folder_of, lines, run
free = os.statvfs("/dev/shm")
assert free.f_bavail == 0, free
place = Path(sys.argv[1])
folder_of(place / "in", 3)
list(run(place / "in", place / "out"))
assert [line["status"] for line in lines(place / "out")] == ["done"] * 3
with Apart(Deidentifier(b"0" * 32)) as apart:
    assert apart(Path(get_testdata_file("MR_small_jp2klossless.dcm")), "a file")
"""


def test_a_full_dev_shm_stops_nothing(tmp_path):
    """In containers it has 64 MB, or none: nothing of ours lies there, and nothing of torch's that is used."""
    small = "mount -t tmpfs -o size=4k tmpfs /dev/shm && { cat /dev/zero > /dev/shm/full; true; } 2>/dev/null"
    apart = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    if not shutil.which("unshare") or subprocess.run([*apart, small], capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here: needs root")
    ran = subprocess.run(
        [*apart, f'{small}; exec "$0" -c "$1" "$2"', sys.executable, WITHOUT_SHARED_MEMORY, str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr


def test_a_name_with_digits_that_are_none_in_ascii_stops_nothing(tmp_path):
    names = ["scan\N{SUPERSCRIPT TWO}.png", "scan10.png", "scan2.png", "\N{ARABIC-INDIC DIGIT THREE}.png"]
    for name in names:
        draw(tmp_path / "in" / name)
    outcomes = list(run(tmp_path / "in", tmp_path / "out"))
    assert {str(outcome.status) for outcome in outcomes} == {"done"}
    shown = [outcome.path.name for outcome in outcomes]
    assert shown.index("scan2.png") < shown.index("scan10.png")


def test_a_comparison_whose_document_names_what_lies_elsewhere_is_made_again(tmp_path):
    folder_of(tmp_path / "in", 2)
    out = tmp_path / "out"
    assert [str(one.state) for one in _compare(tmp_path / "in", out)] == ["compared"]
    assert [str(one.state) for one in _compare(tmp_path / "in", out)] == ["resumed"]
    (document,) = out.glob("*.json")
    values = json.loads(document.read_bytes())
    (tmp_path / "theirs").write_bytes(b"elsewhere")
    values["files"]["../theirs"] = sha256_of(tmp_path / "theirs")
    document.write_text(json.dumps(values))
    assert [str(one.state) for one in _compare(tmp_path / "in", out)] == ["compared"]


@pytest.mark.parametrize("name", ["..", ".", "///", "../../x"])
def test_the_name_of_a_pair_can_only_be_that_of_a_file_in_the_folder(tmp_path, name):
    table = tmp_path / "pairs.csv"
    table.write_text(f"prior,current,name\na.png,b.png,{name}\n")
    (pair,) = read_pairs(table)
    assert stays_inside(f"{pair.name}.json")
    assert pair.name == ("x" if name.endswith("x") else "a_b")


def test_a_full_disk_ends_de_identification_too(tmp_path):
    (tmp_path / "in").mkdir()
    for n in range(2):
        shutil.copy(get_testdata_file("CT_small.dcm"), tmp_path / "in" / f"{n}.dcm")
    with files_of(200), pytest.raises(DiskError, match="the output: cannot be written into any more"):
        _deidentify(tmp_path / "in", tmp_path / "out")
    assert written(tmp_path / "out") == []


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems take names in UTF-8 alone")
@pytest.mark.parametrize("way", ["files", "store", "evaluation"])
def test_a_name_that_is_not_in_utf_8_ends_no_run(tmp_path, way):
    """A store, whose tables are in UTF-8, leaves that picture out and says so; all else names it as Python does."""
    good, odd = folder_of(tmp_path / "in", 2)
    odd = odd.rename(os.fsdecode(os.fsencode(odd.parent) + b"/\xff.png"))
    if way == "evaluation":
        card = evaluation(tmp_path / "in", tmp_path / "out")()
        write_report(card, tmp_path / "out")
        assert {row.image for row in card.rows} == {good.name, odd.name}
        assert "\\udcff.png" in (tmp_path / "out" / "per_image.csv").read_text(encoding="utf-8")
        return
    pages = {"further": OfflinePages("net", Look("ember", 0.5, "value"))} if way == "files" else {"store": True}
    outcomes = {o.path.name: o.error for o in run(tmp_path / "in", tmp_path / "out", **pages)}
    refused = "its name, or a folder's, is not in UTF-8, which the tables of a store are: rename it"
    assert outcomes == {good.name: None, odd.name: None if way == "files" else refused}


def test_a_run_whose_lock_is_removed_stops_and_another_goes_on(tmp_path):
    """Whoever removes it lets another run in, with which this one would write the same files and lines."""
    out = tmp_path / "out"
    folder_of(tmp_path / "in", 8)
    outcomes = iter(run(tmp_path / "in", out, batch_size=1))
    next(outcomes)
    (out / NAME).unlink()
    said = rf"^{out}: cannot be written into any more \(its lock {NAME} was removed.*see what cfcam status says"
    with pytest.raises(DiskError, match=said):
        list(outcomes)
    before = lines(out)
    assert 1 <= len(before) < 8
    list(run(tmp_path / "in", out, batch_size=1))
    assert lines(out)[: len(before)] == before
    _each_once(out, 8)

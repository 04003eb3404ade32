"""A status is told from the folder alone, whatever state its run is in."""

import json
import os
from datetime import UTC, datetime

import pytest

from cfcam.cli.runs.status import told
from cfcam.errors import InputError
from cfcam.jobs.cluster.workers import LOST
from cfcam.jobs.inputs.shard import Shard
from cfcam.jobs.runs.status import RunState, _kind, status
from cfcam.locks import alone_in
from tests.jobs.world import folder_of, run


@pytest.fixture
def source(tmp_path):
    """Six pictures, and two that are none."""
    folder_of(tmp_path / "in", 6)
    for n in range(2):
        (tmp_path / "in" / f"broken{n}.png").write_bytes(b"no picture")
    return tmp_path / "in"


def test_a_finished_run_tells_what_failed_and_where_the_time_went(source, tmp_path):
    list(run(source, tmp_path / "out"))
    found = status(tmp_path / "out")
    assert (found.job, found.state, found.inputs, found.done, found.failed) == ("explain", RunState.FINISHED, 8, 6, 2)
    assert sum(found.failures.values()) == 2
    assert len(found.failures) == 1  # both for one reason, though each names its own file
    assert found.slowest == max(found.stages, key=found.stages.get)
    assert found.stages["decode"] > 0
    assert found.stages["forward"] > 0
    assert found.stages["write"] >= 0  # a few lines take less than a thousandth of a second
    assert found.seconds_left is None


def test_a_stopped_run_and_one_that_runs(tmp_path):
    out, count = tmp_path / "out", 40  # more than can be under way when it is stopped
    folder_of(tmp_path / "in", count)
    outcomes = iter(run(tmp_path / "in", out, batch_size=1))
    for _ in range(3):
        next(outcomes)
    outcomes.close()
    found = status(out)
    assert (found.state, found.seconds_left) == (RunState.STOPPED, None)
    assert 3 <= found.done + found.failed < count
    assert found.slowest  # where the time went until then
    assert found.stages["decode"] > 0
    entry = json.loads((out / "run.json").read_text())
    (one,) = entry["runs"].values()
    one["started"] = datetime.fromtimestamp(datetime.now(UTC).timestamp() - 1000, UTC).isoformat()
    (out / "run.json").write_text(json.dumps(entry))
    with alone_in(out):
        running = status(out)
    assert running.state is RunState.RUNNING
    settled = found.done + found.failed
    assert running.rate == pytest.approx(settled / 1000, rel=0.3)
    assert running.seconds_left == pytest.approx((count - settled) / running.rate, rel=0.01)


def test_inputs_that_failed_and_are_gone_are_no_part_of_the_run_that_does_not_take_them(source, tmp_path):
    list(run(source, tmp_path / "out"))
    (source / "broken0.png").unlink()
    (source / "broken1.png").unlink()
    (source / "picture0.png").unlink()  # what is done of it lies there, and stays counted
    assert [one.status for one in run(source, tmp_path / "out")] == ["skipped"] * 5
    found = status(tmp_path / "out")
    assert (found.state, found.inputs, found.done, found.failed, found.failures) == (RunState.FINISHED, 6, 6, 0, {})
    assert [(one.inputs, one.settled) for one in found.shares] == [(6, 6)]
    (source / "broken0.png").write_bytes(b"no picture")
    list(run(source, tmp_path / "out"))
    assert (status(tmp_path / "out").inputs, status(tmp_path / "out").failed) == (7, 1)


@pytest.mark.parametrize("text", ["", "{", "{}", '{"runs": []}'])
def test_a_broken_run_file_is_told_and_the_same_command_mends_it(source, tmp_path, text):
    list(run(source, tmp_path / "out"))
    (tmp_path / "out" / "run.json").write_text(text)
    with pytest.raises(InputError, match=r"run\.json: holds no runs, or is broken: give the run's command again"):
        status(tmp_path / "out")
    list(run(source, tmp_path / "out"))
    assert (status(tmp_path / "out").done, status(tmp_path / "out").failed) == (6, 2)


def test_shards_are_told_one_by_one_and_together(source, tmp_path):
    out = tmp_path / "out"
    first = list(run(source, out, shard=Shard(1, 2)))
    found = status(out)
    assert (found.state, found.inputs, found.done + found.failed) == (RunState.STOPPED, 8, len(first))
    list(run(source, out, shard=Shard(2, 2)))
    found = status(out)
    assert (found.state, found.inputs, found.done, found.failed) == (RunState.FINISHED, 8, 6, 2)
    assert [(one.shard, one.inputs) for one in found.shares] == [("1/2", len(first)), ("2/2", 8 - len(first))]
    list(run(source, out))
    (whole,) = status(out).shares
    assert (whole.shard, whole.inputs) == ("", 8)


def test_the_newest_run_is_that_which_began_last_though_the_clock_was_set_back(source, tmp_path):
    out = tmp_path / "out"
    list(run(source, out))
    list(run(source, out, max_size=20))
    entry = json.loads((out / "run.json").read_text())
    first, second = entry["runs"].values()
    first["started"], second["started"] = "2031-01-01T00:00:00+00:00", "2001-01-01T00:00:00+00:00"
    second["of_inputs"] = 80
    (out / "run.json").write_text(json.dumps(entry))
    assert status(out).inputs == 80
    list(run(source, out))  # the first again: it is the newest now
    assert status(out).inputs == 8


def test_a_store_has_a_status_too(source, tmp_path):
    list(run(source, tmp_path / "maps.zarr", store=True))
    found = status(tmp_path / "maps.zarr")
    assert (found.state, found.done, found.failed) == (RunState.FINISHED, 6, 2)


def test_nothing_is_written_where_somebody_looks(source, tmp_path):
    out = tmp_path / "out"
    list(run(source, out))
    before = {path: path.stat().st_mtime_ns for path in [out, *out.iterdir()]}
    status(out)
    assert before == {path: path.stat().st_mtime_ns for path in [out, *out.iterdir()]}


def test_a_folder_without_a_run_and_torn_files_are_told(source, tmp_path):
    with pytest.raises(InputError, match="no run has begun here"):
        status(tmp_path)
    out = tmp_path / "out"
    list(run(source, out))
    with (out / "manifest.jsonl").open("ab") as manifest:
        manifest.write(b'{"torn": ')
    os.utime(out / "manifest.jsonl", (0, 0))
    assert status(out).done == 6
    (out / "run.json").write_text("[]")
    with pytest.raises(InputError, match="holds no runs, or is broken"):
        status(out)


@pytest.mark.parametrize(
    "entry",
    [
        {"stages": [1]},
        {"stages": {"forward": "x", "draw": {}}},
        {"stages": {"forward": float("nan"), "draw": float("inf"), "maps": -1}},
        {"stages": {}, "slowest": "draw"},
        {"stages": {"draw": 0.0}, "slowest": "draw"},
        {"slowest": "\x1b[31mred"},
        {"gone": {"a": 1}},
        {"started": 5, "finished": [], "earlier": "x"},
        {"started": "0001-01-01T00:00:00", "finished": "9999-12-31T23:59:59"},
    ],
)
def test_values_in_a_run_file_that_are_none_are_passed_over(source, tmp_path, entry):
    list(run(source, tmp_path / "out"))
    file = tmp_path / "out" / "run.json"
    values = json.loads(file.read_text())
    next(iter(values["runs"].values())).update(entry)
    file.write_text(json.dumps(values))
    found = status(tmp_path / "out")
    assert told(found)[0].startswith("explain, finished: 8 of 8 (100 %), 2 failed")
    assert json.loads(json.dumps(found.plain(), allow_nan=False))["done"] == 6
    assert found.slowest in ("", max(found.stages, key=found.stages.get, default=""))


@pytest.mark.parametrize("count", ["9" * 5000, -5, 1e300, [], True])
def test_a_count_that_is_none_is_not_known(source, tmp_path, count):
    list(run(source, tmp_path / "out"))
    file = tmp_path / "out" / "run.json"
    values = json.loads(file.read_text())
    next(iter(values["runs"].values()))["inputs"] = count
    file.write_text(json.dumps(values))
    assert told(status(tmp_path / "out"))[0].startswith("explain, finished: 8 of 0, 2 failed")


def test_the_rate_of_a_run_that_ended_is_that_which_it_had_also_of_a_copy(source, tmp_path):
    list(run(source, tmp_path / "out"))
    file = tmp_path / "out" / "run.json"
    values = json.loads(file.read_text())
    next(iter(values["runs"].values())).update(started="2026-01-01T00:00:00Z", finished="2026-01-01T00:00:04Z")
    file.write_text(json.dumps(values))
    os.utime(tmp_path / "out" / "manifest.jsonl")
    assert status(tmp_path / "out").rate == 2.0  # 8 in 4 s


def test_words_of_a_status(source, tmp_path):
    list(run(source, tmp_path / "out", shard=Shard(1, 1)))
    first, failures, shard, slowest = told(status(tmp_path / "out"))
    assert first.startswith("explain, finished: 8 of 8 (100 %), 2 failed")
    assert failures.strip().startswith("2 x ")
    assert shard.strip().startswith("shard 1/1: finished, 8 of 8")
    assert slowest.strip().startswith("slowest: ")


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("/data/case 7/a_mask.png: no such file or folder; check the path", "no such file or folder; check the path"),
        ("masks/a.b.nii.gz: holds 3 labels: give --label", "holds N labels"),
        ("a_mask.png: is empty (0 bytes)", "is empty"),
        ("line 12: label 'cat' is not one of the classes", "label is not one of the classes"),
        ("cannot be read (OSError: x/y.png: gone)", "cannot be read"),
        (f"{LOST}; the last one ended by SIGABRT, and said: x.py: 5", LOST.partition(":")[0]),
        ("it is cut off (truncated (0 bytes)); copy it", "it is cut off; copy it"),
        ("", "no reason was entered"),
    ],
)
def test_a_kind_of_failure_leaves_out_what_is_one_inputs_own(reason, kind):
    assert _kind(reason) == kind

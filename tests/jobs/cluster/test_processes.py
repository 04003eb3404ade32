"""Processes of this machine take a run: each input exactly once with the bytes of one, whoever is killed on the way.

``make soak`` sets CFCAM_SOAK and runs the long form: more pictures, ten kills.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import zarr

from cfcam.errors import DiskError, JobError, LinkError
from cfcam.jobs import StudySettings
from cfcam.jobs.cases.case import Case
from cfcam.jobs.cluster import processes
from cfcam.jobs.cluster.processes import Processes
from cfcam.jobs.cluster.worker import Place, Worker
from cfcam.jobs.cluster.workers import LOST, Lost
from cfcam.jobs.inputs.shard import Shard
from cfcam.jobs.runs.manifest import Manifest
from cfcam.jobs.runs.status import status
from cfcam.jobs.runs.task import tasks_of
from tests.imaging import dicoms
from tests.jobs.cluster.networks import NETWORKS, white
from tests.jobs.cluster.test_evaluation import run as evaluated
from tests.jobs.cluster.test_flow import BROKEN, SLOW, data, run, told, written_down
from tests.jobs.inputs.test_tars import drawn, packed
from tests.jobs.world import draw, folder_of, lines
from tests.waiting import until

SOAK = bool(os.environ.get("CFCAM_SOAK"))
SAID = (
    "the last one ended by SIGKILL, and said: terminate called after throwing an instance of 'E' / what(): in white.png"
)
COUNT, KILLS, SPREAD = (1500, 10, 3.0) if SOAK else (24, 1, 0.1)


def workers_of(pid):
    """The processes that work for a run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            of = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if of == pid and b"cluster.processes" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def alive(pid):
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


class Killer(threading.Thread):
    """Kills a worker of this process at a random moment, as often as is asked, once there are parts on their way."""

    def __init__(self, count, output):
        super().__init__(daemon=True)
        self.count, self.output, self.killed, self.over = count, output, 0, threading.Event()

    def run(self):
        generator = random.Random(3)  # noqa: S311
        while self.killed < self.count and not self.over.is_set():
            until(lambda: any((self.output / ".cluster").glob("*.jsonl")) or self.over.is_set())
            time.sleep(generator.uniform(0, SPREAD))
            if pids := workers_of(os.getpid()):
                os.kill(generator.choice(pids), signal.SIGKILL)
                self.killed += 1

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()
        assert self.killed >= self.count


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    folder_of(folder, COUNT)
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def here(tmp_path_factory, pictures):
    """What one process writes."""
    output = tmp_path_factory.mktemp("here") / "out"
    list(run(pictures, output, network=SLOW))
    return output


def test_each_input_is_done_once_with_the_bytes_of_one_process_whoever_is_killed(tmp_path, pictures, here):
    """One picture ends each worker that looks at it, which is told with what was said: by no library of Python's, which
    may quote an input, and without folders."""
    out, further = tmp_path / "out", tmp_path / "in"
    further.mkdir()
    white(further / "white.png")
    going = run([pictures, further], out, Processes(2), network=SLOW)
    with Killer(KILLS, out):
        outcomes = {outcome.path.name: outcome for outcome in going}
    broken, lost = [o.error for o in outcomes.values() if o.status == "failed"]
    assert (broken, lost.partition(", and said")[0]) == (BROKEN, f"{LOST}; the last one ended by SIGKILL")
    assert lost.endswith(SAID) or SOAK  # who kills at random may come first
    assert status(out).failures[LOST.partition(":")[0]] == 1
    assert [line["status"] for line in lines(out)].count("done") == COUNT
    assert data(out) == data(here)
    ours, theirs = ({line["name"]: line for line in told(place)} for place in (here, out))
    assert list(theirs) == [Path(name).stem for name in outcomes]
    assert {name: theirs[name] for name in ours} == ours
    assert not (out / ".cluster").exists()
    assert not workers_of(os.getpid())
    assert going.stages.slowest == status(out).slowest == "forward"  # it sleeps there, in each of the workers


EXPLAIN = """
import sys
from pathlib import Path
from cfcam.jobs.cluster.processes import Processes
from tests.jobs.cluster.test_flow import SLOW, run
list(run(Path(sys.argv[1]), Path(sys.argv[2]), Processes(1), network=SLOW))
"""


def test_a_run_that_is_killed_takes_its_workers_along_and_goes_on_with_what_they_wrote_down(tmp_path, pictures, here):
    out = tmp_path / "out"
    process = subprocess.Popen([sys.executable, "-c", EXPLAIN, str(pictures), str(out)])
    until(lambda: written_down(out) or process.poll() is not None)
    workers = workers_of(process.pid)
    assert workers
    process.kill()
    process.wait()
    until(lambda: not any(map(alive, workers)))
    kept = written_down(out)
    outcomes = list(run(pictures, out, Processes(1), network=SLOW))
    skipped = {Path(o.files[0]).name for o in outcomes if o.status == "skipped"}
    assert skipped >= {f"{name}_grad-cam.png" for name in kept}
    assert sorted(line["input"] for line in lines(out)) == sorted(line["input"] for line in lines(here))
    assert data(out) == data(here)


@pytest.mark.parametrize(("number", "all_of_them", "code"), [(signal.SIGINT, True, 130), (signal.SIGHUP, False, 129)])
def test_a_run_that_is_asked_to_end_ends_its_workers_and_the_next_one_goes_on(
    tmp_path, pictures, number, all_of_them, code
):
    """By Ctrl-C, which a terminal gives to all of them, or as a terminal goes away."""
    out = tmp_path / "out"
    command = [sys.executable, "-m", "cfcam.cli", "explain", str(pictures), "-o", str(out), "--no-index"]
    network = ["-m", f"{NETWORKS}:slow", "--size", "32", "--mean", "0", "--std", "1", "--method", "grad-cam"]
    how = ["--batch-size", "1", "--save", "overlay", "--engine", "processes", "--workers", "1"]
    process = subprocess.Popen(
        [*command, *network, *how], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    until(lambda: written_down(out) or process.poll() is not None)
    workers = workers_of(process.pid)
    (os.killpg if all_of_them else os.kill)(process.pid, number)
    process.communicate()
    assert process.returncode == code
    assert workers
    assert not any(map(alive, workers))
    entered = [line["name"] for line in lines(out)]
    assert entered
    assert len(set(entered)) == len(entered)
    assert not list(out.rglob("*.tmp"))
    assert not json.loads((out / "run.json").read_text())["runs"].popitem()[1]["complete"]


@pytest.mark.parametrize("light", [True, False])
def test_a_store_holds_the_maps_of_one_process_each_once_whoever_is_killed(tmp_path, pictures, light):
    """A light network's pictures are taken one after the other, in one thread."""
    network = {"network": "deadly", "batch_size": 4} if light else {"network": SLOW}
    one, several = tmp_path / "one.zarr", tmp_path / "several.zarr"
    tar = packed(tmp_path / "more.tar", [(f"{n}.png", bytes_) for n, bytes_ in enumerate(drawn(tmp_path / "in", 2))])
    list(run([pictures, tar], one, store=True, **network))
    going = run([pictures, tar], several, Processes(2), store=True, **network)
    assert going.light
    with Killer(0 if light else KILLS, several):
        outcomes = list(going)
    assert [o.status for o in outcomes].count("done") == COUNT + 2
    assert told(several) == told(one)
    first, second = (pd.read_parquet(store / "index") for store in (one, several))
    assert second.equals(first)
    assert pd.read_parquet(several / "scores").equals(pd.read_parquet(one / "scores"))
    ours, theirs = (zarr.open_group(str(store), mode="r") for store in (one, several))
    for name in first.map_array.dropna().unique():
        assert np.array_equal(ours[name][:], theirs[name][:])
    if light:
        again = [o.status for o in run([pictures, tar], several, Processes(1), store=True, **network)]
        assert again.count("skipped") == COUNT + 2
        assert pd.read_parquet(several / "index").equals(first)


def test_the_numbers_of_an_evaluation_are_those_of_one_process_to_the_last_bit(tmp_path):
    greys = [draw(tmp_path / f"{n}.png", corner=n % 4, grey=30 + 7 * n % 90) for n in range(6)]
    (tmp_path / "broken.png").write_bytes(b"no picture")
    cases = [Case(path.name, path) for path in (*greys, tmp_path / "broken.png")]
    one = evaluated(cases, tmp_path / "one")()
    several = evaluated(cases, tmp_path / "several", Processes(2))
    card = several()
    assert card.rows == one.rows
    assert card.failed == one.failed
    assert several.stages.slowest == status(tmp_path / "several").slowest == "metrics"


@pytest.fixture
def started(monkeypatch):
    """The processes that are started meanwhile."""
    found, start = [], processes._started
    monkeypatch.setattr(processes, "_started", lambda: found.append(start()) or found[-1])
    return found


def test_no_more_processes_are_started_than_there_are_parts(tmp_path, started):
    """Three pictures in batches of two are two parts; before they are known there are as many as CPUs."""
    folder_of(tmp_path / "in", 3)
    workers = Processes(99)
    workers.get_ready()
    assert len(started) == workers.cpus
    outcomes = iter(run(tmp_path / "in", tmp_path / "out", workers, batch_size=2))
    assert next(outcomes).status == "done"
    assert sum(process.poll() is None for process in started) == 2
    assert len(started) == max(2, workers.cpus)
    assert len(list(outcomes)) == 2
    assert not workers_of(os.getpid())


def test_an_output_that_is_removed_ends_the_run_and_is_not_made_again(tmp_path, pictures):
    out = tmp_path / "out"
    outcomes = iter(run(pictures, out, Processes(1), network=SLOW))
    next(outcomes)

    def removed():
        shutil.rmtree(out, ignore_errors=True)  # what is just being written keeps it for a moment
        return not out.exists()

    until(removed)
    with pytest.raises(DiskError, match="cannot be written into any more"):
        list(outcomes)
    assert not out.exists()


def test_a_study_at_which_workers_end_is_in_the_audit_and_its_patient_in_no_line(tmp_path):
    source, out = tmp_path / "in" / "DOE^JANE.dcm", tmp_path / "out"
    dicoms.save(dicoms.radiograph(np.arange(600).reshape(20, 30)), source)
    going = run(source.parent, out, Processes(1), study=StudySettings(record=str(tmp_path / "audit.sqlite")))
    way = going._flow(going._work, going.settings, lambda _: None)
    (task,) = tasks_of(going._plan, going._plan.names(Manifest(out)))
    entry = way._given_up(task, Lost(with_node=False, how="it said: no room for DOE^JANE.dcm")).entry
    way.close()
    assert entry.error == f"{LOST}; it said: no room for {task.input.label} (input 1 of 1)"
    assert "DOE" not in entry.line().decode()
    with sqlite3.connect(tmp_path / "audit.sqlite") as connection:
        (kept,) = connection.execute("SELECT * FROM audit_record").fetchall()
    assert "serious-failure" in str(kept)


@pytest.mark.parametrize("link", ["tar", ".cluster"])
def test_a_link_that_is_laid_into_the_output_meanwhile_ends_the_run_and_nothing_is_written_behind_it(
    tmp_path, monkeypatch, link
):
    """The worker is at a picture while the link is laid; what it writes next would lie behind it."""
    monkeypatch.setenv("CFCAM_TESTS_GATE", str(tmp_path / "gate"))
    out, behind = tmp_path / "out", tmp_path / "behind"
    behind.mkdir()
    dark, bright = draw(tmp_path / "a.png", grey=10), draw(tmp_path / "b.png", grey=250)
    tar = packed(tmp_path / "tar.tar", [(f"{n}.png", bright.read_bytes()) for n in range(2)])
    going = run([dark, tar], out, Processes(1), network="gated", batch_size=1)
    outcomes = iter(going)
    assert next(outcomes).status == "done"
    until(lambda: len(list((out / ".cluster").glob("*.jsonl"))) == 2)  # of the first, and of that which it is at
    if (out / link).exists():
        (out / link).rename(tmp_path / "before")
    (out / link).symlink_to(behind)
    (tmp_path / "gate").touch()
    with pytest.raises(LinkError, match=rf"^{link} is a link that leads out of the output folder: .* remove the link"):
        list(outcomes)
    assert not list(behind.iterdir())
    assert (status(out).state, status(out).done) == ("stopped", 1 if link == "tar" else 2)
    assert not workers_of(os.getpid())
    (out / link).unlink()
    list(run([dark, tar], out, network="gated", batch_size=1))
    assert [line["status"] for line in lines(out)] == ["done"] * 3


def test_workers_that_never_get_ready_end_the_run_with_one_line(tmp_path, pictures, monkeypatch):
    monkeypatch.setattr(processes, "_START", "raise ImportError('/venv/lib/libc10.so: undefined symbol: f')")
    said = r"5 times in a row: .*; the last one ended with exit code 1, and said: ImportError: libc10\.so: undefined"
    with pytest.raises(JobError, match=rf"workers end before they are ready, {said} symbol: f$"):
        list(run(pictures, tmp_path / "out", Processes(2)))
    assert not workers_of(os.getpid())


ORPHAN = """
import os, sys, time
from functools import partial
from pathlib import Path
from cfcam.errors import DiskError
from cfcam.files import output_of, write_whole
from cfcam.jobs.cluster.processes import orphaned
out, parent = Path(sys.argv[1]), os.getppid()
with output_of(out, partial(orphaned, parent)):
    write_whole(out / "before", b"1")
    while os.getppid() == parent:
        time.sleep(0.01)
    try:
        write_whole(out / "after", b"2")
    except DiskError as error:
        Path(sys.argv[2]).write_text(str(error))
"""


def test_a_worker_whose_run_is_gone_writes_nothing_more(tmp_path):
    """It ends as it hears nothing any more; of what it is just about to write nothing comes before."""
    out, said = tmp_path / "out", tmp_path / "said"
    out.mkdir()
    starts = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', *sys.argv[1:]]); time.sleep(600)"
    run = subprocess.Popen([sys.executable, "-c", starts, ORPHAN, str(out), str(said)])
    until((out / "before").exists)
    run.kill()
    run.wait()
    until(lambda: said.exists() and said.read_text())
    assert "cannot be written into any more (the run that this worker works for has ended)" in said.read_text()
    assert [path.name for path in out.iterdir()] == ["before"]


class Moving:
    """What goes elsewhere where it is unpacked, as a network's module may."""

    light, notes = False, ()

    def __reduce__(self):
        return _moved, ()


def _moved():
    os.chdir("/")
    return Moving()


def test_relative_paths_begin_where_they_did_whatever_a_network_does_where_it_arrives(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = torch.get_num_threads()
    try:
        assert Worker().start(pickle.dumps(Moving()), Place.made(Path("out"), 1)) == ""
    finally:
        torch.set_num_threads(before)
    assert Path.cwd() == tmp_path


def test_a_shard_is_none_of_theirs(tmp_path, pictures):
    with pytest.raises(JobError, match="shard 1/2 among workers: leave the shard out"):
        list(run(pictures, tmp_path / "out", Processes(2), shard=Shard(1, 2)))

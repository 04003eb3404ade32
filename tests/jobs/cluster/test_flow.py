"""A folder run on a real cluster of two machines (raylets): each input exactly once, whoever is lost on the way.

``make soak`` sets CFCAM_SOAK and runs the long form: more pictures, ten kills.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cfcam.errors import JobError
from cfcam.jobs import FolderRun, Save, Settings, find_inputs
from cfcam.jobs.cluster.flow import on_cluster
from cfcam.jobs.cluster.pool import Cluster
from cfcam.jobs.inputs.shard import Shard
from cfcam.models import load
from tests.jobs.cluster.networks import NETWORKS, white
from tests.jobs.world import PLAIN, folder_of, lines, written
from tests.waiting import until

COUNT, KILLS = (400, 10) if os.environ.get("CFCAM_SOAK") else (24, 1)


def run(folder, output, machines=None, network="deadly", **changes):
    """A folder run; on the cluster, or on this machine."""
    settings = {"methods": ("grad-cam",), "preprocess": PLAIN, "batch_size": 2, "save": frozenset({Save.OVERLAY})}
    model = load(f"{NETWORKS}:{network}", classes=["bright", "dark"])
    how = {} if machines is None else {"flow": on_cluster(Cluster(machines.address))}
    return FolderRun(model, find_inputs([folder], output=output), Settings(output=output, **settings | changes), **how)


def told(output):
    """The lines of a manifest, apart from times."""
    return [{key: value for key, value in line.items() if key not in ("seconds", "stamps")} for line in lines(output)]


def data(output):
    """All files of a run apart from what holds times: name -> bytes."""
    names = [name for name in written(output) if name not in ("manifest.jsonl", "run.json")]
    return {name: (output / name).read_bytes() for name in names}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    folder_of(folder, COUNT)
    return folder


@pytest.fixture(scope="module")
def here(tmp_path_factory, pictures):
    """What one machine writes."""
    output = tmp_path_factory.mktemp("here") / "out"
    list(run(pictures, output))
    return output


def test_the_files_and_the_manifest_are_those_of_one_machine(tmp_path, machines):
    folder_of(tmp_path / "in", 9)
    (tmp_path / "in" / "broken.png").write_bytes(b"no picture")
    ours = list(run(tmp_path / "in", tmp_path / "here"))
    theirs = list(run(tmp_path / "in", tmp_path / "there", machines))
    assert [(o.path, o.status, o.error) for o in theirs] == [(o.path, o.status, o.error) for o in ours]
    assert [o.status for o in theirs].count("failed") == 1
    assert data(tmp_path / "there") == data(tmp_path / "here")
    assert told(tmp_path / "there") == told(tmp_path / "here")


def test_an_input_that_ends_each_worker_fails_alone_and_the_rest_is_done(tmp_path, machines):
    folder_of(tmp_path / "in", 6)
    white(tmp_path / "in" / "picture3a.png")
    outcomes = {o.path.name: o for o in run(tmp_path / "in", tmp_path / "out", machines)}
    assert [name for name, o in outcomes.items() if o.status == "failed"] == ["picture3a.png"]
    assert outcomes["picture3a.png"].error.startswith("workers ended while they were at it alone")
    assert len(lines(tmp_path / "out")) == 7
    assert not (tmp_path / "out" / ".cluster").exists()


def test_workers_and_a_machine_that_are_lost_cost_nothing_and_leave_no_trace(tmp_path, machines, pictures, here):
    generator = random.Random(3)  # noqa: S311
    killed = []

    def kill():
        while len(killed) < KILLS:
            until(machines.workers)
            time.sleep(generator.uniform(0, 0.1))
            killed.extend([True] * machines.kill())

    third, killer = machines.add(), threading.Thread(target=kill)
    killer.start()
    out, outcomes = tmp_path / "out", []
    for number, outcome in enumerate(run(pictures, out, machines, network="slow")):
        if number == 0:
            machines.lose(third)
        outcomes.append(outcome)
    killer.join()
    assert len(killed) == KILLS
    assert {o.status for o in outcomes} == {"done"}
    assert [line["input"] for line in lines(out)] == [line["input"] for line in lines(here)]
    assert data(out) == data(here)


EXPLAIN = """
import sys
from pathlib import Path
from tests.jobs.cluster.test_flow import run
from types import SimpleNamespace
list(run(Path(sys.argv[1]), Path(sys.argv[2]), SimpleNamespace(address=sys.argv[3]), network="slow"))
"""


def test_a_run_that_is_killed_goes_on_with_what_its_workers_wrote_down(tmp_path, machines, pictures, here):
    out = tmp_path / "out"
    process = subprocess.Popen([sys.executable, "-c", EXPLAIN, str(pictures), str(out), machines.address])
    until(lambda: any(b"ended" in path.read_bytes() for path in (out / ".cluster").glob("*.jsonl")))
    process.kill()
    process.wait()
    until(lambda: not machines.workers())
    entered = set(map(json.dumps, told(out))) if (out / "manifest.jsonl").exists() else set()
    kept = {
        json.loads(line)["ended"]
        for path in (out / ".cluster").glob("*.jsonl")
        for line in path.read_bytes().split(b"\n")[:-1]
        if b'"ended"' in line
    }
    outcomes = list(run(pictures, out, machines, network="slow"))
    assert {Path(o.files[0]).name for o in outcomes if o.status == "skipped"} >= {
        f"{name}_grad-cam.png" for name in kept
    }
    assert entered <= set(map(json.dumps, told(out)))
    assert [line["input"] for line in lines(out)] == [line["input"] for line in lines(here)]
    assert data(out) == data(here)


def test_a_network_that_cannot_be_explained_ends_the_run_with_the_reason(tmp_path, machines, pictures):
    with pytest.raises(JobError, match="shard 1/2 on a cluster"):
        list(run(pictures, tmp_path / "out", machines, shard=Shard(1, 2)))

"""A folder run on a real cluster of two machines (raylets): each input exactly once, whoever is lost on the way.

``make soak`` sets CFCAM_SOAK and runs the long form: more pictures, ten kills.
"""

from __future__ import annotations

import json
import os
import random
import re
import secrets
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cfcam.errors import JobError, ModelError
from cfcam.jobs import FolderRun, Save, Settings, find_inputs
from cfcam.jobs.cluster.flow import on_cluster
from cfcam.jobs.cluster.journal import journals
from cfcam.jobs.cluster.last_words import ENDED
from cfcam.jobs.cluster.pool import Cluster
from cfcam.jobs.cluster.processes import Processes
from cfcam.jobs.cluster.workers import LOST
from cfcam.jobs.inputs.shard import Shard
from cfcam.models import load
from tests.jobs.cluster.machines import with_token
from tests.jobs.cluster.networks import NETWORKS, white
from tests.jobs.world import PLAIN, folder_of, lines, written
from tests.waiting import until

# Between two kills the inputs that a lost worker left over, one after the other, have to get done now and then: one at
# which two workers end is given up, whoever ended them.
SOAK = bool(os.environ.get("CFCAM_SOAK"))
COUNT, KILLS, SPREAD, SLOW = (1500, 10, 3.0, "slower") if SOAK else (24, 1, 0.1, "slow")


BROKEN = "is a text file; cfcam reads PNG, JPEG, TIFF, BMP, WebP and GIF"


def run(folders, output, machines=None, network="deadly", workers=None, **changes):
    """A folder run; on the cluster, by processes of this machine, or by this one."""
    settings = {"methods": ("grad-cam",), "preprocess": PLAIN, "batch_size": 1, "save": frozenset({Save.OVERLAY})}
    model = load(f"{NETWORKS}:{network}", classes=["bright", "dark"])
    several = machines if isinstance(machines, Processes) else machines and Cluster(machines.address, workers)
    how = {} if several is None else {"flow": on_cluster(several)}
    return FolderRun(
        model,
        find_inputs(folders if isinstance(folders, list) else [folders], output=output),
        Settings(output=output, **settings | changes),
        **how,
    )


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
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def here(tmp_path_factory, pictures):
    """What one machine writes."""
    output = tmp_path_factory.mktemp("here") / "out"
    list(run(pictures, output, network=SLOW))
    return output


def test_each_input_is_done_once_with_the_bytes_of_one_machine_whoever_is_lost(tmp_path, machines, pictures, here):
    """Workers are killed, a machine is lost, and one picture ends each worker that looks at it."""
    generator = random.Random(3)  # noqa: S311
    killed, over = [], threading.Event()

    def kill():
        while len(killed) < KILLS and not over.is_set():
            until(lambda: machines.workers() or over.is_set())
            time.sleep(generator.uniform(0, SPREAD))
            killed.extend([True] * machines.kill())

    out, further = tmp_path / "out", tmp_path / "in"
    further.mkdir()
    white(further / "white.png")
    third, killer = machines.add(), threading.Thread(target=kill)
    killer.start()
    outcomes = {}
    for outcome in run([pictures, further], out, machines, network=SLOW):
        if not outcomes:
            machines.lose(third)
        outcomes[outcome.path.name] = outcome
    over.set()
    killer.join()
    assert len(killed) >= KILLS
    broken, lost = [o.error for o in outcomes.values() if o.status == "failed"]
    assert broken == BROKEN
    how = lost.removeprefix(LOST)
    assert re.fullmatch(r"; Ray's log worker-\*-\d+\.err on \S+ has the last words", how) or (SOAK and not how)
    assert [line["status"] for line in lines(out)].count("done") == COUNT
    assert data(out) == data(here)
    ours, theirs = ({line["name"]: line for line in told(place)} for place in (here, out))
    assert list(theirs) == [Path(name).stem for name in outcomes]
    assert {name: theirs[name] for name in ours} == ours
    assert not (out / ".cluster").exists()


def test_what_a_lost_worker_left_over_is_done_in_the_batches_that_it_would_have_had(tmp_path, machines, monkeypatch):
    """Alone each picture would have other last digits. The second of two batches of a part ends its first worker."""
    generator, folder = np.random.default_rng(5), tmp_path / "in"
    folder.mkdir()
    for n in range(16):
        low = 200 if n == 6 else 0
        Image.fromarray(generator.integers(low, 256, (32, 32, 3), dtype=np.uint8)).save(folder / f"{n:02}.png")
    of_all = {"batch_size": 4, "save": frozenset({Save.MAPS})}
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as a worker has
    try:
        list(run(folder, tmp_path / "here", network="once", **of_all))
        list(run(folder, tmp_path / "alone", network="once", **of_all | {"batch_size": 1}))
    finally:
        torch.set_num_threads(before)
    monkeypatch.setenv("CFCAM_TESTS_ONCE", str(tmp_path / "done"))
    list(run(folder, tmp_path / "there", machines, network="once", workers=1, **of_all))
    assert (tmp_path / "done").exists()
    one_by_one, here, there = (data(tmp_path / name) for name in ("alone", "here", "there"))
    assert there == here
    assert {name for name in here if one_by_one[name] != here[name]} >= {"06_maps/maps.safetensors"}


EXPLAIN = """
import sys
from pathlib import Path
from tests.jobs.cluster.test_flow import SLOW, run
from types import SimpleNamespace
list(run(Path(sys.argv[1]), Path(sys.argv[2]), SimpleNamespace(address=sys.argv[3]), network=SLOW))
"""


def written_down(output):
    """The names of what the journals say is done."""
    told = [told for _, told in journals(output)]
    lines = {name: json.loads(line) for one in told for name, line in one.ended.items()}
    return {name for name, line in lines.items() if line["status"] == "done"}


def test_a_run_that_is_killed_goes_on_with_what_its_workers_wrote_down(tmp_path, machines, pictures, here):
    out = tmp_path / "out"
    process = subprocess.Popen([sys.executable, "-c", EXPLAIN, str(pictures), str(out), machines.address])
    until(lambda: written_down(out))
    process.kill()
    process.wait()
    until(lambda: not machines.workers())
    entered = set(map(json.dumps, told(out))) if (out / "manifest.jsonl").exists() else set()
    kept = written_down(out)
    outcomes = list(run(pictures, out, machines, network=SLOW))
    assert {Path(o.files[0]).name for o in outcomes if o.status == "skipped"} >= {
        f"{name}_grad-cam.png" for name in kept
    }
    assert entered <= set(map(json.dumps, told(out)))
    assert sorted(line["input"] for line in lines(out)) == sorted(line["input"] for line in lines(here))
    assert data(out) == data(here)


ALONE = """
import sys
from pathlib import Path
from tests.jobs.cluster.test_flow import SLOW, run
from types import SimpleNamespace
list(run(Path(sys.argv[1]), Path(sys.argv[2]), SimpleNamespace(address=None), network=SLOW, workers=1))
"""


def test_a_cluster_of_a_run_ends_with_it_also_where_it_is_killed(tmp_path, machines, pictures, here):
    """Nothing that it started is left; the same command goes on, and has each input once."""
    out, token = tmp_path / "out", secrets.token_hex(32)
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    process = subprocess.Popen(
        [sys.executable, "-c", ALONE, str(pictures), str(out)],
        env=own | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "RAY_USAGE_STATS_ENABLED": "0"},
        stderr=subprocess.PIPE,
    )
    until(lambda: written_down(out) or process.poll() is not None)
    assert process.poll() is None
    started = [title for _, title in with_token(token)]
    assert any("raylet" in title for title in started)
    assert any("gcs_server" in title for title in started)
    process.kill()
    assert ENDED in process.communicate()[1].decode().splitlines()  # so that it is seen what became of it
    until(lambda: not with_token(token))
    list(run(pictures, out, machines, network=SLOW, workers=1))
    assert sorted(line["input"] for line in lines(out)) == sorted(line["input"] for line in lines(here))
    assert data(out) == data(here)


def test_a_network_that_cannot_be_explained_ends_the_run_with_the_reason(tmp_path, machines, pictures):
    with pytest.raises(JobError, match="shard 1/2 among workers"):
        list(run(pictures, tmp_path / "out", machines, shard=Shard(1, 2)))


def test_what_cannot_be_sent_is_told_before_anything_is_made(tmp_path):
    folder_of(tmp_path / "in", 1)
    model = load(f"{NETWORKS}:deadly", classes=["bright", "dark"])
    model.module.register_forward_hook(lambda *_: None)  # a function of no name, which pickle cannot find again
    how = Settings(output=tmp_path / "out", methods=("grad-cam",), preprocess=PLAIN)
    inputs = find_inputs([tmp_path / "in"], output=tmp_path / "out")
    with pytest.raises(ModelError, match="cannot be sent to another process"):
        FolderRun(model, inputs, how, flow=on_cluster(Cluster("nowhere:1", 1)))
    assert not (tmp_path / "out").exists()

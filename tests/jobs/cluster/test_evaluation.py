"""An evaluation on a real cluster: the same rows to the last bit as on one machine, whoever is lost on the way."""

from __future__ import annotations

import os
import threading

import pytest

from cfcam.errors import ModelError
from cfcam.jobs.cases.case import Case
from cfcam.jobs.cluster.evaluation import measured_on
from cfcam.jobs.cluster.pool import Cluster
from cfcam.jobs.cluster.processes import Processes
from cfcam.jobs.cluster.workers import LOST
from cfcam.jobs.evaluate.cases import drawn
from cfcam.jobs.evaluate.run import EvaluationRun
from cfcam.jobs.evaluate.settings import EvaluationSettings
from cfcam.models import load
from tests.jobs.cluster.networks import NETWORKS, white
from tests.jobs.world import PLAIN, draw
from tests.waiting import until

COUNT, KILLS = (60, 10) if os.environ.get("CFCAM_SOAK") else (10, 1)


def run(cases, output, machines=None, network="deadly"):
    """An evaluation; on the cluster, by processes of this machine, or by this one."""
    model = load(f"{NETWORKS}:{network}", classes=["bright", "dark"])
    settings = EvaluationSettings(
        methods=("grad-cam",), metrics=("average-drop", "deletion-mean"), preprocess=PLAIN, batch_size=2
    )
    several = machines if isinstance(machines, Processes) else machines and Cluster(machines.address)
    how = {} if several is None else {"measure": measured_on(several)}
    return EvaluationRun(model, cases, settings, output, **how)


@pytest.fixture
def cases(tmp_path):
    pictures = [draw(tmp_path / f"{n}.png", corner=n % 4, grey=30 + 7 * n % 90) for n in range(COUNT - 1)]
    (tmp_path / "broken.png").write_bytes(b"no picture")
    return [Case(path.name, path) for path in (*pictures, tmp_path / "broken.png")]


def deadly(folder, cases):
    """A case that ends each worker, which is measured last: in a batch of its own."""
    white(folder / "white.png")
    names = (Case(f"white {n}", folder / "white.png") for n in range(10_000))
    return next(case for case in names if drawn([*cases, case], None, 0)[-1] is case)


def test_the_numbers_are_those_of_one_machine_to_the_last_bit_whoever_is_lost(tmp_path, machines, cases):
    here = run(cases, tmp_path / "here")()
    killed = []

    def kill():
        while len(killed) < KILLS:
            until(machines.workers)
            killed.extend([True] * machines.kill())

    killer = threading.Thread(target=kill)
    killer.start()
    last = deadly(tmp_path, cases)
    there = run([*cases, last], tmp_path / "out", machines)()
    killer.join()
    assert there.rows == here.rows
    assert there.failed.pop(last.name).startswith(f"{LOST}; Ray's log ")
    assert there.failed == here.failed
    assert list(here.failed) == ["broken.png"]
    assert set(there.costs) == set(here.costs)
    assert not (tmp_path / "out" / ".cluster").exists()


def test_what_cannot_be_sent_is_told_before_anything_is_made(tmp_path, cases):
    model = load(f"{NETWORKS}:deadly", classes=["bright", "dark"])
    model.module.register_forward_hook(lambda *_: None)  # a function of no name, which pickle cannot find again
    settings = EvaluationSettings(methods=("grad-cam",), metrics=("average-drop",), preprocess=PLAIN)
    with pytest.raises(ModelError, match="cannot be sent to another process"):
        EvaluationRun(model, cases, settings, tmp_path / "out", measure=measured_on(Cluster("nowhere:1", 1)))
    assert not (tmp_path / "out").exists()

"""An evaluation on a real cluster: the same rows to the last bit as on one machine, whoever is lost on the way."""

from __future__ import annotations

import os
import threading

import pytest

from cfcam.jobs.cases.case import Case
from cfcam.jobs.cluster.evaluation import measured_on
from cfcam.jobs.cluster.pool import Cluster
from cfcam.jobs.evaluate.run import EvaluationRun
from cfcam.jobs.evaluate.settings import EvaluationSettings
from cfcam.models import load
from tests.jobs.cluster.networks import NETWORKS, white
from tests.jobs.world import PLAIN, draw
from tests.waiting import until

COUNT, KILLS = (60, 10) if os.environ.get("CFCAM_SOAK") else (10, 1)


def run(cases, output, machines=None, network="deadly"):
    """An evaluation; on the cluster, or on this machine."""
    model = load(f"{NETWORKS}:{network}", classes=["bright", "dark"])
    settings = EvaluationSettings(
        methods=("grad-cam",), metrics=("average-drop", "deletion-mean"), preprocess=PLAIN, batch_size=2
    )
    how = {} if machines is None else {"measure": measured_on(Cluster(machines.address))}
    return EvaluationRun(model, cases, settings, output, **how)


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cases")
    drawn = [draw(folder / f"{n}.png", corner=n % 4, grey=30 + 7 * n % 90) for n in range(COUNT)]
    (folder / "broken.png").write_bytes(b"no picture")
    return [Case(path.name, path) for path in (*drawn, folder / "broken.png")]


@pytest.fixture(scope="module")
def here(tmp_path_factory, cases):
    """The scorecard of one machine."""
    return run(cases, tmp_path_factory.mktemp("here") / "out")()


def test_the_numbers_are_those_of_one_machine_to_the_last_bit_although_workers_are_killed(
    tmp_path, machines, cases, here
):
    killed = []

    def kill():
        while len(killed) < KILLS:
            until(machines.workers)
            killed.extend([True] * machines.kill())

    killer = threading.Thread(target=kill)
    killer.start()
    spread = run(cases, tmp_path / "out", machines)
    there = spread()
    killer.join()
    assert there.rows == here.rows
    assert there.failed == here.failed
    assert list(there.failed) == ["broken.png"]
    assert set(there.costs) == set(here.costs)
    assert not (tmp_path / "out" / ".cluster").exists()


def test_a_case_that_ends_each_worker_fails_and_its_batch_is_measured_without_it(tmp_path, machines):
    drawn = [draw(tmp_path / f"{n}.png", corner=n) for n in range(2)]
    white(tmp_path / "white.png")
    cases = [Case(path.name, path) for path in (*drawn, tmp_path / "white.png")]
    card = run(cases, tmp_path / "out", machines)()
    assert list(card.failed) == ["white.png"]
    assert card.failed["white.png"].startswith("workers ended while they were at it alone")
    alone = run(cases[:2], tmp_path / "alone")()
    assert {row.image for row in card.rows} == {"0.png", "1.png"}
    assert len(card.rows) == len(alone.rows)

"""kill -9 at random, the archive down, the disk full: each result once, none lost, and senders are told to try again.

``make soak`` sets CFCAM_SOAK and runs the long form: 200 studies, ten kills, the archive down for a minute twice.
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from dataclasses import dataclass

import pydicom
import pytest

pytest.importorskip("pynetdicom")

from tests.jobs.gateway.senders import radiographs, storescu
from tests.jobs.gateway.whole import Archive, Running, config
from tests.waiting import free_port, until

KINDS = {"SEG": 2, "SR": 1, "OT": 1, "KO": 1}  # of each radiograph


@dataclass(frozen=True)
class Form:
    """How long the test is."""

    studies: int
    kills: int
    outages: int
    seconds_down: float


FORM = Form(200, 10, 2, 60.0) if os.environ.get("CFCAM_SOAK") else Form(12, 3, 1, 2.0)


class Sender(threading.Thread):
    """Sends each file until it is acknowledged, as a modality does: whatever happens to the receiver."""

    def __init__(self, port, files):
        super().__init__(daemon=True)
        self.port, self.files, self.acknowledged, self.refused = port, list(files), [], 0

    def run(self):
        for path in self.files:
            while "Success" not in (told := storescu(self.port, path)).stdout + told.stderr:
                self.refused += 1
                time.sleep(0.1)
            self.acknowledged.append(path)


def test_killed_and_cut_off_it_gives_each_result_once_and_loses_none(tmp_path):
    chance = random.Random(15)  # noqa: S311 (when to kill)
    files = radiographs(tmp_path / "films", FORM.studies)
    archive = Archive(tmp_path / "archive").up()
    port = free_port()
    gateway = Running(config(tmp_path, archive, port=port), port).start()
    sender = Sender(port, files)
    sender.start()
    steps = ["kill"] * FORM.kills + ["down"] * FORM.outages
    chance.shuffle(steps)
    done = 0
    for number, step in enumerate(steps, 1):
        # spread over the work: each step when a further part of the results has come, and a little later
        until(lambda n=number: len(archive.came) >= n * FORM.studies // (len(steps) + 2), seconds=600)
        time.sleep(chance.random() * 0.5)
        if step == "kill":
            gateway.kill()
            gateway.start()
        else:
            archive.down()
            time.sleep(FORM.seconds_down)
            archive.up()
        done += 1
    assert done == FORM.kills + FORM.outages
    until(lambda: not sender.is_alive(), seconds=1200)
    until(lambda: gateway.status()["tasks"] == {"delivered": FORM.studies}, seconds=1200)
    gateway.end()
    archive.down()
    for modality, count in KINDS.items():
        found = archive.by_source(modality)
        assert len(found) == FORM.studies, modality
        assert set(found.values()) == {count}, modality
    assert sender.refused == 0 or FORM.kills  # it was told each time that nobody took the object
    with sqlite3.connect(tmp_path / "spool" / "index.sqlite") as base:
        assert (
            base.execute("SELECT count(*), count(DISTINCT uid) FROM results WHERE uid != ''").fetchone()
            == (FORM.studies * sum(KINDS.values()),) * 2
        )


def test_between_acknowledgement_and_entry_nothing_is_lost(tmp_path):
    """Killed at once after each acknowledgement: the object is in the spool, and is explained after the next start."""
    files = radiographs(tmp_path / "films", 2)
    archive = Archive(tmp_path / "archive").up()
    port = free_port()
    gateway = Running(config(tmp_path, archive, port=port), port)
    for path in files:
        gateway.start()
        assert "Success" in (told := storescu(port, path)).stdout + told.stderr
        gateway.kill()
    gateway.start()
    until(lambda: gateway.status()["tasks"] == {"delivered": 2})
    gateway.end()
    archive.down()
    assert {one.PatientID for one in archive.objects()} == {pydicom.dcmread(path).PatientID for path in files}

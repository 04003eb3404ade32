"""kill -9 at random, the archive down, the disk full: each result once, none lost, and senders are told to try again.

``make soak`` sets CFCAM_SOAK and runs the long form: 200 studies, ten kills, the archive down for a minute twice, and
the spool's disk full to its last byte; what came of it is written to benchmarks/results.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pydicom
import pytest

pytest.importorskip("pynetdicom")

from tests.jobs.gateway.senders import radiographs, storescu
from tests.jobs.gateway.whole import Archive, Running, config
from tests.waiting import free_port, until

KINDS = {"SEG": 2, "SR": 1, "OT": 1, "KO": 1}  # of each radiograph
SOAK = bool(os.environ.get("CFCAM_SOAK"))


@dataclass(frozen=True)
class Form:
    """How long the test is."""

    studies: int
    kills: int
    outages: int
    seconds_down: float
    full: int = 0  # how often the disk is


FORM = Form(200, 10, 2, 60.0, 1) if SOAK else Form(12, 3, 1, 2.0)


class Sender(threading.Thread):
    """Sends each file until it is acknowledged, as a modality does: whatever happens to the receiver.

    Attributes:
        due: how many files it may send by now.
        acknowledged: files that the receiver said it has.
        told: what it was told otherwise: how often that there is no room (0xA700), how often nothing.
    """

    def __init__(self, port, files):
        super().__init__(daemon=True)
        self.port, self.files, self.due = port, list(files), 0
        self.acknowledged, self.told = [], Counter()

    def run(self):
        for number, path in enumerate(self.files):
            until(lambda n=number: n < self.due, seconds=3600)
            while "Success" not in (said := storescu(self.port, path)).stdout + said.stderr:
                self.told["full" if "OutOfResources" in said.stdout + said.stderr else "gone"] += 1
                time.sleep(0.1)
            self.acknowledged.append(path)

    @property
    def busy(self):
        return len(self.acknowledged) < self.due


@contextmanager
def small_disk(folder):
    """A disk of its own for a folder, small enough to be filled."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=96m,mode=700", "tmpfs", str(folder)]
    told = subprocess.run(mount, capture_output=True, text=True, check=False)
    assert told.returncode == 0, f"the disk that is to be full cannot be mounted: run `make soak` ({told.stderr})"
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder):
    """Takes the last byte of a disk."""
    with (folder / "filler").open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    assert shutil.disk_usage(folder).free == 0


def steps_of(chance):
    steps = ["kill"] * FORM.kills + ["down"] * FORM.outages + ["full"] * FORM.full
    chance.shuffle(steps)
    return steps


def test_killed_cut_off_and_without_room_it_gives_each_result_once_and_loses_none(tmp_path):
    if FORM.full:
        with small_disk(tmp_path / "spool"):
            _soak(tmp_path)
    else:
        _soak(tmp_path)


def _soak(tmp_path):
    chance = random.Random(15)  # noqa: S311 (when to kill)
    files = radiographs(tmp_path / "films", FORM.studies)
    archive = Archive(tmp_path / "archive").up()
    port = free_port()
    path = config(tmp_path, archive, port=port)
    path.write_text(path.read_text().replace("least_free_mb = 1", "least_free_mb = 0") + "most_tries = 10000\n")
    gateway = Running(path, port).start()
    sender = Sender(port, files)
    sender.start()
    marks, started = [], time.monotonic()
    steps = steps_of(chance)
    share = FORM.studies // (len(steps) + 1)
    for number, step in enumerate(steps, 1):
        before = (number - 1) * share * sum(KINDS.values())
        until(lambda n=before: len(archive.came) >= 0.7 * n, seconds=600)
        said = sender.told.copy()
        marks.append((step, len(archive.came), archive.came.total(), len(sender.acknowledged), said))
        print(f"{time.monotonic() - started:.0f} s:", marks[-1], flush=True)  # noqa: T201 (half an hour is long)
        sender.due = number * share - 1  # and one more for the moment itself
        time.sleep(chance.random() * 0.5)
        if step == "kill":
            gateway.kill()
            sender.due += 1
            until(lambda was=said["gone"]: sender.told["gone"] > was)
            gateway.start()
        elif step == "down":
            archive.down()
            sender.due += 1
            time.sleep(FORM.seconds_down)
            archive.up()
        else:
            _full(tmp_path / "spool", gateway, sender)
    sender.due = FORM.studies
    until(lambda: not sender.is_alive(), seconds=1200)
    until(lambda: gateway.status()["tasks"] == {"delivered": FORM.studies}, seconds=1200)
    marks.append(("", len(archive.came), archive.came.total(), len(sender.acknowledged), sender.told.copy()))
    seconds = time.monotonic() - started
    gateway.end()
    archive.down()
    for modality, count in KINDS.items():
        found = archive.by_source(modality)
        assert len(found) == FORM.studies, modality
        assert set(found.values()) == {count}, modality
    rows = [
        (
            step,
            came,
            more - sends - (later - came),
            sent - taken,
            after["gone"] - told["gone"],
            after["full"] - told["full"],
        )
        for (step, came, sends, taken, told), (_, later, more, sent, after) in pairwise(marks)
    ]
    for step, *_, gone, full in rows:  # it was told each time that it has to send again
        assert (gone > 0) >= (step == "kill")
        assert (full > 0) == (step == "full")
    with sqlite3.connect(tmp_path / "spool" / "index.sqlite") as base:
        assert (
            base.execute("SELECT count(*), count(DISTINCT uid) FROM results WHERE uid != ''").fetchone()
            == (FORM.studies * sum(KINDS.values()),) * 2
        )
    if SOAK:
        _written(rows, archive, seconds)


def _full(spool, gateway, sender):
    """Fills the disk and keeps it so: until a sender was told, and as long as the archive is down elsewhere."""
    was, end = sender.told["full"], time.monotonic() + FORM.seconds_down
    sender.due += 1  # one that has no room
    while time.monotonic() < end or sender.told["full"] == was:
        fill(spool)  # what the gateway has given back meanwhile
        time.sleep(0.2)
    assert gateway.process.poll() is None
    (spool / "filler").unlink()


def _written(rows, archive, seconds):
    """The outcome as a table."""
    from benchmarks import report

    objects, sends = len(archive.came), archive.came.total()
    body = (
        f"{FORM.studies} radiographs, one after the other from a sender that repeats each until it is acknowledged;"
        f" the gateway killed {FORM.kills} times (kill -9), its archive down for {FORM.seconds_down:g} s"
        f" {FORM.outages} times, its disk full to the last byte for as long {FORM.full} time, in random order;"
        f" {seconds / 60:.0f} min. In the archive: {objects} results of {FORM.studies} studies, each once,"
        f" none lost; {sends - objects} were sent a second time, as the same object, because the gateway died before it"
        f" could note that the first had arrived, or its archive was gone before it could say so. The sender was told"
        f" each time: nobody took the picture, or there is no room (0xA700)."
    )
    headers = ("what", "results before", "sent again", "pictures taken", "told nobody", "told no room")
    shown = [(what, *map(str, numbers)) for what, *numbers in rows]
    table = report.table(headers, shown)
    place = Path(__file__).parents[3] / "benchmarks" / "results"
    values = {"rows": rows, "objects": objects, "sends": sends, "seconds": seconds}
    report.write(
        place,
        "gateway-kill",
        "A gateway that is killed, cut off and without room",
        f"{body}\n\n{table}",
        values,
        command="make soak",
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

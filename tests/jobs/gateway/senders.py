"""What stands around a gateway in tests: settings, its receiving half, and senders that are not ours."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from cfcam.jobs.gateway.arrivals.intake import Intake
from cfcam.jobs.gateway.arrivals.receive import Receiver
from cfcam.jobs.gateway.index import Index
from cfcam.jobs.gateway.places import Receive, Spool
from cfcam.jobs.gateway.settings import GatewaySettings, Network, Rule
from cfcam.jobs.gateway.spool import Spool as SpoolFolder
from cfcam.log import Log
from tests.imaging import dicoms
from tests.machine import COMPLETE
from tests.waiting import PATIENCE

EACH = Rule("each", ("net",), modality=("CR", "DX"))
WHOLE = Rule("whole", ("net",), by="series", modality=("CT",))


def tool(name):
    """A program of the system; pynetdicom installs others of the same names beside Python."""
    found = shutil.which(name, path="/usr/local/bin:/usr/bin:/bin:/opt/homebrew/bin")
    if found is None:
        assert not os.environ.get(COMPLETE), f"{name} is not installed"
        pytest.skip(f"{name} is not installed")
    return found


def settings(folder, *, rules=(EACH, WHOLE), receive=None, **more):
    spool = more.pop("spool", {})
    return GatewaySettings(
        spool=Spool(folder / "spool", **{"least_free_mb": 0} | spool),
        network={"net": Network("demo")},
        rule=tuple(rules),
        receive=Receive(**{"calling": ("SENDER",), "port": 0} | (receive or {})),
        **more,
    )


class Half:
    """The receiving half of a gateway, in this process."""

    def __init__(self, chosen):
        self.settings, self.told = chosen, io.StringIO()
        self.spool = SpoolFolder(chosen.spool)
        self.index = Index(self.spool.folder / "index.sqlite")
        self.ready = 0
        log = Log(self.told)
        self.intake = Intake(chosen, self.spool, self.index, log, self._count)
        self.intake.start()
        self.receiver = Receiver(chosen.receive, self.intake, log)
        self.receiver.start()

    def _count(self):
        self.ready += 1

    @property
    def port(self):
        return self.receiver.port

    def close(self):
        self.receiver.close()
        self.intake.close()
        self.index.close()
        self.spool.close()


@contextmanager
def receiving(folder, **options):
    half = Half(settings(Path(folder), **options))
    try:
        yield half
    finally:
        half.close()


def storescu(port, *files, calling="SENDER", called="CFCAM", more=()):
    command = [tool("storescu"), "-v", "-aet", calling, "-aec", called, *more, "127.0.0.1", str(port), *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)


def dcmsend(port, *files, calling="SENDER", called="CFCAM"):
    command = [tool("dcmsend"), "-v", "-aet", calling, "-aec", called, "+sd", "127.0.0.1", str(port), *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)


def radiographs(folder, count, *, side=48):
    """Files of radiographs of different patients, each a study and a series of its own."""
    paths = []
    for n in range(count):
        ds = dicoms.radiograph(np.random.default_rng(n).integers(0, 4096, (side, side)))
        ds.PatientID = f"{dicoms.ID}-{n}"
        ds.StudyInstanceUID, ds.SeriesInstanceUID = f"1.2.826.{n + 1}.1", f"1.2.826.{n + 1}.2"
        ds.PatientOrientation = ["L", "F"]
        ds.pop("FrameOfReferenceUID", None)
        paths.append(dicoms.save(ds, folder / f"{n}.dcm"))
    return paths

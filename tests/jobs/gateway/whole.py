"""A whole gateway as its command, and an archive that takes its results, for tests that kill both."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pydicom

from tests.jobs.studies import THREE_D
from tests.jobs.world import NETWORKS
from tests.waiting import PATIENCE, free_port, until

SYNTAXES = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.5"]  # explicit, implicit, RLE


class Archive:
    """Takes objects by C-STORE with pynetdicom; what it holds outlives its being down."""

    def __init__(self, folder):
        self.folder, self.port = Path(folder), free_port()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.came, self.contents, self._server = Counter(), {}, None
        self.keeps, self.reports = True, 0  # of those that are not kept the reports are counted

    def up(self):
        from pynetdicom import AE, evt
        from pynetdicom.presentation import AllStoragePresentationContexts

        ae = AE(ae_title="ARCHIVE")
        for context in AllStoragePresentationContexts:  # few syntaxes: pynetdicom copies all for each association
            ae.add_supported_context(context.abstract_syntax, SYNTAXES)
        ae.add_supported_context("1.2.840.10008.5.1.4.1.1.30", SYNTAXES)
        ae.maximum_associations = 100
        self._server = ae.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._keep)]
        )
        return self

    def _keep(self, event):
        uid = str(event.request.AffectedSOPInstanceUID)
        self.reports += event.request.AffectedSOPClassUID == "1.2.840.10008.5.1.4.1.1.88.34"
        if not self.keeps:
            return 0
        ds = event.dataset
        ds.file_meta = event.file_meta
        content = event.encoded_dataset(include_meta=False)
        self.came[uid] += 1
        if self.contents.setdefault(uid, content) != content:
            return 0xC000
        ds.save_as(self.folder / f"{uid}.dcm", enforce_file_format=True)
        return 0

    def down(self):
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def objects(self):
        return [pydicom.dcmread(path) for path in sorted(self.folder.glob("*.dcm"))]

    def by_source(self, modality):
        """How many objects of a modality each patient has."""
        return Counter(one.PatientID for one in self.objects() if one.Modality == modality)


def config(
    folder, archive, *, port, more="", results='objects = ["seg", "sr", "sc"]', network="", rules=None, quiet_s=3.0
):
    """Settings of a gateway. Where each slice comes by itself, give `quiet_s=PATIENCE` and a series that is counted."""
    text = f"""
[spool]
folder = "spool"
least_free_mb = 1
[receive]
calling = ["SENDER"]
port = {port}
[complete]
quiet_s = {quiet_s}
[work]
rehearsed = false
nice = 0
[results]
{results}
[network.flat]
model = "{NETWORKS}:brightness"
classes = ["bright", "dark"]
methods = ["grad-cam"]
size = [32]
mean = [0.0]
std = [1.0]
{network}
[network.whole]
model = "{THREE_D}:bright"
classes = ["bright", "dark"]
methods = ["grad-cam"]
intensity = "unit"
{rules or RULES}
"""
    if archive is not None:
        text += f'[send]\nplace = "dicom://ARCHIVE@127.0.0.1:{archive.port}"\nwait_s = 0.2\nlongest_wait_s = 1.0\n'
    path = Path(folder) / "gateway.toml"
    path.write_text(text + more)
    return path


RULES = """
[[rule]]
name = "films"
networks = ["flat"]
modality = ["CR", "DX"]
[[rule]]
name = "scans"
networks = ["whole"]
by = "series"
modality = ["CT"]
"""


class Running:
    """The command ``cfcam gateway`` in a process of its own."""

    def __init__(self, path, port):
        self.path, self.port, self._log = Path(path), port, Path(path).with_suffix(".log")
        self.process = None

    def start(self):
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "cfcam.cli", "gateway", str(self.path), "--log-json"]
            self.process = subprocess.Popen(command, stderr=log, stdout=log, start_new_session=True)
        until(lambda: self.lines("the gateway is ready") > self.ready or self.process.poll() is not None)
        assert self.process.poll() is None, self.log()
        self.ready += 1
        return self

    ready = 0

    def kill(self):
        """As the kernel does: the gateway alone, at once; the process that explains finds out by itself."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                raise

    def log(self):
        return self._log.read_text() if self._log.exists() else ""

    def lines(self, message):
        """How many lines of the log say something; of the last one only a part may be written."""
        whole = self.log().rpartition("\n")[0].splitlines()
        return sum(json.loads(line)["message"] == message for line in whole if line.startswith("{"))

    def status(self):
        from cfcam.jobs.gateway.run import status
        from cfcam.jobs.gateway.settings import read_settings

        return status(read_settings(self.path))


@contextmanager
def running(path, port):
    gateway = Running(path, port).start()
    try:
        yield gateway
    finally:
        gateway.end()

"""``python -m benchmarks gateway-receive``: CT slices by C-STORE to the disk, four senders at once.

Beside the gateway stand the plain SCP of pynetdicom, as its documentation writes one, and DCMTK's storescp, in the same
run and in turns. Only the gateway flushes each object to the disk before it acknowledges it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report

SENDERS, SIDE, MUST, BESIDE = 4, 512, 100, 0.8
WHERE = "/usr/local/bin:/usr/bin:/bin"  # pynetdicom installs programs of DCMTK's names beside Python

_GATEWAY = """
import sys, threading
from pathlib import Path
from cfcam.jobs.gateway.index import Index
from cfcam.jobs.gateway.arrivals.intake import Intake
from cfcam.log import Log
from cfcam.jobs.gateway.arrivals.receive import Receiver
from cfcam.jobs.gateway.places import Receive, Spool
from cfcam.jobs.gateway.settings import GatewaySettings, Network, Rule
from cfcam.jobs.gateway.spool import Spool as Folder
folder, port = Path(sys.argv[1]), int(sys.argv[2])
rule = Rule("ct", ("net",), by="series")
settings = GatewaySettings(Spool(folder, least_free_mb=0), {"net": Network("demo")}, (rule,),
                           receive=Receive(("SENDER",), port=port))
spool, log = Folder(settings.spool), Log()
intake = Intake(settings, spool, Index(folder / "index.sqlite"), log, lambda: None)
intake.start()
Receiver(settings.receive, intake, log).start()
threading.Event().wait()
"""
_PLAIN = """
import sys
from pathlib import Path
from pynetdicom import AE, evt, AllStoragePresentationContexts
folder, port = Path(sys.argv[1]), int(sys.argv[2])
def store(event):
    with open(folder / event.request.AffectedSOPInstanceUID, "wb") as file:
        file.write(event.encoded_dataset())
    return 0x0000
ae = AE(ae_title="CFCAM")
ae.supported_contexts = AllStoragePresentationContexts
ae.start_server(("127.0.0.1", port), evt_handlers=[(evt.EVT_C_STORE, store)])
"""


def series(folder: Path, count: int) -> list[Path]:
    """Folders of CT slices, one for each sender."""
    from tests.imaging import dicoms

    random = np.random.default_rng(0)
    for sender in range(SENDERS):
        for n in range(count):
            stored = random.integers(0, 2000, (SIDE, SIDE))
            dicoms.save(dicoms.ct(stored, (0, 0, n), series=f"1.2.3.{sender}"), folder / str(sender) / f"{n}.dcm")
    return [folder / str(sender) for sender in range(SENDERS)]


@contextmanager
def receiver(kind: str, folder: Path) -> Iterator[int]:
    """Starts one, and yields the port that it listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    folder.mkdir(parents=True)
    storescp = shutil.which("storescp", path=WHERE) or "storescp"
    command = {
        "cfcam gateway": [sys.executable, "-c", _GATEWAY, str(folder), str(port)],
        "pynetdicom, plain": [sys.executable, "-c", _PLAIN, str(folder), str(port)],
        "DCMTK storescp": [storescp, "--fork", "-aet", "CFCAM", "-od", str(folder), "-pdu", "131072", str(port)],
    }[kind]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True) as run:  # noqa: S603
        try:
            wait(port)
            yield port
        finally:
            os.killpg(run.pid, 15)


def wait(port: int) -> None:
    """Waits until somebody listens at a port of this machine."""
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError("nobody listens")


def rate(port: int, folders: list[Path], files: int) -> float:
    """Files a second of as many senders at once as there are folders."""
    program = shutil.which("dcmsend", path=WHERE) or "dcmsend"
    started = time.perf_counter()
    command = [program, "-aet", "SENDER", "-aec", "CFCAM", "+sd", "127.0.0.1", str(port)]
    running = [subprocess.Popen([*command, str(folder)], stdout=subprocess.DEVNULL) for folder in folders]  # noqa: S603
    assert [one.wait() for one in running] == [0] * len(folders)
    return files * len(folders) / (time.perf_counter() - started)


KINDS = ("cfcam gateway", "pynetdicom, plain", "DCMTK storescp")


def measure(count: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Files a second of each, with one sender and with four, the median of some rounds in turns."""
    found: dict[str, dict[str, list[float]]] = {kind: {"one": [], "four": []} for kind in KINDS}
    with tempfile.TemporaryDirectory() as place:
        folders = series(Path(place) / "in", count)
        for n in range(rounds):
            for kind in KINDS:
                for name, senders in (("one", folders[:1]), ("four", folders)):
                    with receiver(kind, Path(place) / f"{n}-{name}-{KINDS.index(kind)}") as port:
                        found[kind][name].append(rate(port, senders, count))
                    shutil.rmtree(Path(place) / f"{n}-{name}-{KINDS.index(kind)}")
    return {kind: {name: statistics.median(values) for name, values in both.items()} for kind, both in found.items()}


def main(arguments: argparse.Namespace) -> None:
    count, rounds = (10, 1) if arguments.quick else (100, 3)
    found = measure(count, rounds)
    plain, storescp = found["pynetdicom, plain"]["four"], found["DCMTK storescp"]["four"]
    own = found["cfcam gateway"]["four"]
    rows = [[kind, f"{values['one']:.0f}", f"{values['four']:.0f}"] for kind, values in found.items()]
    told = (
        f"CT slices of {SIDE} x {SIDE} from DCMTK's dcmsend, {count} from each sender, on {os.cpu_count()} processors"
        " shared by senders and receiver. The gateway flushes each object and its name to the disk (fsync) before it"
        f" acknowledges it; the others do not. Four senders: {own:.0f} files/s, {own / plain:.1f} x pynetdicom,"
        f" {own / storescp:.2f} x storescp. Must: >= {MUST} files/s, or >= 3 x pynetdicom, or >= {BESIDE} x storescp:"
        f" {'met' if own >= MUST or own >= 3 * plain or own >= BESIDE * storescp else 'NOT met'}."
    )
    body = f"{told}\n\n{report.table(('receiver', 'one sender, files/s', 'four senders, files/s'), rows)}"
    report.write(arguments.out, "gateway-receive", "Objects into the gateway", body, {"files_per_second": found})

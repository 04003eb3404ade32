"""``python -m benchmarks gateway-latency``: how soon a radiograph's results are in an archive.

A modality sends radiographs one at a time to a gateway, whose results go to a real Orthanc. Then two Orthancs take the
originals in turns, one of which sends all that it stores on to the gateway: its sender must not wait for the map.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.gateway_receive import wait

MUST = 0.3  # seconds
ALL, LEAN = ("seg", "sr", "sc"), ("sr",)  # as a gateway makes them by default; an SR with the region it is of
ROWS = [(1024, ALL, "web"), (1024, ALL, "dicom"), (1024, LEAN, "web"), (2048, ALL, "web")]
WAYS = {"web": "STOW-RS", "dicom": "C-STORE"}
INSIDE = "CFCAM_BENCHMARK_INSIDE"
GATEWAY = 11112  # its port, in a network where nobody else is
LOOK = 0.01  # seconds between two looks into the archive, which are counted in; more of them would cost it a processor
NICE = -12  # of the processes that are measured, where the machine is shared and lets one say so
ROUTE = 'function OnStoredInstance(id, tags, metadata, origin)\n  SendToModality(id, "CFCAM")\nend\n'

_NETWORK = """
import os, time
from torch import nn
from benchmarks.networks import {name}
class Timed(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = {name}()
    def forward(self, x):
        started = time.perf_counter()
        found = self.net(x)
        with open({file!r}, "a") as file:
            print(time.perf_counter() - started, file=file)
        return found
def timed():
    return Timed().eval()
"""
_CONFIG = """
[spool]
folder = "spool"
least_free_mb = 1
[receive]
calling = ["MODALITY", "ORTHANC"]
port = {port}
[results]
objects = {objects}
[network.film]
model = "{network}:timed"
methods = ["grad-cam"]
size = [{size}]
[[rule]]
name = "films"
networks = ["film"]
modality = ["CR"]
[send]
place = "{place}"
"""


@dataclass(frozen=True)
class Network:
    """A network of `benchmarks.networks`, and the side of its input."""

    name: str
    size: int


class Films:
    """Radiographs, each a patient's own: phantoms of a chest, 12 bit.

    Args:
        folder: for their files.
        side: pixels.
    """

    def __init__(self, folder: Path, side: int) -> None:
        from cfcam.models.demo import sample_phantom

        self._folder, self._side, self._number = folder, side, 0
        self._pictures = [np.asarray(sample_phantom(seed, size=side).image).astype(int) * 16 for seed in range(4)]

    def __call__(self) -> Path:
        """Writes the next one."""
        from pydicom.uid import generate_uid
        from tests.imaging import dicoms

        self._number += 1
        source = dicoms.radiograph(self._pictures[self._number % len(self._pictures)])
        source.StudyInstanceUID, source.SeriesInstanceUID = generate_uid(), generate_uid()
        source.PatientID, source.PatientOrientation = f"F-{self._number}", ["L", "F"]
        source.pop("FrameOfReferenceUID", None)
        return dicoms.save(source, self._folder / f"{self._number}.dcm")


class Orthanc:
    """One in this process's own network, spoken to without anything between.

    Args:
        folder: of all it has.
        port: of DICOM; HTTP's is the next one.
        sends_on: whether all that is stored goes to CFCAM.
    """

    def __init__(self, folder: Path, port: int, *, sends_on: bool = False) -> None:
        from tests.orthanc import AET, PROGRAM, configured

        folder.mkdir()
        (folder / "route.lua").write_text(ROUTE, encoding="ascii")
        more = {"DicomPort": port, "HttpPort": port + 1, "LuaScripts": [str(folder / "route.lua")] if sends_on else []}
        known = {"CFCAM": ["CFCAM", "127.0.0.1", GATEWAY], "MODALITY": ["MODALITY", "127.0.0.1", 104]}
        (folder / "orthanc.json").write_text(json.dumps(configured(folder, {**more, "DicomModalities": known})))
        self.dicom, self.web = f"dicom://{AET}@127.0.0.1:{port}", f"http://127.0.0.1:{port + 1}/dicom-web"
        self.http_port = port + 1
        with (folder / "log").open("ab") as log:
            command = [PROGRAM, str(folder / "orthanc.json")]
            self.process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)  # noqa: S603
        for one in (port, port + 1):
            wait(one)

    def __enter__(self) -> Orthanc:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


class Archive:
    """What an Orthanc has got since it was looked at last, asked through one connection.

    Args:
        orthanc: a running one.
    """

    def __init__(self, orthanc: Any) -> None:
        self._line = http.client.HTTPConnection("127.0.0.1", orthanc.http_port, timeout=60)
        self._last = 0
        self._new()

    def until(self, count: int, seconds: float = 120) -> float:
        """Waits for so many new objects, and returns when they were there."""
        found, end = 0, time.perf_counter() + seconds
        while (found := found + self._new()) < count:
            if time.perf_counter() > end:
                raise TimeoutError(f"{found} of {count} objects are in the archive")
            time.sleep(LOOK)
        return time.perf_counter()

    def _new(self) -> int:
        found = 0
        while True:
            told = json.loads(self._asked(f"/changes?since={self._last}&limit=1000"))
            self._last = told["Last"]
            found += sum(one["ChangeType"] == "NewInstance" for one in told["Changes"])
            if told["Done"]:
                return found

    def _asked(self, what: str) -> bytes:
        """Asks once more where the line that was held open is closed: Orthanc does that when it likes."""
        try:
            self._line.request("GET", what)
            return self._line.getresponse().read()
        except http.client.RemoteDisconnected:
            self._line.close()
            self._line.request("GET", what)
            return self._line.getresponse().read()


def prefer(*processes: int, nice: int = 0) -> bool:
    """Puts processes before others that share the machine; tells whether that was allowed.

    Args:
        processes: that are measured.
        nice: by how much they stand back behind each other all the same.
    """
    with suppress(OSError):
        for process in processes:
            Path(f"/proc/{process}/autogroup").write_text(str(NICE + nice), encoding="ascii")
        return True
    return False


def worker_of(gateway: int, seconds: float = 60) -> tuple[int, int]:
    """Waits for the process that explains, which has stood back; returns its id, and by how much it is nice."""
    end, here = time.perf_counter() + seconds, os.getpriority(os.PRIO_PROCESS, gateway)
    while time.perf_counter() < end:
        for file in Path(f"/proc/{gateway}/task").glob("*/children"):
            for child in map(int, file.read_text(encoding="ascii").split()):
                with suppress(OSError):
                    if os.getsid(child) == child:
                        return child, os.getpriority(os.PRIO_PROCESS, child) - here
        time.sleep(0.05)
    raise TimeoutError("the gateway has no process that explains")


@contextmanager
def modality(place: str, title: str, film: Path) -> Iterator[Any]:
    """Opens an association through which one radiograph after the other goes; yields how one is sent."""
    from pydicom import dcmread

    from cfcam.exchange.pacs import Access, Place
    from cfcam.exchange.pacs.association import Context, associated

    head = dcmread(film, stop_before_pixels=True)
    asked = [Context(head.SOPClassUID, (head.file_meta.TransferSyntaxUID,))]
    with associated(Place.parse(place), Access(calling_ae=title), asked) as opened:

        def send(path: Path) -> tuple[float, float]:
            started = time.perf_counter()
            assert opened.send_c_store(path).Status == 0
            return started, time.perf_counter()

        yield send


class Bench:
    """A folder with a network that tells its times, an Orthanc, and a gateway that sends to it."""

    def __init__(
        self, stack: ExitStack, folder: Path, network: Network, way: str, objects: Sequence[str] = ALL, **more: bool
    ) -> None:
        from tests.jobs.gateway.whole import running

        self.forwards = folder / "forwards"
        text = _NETWORK.format(name=network.name, file=str(self.forwards))
        (folder / "network.py").write_text(text, encoding="utf-8")
        self.orthanc = stack.enter_context(Orthanc(folder / "orthanc", 4242, **more))
        place = getattr(self.orthanc, way)
        path = folder / "gateway.toml"
        config = _CONFIG.format(
            objects=list(objects), port=GATEWAY, network=folder / "network.py", size=network.size, place=place
        )
        path.write_text(config, encoding="utf-8")
        self.gateway = stack.enter_context(running(path, GATEWAY))
        self.place = f"dicom://CFCAM@127.0.0.1:{GATEWAY}"
        prefer(os.getpid(), self.gateway.process.pid, self.orthanc.process.pid)
        worker, nice = worker_of(self.gateway.process.pid)
        prefer(worker, nice=nice)

    def forward(self) -> float:
        """Seconds of the network's forward passes since this was asked last."""
        found = sum(float(line) for line in self.forwards.read_text(encoding="ascii").split())
        self.forwards.write_text("", encoding="ascii")
        return found

    def first(self) -> int:
        """Waits until all results of the first study are delivered; returns how many objects they are."""
        end = time.perf_counter() + 300
        while self.gateway.status()["tasks"] != {"delivered": 1}:
            if time.perf_counter() > end:
                raise TimeoutError(f"the first study is not delivered: {self.gateway.status()}")
            time.sleep(0.1)
        return int(self.gateway.status()["results"]["delivered"])

    def work(self) -> float:
        """Seconds that the last study took, from the queue to its results on the disk."""
        told = [json.loads(line) for line in self.gateway.log().splitlines() if line.startswith("{")]
        return float([line["seconds"] for line in told if line["message"] == "a study is explained"][-1])


def results(way: str, network: Network, side: int, objects: Sequence[str], count: int) -> list[dict[str, float]]:
    """Times of some radiographs, from their sending to their results in Orthanc."""
    rows = []
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        folder = Path(place)
        bench, films = Bench(stack, folder, network, way, objects), Films(folder / "films", side)
        first = films()
        send = stack.enter_context(modality(bench.place, "MODALITY", first))
        send(first)
        expected = bench.first()
        archive = Archive(bench.orthanc)
        for n in range(count + 2):  # the first two warm up
            film = films()
            bench.forward()
            started, told = send(film)
            there = archive.until(expected)
            time.sleep(0.2)
            row = {"all": there - started, "received": there - told, "forward": bench.forward(), "work": bench.work()}
            if n >= 2:
                rows.append(row)
    return rows


def originals(network: Network, side: int, count: int) -> dict[str, list[float]]:
    """Seconds until Orthanc has acknowledged an original: with a gateway behind it and without one, in turns.

    "while another is explained" is a second original, sent as soon as the first is acknowledged.
    """
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        folder = Path(place)
        bench, films = Bench(stack, folder, network, "web", sends_on=True), Films(folder / "films", side)
        alone = stack.enter_context(Orthanc(folder / "alone", 4244))
        prefer(alone.process.pid)
        first = films()
        ways = {
            "nothing behind it": stack.enter_context(modality(alone.dicom, "MODALITY", first)),
            "the gateway behind it": stack.enter_context(modality(bench.orthanc.dicom, "MODALITY", first)),
        }
        for send in ways.values():
            send(first)
        expected = 1 + bench.first()  # the original, and its results
        archive = Archive(bench.orthanc)
        for n in range(count + 2):
            for name, send in list(ways.items())[:: 1 if n % 2 else -1]:
                times = [end - start for start, end in (send(films()), send(films()))]
                if send is ways["the gateway behind it"]:
                    archive.until(2 * expected)  # both originals, and the results of both
                if n >= 2:
                    for what, seconds in zip((name, f"{name}, while another is explained"), times, strict=True):
                        found.setdefault(what, []).append(seconds)
                time.sleep(0.2)
    return found


def main(arguments: argparse.Namespace) -> None:
    from tests.orthanc import loopback, namespace

    if INSIDE not in os.environ:  # Orthanc listens at every address: in a network of our own that is loopback alone
        command = [*namespace(), sys.executable, "-m", "benchmarks", *sys.argv[1:]]
        subprocess.run(command, check=True, env={**os.environ, INSIDE: "1"})  # noqa: S603
        return
    loopback()
    network, count = (Network("tiny", 64), 2) if arguments.quick else (Network("resnet50", 224), arguments.count)
    found: dict[str, Any] = {"load": [], "results": [], "originals": {}}
    rows = []
    for side, objects, way in ROWS[:1] if arguments.quick else ROWS:
        found["load"].append(os.getloadavg()[0])
        taken = results(way, network, side, objects, count)
        beyond = [one["received"] - one["forward"] for one in taken]
        found["results"].append({"side": side, "way": way, "objects": objects, "beyond": beyond, "rows": taken})
        rows.append(
            [f"{side} x {side}", ", ".join(objects), WAYS[way], _ms(one["all"] for one in taken),
             _ms(one["received"] for one in taken), _ms(one["forward"] for one in taken), _ms(beyond),
             _word(statistics.median(beyond)), f"{found['load'][-1]:.1f}"]
        )  # fmt: skip
    found["load"].append(os.getloadavg()[0])
    found["originals"] = originals(network, ROWS[0][0], count)
    table = report.table(
        ("radiograph", "objects", "back by", "from its first byte", "from its receipt", "forward", "receipt - forward",
         f"<= {1000 * MUST:.0f}", "load"), rows,
    )  # fmt: skip
    waits = report.table(
        ("Orthanc with", "an original is acknowledged after"),
        [[name, _ms(times)] for name, times in found["originals"].items()],
    )
    told = (
        f"Milliseconds, median (least) of {count}; {os.cpu_count()} processors shared by the modality, the gateway, its"
        " network, Orthanc, and whoever else worked on the machine (load: average of the minute before each row). One"
        f" 12 bit radiograph at a time goes to the gateway; {network.name} ({network.size} x {network.size}, Grad-CAM,"
        f" {arguments.threads or 1} thread) explains it, and results go to a real Orthanc, until its list of changes,"
        f" looked at every {1000 * LOOK:.0f} ms, has all of them: seg is a Segmentation and a fractional one,"
        " sr an SR with the Segmentation that it is of,"
        " sc a Secondary Capture of the radiograph's size; a Key Object ties them. Receipt is the answer to the"
        " C-STORE, forward the time that the network's own pass took within the same study. Must: receipt to result"
        f" beyond forward at most {1000 * MUST:.0f} ms (by the median)."
    )
    other = (
        f"The original's way ({ROWS[0][0]} x {ROWS[0][0]}): two Orthancs in turns, one of which sends all that it"
        " stores on to the gateway. The second original of a pair comes while the first is explained, on the same"
        " processors."
    )
    body = f"{told}\n\n{table}\n\n{other}\n\n{waits}"
    report.write(arguments.out, "gateway-latency", "How soon a radiograph's results are in the archive", body, found)


def _ms(seconds: Iterable[float]) -> str:
    values = [1000 * one for one in seconds]
    return f"{statistics.median(values):.0f} ({min(values):.0f})"


def _word(seconds: float) -> str:
    return "yes" if seconds <= MUST else "no"

"""``python -m benchmarks gateway-soak``: a gateway for long: memory, file descriptors, and how soon results are there.

Radiographs go in as fast as they are worked on, in a bounded loop, and results into an archive that takes them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import pydicom
from pydicom.uid import generate_uid

from benchmarks import report


def _memory(pid: int) -> float:
    """MB of a process and of those that it started."""
    found = 0
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = place.read_text().rpartition(")")[2].split()
            own, parent = int(place.parent.name), int(fields[1])
            if pid in (own, parent):
                status = (place.parent / "smaps_rollup").read_text()
                found += int(status.partition("Pss:")[2].split()[0])
        except (OSError, ValueError, IndexError):
            continue
    return found / 1000


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def main(arguments: argparse.Namespace) -> None:
    from pynetdicom import AE
    from tests.jobs.gateway.senders import free_port, radiographs
    from tests.jobs.gateway.whole import Archive, config, running, until

    count = 30 if arguments.quick else arguments.count
    sample = max(1, count // 20)
    rows: list[tuple[int, float, int]] = []
    waits: list[float] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        archive = Archive(folder / "archive").up()
        archive.keeps = False
        port = free_port()
        path = config(folder, archive, port=port, results='objects = ["sr"]\nroot = false')
        path.write_text(path.read_text().replace("least_free_mb = 1", "least_free_mb = 1\nkeep_days = 0.0001"))
        source = pydicom.dcmread(radiographs(folder / "films", 1)[0])
        with running(path, port) as gateway:
            ae = AE(ae_title="SENDER")
            ae.add_requested_context(source.SOPClassUID, "1.2.840.10008.1.2.1")
            sender = ae.associate("127.0.0.1", port, ae_title="CFCAM")
            assert sender.is_established
            pid = gateway.process.pid

            def send() -> None:
                source.SOPInstanceUID = source.file_meta.MediaStorageSOPInstanceUID = generate_uid()
                source.StudyInstanceUID, source.SeriesInstanceUID = generate_uid(), generate_uid()
                assert sender.send_c_store(source).Status == 0

            for n in range(count):
                send()
                until(lambda n=n: archive.reports > n - 20, seconds=600)  # a bounded loop
                if n % sample == sample - 1:
                    rows.append((n + 1, _memory(pid), _descriptors(pid)))
            until(lambda: archive.reports == count, seconds=600)
            for n in range(count, count + 20):  # one at a time: how long a result takes
                started = time.perf_counter()
                send()
                while archive.reports == n:
                    time.sleep(0.001)
                waits.append(time.perf_counter() - started)
            told = (json.loads(line) for line in gateway.log().splitlines() if line.startswith("{"))
            spent = [float(line["seconds"]) for line in told if "seconds" in line]
            sender.release()
        archive.down()
    at_rest = rows[len(rows) // 4 :]
    growth = at_rest[-1][1] / at_rest[0][1] - 1
    wait = statistics.median(waits)
    body = (
        f"{count} radiographs, each explained and its SR sent. Memory of gateway and worker after the first quarter:"
        f" {at_rest[0][1]:.0f} to {at_rest[-1][1]:.0f} MB ({growth:+.1%}; must: below +5 %); file descriptors"
        f" {at_rest[0][2]} to {at_rest[-1][2]}. Alone, a result is in the archive {wait:.2f} s after its picture was"
        f" sent (median of {len(waits)}), of which work on it {statistics.median(spent[-20:]):.2f} s."
    )
    table = report.table(("radiographs", "MB", "descriptors"), [(str(n), f"{m:.0f}", str(d)) for n, m, d in rows])
    values = {"rows": rows, "growth": growth, "seconds_to_result": waits, "seconds_of_work": spent[-20:]}
    report.write(arguments.out, "gateway-soak", "A gateway for long", f"{body}\n\n{table}", values)

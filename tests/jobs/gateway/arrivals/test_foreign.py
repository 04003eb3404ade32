"""Foreign senders, endless headers and idle associations at once: refused, told without identity, others served.

``make soak`` sets CFCAM_SOAK: 200 idle associations, and two headers of 1 GB; else 20, and 80 MiB.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from itertools import repeat

import pydicom
import pytest

pytest.importorskip("pynetdicom")

from tests.imaging import dicoms
from tests.jobs.gateway.arrivals.test_receive import CR, request, talk
from tests.jobs.gateway.senders import radiographs, storescu
from tests.jobs.gateway.test_header import END, ITEM, ITEM_END, long
from tests.jobs.gateway.whole import config, running, until
from tests.waiting import free_port

SOAK = bool(os.environ.get("CFCAM_SOAK"))
IDLE, SIZE, GOOD = (200, 1 << 30, 50) if SOAK else (20, 80 << 20, 3)
MOST_MB = 500  # that the gateway may ever take: reading 4 MiB of empty sequences takes 160
PIECE = 100_000


def peak(pid):
    """MB that a process ever had."""
    return int(open(f"/proc/{pid}/status").read().partition("VmHWM:")[2].split()[0]) / 1000  # noqa: PTH123


def pdv(data, *, command=False, last=False):
    """Part of a message in a PDU of its own."""
    return struct.pack(">BxLLBB", 4, len(data) + 6, len(data) + 2, 1, command + 2 * last) + data


def store(uid):
    """The command of a C-STORE of a radiograph."""

    def element(number, value):
        value += b"\0" * (len(value) % 2)
        return struct.pack("<HHL", 0, number, len(value)) + value

    short = [(0x100, 1), (0x110, 1), (0x700, 0), (0x800, 0)]
    body = element(2, CR.encode()) + b"".join(element(n, struct.pack("<H", value)) for n, value in short)
    return pdv(element(0, struct.pack("<L", len(body))) + body + element(0x1000, uid.encode()), command=True, last=True)


def endless(path, kind):
    """Yields the PDUs of a C-STORE whose header is `SIZE` long, between the object's UIDs and its patient."""
    ds = pydicom.dcmread(path)
    data = path.read_bytes()
    begin, at = 144 + int.from_bytes(data[140:144], "little"), data.index(b"\x10\0\x10\0PN")
    yield store(ds.SOPInstanceUID)
    yield pdv(data[begin:at])
    item = bytes(28) if kind == "a value" else ITEM + struct.pack("<HH2sH4s", 8, 0x100, b"SH", 4, b"code") + ITEM_END
    piece = pdv(item * (PIECE // len(item)))
    count = SIZE // (len(piece) - 12)
    yield pdv(long(b"OB", count * (len(piece) - 12)) if kind == "a value" else long(b"SQ", None))
    yield from repeat(piece, count)
    yield pdv((b"" if kind == "a value" else END) + data[at:], last=True)


def answered(port, pdus):
    """The status that an object is answered with."""
    with socket.create_connection(("127.0.0.1", port), timeout=600) as sock:
        sock.sendall(request())
        head = sock.recv(6, socket.MSG_WAITALL)
        sock.recv(int.from_bytes(head[2:6], "big"), socket.MSG_WAITALL)
        for pdu in pdus:
            sock.sendall(pdu)
        head = sock.recv(6, socket.MSG_WAITALL)
        answer = sock.recv(int.from_bytes(head[2:6], "big"), socket.MSG_WAITALL)
        status = answer.index(b"\0\0\0\x09\x02\0\0\0")
        return int.from_bytes(answer[status + 8 : status + 10], "little")


def test_endless_headers_strangers_and_idle_senders_at_once_and_others_are_served(tmp_path):
    *good, bad = radiographs(tmp_path / "films", GOOD + 1)
    port, health = free_port(), free_port()
    path = config(tmp_path, None, port=port, more=f"[health]\nport = {health}\n")
    statuses = []
    with running(path, port) as gateway:
        pid = gateway.process.pid
        idle = []
        for _ in range(IDLE):
            sock = socket.create_connection(("127.0.0.1", port), timeout=60)
            sock.sendall(request())
            assert sock.recv(6)[0] == 2  # accepted
            idle.append(sock)

        def send_endless():
            statuses.extend(answered(port, endless(bad, kind)) for kind in ("a value", "items"))

        sender = threading.Thread(target=send_endless, daemon=True)
        sender.start()
        for film in good:
            assert "Success" in (told := storescu(port, film)).stdout + told.stderr
            assert storescu(port, film, calling="STRANGER").returncode != 0
            assert talk(port, b"GET / HTTP/1.0\r\n\r\n" + bytes(64)) == 7  # aborted
        sender.join(600)
        assert statuses == [0xC000, 0xC000]
        until(lambda: gateway.status()["tasks"] == {"results": GOOD}, seconds=600)
        assert peak(pid) < MOST_MB
        for sock in idle:
            sock.close()
        log = gateway.log()
    assert list((tmp_path / "spool" / "new").iterdir()) == []
    assert log.count("its AE title is not known") == GOOD
    assert not [word for word in (*dicoms.PLANTED, "STRANGER", str(tmp_path)) if word in log]

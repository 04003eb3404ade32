"""A real Orthanc for tests, in a network namespace that has loopback alone: it listens at every address, of nowhere.

Two small processes stand between: one out here, one in the namespace. They hand bytes to each other through sockets in
a folder, so that a test, a command that it starts and DCMTK's programs reach Orthanc at ports of 127.0.0.1, and Orthanc
reaches those ports out here that a test has named.

```python
def test_it(orthanc):                      # one Orthanc of the session, emptied before each test
    orthanc.dicom                          # dicom://ORTHANC@127.0.0.1:PORT
    orthanc.web                            # http://127.0.0.1:PORT/dicom-web
    orthanc.knows("GATEWAY", port)         # it may find and get, and Orthanc can send to that port of this machine
    orthanc.stop(); orthanc.start()        # "the PACS is down": the ports refuse, what was stored stays
```

`Orthanc(folder, **configuration)` is one more, with what Orthanc calls its configuration, as a context manager.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

PROGRAM = "/usr/sbin/Orthanc"
PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
AET, DICOM_PORT, HTTP_PORT = "ORTHANC", 4242, 8042  # in the namespace, where nobody else is
_PATIENCE = 60.0  # seconds for a start, on a machine that is busy


class Orthanc:
    """One Orthanc with its DICOMweb plugin.

    Attributes:
        dicom_port: where it takes DICOM, at 127.0.0.1.
        http_port: where it takes HTTP, at 127.0.0.1.
    """

    def __init__(self, folder: Path, **configuration: Any) -> None:
        """Starts one that keeps all it has in a folder; its path has to be short, for sockets lie in it."""
        self.folder, self.configuration = folder, configured(folder, configuration)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "orthanc.json").write_text(json.dumps(self.configuration))
        self._relay = subprocess.Popen(
            [sys.executable, __file__, "outside", str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            self.dicom_port, self.http_port = self._do("listen")
            self.start()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Orthanc:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def dicom(self) -> str:
        """Where it takes DICOM, as `cfcam` is told."""
        tls = "s" if self.configuration.get("DicomTlsEnabled") else ""
        return f"dicom{tls}://{AET}@127.0.0.1:{self.dicom_port}"

    @property
    def rest(self) -> str:
        """Where its own REST API is."""
        return f"http{'s' if self.configuration.get('SslEnabled') else ''}://127.0.0.1:{self.http_port}"

    @property
    def web(self) -> str:
        """Where it takes DICOMweb, as `cfcam` is told."""
        return f"{self.rest}/dicom-web"

    def start(self) -> None:
        """Starts it, and returns when it answers."""
        self._do("start")

    def stop(self) -> None:
        """Kills it, as a power cut would; what was stored stays."""
        self._do("stop")

    def close(self) -> None:
        """Ends it and what stands between."""
        with contextlib.suppress(OSError, ValueError):
            self._relay.stdin.close()
        try:
            self._relay.wait(10)
        except subprocess.TimeoutExpired:
            self._relay.kill()
            self._relay.wait()
        self._relay.stdout.close()

    def knows(self, aet: str, port: int | None = None) -> None:
        """Lets an AE title find and get; with a port of this machine Orthanc can send to it, under its title's name."""
        if port is not None:
            self._do(f"back {port}")
        values = {"AET": aet, "Host": "127.0.0.1", "Port": port or 104, "Manufacturer": "Generic"}
        self.ask("PUT", f"/modalities/{aet}", values)

    def ask(self, method: str, path: str, values: Any = None) -> Any:
        """Asks its own REST API; returns what it says, JSON as values, else bytes."""
        import requests

        session = requests.Session()
        session.trust_env = False
        data = values if isinstance(values, (bytes, type(None))) else json.dumps(values)
        users = self.configuration.get("RegisteredUsers", {})
        answer = session.request(
            method, f"{self.rest}{path}", data=data, timeout=60, verify=False, auth=next(iter(users.items()), None)
        )
        answer.raise_for_status()
        return answer.json() if "json" in answer.headers.get("Content-Type", "") else answer.content

    def instances(self) -> dict[str, str]:
        """Returns what it holds: SOP Instance UID -> its own name of it."""
        found = self.ask("POST", "/tools/find", {"Level": "Instance", "Query": {}, "Expand": True})
        return {one["MainDicomTags"]["SOPInstanceUID"]: one["ID"] for one in found}

    def file(self, uid: str) -> bytes:
        """Returns the file of a SOP Instance UID as it is stored."""
        return self.ask("GET", f"/instances/{self.instances()[uid]}/file")

    def clear(self) -> None:
        """Throws away all it holds."""
        for patient in self.ask("GET", "/patients"):
            self.ask("DELETE", f"/patients/{patient}")

    def log(self) -> str:
        """What it said since it was started first."""
        return (self.folder / "orthanc.log").read_text(errors="replace")

    def _do(self, command: str) -> Any:
        with contextlib.suppress(BrokenPipeError):
            print(command, file=self._relay.stdin, flush=True)
        line = self._relay.stdout.readline()
        answer = json.loads(line) if line else {"error": "the process between ended"}
        if answer.get("error"):
            log = self.folder / "orthanc.log"
            told = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            raise RuntimeError(f"Orthanc, {command}: {answer['error']}\n{told}")
        return answer["done"]


def missing() -> str | None:
    """Returns what a machine lacks to run one, and how to get it; None: nothing."""
    if not (Path(PROGRAM).exists() and Path(PLUGIN).exists()):
        return "Orthanc is not installed: apt-get install orthanc orthanc-dicomweb"
    if not namespace():
        return "a network namespace for Orthanc is not installed: let unshare -rn work, or be root"
    return None


@cache
def namespace() -> list[str]:
    """What a command is run by in a network namespace of its own, where not even loopback is up yet; empty: nothing."""
    for way in (["-n"], ["-rn"]):
        command = [shutil.which("unshare") or "/usr/bin/unshare", *way]
        with contextlib.suppress(OSError):
            if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
                return command
    return []


def configured(folder: Path, more: dict[str, Any]) -> dict[str, Any]:
    """Returns what one is told that keeps all it has in a folder."""
    return {
        "Name": "cfcam's tests",
        "StorageDirectory": str(folder / "stored"),
        "IndexDirectory": str(folder / "stored"),
        "Plugins": [PLUGIN],
        "HttpPort": HTTP_PORT,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomPort": DICOM_PORT,
        "DicomAet": AET,
        "DicomCheckCalledAet": True,
        "DicomModalities": {"CFCAM": ["CFCAM", "127.0.0.1", 104]},
        "DicomAlwaysAllowEcho": False,
        "DicomAlwaysAllowStore": False,
        "DicomAlwaysAllowFind": False,
        "DicomAlwaysAllowGet": False,
        "StableAge": 1,
        "HttpTimeout": 20,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        **more,
    }


# What follows runs in the two processes between.


async def _outside(folder: Path) -> None:
    """Out here: listens at 127.0.0.1, starts the process inside, and hands commands on to it."""
    inner = await asyncio.create_subprocess_exec(
        *namespace(), sys.executable, __file__, "inside", str(folder),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    kept: list[asyncio.Server] = []
    async for command in _lines():
        if command == "listen":
            ways = [_to_folder(folder / f"in{port}") for port in (DICOM_PORT, HTTP_PORT)]
            kept += [await _listen(way, host="127.0.0.1", port=0) for way in ways]
            ports = [server.sockets[0].getsockname()[1] for server in kept]
            _say(json.dumps({"done": ports}))
            continue
        if command.startswith("back "):
            port = int(command.split()[1])
            kept.append(await _listen(_to_port(port), path=folder / f"out{port}"))
        inner.stdin.write(f"{command}\n".encode())
        await inner.stdin.drain()
        _say((await inner.stdout.readline()).decode().strip() or '{"error": "the process inside ended"}')
    inner.stdin.close()
    await inner.wait()


async def _inside(folder: Path) -> None:
    """In the namespace: brings loopback up, owns Orthanc, and connects to it."""
    loopback()
    kept = [await _listen(_to_port(port), path=folder / f"in{port}") for port in (DICOM_PORT, HTTP_PORT)]
    orthanc: subprocess.Popen[bytes] | None = None
    async for command in _lines():
        answer: dict[str, Any] = {"done": True}
        if command == "start" and orthanc is None:
            orthanc = _run(folder)
            answer = await _answers(orthanc)
        elif command == "stop" and orthanc is not None:
            orthanc.kill()
            orthanc.wait()
            orthanc = None
        elif command.startswith("back "):
            port = int(command.split()[1])
            kept.append(await _listen(_to_folder(folder / f"out{port}"), host="127.0.0.1", port=port))
        _say(json.dumps(answer))
    if orthanc is not None:
        orthanc.kill()
        orthanc.wait()


def loopback() -> None:
    """Brings loopback up in the namespace of this process, as ``ip link set lo up`` does."""
    with socket.socket() as any_socket:  # SIOCSIFFLAGS, IFF_UP | IFF_RUNNING
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh", b"lo", 0x41))


def _run(folder: Path) -> subprocess.Popen[bytes]:
    def die_with_parent() -> None:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)

    with (folder / "orthanc.log").open("ab") as log:
        return subprocess.Popen(
            [PROGRAM, str(folder / "orthanc.json")],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=die_with_parent,
        )


async def _answers(orthanc: subprocess.Popen[bytes]) -> dict[str, Any]:
    end = time.monotonic() + _PATIENCE
    waiting = [DICOM_PORT, HTTP_PORT]
    while waiting and time.monotonic() < end:
        if orthanc.poll() is not None:
            return {"error": f"it ended with {orthanc.returncode}"}
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", waiting[0])
            writer.close()
            waiting.pop(0)
        except OSError:
            await asyncio.sleep(0.02)
    return {"error": f"it took more than {_PATIENCE:g} s"} if waiting else {"done": True}


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def _lines() -> Any:
    """Yields the lines of stdin until it is closed, which is how the one above ends."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line.decode().strip()


async def _listen(connect: Any, **where: Any) -> asyncio.Server:
    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await connect()
        except OSError:  # nobody listens there: told by a connection that is cut
            writer.transport.abort()
            return
        await asyncio.gather(_pump(reader, there[1]), _pump(there[0], writer))
        for one in (writer, there[1]):
            one.transport.abort()

    start = asyncio.start_unix_server if "path" in where else asyncio.start_server
    return await start(served, **where)


def _to_port(port: int) -> Any:
    return lambda: asyncio.open_connection("127.0.0.1", port)


def _to_folder(path: Path) -> Any:
    return lambda: asyncio.open_unix_connection(path)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 17):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.write_eof()


@contextlib.contextmanager
def running(**configuration: Any) -> Iterator[Orthanc]:
    """Runs one in a folder of its own, which is gone afterwards."""
    import tempfile

    # Beside pytest's folders, whose names are longer than the path of a socket may be.
    with tempfile.TemporaryDirectory(prefix="orthanc-") as folder, Orthanc(Path(folder), **configuration) as orthanc:
        yield orthanc


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the tests, which end this one
    work = {"outside": _outside, "inside": _inside}[sys.argv[1]](Path(sys.argv[2]))
    asyncio.new_event_loop().run_until_complete(work)
    os._exit(0)  # without a word on connections that are still open

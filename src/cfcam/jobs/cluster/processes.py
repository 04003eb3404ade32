"""The workers of one machine: processes of this one, each of which does everything for the parts that it is given.

Threads share one Python, and wait for each other there; processes do not, and one that crashes takes nothing with it.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from typing import IO, Any, ClassVar

from cfcam.errors import JobError
from cfcam.jobs.cluster.ending import Hearing, ending
from cfcam.jobs.cluster.part import Answer, Part
from cfcam.jobs.cluster.worker import Place, Worker
from cfcam.jobs.cluster.workers import Lost, Pool
from cfcam.memory import one_heap, settled

_FALLS = 5  # of workers in a row, before one of them was ready
# What is imported stays: looking through it for garbage, again and again, takes a tenth of the time.
_START = (
    "import gc, sys; gc.disable(); sys.path[:] = sys.argv[1:]; from cfcam.jobs.cluster.processes import serve; serve()"
)
_A_MOMENT = 2.0  # seconds
_LITTLE_MEMORY = "often they have too little memory"


@dataclass(frozen=True)
class Processes:
    """How many processes of this machine work.

    Attributes:
        count: networks side by side; None: one for each CPU, or one alone for a network on a GPU.
        cores: CPUs of each.
    """

    count: int | None = None
    cores: int = 1
    _begun: list[subprocess.Popen[bytes]] = field(default_factory=list, init=False, repr=False, compare=False)

    def pool(self, job: bytes, place: Place, *, on_gpu: bool) -> Pool:
        """Returns workers, see `ProcessPool`."""
        return ProcessPool(self._number(on_gpu=on_gpu), job, place, self._begun)

    @property
    def cpus(self) -> int:
        """How many CPUs this process may use."""
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def get_ready(self) -> None:
        """Starts them before it is known what they are to do: their imports take as long as those of this process.

        It starts no more than can run side by side; the others come once there is something to do for them.
        """
        self._begun.extend(_started() for _ in range(min(self._number(on_gpu=False), self.cpus)))

    def close(self) -> None:
        """Ends those that nobody took."""
        _end(self._begun)

    def _number(self, *, on_gpu: bool) -> int:
        return self.count or (1 if on_gpu else max(1, self.cpus // self.cores))


@dataclass(eq=False)
class _Process:
    """A worker, as the run sees it.

    Attributes:
        popen: the process.
        hearing: of its stderr; None of one that was given nothing.
        ready: it has said that it can work.
        part: what it is at.
    """

    popen: subprocess.Popen[bytes]
    hearing: Hearing | None = None
    ready: bool = False
    part: Part | None = None

    def send(self, what: object) -> None:
        """Sends a value; to one that is gone nothing."""
        if self.popen.stdin is not None:
            with suppress(OSError):  # whoever listens to it hears that it is gone
                pickle.dump(what, self.popen.stdin, protocol=pickle.HIGHEST_PROTOCOL)
                self.popen.stdin.flush()

    def ended(self) -> str:
        """Returns how it ended, of one that is gone; see `ending`."""
        with suppress(subprocess.TimeoutExpired):  # it is at its end: what it says is nobody's to read any more
            self.popen.wait(_A_MOMENT)
        code = self.popen.poll()
        self.end()
        return ending(code, "" if self.hearing is None else self.hearing.last())

    def end(self) -> None:
        """Ends it at once."""
        self.popen.kill()
        self.popen.wait()
        if self.popen.stdin is not None:
            with suppress(OSError):
                self.popen.stdin.close()


def _started() -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 (our own code)
        [sys.executable, "-c", _START, *sys.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _end(begun: list[subprocess.Popen[bytes]]) -> None:
    """Ends processes that were given nothing."""
    while begun:
        (worker := _Process(begun.pop())).end()
        for stream in (worker.popen.stdout, worker.popen.stderr):
            if stream is not None:
                stream.close()


class ProcessPool:
    """Processes of this machine; a `cfcam.jobs.cluster.workers.Pool`. They end with the run, whatever ends it.

    Args:
        count: how many at most.
        job: the pickled job, sent to each.
        place: where they work.
        begun: processes that were started for it; more are where they are not enough, and what is too many ends.

    Attributes:
        count: as given.
        notes: nothing.
        why: where it is said why workers are lost.
    """

    why: ClassVar[str] = _LITTLE_MEMORY

    def __init__(self, count: int, job: bytes, place: Place, begun: list[subprocess.Popen[bytes]]) -> None:
        self.count, self.notes, self._begun = count, list[str](), begun
        self._sent = job, place
        self._said: SimpleQueue[tuple[_Process, Any]] = SimpleQueue()
        self._workers: list[_Process] = []
        self._falls = 0

    def start(self, parts: int) -> None:
        """Starts workers, one for each part at most."""
        try:
            for _ in range(min(self.count, parts)):
                self._ask()
        except BaseException:
            self.close()
            raise
        finally:
            _end(self._begun)

    @property
    def free(self) -> int:
        """How many workers wait for a part."""
        return sum(worker.ready and worker.part is None for worker in self._workers)

    def give(self, part: Part) -> None:
        """Gives a part to a worker that is free."""
        worker = next(worker for worker in self._workers if worker.ready and worker.part is None)
        worker.part = part
        if worker.hearing is not None:
            worker.hearing.forget()
        worker.send(part)

    def answers(self, seconds: float = 1.0) -> Iterator[tuple[Part, Answer | Lost]]:
        """Waits for something to happen, and yields the parts that came back.

        Raises:
            JobError: no worker can work.
        """
        worker, said = self._next(seconds)
        if worker is None or worker not in self._workers:
            return
        part, worker.part = worker.part, None
        if said is None:
            how = self._gone(worker)
            if part is not None:
                yield part, Lost(with_node=False, how=how)
        elif part is not None:
            yield part, said
        elif said:  # why it cannot work, as all others then
            raise JobError(said)
        else:
            worker.ready, self._falls = True, 0

    def close(self) -> None:
        """Ends the workers at once."""
        for worker in self._workers:
            worker.end()
        self._workers = []

    def _next(self, seconds: float) -> tuple[_Process | None, Any]:
        """Returns who has said what; None of one that is gone, and None where nobody has said anything."""
        try:
            return self._said.get(timeout=seconds)
        except Empty:  # what a network has forked may hold the pipe of a worker that is gone
            return next((one for one in self._workers if one.popen.poll() is not None), None), None

    def _ask(self) -> None:
        popen = self._begun.pop() if self._begun else _started()
        worker = _Process(popen, None if popen.stderr is None else Hearing(popen.stderr))
        self._workers.append(worker)
        threading.Thread(target=_listen, args=(worker, self._said), daemon=True).start()
        worker.send(self._sent)

    def _gone(self, worker: _Process) -> str:
        """Has another one take the place of a worker that is lost; returns how it ended."""
        how = worker.ended()
        self._workers.remove(worker)
        if not worker.ready:
            self._falls += 1
            if self._falls >= _FALLS:
                raise JobError(
                    f"workers end before they are ready, {self._falls} times in a row: {_LITTLE_MEMORY} for the"
                    f" network: give fewer --workers{how and '; '}{how}"
                )
        self._ask()
        return how


def _listen(worker: _Process, said: SimpleQueue[tuple[_Process, Any]]) -> None:
    """Hands on what a worker says, and at last None, as it is gone."""
    stream = worker.popen.stdout
    assert stream is not None  # noqa: S101 (asked for)
    with stream:
        try:
            while True:
                said.put((worker, pickle.load(stream)))  # noqa: S301 (what `serve` has written)
        except Exception:  # noqa: BLE001 (the end of it, or what a kill has cut off)
            said.put((worker, None))


def serve() -> None:
    """Does the parts that a `ProcessPool` sends, until that is gone; the whole of its process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the run ends what it has begun
    lost = partial(orphaned, os.getppid())
    one_heap()
    asked, answers = (os.fdopen(os.dup(n), mode) for n, mode in ((0, "rb"), (1, "wb")))
    nothing = open(os.devnull, "r+")  # noqa: PTH123, SIM115 (whatever a network reads or prints is no part, no answer)
    for number in (0, 1):
        os.dup2(nothing.fileno(), number)
    waiting: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_hear, args=(asked, waiting), daemon=True).start()
    worker = Worker()
    with suppress(Exception):  # what is wrong here shows again, and is told, where it is needed
        import cfcam.jobs.cluster.explaining  # noqa: F401 (meanwhile the run looks for its inputs)
    job, place = waiting.get()
    said: Any = worker.start(job, place, lost)
    gc.enable()
    # What Python's libraries say may quote an input, and ends no process: what ends one is said below Python.
    with redirect_stderr(nothing), settled(seldom=worker.light):
        while True:
            pickle.dump(said, answers, protocol=pickle.HIGHEST_PROTOCOL)
            answers.flush()
            said = worker.run(waiting.get())


def orphaned(parent: int) -> str:
    """Says why a worker writes nothing more: its run is gone, and another one may be at work there; "" if it is not."""
    return "" if os.getppid() == parent else "the run that this worker works for has ended"


def _hear(asked: IO[bytes], waiting: SimpleQueue[Any]) -> None:
    """Hands on what the run sends; without the run there is nothing left to do, and nobody to do it for."""
    try:
        while True:
            waiting.put(pickle.load(asked))  # noqa: S301 (what `ProcessPool` has written)
    finally:
        os._exit(1)

"""The workers of a Ray cluster: asked for, given parts, and asked for anew when they are lost."""

from __future__ import annotations

import logging
import os
import re
import secrets
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from cfcam.errors import JobError, MissingExtraError, describe_first
from cfcam.jobs.cluster.last_words import LastWords
from cfcam.jobs.cluster.part import Answer, Part
from cfcam.jobs.cluster.worker import Place, Worker
from cfcam.jobs.cluster.workers import Lost, Pool

_NODE = "its node has died"  # so Ray says why a worker did
_PROCESS = re.compile(r"^\tpid: (\d+)$.*^\tip: (\S+)$", re.MULTILINE | re.DOTALL)  # and which it was
_LEAST_STORE = 80 << 20  # bytes; Ray takes no less
_PATIENCE = 600.0  # seconds for which a cluster may have no worker that works
_STARTS = 3  # of a cluster: Ray gives its own processes 30 seconds, which a busy machine may exceed
_FALLS = 5  # of workers in a row, before one of them was ready


@dataclass(frozen=True)
class Cluster:
    """Which cluster, and how much of it.

    Attributes:
        address: of its head, "host:port", or "auto" for the one of this machine; None: what the variable RAY_ADDRESS
            says, else one is started on this machine, for this run alone.
        workers: how many networks run side by side; None: one for each CPU but one, which is left to the run itself,
            or, of a network on a GPU, for each GPU.
        cores: CPUs of each.
    """

    address: str | None = None
    workers: int | None = None
    cores: int = 1

    def pool(self, job: bytes, place: Place, *, on_gpu: bool) -> Pool:
        """Returns workers, see `RayPool`."""
        return RayPool(self, job, place, on_gpu=on_gpu)


class RayPool:
    """Workers of a cluster; a `cfcam.jobs.cluster.workers.Pool`.

    Args:
        cluster: where they are.
        job: the pickled job, sent once to each machine.
        place: where they work.
        on_gpu: whether each takes a GPU.

    Attributes:
        count: how many are asked for.
        notes: what the user should know of the cluster.
        refused: why machines of the cluster take no part, a line each.
        why: where it is said why workers are lost.

    Raises:
        MissingExtraError: Ray is not installed.
        JobError: the cluster cannot be reached, or has no CPU or GPU of the kind.
    """

    why: ClassVar[str] = "Ray's logs say why"

    def __init__(self, cluster: Cluster, job: bytes, place: Place, *, on_gpu: bool) -> None:
        self._words = LastWords()
        self._ray, self._mine = joined(cluster, len(job))
        self._gpus = 1 if on_gpu else 0
        self._cores = cluster.cores
        self.notes: list[str] = []
        self.count = self._counted(cluster.workers)
        self.refused: list[str] = []
        self._sent = (self._ray.put(job), place)
        self._starting: dict[Any, Any] = {}
        self._busy: dict[Any, tuple[Any, Part]] = {}
        self._idle: list[Any] = []
        self._falls = 0
        self._closed = False
        self._since = time.monotonic()

    def start(self, parts: int) -> None:
        """Asks for workers, however few the parts are: machines may refuse to take any."""
        for _ in range(self.count):
            self._ask()

    @property
    def free(self) -> int:
        """How many workers wait for a part."""
        return len(self._idle)

    def give(self, part: Part) -> None:
        """Gives a part to a worker that is free."""
        worker = self._idle.pop()
        self._busy[worker.run.remote(part)] = (worker, part)

    def answers(self, seconds: float = 1.0) -> Iterator[tuple[Part, Answer | Lost]]:
        """Waits for something to happen, and yields the parts that came back.

        Raises:
            JobError: no worker can work.
        """
        under_way = [*self._starting, *self._busy]
        ready = self._ray.wait(under_way, num_returns=1, timeout=seconds)[0] if under_way else []
        for reference in ready:
            if reference in self._starting:
                self._started(reference)
            else:
                yield self._answered(reference)
        if self._idle or self._busy:
            self._since = time.monotonic()
        else:
            self._complain()

    def close(self) -> None:
        """Ends the workers at once; and the cluster, if it was started for this run."""
        if self._closed:
            return
        self._closed = True
        for worker in [*self._starting.values(), *self._idle, *(worker for worker, _ in self._busy.values())]:
            self._ray.kill(worker)
        if self._mine:
            self._ray.shutdown()
        self._words.unsay()

    def _ask(self) -> None:
        # Its restarts and retries are ours to decide: by itself Ray would give an input that ends its worker to the
        # next one, and the next, without end.
        remote = self._ray.remote(num_cpus=self._cores, num_gpus=self._gpus, max_restarts=0, max_task_retries=0)
        worker = remote(Worker).remote()
        self._starting[worker.start.remote(*self._sent)] = worker

    def _started(self, reference: Any) -> None:
        worker = self._starting.pop(reference)
        try:
            reason = self._ray.get(reference)
        except self._ray.exceptions.RayError:
            self._falls += 1
            if self._falls >= _FALLS:
                raise JobError(
                    f"workers of the cluster end before they are ready, {self._falls} times in a row: Ray's logs say"
                    " why; often they have too little memory for the network"
                ) from None
            self._ask()
            return
        if reason:
            self.refused.append(reason)
            self._ray.kill(worker)
            return
        self._falls = 0
        self._idle.append(worker)

    def _answered(self, reference: Any) -> tuple[Part, Answer | Lost]:
        worker, part = self._busy.pop(reference)
        errors = self._ray.exceptions
        try:
            answer: Answer = self._ray.get(reference)
        except errors.ActorDiedError as error:
            self._ask()
            return part, Lost(with_node=_NODE in str(error), how=_where_told(str(error)))
        except errors.OutOfMemoryError:  # Ray ended it, before the system ends what it likes
            self._ask()
            return part, Lost(with_node=False)
        except (errors.RayActorError, errors.NodeDiedError, errors.ObjectLostError):
            self._ray.kill(worker)  # it may still be there, and out of reach alone
            self._ask()
            return part, Lost(with_node=True)
        except errors.RayError as error:
            raise JobError(f"a worker of the cluster failed: {describe_first(error)}") from None
        self._idle.append(worker)
        return part, answer

    def _complain(self) -> None:
        if self.refused and not self._starting:
            raise JobError(self.refused[-1])
        if time.monotonic() - self._since > _PATIENCE:
            raise JobError(
                f"the cluster had no room for a worker in {_PATIENCE / 60:g} minutes: each takes {self._needs()}; end"
                " what else runs there, or give --workers"
            )

    def _counted(self, asked: int | None) -> int:
        """How many workers there are to be: one CPU is left to the run itself, which reads and enters their answers."""
        there = self._ray.cluster_resources()
        cpus = int(there.get("CPU", 0)) // self._cores
        room = min(int(there.get("GPU", 0)), cpus) if self._gpus else cpus
        if not room:
            raise JobError(f"the cluster has no machine for a worker, which takes {self._needs()}")
        if asked is not None and asked > room:
            self.notes.append(f"the cluster has room for {room} of {asked} workers by now: each takes {self._needs()}")
        if asked is not None or self._gpus:
            return asked or room
        if room <= 2:
            self.notes.append(
                f"the cluster has {cpus} of the CPUs that workers take, and none is left to the run itself"
            )
            return room
        return room - 1

    def _needs(self) -> str:
        cores = "1 CPU" if self._cores == 1 else f"{self._cores} CPUs"
        return f"{cores} and 1 GPU" if self._gpus else cores


def joined(cluster: Cluster, sent: int) -> tuple[Any, bool]:
    """Connects to the cluster; returns Ray, and whether the connection is this run's to end.

    Args:
        cluster: which.
        sent: bytes that each of its machines is to hold.

    Raises:
        MissingExtraError: Ray is not installed.
        JobError: the cluster cannot be reached.
    """
    address = cluster.address or os.environ.get("RAY_ADDRESS")
    if address is None and "ray" not in sys.modules:
        guard()
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise MissingExtraError("ray", "ray", "--engine ray") from error
    if ray.is_initialized():
        return ray, False
    if address is None and os.environ.get("RAY_AUTH_MODE") != "token":
        raise JobError(
            "Ray was imported before its cluster could be given a token, and listens at every address: set"
            " RAY_AUTH_MODE=token and RAY_AUTH_TOKEN before Python starts, or call ray.init yourself"
        )
    # Work is not handed on by name: a worker imports cfcam from where its machine has it.
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        cores = None if cluster.workers is None else cluster.workers * cluster.cores
        quiet |= {"num_cpus": cores, "include_dashboard": False, "object_store_memory": max(_LEAST_STORE, 2 * sent)}
    for left in range(_STARTS if address is None else 1)[::-1]:
        try:
            with _signals_kept():
                ray.init(address=address or "local", **quiet)
            break
        except Exception as error:  # noqa: BLE001 (of several libraries below it)
            ray.shutdown()  # what was started of it
            if left:
                continue
            if address is None:
                raise JobError(f"Ray cannot be started on this machine: {describe_first(error)}") from None
            raise JobError(
                f"the Ray cluster at {address} cannot be reached ({describe_first(error)}): look at the address, and at"
                " RAY_AUTH_MODE and RAY_AUTH_TOKEN, which must be the cluster's"
            ) from None
    return ray, True


def guard() -> None:
    """Gives a cluster of this run alone a token: Ray listens at every address of the machine.

    Ray reads it when it is imported, and its workers inherit it. What the user has set stays.
    """
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


def _where_told(died: str) -> str:
    """Returns where Ray keeps what a worker said last, from what it says of its end; "" where it does not say."""
    found = _PROCESS.search(died)
    return "" if found is None else f"Ray's log worker-*-{found[1]}.err on {found[2]} has the last words"


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Keeps what the command does when it is asked to end: Ray puts a handler of its own there."""
    alone = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if alone:
            signal.signal(signal.SIGTERM, before)

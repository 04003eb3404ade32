"""A real cluster for tests: several raylets on this machine, each as a machine with one core."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.jobs.inputs.object_store import environment
from tests.waiting import free_port

NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}
# With ports of our own Ray need not wait until its agents say theirs: after 15 seconds it would die of that.
PORTS = ("metrics_agent_port", "dashboard_agent_listen_port", "runtime_env_agent_port")


def _node() -> dict[str, int]:
    return NODE | {port: free_port() for port in PORTS}


class Machines:
    """A head and a second machine; more can be added, and lost.

    Attributes:
        address: of the head.
        port: at which its machines look for an object store.
    """

    def __init__(self) -> None:
        self.port = free_port()
        # Ray listens at every address of a machine, and reads what guards it when it is imported.
        os.environ |= {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "CUDA_VISIBLE_DEVICES": "",
            **environment(self.port),
        }
        from ray.cluster_utils import Cluster

        self._nodes: Any = _patiently(
            lambda: Cluster(initialize_head=True, head_node_args=_node() | {"include_dashboard": False})
        )
        self.address: str = self._nodes.address
        self.second = self.add()

    def add(self) -> Any:
        return _patiently(lambda: self._nodes.add_node(**_node()))

    def lose(self, machine: Any) -> None:
        self._nodes.remove_node(machine, allow_graceful=False)

    def end(self) -> None:
        self._nodes.shutdown()

    def workers(self) -> list[int]:
        """The processes in which a part is worked on just now."""
        return [pid for pid, title in self.processes() if title.startswith("ray::Worker.run")]

    def processes(self) -> list[tuple[int, str]]:
        """All processes of this cluster, each with its title: they alone have its token."""
        return with_token(os.environ["RAY_AUTH_TOKEN"])

    def kill(self, count: int = 1) -> int:
        """Kills workers that are at a part; returns how many."""
        killed = self.workers()[:count]
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        return len(killed)


def with_token(token: str) -> list[tuple[int, str]]:
    """The processes that have a cluster's token, each with its title."""
    wanted, found = f"RAY_AUTH_TOKEN={token}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (folder / "environ").read_bytes():
                found.append((int(folder.name), (folder / "cmdline").read_bytes().decode(errors="replace")))
        except OSError:
            continue
    return found


def _patiently(start: Callable[[], Any]) -> Any:
    """Starts a machine; Ray itself gives up after 30 seconds, which a busy one may need.

    Where a raylet is started Ray takes SIGTERM for itself: tests of what commands do then would not reach them.
    """
    before = signal.getsignal(signal.SIGTERM)
    try:
        for _ in range(4):
            try:
                return start()
            except Exception as error:  # noqa: BLE001 (Ray raises just this)
                last = error
        raise last
    finally:
        signal.signal(signal.SIGTERM, before)

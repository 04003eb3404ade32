"""Who works on a run: this process, several of this machine, or the machines of a Ray cluster."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from cfcam.cli.arguments import words
from cfcam.cli.command import Checked
from cfcam.cli.options import complete
from cfcam.cli.options.run import ManyInputs
from cfcam.cli.output.console import hint
from cfcam.cli.output.panels import Panel
from cfcam.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from cfcam.jobs.cluster.workers import Workers

LOCAL, PROCESSES, RAY = ENGINES = ("local", "processes", "ray")


def _address(text: str) -> None:
    if not text.strip() or "://" in text:
        raise InputError(
            f"--ray-address {text!r}: give HOST:PORT of the cluster's head, or auto for one on this machine"
        )


@dataclass(frozen=True, kw_only=True)
class Spread(ManyInputs):
    """Options of commands whose inputs several workers may take."""

    panel: ClassVar[Panel | None] = Panel.RUN

    engine: Annotated[
        str,
        typer.Option(
            metavar="|".join(ENGINES),
            help="Who works: this process, several of this machine (for many pictures, with a network in each), or the"
            " workers of a Ray cluster. It changes no file that is written.",
            autocompletion=complete.of(*ENGINES),
            rich_help_panel=Panel.RUN,
        ),
        Checked(words.one_of("--engine", ENGINES)),
    ] = LOCAL
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Networks side by side. [default: processes: the CPUs, on a GPU 1; ray: the GPUs, else CPUs but one]",
            show_default=False,
            rich_help_panel=Panel.RUN,
        ),
    ] = None
    ray_address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="With --engine ray: head of the cluster, or auto. [default: RAY_ADDRESS, else one for this run alone]",
            show_default=False,
            rich_help_panel=Panel.RUN,
        ),
        Checked(_address),
    ] = None

    def __post_init__(self) -> None:
        """Looks at what belongs to which of them, and whether Ray is there."""
        super().__post_init__()
        if self.ray_address is not None and self.engine != RAY:
            raise InputError("--ray-address is for a cluster: give --engine ray, or leave it out")
        if self.engine == LOCAL:
            if self.workers is not None:
                raise InputError("--workers is for several: give --engine processes or ray, or leave it out")
            return
        if self.shard is not None:
            raise InputError(
                f"--shard is for machines without a cluster: leave it out, --engine {self.engine} shares inputs out"
            )
        if self.engine == RAY and find_spec("ray") is None:
            raise MissingExtraError("ray", "ray", "--engine ray")

    def several(self, until: ExitStack) -> Workers | None:
        """Returns who works; None: this process.

        Args:
            until: takes what is to be done at the end.
        """
        if self.engine == LOCAL:
            return None
        if self.engine == PROCESSES:
            from cfcam.jobs.cluster.processes import Processes
            from cfcam.memory import one_heap

            one_heap()  # this process does nothing but hand out and enter
            processes = until.enter_context(closing(Processes(self.workers)))
            if self.workers is not None and self.workers > processes.cpus and not self.silent:
                hint(f"--workers {self.workers}: more than the {processes.cpus} CPUs there are, which is hardly faster")
            processes.get_ready()
            return processes
        from cfcam.jobs.cluster.pool import Cluster

        return Cluster(self.ray_address, self.workers)

    def flow(self, until: ExitStack) -> dict[str, Any]:
        """Returns what a folder run is to be told of it; to be asked early, as processes take a moment to start.

        Args:
            until: see `several`.
        """
        if (workers := self.several(until)) is None:
            return {}
        from cfcam.jobs.cluster.flow import on_cluster

        return {"flow": on_cluster(workers)}

    def measure(self, until: ExitStack) -> dict[str, Any]:
        """Returns what an evaluation is to be told of it, likewise.

        Args:
            until: see `several`.
        """
        if (workers := self.several(until)) is None:
            return {}
        from cfcam.jobs.cluster.evaluation import measured_on

        return {"measure": measured_on(workers)}

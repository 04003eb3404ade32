"""Where a run works: on this machine, or on the machines of a Ray cluster."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from cfcam.cli.arguments import words
from cfcam.cli.command import Checked
from cfcam.cli.options import complete
from cfcam.cli.options.run import ManyInputs
from cfcam.cli.output.panels import Panel
from cfcam.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from cfcam.jobs.cluster.pool import Cluster

LOCAL, RAY = ENGINES = ("local", "ray")


def _address(text: str) -> None:
    if not text.strip() or "://" in text:
        raise InputError(
            f"--ray-address {text!r}: give HOST:PORT of the cluster's head, or auto for one on this machine"
        )


@dataclass(frozen=True, kw_only=True)
class Spread(ManyInputs):
    """Options of commands whose inputs the machines of a cluster may take."""

    panel: ClassVar[Panel | None] = Panel.RUN

    engine: Annotated[
        str,
        typer.Option(
            metavar="|".join(ENGINES),
            help="Who works: this process, or the workers of a Ray cluster. It changes no file that is written.",
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
            help="With --engine ray: networks side by side. [default: one a GPU, or one a CPU but one]",
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
        """Looks at what belongs to a cluster, and whether Ray is there."""
        super().__post_init__()
        if self.engine == LOCAL:
            if wrong := [name for name in ("workers", "ray_address") if getattr(self, name) is not None]:
                raise InputError(f"--{wrong[0].replace('_', '-')} is for a cluster: give --engine ray, or leave it out")
            return
        if self.shard is not None:
            raise InputError("--shard is for machines without a cluster: leave it out, --engine ray shares inputs out")
        if find_spec("ray") is None:
            raise MissingExtraError("ray", "ray", "--engine ray")

    @property
    def cluster(self) -> Cluster | None:
        """The cluster; None: this process works."""
        if self.engine == LOCAL:
            return None
        from cfcam.jobs.cluster.pool import Cluster

        return Cluster(self.ray_address, self.workers)

    def flow(self) -> dict[str, Any]:
        """Returns what a folder run is to be told of it."""
        if (cluster := self.cluster) is None:
            return {}
        from cfcam.jobs.cluster.flow import on_cluster

        return {"flow": on_cluster(cluster)}

    def measure(self) -> dict[str, Any]:
        """Returns what an evaluation is to be told of it."""
        if (cluster := self.cluster) is None:
            return {}
        from cfcam.jobs.cluster.evaluation import measured_on

        return {"measure": measured_on(cluster)}

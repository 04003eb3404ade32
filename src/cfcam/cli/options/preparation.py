"""How pictures are prepared for a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from cfcam.cli.arguments import words
from cfcam.cli.arguments.read import read_numbers, read_size
from cfcam.cli.command import Checked, Command
from cfcam.cli.options import complete
from cfcam.cli.output.panels import Panel

if TYPE_CHECKING:
    from cfcam.imaging import Preprocess
    from cfcam.models import LoadedModel

# Known here without importing torch; a test keeps it equal to what the library takes.
RESIZES = ("stretch", "shorter-side+crop", "stretch+crop", "pad")

SIZE = typer.Option(metavar="N|HxW", help="Input size of the network. [default: its own, else 224]")


@dataclass(frozen=True, kw_only=True)
class Preparation(Command):
    """Options of commands that prepare pictures."""

    panel: ClassVar[Panel | None] = Panel.NETWORK

    size: Annotated[str | None, SIZE, Checked(read_size)] = None
    mean: Annotated[
        str | None, typer.Option(metavar="X|R,G,B", help="Mean of the normalisation, for pixels in 0..1.")
    ] = None
    std: Annotated[
        str | None,
        typer.Option(metavar="X|R,G,B", help="Standard deviation of the normalisation."),
        Checked(words.std),
    ] = None

    def __post_init__(self) -> None:
        """Looks at mean and standard deviation together."""
        super().__post_init__()
        words.normalisation(self.mean, self.std)

    @property
    def normalisation(self) -> dict[str, Any]:
        """Mean and standard deviation; None where they are the network's own."""
        return {"mean": read_numbers("--mean", self.mean), "std": read_numbers("--std", self.std)}

    def prepared_pictures(self, loaded: LoadedModel) -> Preprocess:
        """What is done to pictures for this network."""
        from cfcam.jobs import preprocess_of

        return preprocess_of(loaded, size=read_size(self.size), **self.normalisation, **self._more())

    def _more(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True, kw_only=True)
class Resizing(Preparation):
    """Options of commands that prepare pictures in any way there is."""

    panel: ClassVar[Panel | None] = Panel.NETWORK

    resize: Annotated[
        str | None,
        typer.Option(
            metavar="WAY", help="stretch, shorter-side+crop, stretch+crop or pad.", autocompletion=complete.of(*RESIZES)
        ),
        Checked(words.one_of("--resize", RESIZES)),
    ] = None

    def _more(self) -> dict[str, Any]:
        return {"resize": self.resize}

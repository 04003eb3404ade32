"""The network, and how its output is read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, cast

import typer

from cfcam.cli.arguments import words
from cfcam.cli.arguments.read import class_names
from cfcam.cli.command import Checked, Command
from cfcam.cli.options import complete
from cfcam.cli.output.panels import Panel

if TYPE_CHECKING:
    from cfcam.models import LoadedModel
    from cfcam.models.built import Probability

PROBABILITIES = ("auto", "softmax", "sigmoid", "given")
DEMOS = ("demo", "demo-shortcut")

Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="SPEC",
        help="demo, torchvision:NAME[@WEIGHTS], timm:NAME, hf:FOLDER, monai:CLASS(...), nnunet:FOLDER,"
        " monai-bundle:FOLDER, FILE.py:FACTORY.",
        autocompletion=complete.model,
    ),
    Checked(words.model),
]
"""For commands that have to know whether a network was named: they give this field the default None."""


@dataclass(frozen=True, kw_only=True)
class Network(Command):
    """Options of commands that load a network."""

    panel: ClassVar[Panel | None] = Panel.NETWORK

    model: Model = "demo"
    weights: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A checkpoint (safetensors, pt, pth)."),
        Checked(words.weights),
    ] = None
    num_classes: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Replace the classifier by one of N classes.")
    ] = None
    classes: Annotated[
        str | None,
        typer.Option(metavar="FILE|A,B,C", help="Class names: a text or JSON file, or with commas between."),
        Checked(words.classes),
    ] = None
    head: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Which tensor holds the class scores, if the network returns several: diagnosis, 1 (from 0), heads.0.",
        ),
        Checked(words.word("--head", "the key, place or path of a tensor")),
    ] = None
    probability: Annotated[
        str | None,
        typer.Option(
            metavar="HOW",
            help="How the output is read: softmax, sigmoid, or given (it is probabilities). [default: as the network"
            " ends]",
            autocompletion=complete.of(*PROBABILITIES),
            show_default=False,
        ),
        Checked(words.one_of("--probability", PROBABILITIES)),
    ] = None
    trust_bundle: Annotated[
        bool,
        typer.Option("--trust-bundle", help="Run the Python that a monai-bundle holds: only if you trust its makers."),
    ] = False
    device: Annotated[
        str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:1, mps."), Checked(words.device)
    ] = "auto"

    @property
    def spec(self) -> str:
        """What names the network."""
        return self.model or "demo"

    def load(self, *, weights: str | None = None) -> LoadedModel:
        """Loads the network.

        Args:
            weights: another checkpoint than the one that was given.
        """
        from cfcam.models import load

        loaded = load(
            self.spec,
            weights=weights or self.weights,
            num_classes=self.num_classes,
            classes=None if self.classes is None else class_names(self.classes),
            device=read_device(self.device),
            trust_bundle=self.trust_bundle,
        )
        probability = cast("Probability", self.probability or loaded.probability)
        return replace(loaded, output=self.head, probability=probability)


@dataclass(frozen=True, kw_only=True)
class Layer(Network):
    """Options of commands that map one layer of a network."""

    panel: ClassVar[Panel | None] = Panel.NETWORK

    layer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Layer to map. [default: chosen from the network; see cfcam layers]",
            show_default=False,
        ),
        Checked(words.word("--layer", "the name of a layer, see cfcam layers")),
    ] = None


def read_device(text: str) -> str:
    """Reads a device; "auto" is the best that this machine has."""
    if text != "auto":
        return text
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"

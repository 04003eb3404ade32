"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from cfcam.errors import InputError

if TYPE_CHECKING:
    from cfcam.models import LoadedModel
    from cfcam.models.built import Probability

# Known here without importing torch; a test keeps it equal to cfcam.imaging.PALETTES.
PALETTES = ("inferno", "magma", "plasma", "viridis", "cividis", "hot", "gray", "turbo", "jet")
RESIZES = ("stretch", "shorter-side+crop", "pad")
SAVES = ("overlay", "sheet", "maps")

PROBABILITIES = ("auto", "softmax", "sigmoid", "given")

NETWORK, PICTURE, RUN = "The network", "The pictures it writes", "The run"


def _completed(choices: Iterable[str], incomplete: str) -> list[str]:
    return [choice for choice in choices if choice.startswith(incomplete)]


def complete_method(incomplete: str) -> list[str]:
    """Names of methods, for the Tab key."""
    from cfcam.methods import list_methods

    return _completed((*list_methods(), "all"), incomplete)


def complete_model(incomplete: str) -> list[str]:
    """Beginnings of model specs, for the Tab key."""
    return _completed(("demo", "demo-shortcut", "torchvision:", "timm:", "hf:", "monai:"), incomplete)


def complete_palette(incomplete: str) -> list[str]:
    """Names of palettes, for the Tab key."""
    return _completed(PALETTES, incomplete)


def complete_resize(incomplete: str) -> list[str]:
    """Ways of resizing, for the Tab key."""
    return _completed(RESIZES, incomplete)


def complete_probability(incomplete: str) -> list[str]:
    """Ways of reading the output, for the Tab key."""
    return _completed(PROBABILITIES, incomplete)


def complete_target(incomplete: str) -> list[str]:
    """What can always be explained, for the Tab key."""
    return _completed(("predicted", "all", "top-3"), incomplete)


_MODEL = typer.Option(
    "--model",
    "-m",
    metavar="SPEC",
    help="demo, torchvision:NAME[@WEIGHTS], timm:NAME, hf:FOLDER, monai:CLASS(...), FILE.py:FACTORY.",
    autocompletion=complete_model,
    rich_help_panel=NETWORK,
)
Model = Annotated[str, _MODEL]
ModelOrNone = Annotated[str | None, _MODEL]
"""As `Model`, for commands that have to know whether one was given."""
Classes = Annotated[
    str | None,
    typer.Option(
        "--classes",
        metavar="FILE|A,B,C",
        help="Class names: a text or JSON file, or with commas between.",
        rich_help_panel=NETWORK,
    ),
]
Head = Annotated[
    str | None,
    typer.Option(
        "--head",
        metavar="NAME",
        help="Which tensor holds the class scores, if the network returns several: diagnosis, 1 (from 0), heads.0.",
        rich_help_panel=NETWORK,
    ),
]
ProbabilityHow = Annotated[
    str | None,
    typer.Option(
        "--probability",
        metavar="HOW",
        help="How the output is read: softmax, sigmoid, or given (it is probabilities). [default: as the network ends]",
        autocompletion=complete_probability,
        rich_help_panel=NETWORK,
        show_default=False,
    ),
]
Layer = Annotated[
    str | None,
    typer.Option(
        "--layer",
        metavar="NAME",
        help="Layer to map. [default: chosen from the network; see cfcam layers]",
        rich_help_panel=NETWORK,
        show_default=False,
    ),
]
ResizeWay = Annotated[
    str | None,
    typer.Option(
        "--resize",
        metavar="WAY",
        help="stretch, shorter-side+crop or pad.",
        autocompletion=complete_resize,
        rich_help_panel=NETWORK,
    ),
]
Weights = Annotated[
    str | None,
    typer.Option("--weights", metavar="FILE", help="A checkpoint (safetensors, pt, pth).", rich_help_panel=NETWORK),
]
NumClasses = Annotated[
    int | None,
    typer.Option(
        "--num-classes", min=1, metavar="N", help="Replace the classifier by one of N classes.", rich_help_panel=NETWORK
    ),
]
Device = Annotated[
    str,
    typer.Option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1, mps.", rich_help_panel=NETWORK),
]
Size = Annotated[
    str | None,
    typer.Option(
        "--size",
        metavar="N|HxW",
        help="Input size of the network. [default: its own, else 224]",
        rich_help_panel=NETWORK,
    ),
]
Mean = Annotated[
    str | None,
    typer.Option(
        "--mean", metavar="X|R,G,B", help="Mean of the normalisation, for pixels in 0..1.", rich_help_panel=NETWORK
    ),
]
Std = Annotated[
    str | None,
    typer.Option("--std", metavar="X|R,G,B", help="Standard deviation of the normalisation.", rich_help_panel=NETWORK),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.", rich_help_panel=RUN)]
Json = Annotated[bool, typer.Option("--json", help="Print a summary as JSON to stdout.", rich_help_panel=RUN)]


def read_size(text: str | None) -> int | tuple[int, int] | None:
    """Reads ``224`` or ``256x192`` (height x width)."""
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise InputError(f"--size {text!r}: give a number of pixels like 224, or height and width like 256x192")
    numbers = [int(part) for part in parts]
    return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])


def read_numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    """Reads one number, or one for each channel, separated by commas."""
    if text is None:
        return None
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or not all(map(math.isfinite, numbers)):
        raise InputError(
            f"{option} {text!r}: give one number, or one for each channel with commas between, like 0.485,0.456,0.406"
        )
    return numbers


def read_target(text: str) -> int | str:
    """Reads an index, or leaves a name or a keyword: predicted, all, top-3, output-0, "a vs b"."""
    stripped = text.strip()
    return int(stripped) if stripped.removeprefix("-").isdecimal() else stripped


def read_device(text: str) -> str:
    """Reads a device; "auto" is the best that this machine has."""
    if text != "auto":
        return text
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


Resize = Literal["stretch", "shorter-side+crop", "pad"]


def read_words(option: str, text: str) -> tuple[str, ...]:
    """Reads names with commas between, each once."""
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not words:
        raise InputError(f"{option} {text!r}: give one or more names with commas between")
    return words


def check_words(option: str, text: str | None, known: Sequence[str]) -> tuple[str, ...]:
    """Reads words with commas between, each of which must be known; of None there are none."""
    if text is None:
        return ()
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not words or any(word not in known for word in words):
        raise InputError(f"{option} {text!r}: give one or more of {', '.join(known)}, with commas between")
    return words


def class_names(given: str) -> str | list[str]:
    """Returns the names that stand in an option with commas between; else what is given, a file of them."""
    from pathlib import Path

    return [name.strip() for name in given.split(",")] if "," in given and not Path(given).exists() else given


def load_model(
    spec: str,
    *,
    weights: str | None,
    num_classes: int | None,
    classes: str | None = None,
    device: str = "auto",
    head: str | None = None,
    probability: str | None = None,
) -> LoadedModel:
    """Loads the network that the options name; ``classes`` is a file, or names with commas between."""
    from dataclasses import replace

    from cfcam.models import load

    names = None if classes is None else class_names(classes)
    loaded = load(spec, weights=weights, num_classes=num_classes, classes=names, device=read_device(device))
    return replace(loaded, output=head, probability=cast("Probability", probability or loaded.probability))

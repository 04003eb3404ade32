"""``cfcam doctor``: what is wrong with a setup, in plain words, and what to change."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cfcam.cli.options import network as options
from cfcam.cli.output.console import EXIT_FAILED, command, out, plain, print_json

if TYPE_CHECKING:
    from torch import Tensor

    from cfcam.diagnosis.run import Diagnosis, Finding
    from cfcam.imaging import Preprocess
    from cfcam.models import LoadedModel

_STYLES = {"ok": "green", "note": "cyan", "warning": "yellow", "problem": "bold red"}
_MOST_PICTURES = 32


@command
def doctor(
    images: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[IMAGE...]", help="A few of your pictures, or a volume. [default: made-up noise]"),
    ] = None,
    model: options.Model = "demo",
    weights: options.Weights = None,
    num_classes: options.NumClasses = None,
    classes: options.Classes = None,
    head: options.Head = None,
    probability: options.ProbabilityHow = None,
    layer: options.Layer = None,
    size: options.Size = None,
    resize: options.ResizeWay = None,
    mean: options.Mean = None,
    std: options.Std = None,
    target: Annotated[
        str,
        typer.Option(
            metavar="CLASS", help="Index, name, predicted, top-3 or all.", autocompletion=options.complete_target
        ),
    ] = "predicted",
    method: Annotated[
        str,
        typer.Option(metavar="NAME", help="Method whose maps are looked at.", autocompletion=options.complete_method),
    ] = "grad-cam",
    device: options.Device = "auto",
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Check a setup, and explain in plain words what is wrong with it and what to change.

    About ten passes of the network, more where nobody states size or resizing. Give some of your own pictures:
    normalisation, size and evidence cannot be judged on made-up noise.
    """
    from cfcam.diagnosis.run import diagnose

    loaded = options.load_model(
        model,
        weights=weights,
        num_classes=num_classes,
        classes=classes,
        device=device,
        head=head,
        probability=probability,
    )
    x, preprocess, files = _input(loaded, images or [], size, resize, mean, std)
    wanted = options.read_target(target)
    found = diagnose(
        loaded.module,
        x,
        layer=layer,
        targets=None if wanted == "predicted" else wanted,
        classes=loaded.classes,
        probability=loaded.probability,
        output=loaded.output,
        method=method,
        preprocess=preprocess,
        files=files,
    )
    if as_json:
        print_json({"spec": loaded.spec, "notes": list(loaded.notes), **found.as_dict()})
    else:
        _show(found, loaded.notes)
    if not found.ok:
        raise typer.Exit(EXIT_FAILED)


def _input(
    loaded: LoadedModel, images: list[Path], size: str | None, resize: str | None, mean: str | None, std: str | None
) -> tuple[Tensor | None, Preprocess | None, list[Path]]:
    """The prepared pictures or volume, None without any; what prepared pictures, and their files."""
    import torch

    from cfcam.imaging import list_images, read_image, read_volume
    from cfcam.jobs import preprocess_of, volume_preprocess_of
    from cfcam.jobs.inputs.preparing import shape_of_pictures
    from cfcam.models.expects import takes_volumes

    means, stds = options.read_numbers("--mean", mean), options.read_numbers("--std", std)
    side = options.read_size(size)
    if takes_volumes(loaded.module):
        if not images:
            return None, None, []
        prepare = volume_preprocess_of(loaded, mean=means, std=stds, size=side)
        return prepare(read_volume(images[0]))[None], None, []
    if not images:
        return None, shape_of_pictures(loaded, side), []
    preprocess = preprocess_of(loaded, size=side, resize=resize, mean=means, std=stds)
    files = list_images(images)
    spread = files[:: math.ceil(len(files) / _MOST_PICTURES)]  # folders are often in the order of the classes
    return torch.stack([preprocess(read_image(path)) for path in spread]), preprocess, spread


def _show(found: Diagnosis, notes: tuple[str, ...]) -> None:
    from rich.text import Text

    console = out()
    for note in notes:
        console.print(
            Text.assemble(("warning  ", _STYLES["warning"]), ("network: ", "bold"), plain(note)), soft_wrap=True
        )
    for severity in ("problem", "warning", "note", "ok"):
        for finding in found.of(severity):
            _line(finding)
    console.print(Text(plain(found.title), style="bold"), soft_wrap=True)


def _line(finding: Finding) -> None:
    from rich.padding import Padding
    from rich.text import Text

    console, severity = out(), str(finding.severity)
    head = Text.assemble((f"{severity:<9}", _STYLES[severity]), (f"{finding.check}: ", "bold"), plain(finding.seen))
    if severity == "ok":
        head.stylize("dim", 9)
    console.print(head, soft_wrap=True)
    if finding.means:
        console.print(Padding(Text(plain(finding.means)), (0, 0, 0, 9), expand=False))
    if finding.advice:
        console.print(Text.assemble((" " * 9 + "-> ", "bold"), plain(finding.advice)), soft_wrap=True)

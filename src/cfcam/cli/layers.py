"""``cfcam layers``: what could be mapped, and what would be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cfcam.cli.options import network as options
from cfcam.cli.output.console import EXIT_FAILED, command, error, hint, out, plain, print_json, warn
from cfcam.errors import CfcamError, InputError, ModelError

if TYPE_CHECKING:
    from torch import Tensor

    from cfcam.capture import LayerInfo
    from cfcam.imaging import Preprocess
    from cfcam.models import LoadedModel

_FEWEST_ROWS = 6
_PICTURES = 8


@command
def layers(
    network: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]",
            help="The network, as for --model.",
            autocompletion=options.complete_model,
            show_default=False,
        ),
    ] = None,
    model: options.ModelOrNone = None,
    weights: options.Weights = None,
    num_classes: options.NumClasses = None,
    classes: options.Classes = None,
    head: options.Head = None,
    probability: options.ProbabilityHow = None,
    size: options.Size = None,
    mean: options.Mean = None,
    std: options.Std = None,
    image: Annotated[Path | None, typer.Option(help="Run the network on this picture, instead of on noise.")] = None,
    inner: Annotated[bool, typer.Option("--all", help="List the modules inside of blocks too.")] = False,
    measure: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PICTURE|FOLDER",
            help="Rank layers, and pairs of them fused, by what their maps of these pictures are worth.",
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="With --measure: whose maps are compared; see cfcam methods. [default: grad-cam]",
            autocompletion=options.complete_method,
            show_default=False,
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Pictures of --measure that are used.")] = _PICTURES,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="With --measure: draw the layers' maps side by side.")
    ] = None,
    device: options.Device = "auto",
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """List a network's layers, and which of them is mapped unless you name another.

    The network runs once. Shapes are those of the output, for one picture.
    """
    spec = _named(network, model)
    if method is not None and not measure:
        raise InputError("--method is for --measure: without pictures no map is made")
    if (picture is not None or limit != _PICTURES) and not measure:
        raise InputError("--picture and --limit are for --measure: name the pictures with it")
    if image is not None and measure:
        raise InputError("--image is for the list of layers: with --measure its pictures are used")

    from cfcam.capture import Network, choose_layer, probe_layers

    loaded = options.load_model(
        spec,
        weights=weights,
        num_classes=num_classes,
        classes=classes,
        device=device,
        head=head,
        probability=probability,
    )
    if measure:
        from cfcam.cli.layer_ranking import rank_layers

        preprocess = _preprocess(loaded, size, mean, std)
        _tell_assumptions(preprocess)
        by = method or "grad-cam"
        rank_layers(loaded, preprocess, measure, method=by, limit=limit, picture=picture, as_json=as_json)
        return
    x = _input(loaded, image, size, mean, std)
    try:
        found, output_shape = probe_layers(Network(loaded.module, loaded.probability, loaded.output), x)
    except CfcamError:
        raise
    except Exception as problem:
        first = next((line.strip() for line in str(problem).splitlines() if line.strip()), "")
        raise ModelError(
            f"the network cannot run on an input of shape {tuple(x.shape)}"
            f" ({type(problem).__name__}: {first[:200]}): check --size, --mean and --std"
        ) from problem
    chosen, reason, problem_line = None, "", ""
    try:
        chosen = choose_layer(found, tuple(x.shape), output_shape)
        reason = _reason(chosen, found, tuple(x.shape))
    except CfcamError as problem:
        problem_line = str(problem)
    shown = found if inner else _outer(found, None if chosen is None else chosen.name)
    if as_json:
        print_json(
            {
                "model": loaded.spec,
                "input_shape": list(x.shape),
                "chosen": None if chosen is None else chosen.name,
                "reason": reason or problem_line,
                "layers": [_row(i, chosen, tuple(x.shape)) for i in shown],
            }
        )
    else:
        for note in loaded.notes:
            warn(note)
        _show(shown, chosen, tuple(x.shape))
        if len(shown) < len(found):
            out().print(f"{len(found) - len(shown)} modules inside of blocks are not listed (--all)", style="dim")
        if chosen is not None:
            out().print(f"{plain(chosen.name)}: {reason}", markup=False, soft_wrap=True)
    if chosen is None:
        error(problem_line)
        raise typer.Exit(EXIT_FAILED)


def _named(network: str | None, model: str | None) -> str:
    if network is not None and model is not None and network != model:
        raise InputError(f"two networks are named, {network} and {model}: give one of them")
    return network or model or "demo"


def _input(loaded: LoadedModel, image: Path | None, size: str | None, mean: str | None, std: str | None) -> Tensor:
    import torch

    from cfcam.imaging import read_image
    from cfcam.jobs.inputs.preparing import shape_of_pictures

    if image is not None:
        preprocess = _preprocess(loaded, size, mean, std)
        _tell_assumptions(preprocess)
        return preprocess(read_image(image))[None]
    given = mean is not None and std is not None
    preprocess = _preprocess(loaded, size, mean, std) if given else shape_of_pictures(loaded, options.read_size(size))
    shape = (1, preprocess.channels, *preprocess.input_size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _tell_assumptions(preprocess: Preprocess) -> None:
    from cfcam.jobs.inputs.preparing import assumption_notes

    for note in assumption_notes(preprocess):
        hint(note)


def _preprocess(loaded: LoadedModel, size: str | None, mean: str | None, std: str | None) -> Preprocess:
    from cfcam.jobs import preprocess_of

    return preprocess_of(
        loaded,
        size=options.read_size(size),
        mean=options.read_numbers("--mean", mean),
        std=options.read_numbers("--std", std),
    )


def _outer(found: Sequence[LayerInfo], chosen: str | None) -> list[LayerInfo]:
    """The modules of the first level that shows something, and the chosen one with its siblings."""
    deepest = max((i.name.count(".") for i in found), default=0)
    depth = next((d for d in range(deepest + 1) if sum(i.name.count(".") <= d for i in found) >= _FEWEST_ROWS), deepest)
    beside = None if chosen is None else chosen.rpartition(".")[0]
    return [i for i in found if i.name.count(".") <= depth or i.name.rpartition(".")[0] == beside]


def _reason(chosen: LayerInfo, found: Sequence[LayerInfo], input_shape: tuple[int, ...]) -> str:
    extent = " x ".join(map(str, chosen.grid or ()))
    spatial = [i for i in found if i.spatial(input_shape)]
    after = found[found.index(chosen) + 1 :]
    if chosen.tokens and any(i.reaches is False and i.shape == chosen.shape for i in after):
        return (
            f"chosen as the last layer at which the class depends on the tokens of the grid ({extent}): behind it the"
            " classifier reads another token; name another with --layer"
        )
    pooling = next((i.name for i in after if i.reducing), None)
    behind = f", before {pooling} pools it" if pooling else ", before the classifier"
    return (
        f"chosen as the last of {len(spatial)} modules whose output still has a place for each part of the picture"
        f" ({extent}){behind}; name another with --layer"
    )


def _grid(info: LayerInfo) -> str:
    """The grid of a layer's maps, and how many other tokens are before it; empty if there is none."""
    if info.grid is None:
        return ""
    prefix = info.readings[0].prefix
    return " x ".join(map(str, info.grid)) + (f" (+{prefix})" if prefix else "")


def _row(info: LayerInfo, chosen: LayerInfo | None, input_shape: tuple[int, ...]) -> dict[str, Any]:
    extent = info.spatial(input_shape)
    return {
        "name": info.name,
        "kind": info.kind,
        "shape": None if info.shape is None else list(info.shape),
        "calls": info.calls,
        "spatial": None if extent is None else list(extent),
        "other_tokens": info.readings[0].prefix if extent is not None else None,
        "chosen": info is chosen,
    }


def _show(shown: Sequence[LayerInfo], chosen: LayerInfo | None, input_shape: tuple[int, ...]) -> None:
    from rich.table import Table
    from rich.text import Text

    from cfcam.capture.layers.calls import call_names

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("", "layer", "kind", "output", "grid", ""):
        table.add_column(title, no_wrap=title in ("", "layer", "output", "grid"))
    for info in shown:
        mapped = info.spatial(input_shape) is not None
        style = "bold green" if info is chosen else "" if mapped else "dim"
        shape = "no tensor" if info.shape is None else " x ".join(map(str, info.shape[1:]))
        remark = "" if mapped else "no spatial extent"
        if info.calls > 1 and not info.looped and len(info.shape or ()) > 2:
            remark = f"runs {info.calls} times: {call_names(plain(info.name), info.calls)}"
        remark = "its places do not count" if info.reaches is False else remark
        table.add_row(
            Text(">" if info is chosen else ""),
            Text(plain(info.name)),
            Text(info.kind),
            Text(shape),
            Text(_grid(info)),
            Text("chosen" if info is chosen else remark),
            style=style,
        )
    out().print(table)

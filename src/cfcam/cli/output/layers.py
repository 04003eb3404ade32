"""What ``cfcam layers`` shows: a network's layers, the best of them on a few inputs, and their maps side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfcam.cli.output.console import out, plain

if TYPE_CHECKING:
    from cfcam.capture import LayerInfo
    from cfcam.explainer_windows import Windows
    from cfcam.imaging import Image, Volume
    from cfcam.metrics import LayerScore
    from cfcam.models import LoadedModel

_FEWEST_ROWS = 6


def outer(found: Sequence[LayerInfo], chosen: str | None) -> list[LayerInfo]:
    """The modules of the first level that shows something, and the chosen one with its siblings."""
    deepest = max((i.name.count(".") for i in found), default=0)
    depth = next((d for d in range(deepest + 1) if sum(i.name.count(".") <= d for i in found) >= _FEWEST_ROWS), deepest)
    beside = None if chosen is None else chosen.rpartition(".")[0]
    return [i for i in found if i.name.count(".") <= depth or i.name.rpartition(".")[0] == beside]


def reason(chosen: LayerInfo, found: Sequence[LayerInfo], input_shape: tuple[int, ...]) -> str:
    """Why this layer is the one that is mapped."""
    extent = " x ".join(map(str, chosen.grid or ()))
    spatial, what = [i for i in found if i.spatial(input_shape)], "volume" if len(input_shape) == 5 else "picture"
    after = found[found.index(chosen) + 1 :]
    if chosen.tokens and any(i.reaches is False and i.shape == chosen.shape for i in after):
        return (
            f"chosen as the last layer at which the class depends on the tokens of the grid ({extent}): behind it the"
            " classifier reads another token; name another with --layer"
        )
    pooling = next((i.name for i in after if i.reducing), None)
    behind = f", before {pooling} pools it" if pooling else ", before the classifier"
    return (
        f"chosen as the last of {len(spatial)} modules whose output still has a place for each part of the {what}"
        f" ({extent}){behind}; name another with --layer"
    )


def _grid(info: LayerInfo) -> str:
    """The grid of a layer's maps, and how many other tokens are before it; empty if there is none."""
    if info.grid is None:
        return ""
    prefix = info.readings[0].prefix
    return " x ".join(map(str, info.grid)) + (f" (+{prefix})" if prefix else "")


def row(info: LayerInfo, chosen: LayerInfo | None, input_shape: tuple[int, ...]) -> dict[str, Any]:
    """A layer as plain values."""
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


def show(shown: Sequence[LayerInfo], chosen: LayerInfo | None, input_shape: tuple[int, ...]) -> None:
    """Prints layers as a table."""
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


def show_ranking(scores: list[LayerScore], method: str, inputs: str) -> None:
    """Prints what layers are worth, best first, and what follows.

    Args:
        scores: best first.
        method: whose maps were compared.
        inputs: on what, such as "8 pictures".
    """
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("layer", no_wrap=True)
    for title in ("grid", "rank", "insertion - deletion", "ADCC", "stability", "empty maps"):
        table.add_column(title, justify="right")
    for score in scores:
        numbers = ("–" if math.isnan(value) else f"{value:.3f}" for value in score.measured)
        table.add_row(score.name, " x ".join(map(str, score.grid)), f"{score.rank:.1f}", *numbers, str(score.empty))
    out().print(table)
    best = scores[0]
    use = f"--layer {best.name}" if best.fusion is None else "see cfcam.methods.Fusion to use a pair of layers"
    out().print(
        f"{method} ranked on {inputs} by the mean of three ranks: insertion - deletion, ADCC, stability"
        f" under noise; {use}",
        markup=False,
        soft_wrap=True,
    )


def draw(
    loaded: LoadedModel,
    preprocess: Any,
    image: Image | Volume,
    scores: Sequence[LayerScore],
    path: Path,
    *,
    method: str = "grad-cam",
    windows: Windows | None = None,
    most: int = 9,
) -> None:
    """Writes an image with the maps of the best single layers.

    Args:
        loaded: the network.
        preprocess: what is done to the image.
        image: a picture or volume.
        scores: best first.
        path: the file.
        method: whose maps were compared.
        windows: in which a volume is explained; None: in one piece.
        most: layers that are drawn.
    """
    from cfcam import Explainer
    from cfcam.explainer_windows import explain_windows
    from cfcam.imaging import Panel, Volume, contact_sheet, save_image, volume_sheet
    from cfcam.imaging.drawing.sides import letters_of, scale_of
    from cfcam.models.spec import model_name

    panels, x, grid = [], preprocess(image)[None], image if isinstance(image, Volume) else image.size
    for score in [s for s in scores if s.fusion is None][:most]:
        explainer = Explainer(
            loaded.module,
            method,
            layer=score.layers[0],
            classes=loaded.classes,
            probability=loaded.probability,
            output=loaded.output,
        )
        e = explainer(x) if windows is None else explain_windows(explainer, x, windows.size, windows.overlap)
        status = str(e.status[method][0, 0])
        heat = preprocess.to_original(e.heatmaps(method)[0, 0], grid).clamp_(0, 1) if status == "ok" else None
        named = f"{score.name}: rank {score.rank:.1f}"
        panels.append(Panel(heat, named, e.label(0, 0), e.probability(0, 0), status, e.margin(0, 0)))
    words: dict[str, Any] = {"title": "Layers, best first", "footer": model_name(loaded.spec)}
    if isinstance(image, Volume):
        save_image(volume_sheet(image, panels, **words), path)
    else:
        sides: dict[str, Any] = {"letters": letters_of(image), "scale": scale_of(image)}
        save_image(contact_sheet(image.rgb(), panels, **words, **sides), path)

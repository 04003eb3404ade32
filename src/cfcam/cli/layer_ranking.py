"""``cfcam layers --measure``: which layer's maps are worth most, on the user's own pictures."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from cfcam.cli.output.console import out, print_json, warn
from cfcam.errors import CfcamError, InputError

if TYPE_CHECKING:
    from cfcam.imaging import Image, Preprocess
    from cfcam.metrics import LayerScore
    from cfcam.models import LoadedModel


def rank_layers(
    loaded: LoadedModel,
    preprocess: Preprocess,
    paths: list[Path],
    *,
    method: str = "grad-cam",
    limit: int,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Prints the candidates, best first, and draws their maps if a picture is asked for.

    Raises:
        InputError: none of the pictures can be read.
    """
    import torch

    from cfcam.metrics import measure_layers

    images = _read(paths, limit)
    x = torch.stack([preprocess(image) for image in images])
    scores = measure_layers(
        loaded.module,
        x,
        method=method,
        classes=loaded.classes,
        probability=loaded.probability,
        output=loaded.output,
    )
    if picture is not None:
        _draw(loaded, preprocess, images[0], scores, picture, method=method)
    if as_json:
        print_json(
            {
                "model": loaded.spec,
                "method": method,
                "pictures": len(images),
                "layers": [_row(score) for score in scores],
            }
        )
        return
    _table(scores)
    best = scores[0]
    use = f"--layer {best.name}" if best.fusion is None else "see cfcam.methods.Fusion to use a pair of layers"
    out().print(
        f"{method} ranked on {len(images)} pictures by the mean of three ranks: insertion - deletion, ADCC, stability"
        f" under noise; {use}",
        markup=False,
        soft_wrap=True,
    )


def _read(paths: list[Path], limit: int) -> list[Image]:
    from cfcam.imaging import read_image
    from cfcam.jobs import find_inputs

    images: list[Image] = []
    for found in find_inputs(paths, output=Path()):
        if len(images) == limit:
            break
        try:
            images.append(read_image(found.path))
        except CfcamError as problem:
            warn(str(problem))
    if not images:
        raise InputError("--measure: none of the pictures can be read: give pictures, or a folder of them")
    return images


def _row(score: LayerScore) -> dict[str, object]:
    return {"name": score.name} | asdict(score)


def _table(scores: list[LayerScore]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("layer", no_wrap=True)
    for title in ("grid", "rank", "insertion - deletion", "ADCC", "stability", "empty maps"):
        table.add_column(title, justify="right")
    for score in scores:
        numbers = (f"{v:.3f}" for v in (score.insertion_deletion, score.adcc, score.stability))
        table.add_row(score.name, " x ".join(map(str, score.grid)), f"{score.rank:.1f}", *numbers, str(score.empty))
    out().print(table)


def _draw(
    loaded: LoadedModel,
    preprocess: Preprocess,
    image: Image,
    scores: list[LayerScore],
    path: Path,
    *,
    method: str = "grad-cam",
    most: int = 9,
) -> None:
    """Writes the first picture with the maps of the best single layers."""
    from cfcam import explain
    from cfcam.imaging import Panel, contact_sheet, save_image
    from cfcam.models.spec import model_name

    panels = []
    rgb = image.rgb()
    for score in [s for s in scores if s.fusion is None][:most]:
        e = explain(
            loaded.module,
            preprocess(image)[None],
            method,
            layer=score.layers[0],
            classes=loaded.classes,
            probability=loaded.probability,
            output=loaded.output,
        )
        status = str(e.status[method][0, 0])
        size = (rgb.shape[0], rgb.shape[1])
        heat = preprocess.to_original(e.heatmaps(method)[0, 0], size).clamp_(0, 1) if status == "ok" else None
        panels.append(Panel(heat, f"{score.name}: rank {score.rank:.1f}", e.label(0, 0), e.probability(0, 0), status))
    save_image(contact_sheet(rgb, panels, title="Layers, best first", footer=model_name(loaded.spec)), path)

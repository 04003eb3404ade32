"""``cfcam layers``: what could be mapped, what would be, and which layer's maps are worth most."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from cfcam.cli.arguments import places, words
from cfcam.cli.arguments.read import read_size
from cfcam.cli.command import Checked
from cfcam.cli.options import complete
from cfcam.cli.options.network import Model, Network
from cfcam.cli.options.preparation import Preparation
from cfcam.cli.options.run import Run
from cfcam.cli.output.console import EXIT_FAILED, error, hint, out, plain, print_json, warn
from cfcam.errors import CfcamError, InputError, LayerError, ModelError, describe_first

if TYPE_CHECKING:
    from torch import Tensor

    from cfcam.capture import LayerInfo
    from cfcam.imaging import Image, Preprocess
    from cfcam.metrics import LayerScore
    from cfcam.models import LoadedModel

_FEWEST_ROWS = 6
_PICTURES = 8


@dataclass(frozen=True, kw_only=True)
class Layers(Run, Preparation, Network):
    """List a network's layers, and which of them is mapped unless you name another.

    The network runs once. Shapes are those of the output, for one picture.
    """

    examples: ClassVar[str] = """
**Examples**

    cfcam layers torchvision:resnet50

    cfcam layers networks.py:my_net --size 512 --all
"""

    network: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]",
            help="The network, as for --model.",
            autocompletion=complete.model,
            show_default=False,
        ),
        Checked(words.model),
    ] = None
    model: Model = None
    image: Annotated[
        Path | None, typer.Option(help="Run the network on this picture, instead of on noise."), Checked(places.input_)
    ] = None
    inner: Annotated[bool, typer.Option("--all", help="List the modules inside of blocks too.")] = False
    measure: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PICTURE|FOLDER",
            help="Rank layers, and pairs of them fused, by what their maps of these pictures are worth.",
        ),
        Checked(places.inputs),
    ] = None
    method: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="With --measure: whose maps are compared; see cfcam methods. [default: grad-cam]",
            autocompletion=complete.method,
            show_default=False,
        ),
        Checked(words.method),
    ] = None
    limit: Annotated[int, typer.Option(min=1, help="Pictures of --measure that are used.")] = _PICTURES
    picture: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="With --measure: draw the layers' maps side by side."),
        Checked(places.picture),
    ] = None

    def __post_init__(self) -> None:
        """Looks for one network, and for options that wait for another."""
        super().__post_init__()
        if self.network is not None and self.model is not None and self.network != self.model:
            raise InputError(f"two networks are named, {self.network} and {self.model}: give one of them")
        if self.method is not None and not self.measure:
            raise InputError("--method is for --measure: without pictures no map is made")
        if (self.picture is not None or self.limit != _PICTURES) and not self.measure:
            raise InputError("--picture and --limit are for --measure: name the pictures with it")
        if self.image is not None and self.measure:
            raise InputError("--image is for the list of layers: with --measure its pictures are used")

    @property
    def spec(self) -> str:
        """What names the network."""
        return self.network or super().spec

    def __call__(self) -> None:
        """Lists the layers, or ranks them on pictures."""
        loaded = self.load()
        if self.measure:
            self._rank(loaded, self.measure)
        else:
            self._list(loaded)

    def _list(self, loaded: LoadedModel) -> None:
        """Shows the layers, and the one that is mapped with the reason why."""
        from cfcam import capture

        x = self._input(loaded)
        try:
            found, output_shape = capture.probe_layers(
                capture.Network(loaded.module, loaded.probability, loaded.output), x
            )
        except CfcamError:
            raise
        except Exception as problem:
            raise ModelError(
                f"the network cannot run on an input of shape {tuple(x.shape)} ({describe_first(problem)}): check"
                " --size, --mean and --std"
            ) from problem
        chosen, reason, problem_line = None, "", ""
        try:
            chosen = capture.choose_layer(found, tuple(x.shape), output_shape)
            reason = _reason(chosen, found, tuple(x.shape))
        except CfcamError as problem:
            problem_line = str(problem)
        shown = found if self.inner else _outer(found, None if chosen is None else chosen.name)
        if self.as_json:
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

    def _input(self, loaded: LoadedModel) -> Tensor:
        """A picture, or noise of the size of one."""
        import torch

        from cfcam.imaging import read_image
        from cfcam.jobs.inputs.preparing import shape_of_pictures

        if self.image is not None:
            return self._preprocess(loaded)(read_image(self.image))[None]
        stated = self.mean is not None and self.std is not None
        prepared = self.prepared_pictures(loaded) if stated else shape_of_pictures(loaded, read_size(self.size))
        shape = (1, prepared.channels, *prepared.input_size)
        return torch.randn(shape, generator=torch.Generator().manual_seed(0))

    def _preprocess(self, loaded: LoadedModel) -> Preprocess:
        from cfcam.jobs.inputs.preparing import assumption_notes

        preprocess = self.prepared_pictures(loaded)
        for note in assumption_notes(preprocess):
            hint(note)
        return preprocess

    def _rank(self, loaded: LoadedModel, paths: list[Path]) -> None:
        """Shows the candidates, best first, and draws their maps if a picture is asked for.

        Raises:
            InputError: none of the pictures can be read.
        """
        import torch

        from cfcam.cli.output.ahead import Lines
        from cfcam.metrics import measure_layers

        preprocess, method = self._preprocess(loaded), self.method or "grad-cam"
        images = _read(paths, self.limit)
        x = torch.stack([preprocess(image) for image in images])
        measure = partial(
            measure_layers,
            loaded.module,
            method=method,
            classes=loaded.classes,
            probability=loaded.probability,
            output=loaded.output,
        )
        started = time.perf_counter()
        with suppress(LayerError):  # of this one layer
            measure(x[:1], most=1, fusions=False)
        seconds, lines = time.perf_counter() - started, Lines("measuring", "layers and pairs of them")

        def tell(done: int, total: int) -> None:
            if done:
                lines(done, total)
            else:
                lines.foretold(total, seconds * len(x) * total)

        scores = measure(x, progress=tell)
        if self.picture is not None:
            _draw(loaded, preprocess, images[0], scores, self.picture, method=method)
        if self.as_json:
            rows = [{"name": score.name} | asdict(score) for score in scores]
            print_json({"model": loaded.spec, "method": method, "pictures": len(images), "layers": rows})
        else:
            _show_ranking(scores, method, len(images))


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


def _show_ranking(scores: list[LayerScore], method: str, pictures: int) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("layer", no_wrap=True)
    for title in ("grid", "rank", "insertion - deletion", "ADCC", "stability", "empty maps"):
        table.add_column(title, justify="right")
    for score in scores:
        numbers = (f"{v:.3f}" for v in (score.insertion_deletion, score.adcc, score.stability))
        table.add_row(score.name, " x ".join(map(str, score.grid)), f"{score.rank:.1f}", *numbers, str(score.empty))
    out().print(table)
    best = scores[0]
    use = f"--layer {best.name}" if best.fusion is None else "see cfcam.methods.Fusion to use a pair of layers"
    out().print(
        f"{method} ranked on {pictures} pictures by the mean of three ranks: insertion - deletion, ADCC, stability"
        f" under noise; {use}",
        markup=False,
        soft_wrap=True,
    )


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
    from cfcam.imaging.drawing.sides import letters_of
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
        named = f"{score.name}: rank {score.rank:.1f}"
        panels.append(Panel(heat, named, e.label(0, 0), e.probability(0, 0), status, e.margin(0, 0)))
    sheet = contact_sheet(
        rgb, panels, title="Layers, best first", footer=model_name(loaded.spec), letters=letters_of(image)
    )
    save_image(sheet, path)

"""``cfcam layers``: what could be mapped, what would be, and which layer's maps are worth most."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from cfcam.cli.arguments import places, words
from cfcam.cli.arguments.read import read_volume_size
from cfcam.cli.command import Checked
from cfcam.cli.options import complete
from cfcam.cli.options.network import Model, Network
from cfcam.cli.options.run import Run
from cfcam.cli.options.volumes import Modalities, VolumePreparation
from cfcam.cli.output import layers as said
from cfcam.cli.output.console import EXIT_FAILED, error, hint, out, plain, print_json, warn
from cfcam.errors import CfcamError, InputError, LayerError, ModelError, describe_first

if TYPE_CHECKING:
    from torch import Tensor

    from cfcam.imaging import Image, Preprocess, VolumePreprocess
    from cfcam.jobs.inputs.probing import Probe
    from cfcam.models import LoadedModel

_PICTURES = 8


@dataclass(frozen=True, kw_only=True)
class Layers(Run, Modalities, VolumePreparation, Network):
    """List a network's layers, and which of them is mapped unless you name another.

    The network runs once. Shapes are those of the output, for one picture, or one window of a volume.
    """

    examples: ClassVar[str] = """
**Examples**

    cfcam layers torchvision:resnet50

    cfcam layers networks.py:my_net --size 512 --all

    cfcam layers networks.py:my_3d_net --size 96x96x64

    cfcam layers nnunet:nnUNetTrainer__nnUNetPlans__3d_fullres --measure scan_0000.nii.gz
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
        Path | None,
        typer.Option(help="Run the network on this picture or volume, instead of on noise."),
        Checked(places.input_),
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
        if self.channels is not None and (self.image is not None or self.measure):
            raise InputError("--channels names the one study that is looked at: leave --image and --measure out")

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
                f" {'--size' if x.ndim == 5 else '--size, --mean and --std'}"
            ) from problem
        chosen, reason, problem_line = None, "", ""
        try:
            chosen = capture.choose_layer(found, tuple(x.shape), output_shape)
            reason = said.reason(chosen, found, tuple(x.shape))
        except CfcamError as problem:
            problem_line = str(problem)
        shown = found if self.inner else said.outer(found, None if chosen is None else chosen.name)
        if self.as_json:
            print_json(
                {
                    "model": loaded.spec,
                    "input_shape": list(x.shape),
                    "chosen": None if chosen is None else chosen.name,
                    "reason": reason or problem_line,
                    "layers": [said.row(i, chosen, tuple(x.shape)) for i in shown],
                }
            )
        else:
            for note in loaded.notes:
                warn(note)
            said.show(shown, chosen, tuple(x.shape))
            if len(shown) < len(found):
                out().print(f"{len(found) - len(shown)} modules inside of blocks are not listed (--all)", style="dim")
            if chosen is not None:
                out().print(f"{plain(chosen.name)}: {reason}", markup=False, soft_wrap=True)
        if chosen is None:
            error(problem_line)
            raise typer.Exit(EXIT_FAILED)

    def _input(self, loaded: LoadedModel) -> Tensor:
        """A picture or volume, or noise of the size of one."""
        from cfcam.jobs.inputs.find import find_study
        from cfcam.jobs.inputs.preparing import shape_of_pictures
        from cfcam.jobs.inputs.probing import shape_of_volumes
        from cfcam.jobs.inputs.reading import load_picture
        from cfcam.models.expects import takes_volumes

        if takes_volumes(loaded.module):
            if self.image is not None or self.channels is not None:
                return self._probes(loaded, [self.image] if self.image is not None else [], 1)[0].x
            return _noise(shape_of_volumes(loaded, read_volume_size(self.size)))
        self.refuse_modalities()
        if self.image is not None:
            return self._preprocess(loaded)(load_picture(find_study(self.image)))[None]
        stated = self.mean is not None and self.std is not None
        size = self.size_of_pictures()
        return _noise(self.prepared_pictures(loaded) if stated else shape_of_pictures(loaded, size))

    def _preprocess(self, loaded: LoadedModel) -> Any:
        from cfcam.jobs.inputs.preparing import assumption_notes

        preprocess = self.prepared(loaded)
        for note in assumption_notes(preprocess):
            hint(note)
        return preprocess

    def _probes(self, loaded: LoadedModel, paths: list[Path], most: int) -> list[Probe]:
        from cfcam.jobs.inputs.probing import probes

        found, failed = probes(loaded, paths, self.reading(), self._preprocess(loaded), most=most)
        for line in failed:
            warn(line)
        for note in dict.fromkeys(note for one in found for note in one.volume.notices):
            hint(note)
        return found

    def _rank(self, loaded: LoadedModel, paths: list[Path]) -> None:
        """Shows the candidates, best first, and draws their maps if a picture is asked for.

        Raises:
            InputError: none of the pictures can be read.
        """
        from cfcam.cli.output.ahead import Lines, beating
        from cfcam.metrics import measure_layers

        method = self.method or "grad-cam"
        preprocess, images, x = self._seen(loaded, paths)
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

        with beating(lines.beat):
            scores = measure(x, progress=tell)
        if self.picture is not None:
            said.draw(
                loaded,
                preprocess,
                images[0],
                scores,
                self.picture,
                method=method,
                windows=self.reading().of(loaded).windows,
            )
        if self.as_json:
            rows = [{"name": score.name} | asdict(score) for score in scores]
            print_json({"model": loaded.spec, "method": method, "pictures": len(images), "layers": rows})
        else:
            what = "volume" if x.ndim == 5 else "picture"
            said.show_ranking(scores, method, f"{len(images)} {what}{'s' * (len(images) > 1)}")

    def _seen(self, loaded: LoadedModel, paths: list[Path]) -> tuple[Any, list[Any], Tensor]:
        """What prepares the first of the pictures or volumes, these, and what the network sees of them."""
        import torch

        from cfcam.jobs.inputs.probing import stacked
        from cfcam.models.expects import takes_volumes

        if takes_volumes(loaded.module):
            found = self._probes(loaded, paths, self.limit)
            return self.prepared(loaded), [one.volume for one in found], stacked(found)
        self.refuse_modalities()
        preprocess, images = self._preprocess(loaded), _read(paths, self.limit)
        return preprocess, images, torch.stack([preprocess(image) for image in images])


def _noise(shape: Preprocess | VolumePreprocess) -> Tensor:
    import torch

    return torch.randn((1, shape.channels, *(shape.input_size or ())), generator=torch.Generator().manual_seed(0))


def _read(paths: list[Path], limit: int) -> list[Image]:
    from cfcam.jobs import find_inputs
    from cfcam.jobs.inputs.reading import load_picture

    images: list[Image] = []
    for found in find_inputs(paths, output=Path()):
        if len(images) == limit:
            break
        try:
            images.append(load_picture(found))
        except CfcamError as problem:
            warn(str(problem))
    if not images:
        raise InputError("--measure: none of the pictures can be read: give pictures, or a folder of them")
    return images

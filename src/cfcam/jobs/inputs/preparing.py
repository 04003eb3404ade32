"""How pictures and volumes are prepared for a network: what is given, else what it states, else what is usual."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from cfcam.errors import InputError
from cfcam.explainer_windows import Windows
from cfcam.imaging import Image, Preprocess, Volume, VolumePreprocess, read_image, read_volume
from cfcam.imaging.bundle_preprocess import prepared_by
from cfcam.imaging.reading.channels import channel_files, check_count
from cfcam.imaging.stated import ASSUMED, GIVEN
from cfcam.jobs.inputs.find import Input, Kind, first_channels
from cfcam.models import LoadedModel
from cfcam.models.built import Preparation
from cfcam.models.expects import input_channels, takes_volumes


def preprocess_of(
    model: LoadedModel,
    *,
    size: int | tuple[int, int] | None = None,
    resize: str | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> Preprocess:
    """Returns what is done to pictures for this network: what is given, else what is known of it, else the default.

    A single number for ``mean`` or ``std`` stands for all channels that the network takes. `Preprocess.sources` says of
    each value whether it was given, stated by the network, or assumed.

    Raises:
        InputError: a value is out of its range, the network takes another number of channels than three, for which
            nothing is usual, and nobody states its mean and standard deviation; or it is nnU-Net's or a bundle's.
    """
    if model.preparation is not None:
        by = model.preparation.by
        raise InputError(f"{by}: the network takes volumes, and these are pictures: use cfcam explain")
    channels = input_channels(model.module) or 3
    given = {"size": size, "resize": resize, "mean": _spread(mean, channels), "std": _spread(std, channels)}
    values, sources = _settled(Preprocess, given, model)
    if channels != len(Preprocess.mean) and {"mean", "std"} - values.keys():
        several = (
            f"{channels} channels, and nobody says how they are"
            if channels > 1
            else "1 channel, and nobody says how it is"
        )
        each = (
            f", one number for all or {channels} with commas between" if channels > 1 else ", e.g. --mean 0.5 --std 0.5"
        )
        raise InputError(f"the network takes {several} normalised: give --mean and --std{each}")
    return Preprocess(**values, sources=sources)


def shape_of_pictures(model: LoadedModel, size: int | tuple[int, int] | None = None) -> Preprocess:
    """Returns a preparation that gives the input its shape, for noise: its normalisation is none, and nobody's."""
    found = preprocess_of(model, size=size, mean=(0.0,), std=(1.0,))
    return replace(found, sources={"size": found.sources["size"]})


def volume_preprocess_of(
    model: LoadedModel,
    *,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    **given: Any,
) -> VolumePreprocess:
    """Returns what is done to volumes for this network: what is given, else what is known of it, else the default.

    A single number for ``mean`` or ``std`` stands for all channels that the network takes. Other values than None are
    handed on; the orientation "source" keeps the source's own.

    Raises:
        InputError: a value is out of its range, or the network brings all of its preparation with it.
    """
    if model.preparation is not None:
        return _brought(model.preparation, {**given, "mean": mean, "std": std})
    channels = input_channels(model.module) or 1
    kept = given.get("orientation") == "source"
    given |= {"mean": _spread(mean, channels), "std": _spread(std, channels)}
    values, sources = _settled(VolumePreprocess, given, model)
    values = {"mean": (0.0,) * channels, "std": (1.0,) * channels} | values
    if kept:
        values["orientation"] = None
    return VolumePreprocess(**values, sources=sources)


def _brought(words: Preparation, given: Mapping[str, Any]) -> VolumePreprocess:
    """The preparation that a network's source brings; a grey window is for the eye alone there."""
    asked = [name for name, value in given.items() if value is not None and name != "window"]
    if asked:
        raise InputError(f"{words.by} says itself how its volumes are prepared: leave --{asked[0]} out")
    values = {**words.values, "by": words.by, "sources": words.sources}
    try:
        return prepared_by(values, trusted=bool(words.values.get("trusted")))
    except InputError as error:
        called = dict(enumerate(words.channels))
        told = re.sub(r"\bchannel (\d+)", lambda n: f"{n[0]} ({called.get(int(n[1]), 'unnamed')})", str(error))
        raise InputError(f"{words.file}: {told}") from error


def prepared_for(model: LoadedModel, given: Preprocess | VolumePreprocess | None) -> Preprocess:
    """Returns the preparation of pictures that was given, or that of the network.

    Raises:
        InputError: one of volumes was given.
    """
    if isinstance(given, VolumePreprocess):
        raise InputError("these are pictures: give a Preprocess, not a VolumePreprocess")
    return preprocess_of(model) if given is None else given


def prepared_volumes_for(model: LoadedModel, given: Preprocess | VolumePreprocess | None) -> VolumePreprocess:
    """Returns the preparation of volumes that was given, or that of the network.

    Raises:
        InputError: one of pictures was given.
    """
    if given is not None and not isinstance(given, VolumePreprocess):
        raise InputError("these are volumes: give a VolumePreprocess, not a Preprocess")
    return volume_preprocess_of(model) if given is None else given


def refuse_windows(model: LoadedModel) -> None:
    """Refuses a network that was made to see a volume in windows, where volumes are explained in one piece.

    Raises:
        InputError: it is one of nnU-Net, or of a bundle that infers so.
    """
    if model.preparation is not None and model.preparation.window is not None:
        raise InputError(
            f"{model.preparation.by}: the network sees a volume in windows, and here it is explained in one piece: use"
            " cfcam explain, or cfcam.jobs.explain_study"
        )


def noise_shape(preprocess: VolumePreprocess, size: tuple[int, int, int], windows: Windows | None) -> VolumePreprocess:
    """Returns a preparation that gives noise the shape of the network's input, or of a window of it.

    Args:
        preprocess: of the volumes.
        size: of the network's input.
        windows: in which it is explained; None: in one piece.
    """
    if windows is not None:
        window = windows.size
        window = (window,) * 3 if isinstance(window, int) else window
        size = (min(size[0], window[0]), min(size[1], window[1]), min(size[2], window[2]))
    shape = VolumePreprocess(mean=preprocess.mean, std=preprocess.std) if preprocess.by else preprocess
    return replace(shape, spacing=None, size=size)


def assumption_notes(preprocess: Preprocess | VolumePreprocess) -> list[str]:
    """Returns what is assumed in a preparation, as one note with what to do; none if nothing is."""
    if not preprocess.assumed:
        return []
    options = "--mean, --std, --size" if isinstance(preprocess, Preprocess) else "--intensity, --spacing, --orientation"
    advice = f"give what was used in training ({options}, or a JSON file beside the weights)"
    return [f"{preprocess.assumed}; {advice}"]


def _spread(values: tuple[float, ...] | None, channels: int) -> tuple[float, ...] | None:
    return values * channels if values is not None and len(values) == 1 else values


def _settled(
    kind: type[Preprocess] | type[VolumePreprocess], given: Mapping[str, Any], model: LoadedModel
) -> tuple[dict[str, Any], dict[str, str]]:
    """The values that somebody states, and for every field who does."""
    names = [field.name for field in fields(kind) if field.name != "sources"]
    own = {name: value for name, value in given.items() if value is not None}
    known = {name: value for name, value in model.preprocess.items() if name in names}
    sources = dict.fromkeys(names, ASSUMED) | {name: model.sources.get(name, "stated by the network") for name in known}
    sources |= {name: model.sources[name] for name in names if name in model.sources and name not in known}
    return known | own, sources | dict.fromkeys(own, GIVEN)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A picture or volume on its way into the network, and the ways between the two grids.

    Attributes:
        image: as it was read.
        x: (1, C, *spatial) as the network takes it.
        back: brings a map at the network's input size onto the image's grid.
        forth: brings a mask on the image's grid onto the network's.
        notices: what a user should know of how it was read.
    """

    image: Image | Volume
    x: Tensor
    back: Callable[[Tensor], Tensor]
    forth: Callable[[Tensor], Tensor]
    notices: tuple[str, ...] = ()


def prepare(
    path: Path, *, preprocess: Preprocess | VolumePreprocess, window: str | tuple[float, float] | None = None
) -> Prepared:
    """Reads a picture or volume and prepares it for the network.

    Args:
        path: file, or folder of a DICOM series for a `VolumePreprocess`.
        preprocess: what is done to it; its type says which of the two it is.
        window: of a DICOM picture, see `cfcam.imaging.read_image`; a volume's is the preprocessing's.

    Raises:
        ImageError: it cannot be read.
    """
    if isinstance(preprocess, Preprocess):
        picture = read_image(path, window=window)
        return Prepared(
            picture,
            preprocess(picture)[None],
            lambda heat: preprocess.to_original(heat, picture.size),
            preprocess.mask,
            picture.notices,
        )
    volume = read_volume(path)
    return Prepared(
        volume,
        preprocess(volume)[None],
        lambda heat: preprocess.to_original(heat, volume),
        lambda mask: preprocess.mask(mask, volume),
        volume.notices,
    )


@dataclass(frozen=True)
class VolumeSettings:
    """What a run does to volumes, beside its `Settings`.

    Attributes:
        time: see `cfcam.imaging.read_volume`.
        channel: see there.
        series: see there.
        irregular: see there.
        windows: explain in overlapping windows of so many voxels of the network's input; None: in one piece.
        channels: the files of one study's modalities, in the order of the network's channels; () if it is one file.
        endings: how the names of such files end, where that tells them apart: ``_0000``, ``_0001``.
        names: what the channels are, for messages.
    """

    time: int | None = None
    channel: int | Literal["all"] | None = None
    series: int | None = None
    irregular: Literal["refuse", "resample"] = "refuse"
    windows: Windows | None = None
    channels: tuple[Path, ...] = ()
    endings: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def of(self, model: LoadedModel) -> VolumeSettings:
        """Returns these settings with what the network brings, where they say nothing else.

        Raises:
            InputError: files of channels are named, and there are fewer or more than the network has channels.
        """
        words = model.preparation
        if words is None:
            return self
        if self.channels and words.channels:
            check_count(self.channels, words.channels, words.endings)
        windows = self.windows or (None if words.window is None else Windows(words.window, words.overlap))
        endings = () if self.channels or self.channel == "all" else words.endings
        return replace(self, windows=windows, endings=endings, names=words.channels)

    def filled(self, preprocess: VolumePreprocess) -> VolumePreprocess:
        """Returns a preparation that fills volumes up to a window, where that is how the network's source does it."""
        if self.windows is None or not preprocess.by:
            return preprocess
        size = self.windows.size
        return replace(preprocess, patch=(size,) * 3 if isinstance(size, int) else tuple(size))  # type: ignore[call-arg]

    def files(self, path: Path) -> tuple[Path, ...]:
        """Returns the files that a study is read from.

        Raises:
            ImageError: one of its channels is missing.
        """
        return self.channels or channel_files(path, self.endings, self.names)

    def studies(self, inputs: Sequence[Input]) -> Sequence[Input]:
        """Returns the inputs without the further channels of those whose first one is among them.

        One that is named without its first is kept, so that reading it says what to name.
        """
        return first_channels(inputs, self.endings)

    def drawn(self) -> dict[str, Any]:
        """Returns all of it as plain values, for what changes the files."""
        own = {name: value for name, value in vars(self).items() if name not in ("channels", "endings", "names")}
        return {**own, "windows": None if self.windows is None else vars(self.windows)}


def is_volume_run(model: nn.Module, inputs: Sequence[Input]) -> bool:
    """Tells whether a run is one over volumes: by the network, else by its first input that is there."""
    by_network = takes_volumes(model)
    if by_network is not None or not inputs:
        return bool(by_network)
    return next((one for one in inputs if one.problem is None), inputs[0]).kind is Kind.VOLUME

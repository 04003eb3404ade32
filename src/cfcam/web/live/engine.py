"""Maps while somebody waits: one pass of the network is kept, and a class, a method or a threshold more costs no other.

The numbers are those of ``cfcam explain`` for the same picture, method, class and layer: the same code makes them.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any, Literal

import numpy as np
import torch

from cfcam.capture import Capture, NotPredictedError
from cfcam.capture.layers.choosing import candidates
from cfcam.capture.network import probe_layers
from cfcam.errors import CfcamError, ImageError, InputError, ModelError, describe_first
from cfcam.explainer import Explainer
from cfcam.explainer_windows import Windows, explain_windows
from cfcam.explanation import Explanation, unique_columns
from cfcam.imaging import Image, Preprocess, Volume, VolumePreprocess
from cfcam.jobs.engine.absent import line_of
from cfcam.jobs.engine.batch import by_image
from cfcam.jobs.engine.inference import DEFAULT_METHODS, Engine, is_out_of_memory
from cfcam.jobs.inputs.preparing import (
    VolumeSettings,
    assumption_notes,
    noise_shape,
    prepared_for,
    prepared_volumes_for,
)
from cfcam.methods import named_methods
from cfcam.methods.base import Method
from cfcam.models import LoadedModel, model_name
from cfcam.models.expects import takes_volumes
from cfcam.web.live.network import Ticket

MOST_MAPS = 48
"""Maps in one request, at most."""

_PASSES = 3
_TARGETS = 6
_COLOURS = 3  # channels of networks that take a grey volume three times
_LARGE = 1 << 22  # numbers in an input of which one pass at a time is kept: a volume

Kind = Literal["picture", "volume"]
Prepare = Callable[[LoadedModel, Kind], Preprocess | VolumePreprocess]


class LiveEngine:
    """Explains what is on the screen; to be used in one thread.

    Args:
        model: the network.
        layer: that is mapped unless another is asked for; None: chosen, as ``cfcam explain`` does.
        prepare: returns what is done to pictures or volumes; None: what is known of the network.
        windows: how volumes are explained window by window; None: in one piece.

    Attributes:
        name: of the network, without its path.
        classes: their names, if they are known.
        takes: what the network takes; None: nothing in it says.
        forward: seconds of the passes that were run, since it was set to 0.
        absent: what was asked for last and the image has not, a line each.
    """

    def __init__(
        self,
        model: LoadedModel,
        *,
        layer: str | None = None,
        prepare: Prepare | None = None,
        windows: Windows | None = None,
    ) -> None:
        self.model, self.name, self.classes = model, model_name(model.spec), tuple(model.classes or ())
        self.forward = 0.0
        self.absent: list[str] = []
        self._layer, self._given = layer, prepare
        self._windows = VolumeSettings(windows=windows).of(model).windows
        self._engines: dict[Kind, Engine] = {}
        self._prepared: dict[Kind, Any] = {}
        self._layers: tuple[str, ...] = ()
        self._passes: OrderedDict[tuple[str, str], OrderedDict[str, Capture]] = OrderedDict()
        volumes = takes_volumes(model.module)
        self.takes: Kind | None = None if volumes is None else "volume" if volumes else "picture"
        if self.takes == "picture":
            self._settle("picture", None)

    @property
    def layer(self) -> str | None:
        """The layer that is mapped unless another is asked for; None: not chosen yet."""
        return next((engine.layer for engine in self._engines.values() if engine.layer), self._layer)

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that can be mapped, in the order in which they run; empty before the first input is known."""
        return self._layers

    @property
    def notes(self) -> list[str]:
        """What a user should know of the network and of how its inputs are prepared."""
        return [*self.model.notes, *(note for engine in self._engines.values() for note in engine.notes)]

    def preprocess(self, image: Image | Volume) -> Any:
        """Returns what is done to a picture or volume before the network sees it.

        Raises:
            ImageError: the network takes the other of the two.
            CfcamError: the set-up does not fit the network.
        """
        kind: Kind = "volume" if isinstance(image, Volume) else "picture"
        if self.takes not in (None, kind):
            raise ImageError(f"this is a {kind}, and the network takes {self.takes}s: open one of those")
        self._settle(kind, image)
        if isinstance(image, Volume):
            self._check_channels(image)
        return self._prepared[kind]

    def _check_channels(self, volume: Volume) -> None:
        """Raises `ImageError` for a network of several channels, of which one was opened."""
        prepared, words = self._prepared["volume"], self.model.preparation
        due = prepared.channels if words is None else max(prepared.channels, len(words.channels))
        repeated = words is None and due == _COLOURS
        if volume.channels != 1 or due < 2 or repeated:
            return
        named = f" ({', '.join(words.channels)})" if words is not None and words.channels else ""
        raise ImageError(
            f"the network takes {due} channels{named}, and this study is one file of one channel: start cfcam view with"
            " the files of all (--channels A,B), or open one file that holds them (--channel all)"
        )

    def engine(self, image: Image | Volume) -> Engine:
        """Returns what explains pictures, or volumes; see `preprocess`."""
        self.preprocess(image)
        return self._engines["volume" if isinstance(image, Volume) else "picture"]

    def maps(
        self,
        image: Image | Volume,
        methods: Sequence[str],
        targets: Sequence[int | str],
        *,
        layer: str | None = None,
        ticket: Ticket | None = None,
    ) -> list[Explanation]:
        """Explains a picture or volume.

        Args:
            image: as it was read.
            methods: names.
            targets: class indices, names, "predicted", "a vs b", "top-3".
            layer: dotted name; None: `layer`.
            ticket: of who asks; None: nobody can stop it.

        Returns:
            For each class an explanation of it by each method, of this one image, raw and on the CPU. A class that
            several targets stand for is explained once; classes that a segmentation has nowhere in this image are left
            out beside others, and `absent` says so.

        Raises:
            Abandoned: nobody waits any more.
            CfcamError: the network does not fit, or fails; in one line.
        """
        own, named = ticket or Ticket(), named_methods(tuple(methods))
        engine = self.engine(image)
        with self.at_work(engine, own):
            return self._maps(image, named, targets, None if layer == engine.layer else layer, own)

    @contextmanager
    def at_work(self, engine: Engine, ticket: Ticket) -> Iterator[None]:
        """Has what is done within end before the network's next pass if it is stopped, and fail in one line.

        Raises:
            Abandoned: nobody waits any more.
            CfcamError: the network does not fit, or fails.
        """
        before, engine.network.before_pass = engine.network.before_pass, ticket.check
        try:
            yield
        except CfcamError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                self.forget()
                raise ModelError(
                    "out of memory: ask for fewer maps at a time, or start with a smaller --size"
                ) from error
            raise ModelError(f"the network failed on this study ({describe_first(error)})") from error
        finally:
            engine.network.before_pass = before

    def forget(self) -> None:
        """Forgets the passes that are kept."""
        self._passes.clear()

    def _maps(
        self,
        image: Image | Volume,
        named: Mapping[str, Method],
        targets: Sequence[int | str],
        layer: str | None,
        ticket: Ticket,
    ) -> list[Explanation]:
        found: dict[tuple[int, str], dict[str, Explanation]] = {}
        steps, missing = len(targets) * len(named), list[NotPredictedError]()
        for number, target in enumerate(targets):
            for step, part in enumerate(self._there(image, named, target, layer, missing), number * len(named)):
                for k in unique_columns(part):
                    of_class = found.setdefault((int(part.targets[0, k]), part.label(0, k)), {})
                    for method in part.methods:
                        of_class.setdefault(method, part.select(targets=slice(k, k + 1), methods=[method]))
                if len(found) * len(named) > MOST_MAPS:
                    raise InputError(f"more than {MOST_MAPS} maps in one request: ask for fewer classes or methods")
                ticket.tell(min(1.0, (step + 1) / steps))
        if missing and not found:
            raise missing[0]
        self.absent = [*dict.fromkeys(map(line_of, missing))]
        return [one for of_class in found.values() for one in of_class.values()]

    def _there(
        self,
        image: Image | Volume,
        named: Mapping[str, Method],
        target: int | str,
        layer: str | None,
        missing: list[NotPredictedError],
    ) -> Iterator[Explanation]:
        """Explanations of one target, or of those of its classes that the image has; else enters what is missing."""
        try:
            yield from self._explained(image, named, target, layer)
        except NotPredictedError as error:
            missing.append(error)
            for index in error.there:
                yield from self._explained(image, named, index, layer)

    def _explained(
        self, image: Image | Volume, named: Mapping[str, Method], target: int | str, layer: str | None
    ) -> Iterator[Explanation]:
        """Explanations of one target, method by method; in windows those of all methods together."""
        explainer = self.engine(image).explainer.but(named, layer=layer)
        if isinstance(image, Volume) and self._windows is not None:
            how, x = self._windows, self.preprocess(image)(image)[None]
            yield _only(explain_windows(explainer, x, how.size, how.overlap, [target], aggregate=how.aggregate))
            return
        capture = self._capture(image, explainer, layer or "", target)
        for name, method in named.items():
            yield _only(explainer.but({name: method}).explained(capture))

    def _capture(self, image: Image | Volume, explainer: Explainer, layer: str, target: int | str) -> Capture:
        """The pass of this image and layer, asked for this target; it is run only where none is kept."""
        key, name = (content_of(image), layer), repr(target)
        kept = self._passes.get(key)
        if kept is not None:
            self._passes.move_to_end(key)
            other = kept.get(name) or next(iter(kept.values())).asked([target], explainer.classes)
            if other is not None:
                kept[name] = other
                kept.move_to_end(name)
                while len(kept) > _TARGETS:
                    kept.popitem(last=False)
                return other
        x = self.preprocess(image)(image)[None]
        most = 1 if x.numel() > _LARGE else _PASSES
        while len(self._passes) >= most:  # before the next one takes memory
            self._passes.popitem(last=False)
        begun = perf_counter()
        capture = explainer.capture(x, [target])
        self.forward += perf_counter() - begun
        self._passes[key] = OrderedDict({name: capture})
        return capture

    def _settle(self, kind: Kind, image: Image | Volume | None) -> Engine:
        """Sets up what explains pictures, or volumes, with the first of them, and tries it on noise."""
        if kind in self._engines:
            return self._engines[kind]
        prepared: Any = None if self._given is None else self._given(self.model, kind)
        prepared = (prepared_volumes_for if kind == "volume" else prepared_for)(self.model, prepared)
        engine = Engine.of(self.model, DEFAULT_METHODS, ["predicted"], layer=self._layer, batch_size=1)
        engine.windows = self._windows if kind == "volume" else None
        engine.notes += assumption_notes(prepared)
        shape = prepared
        if isinstance(image, Volume):
            shape = noise_shape(prepared, prepared.input_size or prepared.grid(image)[0], engine.windows)
        engine.rehearse(shape, leave_out=True)
        engine.explainer.fingerprint()  # once, so that each copy knows it
        noise = torch.randn((1, shape.channels, *shape.input_size), generator=torch.Generator().manual_seed(0))
        self._layers = tuple(info.name for info in candidates(probe_layers(engine.network, noise)[0]))
        self._prepared[kind], self._engines[kind] = prepared, engine
        return engine


def content_of(image: Image | Volume) -> str:
    """Returns a SHA-256 of what a picture or volume holds: that of its file, if it has one."""
    if image.sha256:
        return image.sha256
    values = image.pixels if isinstance(image, Image) else image.voxels
    return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()


def _only(explanation: Explanation) -> Explanation:
    (one,) = by_image(explanation)
    if isinstance(one, str):
        raise ModelError(one)
    return one

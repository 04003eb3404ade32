"""Maps of fixed pictures while a network learns, made beside any training loop and without a trace in it."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cfcam.capture.answers.heads import checked_output
from cfcam.capture.answers.probabilities import Probability
from cfcam.capture.answers.readings import checked_probability
from cfcam.capture.inputs import check_type
from cfcam.capture.state.process import Process
from cfcam.capture.targets.classes import check_targets, class_names
from cfcam.errors import InputError, LayerError, MethodError, check_called, describe, shown, whole_number
from cfcam.explainer import Explainer
from cfcam.explanation import Explanation
from cfcam.imaging.drawing.drawable import as_pictures
from cfcam.imaging.drawing.overlay import banner, overlay
from cfcam.integrations.checked import checked_masks, checked_names, checked_pictures
from cfcam.integrations.places import Entry, check_place, check_table, write_entries, write_picture
from cfcam.integrations.scoring import NUMBERS, numbers_of
from cfcam.integrations.strip import Moment, plane_of, spaced, strip
from cfcam.maps import Status
from cfcam.methods import named_methods
from cfcam.methods.base import Method

Unit = Literal["epoch", "step"]
_COLUMNS = ("picture", "label", "probability", "status", *NUMBERS, "seconds", "share of time")
_MOST_MOMENTS = 64
"""Maps of so many moments are kept for strips: of a long training every second, fourth … of them."""


class TrainingMaps:
    """Explains the same pictures again and again while a network is trained, and writes maps and a line of numbers.

    The training is the same to the last bit with it and without: weights, gradients, statistics of batch normalisation,
    modes, hooks, autocast and the random numbers of torch, NumPy and Python are put back. What goes wrong is reported
    once, as a warning of one line, and the training goes on.

    Args:
        images: (N, C, H, W) or (N, C, D, H, W), prepared as those of the training, without augmentation.
        targets: one score an image, see `cfcam.Explainer`: the true classes (N,), say; None: the predicted class, which
            may be another each time.
        names: (N,) of the pictures, of which files are named too; None: "picture-0" and so on.
        masks: (N, *spatial) bool, where the evidence is to lie; None: not known.
        pictures: what is shown under the maps, see `cfcam.Explanation.with_pictures`; None: the images, stretched.
        method: name of a method, or an instance.
        layer: see `cfcam.Explainer`; chosen at the first time, and kept.
        classes: class names.
        probability: see `cfcam.Explainer`.
        output: see `cfcam.Explainer`.
        network: from what is trained to the network that is explained, such as ``lambda module: module.net``; None: it
            is the network.
        every: how many epochs or steps lie between two times.
        unit: what is counted, "epoch" or "step".
        to: where it is written: folders, `SummaryWriter`s, loggers with `log_metrics` or `log_image`, one or several.
        steps: of insertion and deletion, which take 2 ``steps`` - 1 passes a picture; 0: they are left out.

    Attributes:
        failures: what went wrong, one line for each time.
        seconds: what all times took together.

    Raises:
        CfcamError: one of its subclasses, for images, targets, names, masks or places that do not fit.

    Example:
        ``maps = TrainingMaps(images, labels, to="runs/maps")``; at the end of each epoch ``maps(network, epoch)``; at
        the end of the training ``maps.close()``.
    """

    def __init__(
        self,
        images: Tensor,
        targets: Any = None,
        *,
        names: Sequence[str] | None = None,
        masks: Any = None,
        pictures: Any = None,
        method: str | Method = "grad-cam",
        layer: str | nn.Module | None = None,
        classes: Sequence[str] | None = None,
        probability: Probability = "auto",
        output: str | int | None = None,
        network: Callable[[nn.Module], nn.Module] | None = None,
        every: int = 1,
        unit: Unit = "epoch",
        to: Any = (),
        steps: int = 8,
    ) -> None:
        check_type(images)
        if images.ndim not in (4, 5) or not images.numel():
            raise InputError(
                f"the images have shape {tuple(images.shape)}: give a batch (N, C, H, W) or (N, C, D, H, W)"
            )
        if not isinstance(unit, str) or unit not in ("epoch", "step"):
            raise InputError(f"unit={shown(unit)}: give 'epoch' or 'step'")
        check_targets(targets, len(images), images.shape[2:])
        self.unit: Unit = unit
        self.every = whole_number(every, "every", 1)
        self.failures: list[str] = []
        self.seconds = 0.0
        self._images, self._targets = images.detach().clone(), targets
        self._names = checked_names(names, len(images))
        self._masks = checked_masks(masks, images)
        self._shown = checked_pictures(pictures, self._images)
        self._methods = named_methods(method if isinstance(method, str) else [method])
        if len(self._methods) != 1:
            raise MethodError(f"{len(self._methods)} methods: while a network is trained one is followed")
        if layer is not None and not isinstance(layer, (str, tuple, nn.Module)):
            raise LayerError(f"layer is {shown(layer)}: give one dotted name, or one module")
        self._how: dict[str, Any] = {
            "layer": layer,
            "classes": class_names(classes),
            "probability": checked_probability(probability),
            "output": checked_output(output),
        }
        if network is not None:
            check_called(network, "network", "a function from what is trained to the network that is explained")
        self._inside = network
        self._places = _checked_places(to)
        for place in self._places:
            check_table(place, [unit, *_COLUMNS])
        self._runs: dict[Path, int] = {}
        self._steps = whole_number(steps, "steps", 0)
        self._known: tuple[nn.Module, Explainer] | None = None
        self._moments: list[Moment] = []
        self._stride, self._times = 1, 0
        self._last: Moment | None = None
        self._drawn: tuple[NDArray[np.uint8], ...] = ()
        self._plane = _plane(self._masks, images)
        self._ended: float | None = None

    def __call__(
        self, network: nn.Module, count: int, *, to: Any = (), step: int | None = None
    ) -> list[dict[str, Any]] | None:
        """Explains the pictures, if it is time to, and writes what came of it.

        Args:
            network: what is trained.
            count: epochs or steps that are done; 0 before the training.
            to: where it is written, too.
            step: by which loggers count; None: ``count``.

        Returns:
            The lines of the scorecard, one a picture: the count, name, label, probability and status; insertion,
            deletion, energy in the mask, entropy, agreement with the last time (Pearson's correlation of the two maps,
            if they are of one class; NaN where a number was not assessed); the seconds that this time took, and the
            share that they are of the time since the last. None if it is not time, or something went wrong.
        """
        began = time.perf_counter()
        try:
            number = whole_number(count, f"the count of {self.unit}s")
            at = number if step is None else whole_number(step, "step")
            if number % self.every:
                return None
            if not isinstance(network, nn.Module):
                raise InputError(f"the network is {shown(network)}: give the torch.nn.Module that is trained")
            with self._untouched(network):
                entries = self._entries(network, number, began)
                for place in (*self._places, *_checked_places(to)):
                    self._written(place, entries, at, number)
        except Exception as error:  # noqa: BLE001 (a training of days does not end for a picture)
            self._failed(error, count)
            return None
        finally:
            self._ended = time.perf_counter()
            self.seconds += self._ended - began
        return [dict(entry.row) for entry in entries]

    def strip(self, picture: int | str = 0, *, most: int = 20) -> NDArray[np.uint8]:
        """Draws one picture and its maps, time by time.

        Args:
            picture: its number or its name.
            most: times that are drawn, evenly chosen, the first and the last among them.

        Returns:
            uint8 RGB `(height, width, 3)`.

        Raises:
            InputError: there is no such picture, or nothing was explained yet.
        """
        known = dict(zip(self._names, range(len(self._names)), strict=True))
        image = known.get(picture, -1) if isinstance(picture, str) else whole_number(picture, "picture")
        if not 0 <= image < len(self._names):
            raise InputError(f"no picture {picture!r}: give 0 to {len(self._names) - 1}, or one of {self._names}")
        most = whole_number(most, "most", 2)
        if not self._moments:
            raise InputError("nothing was explained yet: call this object after an epoch, maps(network, 1)")
        shown = self._drawn[image]
        return strip(
            _rgb(shown, self._plane),
            spaced(self._history(), most),
            image,
            size=shown.shape[:2] if self._plane is None else shown.shape,
            plane=self._plane,
            unit=self.unit,
            method=next(iter(self._methods)),
            title=self._names[image],
        )

    def close(self, *, to: Any = (), step: int | None = None) -> None:
        """Writes the strip of each picture; what goes wrong is a warning.

        Args:
            to: where they are written, too.
            step: by which loggers count; None: the last count.
        """
        if self._last is None:
            return
        count = self._last.count
        try:
            at = count if step is None else whole_number(step, "step")
            for number, name in enumerate(self._names):
                drawn = self.strip(number)
                for place in (*self._places, *_checked_places(to)):
                    write_picture(place, name, "strip", drawn, name, at)
        except Exception as error:  # noqa: BLE001 (likewise)
            self._failed(error, count)

    @contextmanager
    def _untouched(self, network: nn.Module) -> Iterator[None]:
        """Puts the process back; the network itself is what each pass of cfcam leaves as it was."""
        device = next((p.device for p in network.parameters()), torch.device("cpu"))
        process = Process(device)
        # Within autocast, what a pass without a graph has cast is not to be taken by the training's next pass.
        torch.set_autocast_cache_enabled(False)
        try:
            yield
        finally:
            process.restore()

    def _entries(self, network: nn.Module, count: int, began: float) -> list[Entry]:
        if self._known is None or self._known[0] is not network:
            inside = network if self._inside is None else self._inside(network)
            self._known = network, Explainer(inside, self._methods, **self._how)
        explainer, method = self._known[1], next(iter(self._methods))
        capture = explainer.capture(self._images, self._targets)
        if capture.scores.shape[1] != 1:
            raise InputError(
                f"{capture.scores.shape[1]} targets a picture: a list of classes asks for all of them of each; give"
                f" one, or a class for each picture, targets=torch.tensor([...]) of {len(self._names)} indices"
            )
        explanation = explainer.explained(capture)
        if explanation.frames:
            raise InputError("maps of the frames of clips cannot be shown while training: name a layer behind time")
        moment = _moment(explanation, method, count)
        numbers = numbers_of(capture, explanation, method, self._masks, self._comparable(moment), self._steps)
        if not self._drawn:
            self._drawn = as_pictures(explanation, self._shown)
        overlays = [self._overlay(moment, number) for number in range(len(self._names))]
        self._keep(moment)
        seconds = time.perf_counter() - began
        share = torch.nan if self._ended is None else seconds / (time.perf_counter() - self._ended)
        return [
            Entry(
                name=name,
                stem=f"{self.unit}-{count:06d}",
                row={
                    self.unit: count,
                    "picture": name,
                    "label": moment.labels[n],
                    "probability": torch.nan if moment.probabilities[n] is None else moment.probabilities[n],
                    "status": moment.statuses[n],
                    **{key: values[n] for key, values in numbers.items()},
                    "seconds": round(seconds, 4),
                    "share of time": share,
                },
                caption=f"{self.unit} {count}: {moment.labels[n]}",
                overlay=overlays[n],
            )
            for n, name in enumerate(self._names)
        ]

    def _comparable(self, moment: Moment) -> Tensor | None:
        """Returns the maps of the last time, NaN where they were of another class."""
        if self._last is None:
            return None
        same = torch.tensor([a == b for a, b in zip(self._last.labels, moment.labels, strict=True)])
        return torch.where(same.reshape(-1, *[1] * (self._last.maps.ndim - 1)), self._last.maps, torch.nan)

    def _overlay(self, moment: Moment, number: int) -> NDArray[np.uint8]:
        shown = self._drawn[number]
        picture = _rgb(shown, self._plane)
        if moment.statuses[number] != Status.OK:
            return banner(picture, moment.statuses[number])
        heat = moment.heat(shown.shape[:2] if self._plane is None else shown.shape)[number]
        return overlay(picture, plane_of(heat.numpy(), self._plane))

    def _keep(self, moment: Moment) -> None:
        self._last = moment
        if self._times % self._stride == 0:
            self._moments.append(moment)
        if len(self._moments) > _MOST_MOMENTS:
            self._moments, self._stride = self._moments[::2], 2 * self._stride
        self._times += 1

    def _history(self) -> list[Moment]:
        last = [] if self._last is None or self._moments[-1] is self._last else [self._last]
        return [*self._moments, *last]

    def _written(self, place: Any, entries: Sequence[Entry], step: int, count: int) -> None:
        try:
            write_entries(place, entries, step, self._runs)
        except Exception as error:  # noqa: BLE001 (the other places are written to)
            self._failed(error, count)

    def _failed(self, error: Exception, count: Any) -> None:
        line = f"maps of {self.unit} {shown(count)}: {describe(error)}"
        self.failures.append(line)
        if len(self.failures) == 1:
            said = f"{line}; the training goes on, and what fails again is said in TrainingMaps.failures alone"
            try:
                warnings.warn(said, RuntimeWarning, stacklevel=3)
            except RuntimeWarning:  # where warnings are errors, this one is none
                logging.getLogger(__name__).warning(said)


def check_maps(maps: Any) -> None:
    """Raises `InputError` for what no callback can explain with."""
    if not isinstance(maps, TrainingMaps):
        raise InputError(f"maps is {shown(maps)}: give TrainingMaps(images, labels, to=...)")


def _moment(explanation: Explanation, method: str, count: int) -> Moment:
    images = range(len(explanation.targets))
    return Moment(
        count,
        explanation.maps[method][:, 0].detach().float().cpu(),
        explanation.placements.get(method),
        tuple(explanation.label(n, 0) for n in images),
        tuple(explanation.probability(n, 0) for n in images),
        tuple(str(status) for status in explanation.status[method][:, 0]),
    )


def _rgb(shown: NDArray[np.uint8], plane: int | None) -> NDArray[np.uint8]:
    return shown if plane is None else np.repeat(plane_of(shown, plane)[..., None], 3, axis=2)


def _checked_places(to: Any) -> list[Any]:
    several = isinstance(to, Iterable) and not isinstance(to, str)
    return [check_place(place) for place in (to if several else [to])]


def _plane(masks: Tensor | None, images: Tensor) -> int | None:
    """Returns the plane of volumes that is shown each time: that with most of the masks, or the middle one."""
    if images.ndim == 4:
        return None
    if masks is not None and masks.any():
        return int(masks.sum((0, 2, 3)).argmax())
    return images.shape[2] // 2

"""The network's side of a run: batches that shrink when memory is short, and one bad picture that stays alone."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from copy import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from cfcam.capture import Capture, Network, NotPredictedError
from cfcam.capture.alone import tried_beside
from cfcam.capture.answers.probabilities import Probability
from cfcam.errors import CfcamError, JobError, MethodError, MissingExtraError, ModelError, describe_first
from cfcam.explainer import MEASURED, Explainer
from cfcam.explainer_windows import Windows, explain_windows
from cfcam.explanation import Explanation
from cfcam.imaging import Preprocess
from cfcam.jobs.engine.absent import of_those_there
from cfcam.jobs.engine.batch import One, ones_of
from cfcam.jobs.engine.boxes import View, anywhere, asks_boxes, seen_in
from cfcam.jobs.engine.lanes import LEAST, Lanes, copies_of, explained, is_light, lane_count, on_one_core
from cfcam.methods import ScoreCAM, named_methods
from cfcam.methods.base import Method
from cfcam.models import LoadedModel
from cfcam.models.expects import input_channels
from cfcam.shown import counted

DEFAULT_METHODS = ("cf-cam", "grad-cam", "grad-cam++")
"""What a run and a study explain with unless told otherwise."""
_MANY_CHANNELS, _VERY_MANY_CHANNELS = 64, 256
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")


class Engine:
    """Explains prepared pictures; a failure of one of them is returned, and a wrong set-up raised.

    Args:
        model: the network.
        methods: methods by name.
        targets: see `cfcam.explain`.
        layer: see `cfcam.explain`.
        classes: class names.
        probability: how the output is read; see `cfcam.Explainer`.
        output: which tensor holds the class scores; see `cfcam.Explainer`.
        batch_size: pictures in one pass.

    Attributes:
        layer: the layer that is mapped, once `rehearse` has run.
        notes: what the user should know about the set-up.
        batch_size: as given, or less if memory was short.
        windows: None, or how inputs are explained window by window, one window at a time.
        light: whether a batch takes milliseconds, once `open_lanes` has run.
        asks_boxes: whether boxes of a detector are explained, each input by itself.
    """

    def __init__(
        self,
        model: nn.Module,
        methods: dict[str, Method],
        targets: Sequence[int | str],
        *,
        layer: str | None = None,
        classes: Sequence[str] | None = None,
        probability: Probability = "auto",
        output: str | int | None = None,
        batch_size: int = 8,
    ) -> None:
        self.network = Network(model, probability, output)
        self.targets = list(targets)
        self.asks_boxes = asks_boxes(self.targets)
        self.classes = classes
        self.methods = methods
        self.batch_size = 1 if self.asks_boxes else batch_size  # images have boxes of other numbers and places
        self.notes: list[str] = []
        self.windows: Windows | None = None
        self.layer, self.light = layer or "", False
        self._given = named_layer(layer)
        self._probability = probability
        self._explainer = self._make()
        self._succeeded = False
        self._lanes: Lanes | None = None

    @classmethod
    def of(
        cls,
        model: LoadedModel,
        methods: Any,
        targets: Sequence[int | str],
        *,
        layer: str | None = None,
        batch_size: int = 8,
    ) -> Engine:
        """Returns what explains with a loaded network; ``methods`` as `cfcam.methods.named_methods` takes them.

        Raises:
            CfcamError: a method is unknown, or its name or the layer is none for a run.
        """
        return cls(
            model.module,
            prepare_methods(methods),
            targets,
            layer=layer,
            classes=model.classes,
            probability=model.probability,
            output=model.output,
            batch_size=batch_size,
        )

    @property
    def explainer(self) -> Explainer:
        """What explains, with the methods that are left after `rehearse`."""
        return self._explainer

    @property
    def on_gpu(self) -> bool:
        """Whether the network is on a GPU."""
        return any(parameter.device.type == "cuda" for parameter in self.network.model.parameters())

    def prove(self) -> None:
        """Says that the set-up is right, as another process has explained with it: each failure is an input's own."""
        self._succeeded = True

    def explainer_with(self, names: Sequence[str]) -> Explainer:
        """Returns this explainer with some of its methods only; what it knows of layers stays known."""
        fewer = copy(self._explainer)
        fewer.methods = {name: method for name, method in self._explainer.methods.items() if name in names}
        return fewer

    def explainer_of(self, model: nn.Module) -> Explainer:
        """Returns an explainer of another network, such as another checkpoint, that is like this one."""
        return self._make(model)

    def _make(self, model: nn.Module | None = None, *, layer: str | None = None, fingerprint: bool = True) -> Explainer:
        explainer = Explainer(
            self.network.model if model is None else model,
            self.methods,
            layer=layer or self._given,
            classes=self.classes,
            probability=self._probability,
            output=self.network.output,
            fingerprint=fingerprint,
        )
        if model is None:
            explainer._network = self.network  # what one has learned of the output, the other need not learn again
        return explainer

    def rehearse(self, preprocess: Preprocess, *, leave_out: bool = False) -> None:
        """Runs the network once on noise, so that a wrong set-up shows before the first picture is read.

        Args:
            preprocess: gives the shape of the input.
            leave_out: drop methods that do not apply to this network, with a note.

        Raises:
            CfcamError: layer, targets, methods, or the shape of the input do not fit the network.
        """
        shape = (1, preprocess.channels, *preprocess.input_size)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        try:
            self.layer = self._explainer.layer_for(noise, targets := anywhere(self.targets))
            capture = Capture(self.network, noise, layer=self.layer, targets=targets, classes=self.classes)
        except NotPredictedError:
            return  # noise need not hold the class or the box that is asked for; each picture will tell
        except CfcamError:
            raise
        except Exception as error:
            raise ModelError(self._cannot_run(shape, error)) from error
        tried_beside(capture, -noise)
        self._say_what_is_read()
        if not bool(capture.logits.isfinite().all()):
            self._complain_of_weights()
            return
        for name, method in list(self.methods.items()):
            if method.selective:
                self._try(name, method, capture, leave_out=leave_out and len(self.methods) > 1)
        masked = [name for name, method in self.methods.items() if isinstance(method, ScoreCAM)]
        channels = capture.activations.shape[1]
        if masked and channels >= _MANY_CHANNELS:
            # Its masked passes are batched by themselves; more pictures at a time would only hide the progress.
            self.batch_size = 1
        if masked and channels >= _VERY_MANY_CHANNELS:
            self.notes.append(f"{', '.join(masked)} takes {channels + 2} passes of the network for each picture")

    def open_lanes(self, preprocess: Preprocess) -> None:
        """Has the parts of large batches explained side by side from here on, where that can be; after `rehearse`."""
        further = 0 if self.network.mixes else lane_count(self.batch_size) - 1
        if not self.layer or self.windows is not None or preprocess.input_size is None:  # each in a size of its own
            return
        x = torch.zeros(1, preprocess.channels, *preprocess.input_size)
        self.light = not self.on_gpu and is_light(self.network, x, self.batch_size)
        if further and not self.light and (copies := copies_of(self.network, x, self.layer, further)):
            models = [self.network.model, *copies]
            self._lanes = Lanes([self._make(model, layer=self.layer, fingerprint=False) for model in models])

    def _try(self, name: str, method: Method, capture: Capture, *, leave_out: bool) -> None:
        try:
            with capture.quiet():
                method.maps(capture)
        except (MethodError, MissingExtraError) as error:
            if not leave_out:
                raise
            self.methods = {other: m for other, m in self.methods.items() if other != name}
            self.notes.append(f"{name} is left out: {error}")
            self._explainer = self._make()

    def _say_what_is_read(self) -> None:
        """Notes what was assumed of the network's output, where it is not one tensor of logits."""
        read = self.network.record()
        if "output" in read and self.network.output is None:
            self.notes.append(f"the network returns several tensors; the class scores are {read['output']!r} (--head)")
        if str(read["probability"]).startswith("given"):
            self.notes.append(f"the network's probabilities are {read['probability']}: no softmax or sigmoid is added")
        self.notes += read.get("notes", [])

    def _complain_of_weights(self) -> None:
        state = self.network.model.state_dict()
        broken = [n for n, t in state.items() if t.is_floating_point() and bool(t.isnan().any())]
        if broken:
            more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
            raise ModelError(
                f"the network's weights hold NaN (in {broken[0]}{more}) and so does its output: the checkpoint is"
                " broken or the training diverged; load other weights"
            )

    def _cannot_run(self, shape: tuple[int, ...], error: Exception) -> str:
        channels, volumes = input_channels(self.network.model), len(shape) == 5
        hint = f"check the size (--size), and that it is a classifier of {'volumes' if volumes else '2-D pictures'}"
        if self.windows is not None:
            hint = "give other windows (--sliding): smaller ones, or of sides that it can divide"
        elif volumes and is_out_of_memory(error):
            hint = "explain it in windows (--sliding 96), or give a smaller --size"
        if channels is not None and channels != shape[1]:
            hint = f"it takes {counted(channels, 'channel')}: give mean and std {counted(channels, 'number')} each"
            several = ", and the files of its channels (--channels)" if volumes else ""
            hint += ", e.g. --mean 0.5 --std 0.5" if channels == 1 else several
        return f"the network cannot run on an input of shape {shape}: {describe_first(error)}: {hint}"

    def provenance(self) -> dict[str, Any]:
        """Returns what makes the maps, as plain values."""
        return self._explainer.provenance()

    def __call__(self, inputs: Sequence[Tensor]) -> list[Explanation | str]:
        """Explains prepared pictures (C, h, w), of one shape.

        Returns:
            For each its explanation (of one image, on the CPU), or in one line why there is none.

        Raises:
            CfcamError: none was explained yet, and none of these can be for a reason that lies in the set-up.
        """
        return [one if isinstance(one, str) else one.alone() for one in self.in_batches(inputs)]

    def in_batches(
        self, inputs: Sequence[Tensor], classes: Sequence[int] | None = None, views: Sequence[View | None] | None = None
    ) -> list[One | str]:
        """Explains prepared pictures; see `__call__`. Those of one batch are left together.

        Args:
            inputs: see there.
            classes: the class of each that is explained; None: the engine's targets.
            views: of each what the input shows of its picture, in whose pixels boxes are asked for; None: the input's.
        """
        results: list[One | str] = []
        errors: list[Exception] = []
        while len(results) < len(inputs):
            batch = inputs[len(results) :][: self.batch_size]
            asked = None if classes is None else classes[len(results) :][: self.batch_size]
            view = views[len(results)] if views is not None and self.asks_boxes else None
            try:
                explained = self._explained(batch, asked, view)
            except Exception as error:  # noqa: BLE001 (a user's network may raise anything)
                if len(batch) == 1 and is_out_of_memory(error) and self._fewer_masks():
                    pass
                elif len(batch) == 1 and (found := self._of_those_there(batch[0], error, asked, view)):
                    self._succeeded = True
                    results += found
                elif len(batch) == 1:
                    errors.append(error)
                    results.append(self._reason(error))
                elif is_out_of_memory(error):
                    self.batch_size = len(batch) // 2
                    self._say_smaller()
                else:
                    results += self._one_by_one(batch, errors, asked)
                del error
                torch.cuda.empty_cache()
            else:
                self._succeeded = True
                results += explained
        if not self._succeeded and len(errors) == len(inputs) and _lies_in_the_set_up(errors[-1]):
            raise errors[-1]
        return results

    def _one_by_one(
        self, inputs: Sequence[Tensor], errors: list[Exception], classes: Sequence[int] | None
    ) -> list[One | str]:
        results: list[One | str] = []
        for n, x in enumerate(inputs):
            try:
                results += self._explained([x], None if classes is None else classes[n : n + 1])
                self._succeeded = True
            except Exception as error:  # noqa: BLE001 (as above)
                if found := self._of_those_there(x, error, classes):
                    self._succeeded = True
                    results += found
                    continue
                errors.append(error)
                results.append(self._reason(error))
        return results

    def _of_those_there(
        self, x: Tensor, error: Exception, classes: Sequence[int] | None, view: View | None = None
    ) -> list[One | str]:
        targets = self.targets if classes is None else ()  # those are one for each image
        return of_those_there(lambda rest: self._explained([x], None, view, rest), targets, error)

    def _explained(
        self,
        inputs: Sequence[Tensor],
        classes: Sequence[int] | None = None,
        view: View | None = None,
        targets: Any = None,
    ) -> list[One | str]:
        """Explains inputs (C, *spatial) as one batch and returns its images; of those that failed, why."""
        asked = self.targets if classes is None else torch.tensor(classes)[:, None]
        targets = seen_in(view, asked if targets is None else targets)
        with on_one_core() if self.light else nullcontext():
            x = torch.stack(list(inputs))
            if self.windows is not None:
                how = self.windows
                parts = [explain_windows(self._explainer, x, how.size, how.overlap, targets, aggregate=how.aggregate)]
            elif self._lanes is not None and len(x) >= 2 * LEAST:  # fewer run faster in one piece, on all cores
                provenance = self._explainer.provenance()
                parts = [replace(part, provenance=provenance) for part in self._lanes(x, targets)]
            else:
                parts = [explained(self._explainer, x, targets)]
            return [one for part in parts for one in ones_of(part)]

    def _reason(self, error: Exception) -> str:
        if isinstance(error, CfcamError):
            return str(error)
        if is_out_of_memory(error):
            smaller = "a smaller input size, windows (--sliding)" if self.windows is None else "smaller windows"
            return f"out of memory with this one alone: take fewer targets, {smaller}, or the CPU"
        return f"the network failed on this picture ({describe_first(error)})"

    def _fewer_masks(self) -> bool:
        """Halves the number of masked inputs in one pass, which changes no map; tells whether it could."""
        large = {n: m for n, m in self.methods.items() if isinstance(m, ScoreCAM) and m.batch_size != 1}
        if not large:
            return False
        self.methods |= {
            name: replace(method, batch_size=(method.batch_size or 8) // 2) for name, method in large.items()
        }
        self._lanes = None
        self._explainer = self._make()
        return True

    def _say_smaller(self) -> None:
        self.notes = [note for note in self.notes if not note.startswith("memory")]
        self.notes.append(f"memory is short: batches of {self.batch_size} from here on")


def _lies_in_the_set_up(error: Exception) -> bool:
    """Tells whether an error would come with any picture; a class that is predicted nowhere lies in this one."""
    return isinstance(error, CfcamError) and not isinstance(error, NotPredictedError)


def is_out_of_memory(error: Exception) -> bool:
    """Tells whether an error says that there was too little memory, on the device or of the machine."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _NO_MEMORY)


def prepare_methods(settings_methods: Any) -> dict[str, Method]:
    """Returns methods by name; see `cfcam.methods.named_methods`."""
    named = named_methods(settings_methods)
    wrong = [name for name in named if not name or set(name) & set('/\\<>:"|?*\0') or len(name.encode()) > 40]
    if wrong:
        raise JobError(f"a method called {wrong[0]!r} cannot name a file: choose another name for it")
    return named


def named_layer(layer: str | None) -> str | None:
    """Returns the layer of a run, which is settled before the first picture is read.

    Raises:
        JobError: it is to be measured.
    """
    if layer == MEASURED:
        raise JobError(
            "layer 'measured': a run settles its layer before it reads pictures; rank them with"
            " `cfcam layers MODEL --measure PICTURES`, and give the name of the best"
        )
    return layer

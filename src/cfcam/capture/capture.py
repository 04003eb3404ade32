"""Running a network once: activations, scores, and lazily the gradients between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from cfcam.capture.answers.answer import Answer, Taken
from cfcam.capture.answers.probabilities import Kind
from cfcam.capture.columns import fitting, stacked
from cfcam.capture.inputs import check_rows
from cfcam.capture.layers.frames import FrameGrid
from cfcam.capture.layers.placement import Placement, upsampled
from cfcam.capture.layers.tokens import TokenGrid
from cfcam.capture.network import Network
from cfcam.capture.recording import Recording
from cfcam.capture.rescoring import Rescorer
from cfcam.capture.state.guarantee import Autocast
from cfcam.capture.strides import rightly_read
from cfcam.capture.targets.classes import check_names, check_targets, resolve_targets, wanted_of
from cfcam.capture.targets.scores import Scores
from cfcam.capture.together import Together, curvatures
from cfcam.errors import InputError

T = TypeVar("T")


class Capture:
    """One pass of a network: what every method needs, computed at most once.

    Args:
        network: the model.
        x: (N, C, *spatial) input.
        layer: name of the target layer, or the module.
        targets: what is explained, see `check_targets`.
        classes: class names, for targets given by name.

    Attributes:
        input: (N, C, *spatial) the input as the network saw it.
        activations: (N, C', *layer_spatial) of the target layer, detached, at least float32.
        grid: how they are seen in the layer's output, which may be tokens.
        logits: (N, classes) detached.
        rules: what was asked for, checked.
        targets: the K explained scores of each image.
        scores: (N, K) detached.

    Raises:
        LayerError: the layer does not exist, did not run or ran several times, has no spatial extent, or the scores
            do not depend on it.
        TargetError, InputError, OutputError: see `check_targets`, `Network`.
    """

    def __init__(
        self,
        network: Network,
        x: Tensor,
        *,
        layer: str | nn.Module,
        targets: Any = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        self.network = network
        self.layer, self._module = network.find(layer)
        with torch.inference_mode(False):
            given = network.prepare(x)
            self.rules = check_targets(targets, len(given), given.shape[2:])
            self.autocast = Autocast.current(given.device.type)
            self.want = wanted_of(self.rules, classes)
            self._record(given)
            self.targets = self._resolved(self.rules, classes)
            check_rows(len(self.targets.indices), given.shape)
            self._score()
        self._memo: dict[Any, Any] = {}
        self._change: Callable[[Tensor], Tensor] | None = None
        self._together: tuple[Together, int] | None = None

    def _record(self, given: Tensor, taken: Taken | None = None, *, grad: bool = False) -> None:
        what = self.network, given, self.layer, self._module
        self._recording = Recording(*what, want=self.want, taken=taken, grad=grad)
        self._rescorer = Rescorer(self._recording, self.autocast)

    def _score(self) -> None:
        self._scores = self._scored(self._recording)
        if not self._scores.requires_grad:
            # The tail ran under the model's own no_grad block around the target layer: record all of the pass.
            self._record(self.given, self._recording.answer.taken, grad=True)
            self._scores = self._scored(self._recording)

    def _resolved(self, rules: list[Any], classes: Sequence[str] | None) -> Scores:
        of, size = self._recording.answer, self.input.shape[2:]
        check_names(classes, of.logits, of.outputs, self.want)
        with torch.enable_grad():
            return resolve_targets(rules, of.logits, classes, of.kind, of.output, size, of.numbers)

    def _scored(self, recording: Recording) -> Tensor:
        with torch.enable_grad():
            return rightly_read(self.targets(recording.answer.output, recording.answer.logits))

    @property
    def input(self) -> Tensor:
        """(N, C, *spatial) the input as the network saw it."""
        return self._recording.input

    @property
    def given(self) -> Tensor:
        """What the network is given for `input`: the same but for clips, whose frames may lie before their channels."""
        return self._recording.given

    @property
    def grid(self) -> TokenGrid:
        """How maps are seen in the layer's output, which may be tokens."""
        return self._recording.grid

    @property
    def output(self) -> Any:
        """What the network returned."""
        return self._recording.answer.output

    def as_given(self, x: Tensor) -> Tensor:
        """Returns what the network is given for changed versions (N, C, *spatial) of `input`, all of them, in order."""
        return self._recording.layout.given(x, self.given)

    def placement(self, grid: Sequence[int] | None = None) -> Placement | None:
        """Returns where the cells of a grid lie on the input; None: they share it evenly.

        Args:
            grid: of maps of this capture; None: the layer's.
        """
        return self._recording.placement(tuple(self.activations.shape[2:] if grid is None else grid))

    def over_input(self, maps: Tensor) -> Tensor:
        """Returns maps (M, K, *grid) at the size of `input`, each cell over what it sees; 0 where none does."""
        return upsampled(maps, self.input.shape[2:], self.placement(maps.shape[2:]))

    @property
    def logits(self) -> Tensor:
        """(N, classes) the network's class scores, detached."""
        return self._recording.answer.logits.detach()

    @property
    def kind(self) -> Kind:
        """How the class scores become probabilities: "softmax" or "sigmoid"."""
        return self._recording.answer.kind

    @property
    def scores(self) -> Tensor:
        """(N, K) the explained scores, detached."""
        return self._scores.detach()

    @property
    def probabilities(self) -> Tensor:
        """(N, K) the explained scores, those of classes as probabilities in [0, 1]; detached."""
        with torch.no_grad():
            return self.targets(self.output, self._recording.answer.logits, probability=True).detach()

    @cached_property
    def activations(self) -> Tensor:
        """(N, C, *spatial) the target layer's output, at least float32."""
        return self._recording.activations()

    @cached_property
    def gradients(self) -> Tensor:
        """(N, K, C, *spatial) the gradients of the K scores with respect to the activations, at least float32.

        Raises:
            LayerError: a score does not depend on the layer.
        """
        # Images do not mix in evaluation mode, so the gradient of a sum over a batch is theirs, one by one.
        if self._together is None:
            found = self._recording.gradients(self._scores, self.autocast)
        else:
            together, first = self._together
            found = stacked([together.gradient(self._recording, first + k) for k in range(self._scores.shape[1])])
        return found if self._change is None else self._change(found)

    @cached_property
    def curvatures(self) -> Tensor:
        """(N, K, C, *spatial) the Hessians of the K scores times the activations, at least float32.

        Raises:
            LayerError: a score does not depend on the layer, or has no second derivatives that could be had.
        """
        known: dict[str, bool] = self.memo((curvatures, type(self.targets)), dict)
        return curvatures(self._recording, self._scores, self.autocast, known)

    @property
    def framed(self) -> bool:
        """Whether the layer works on single frames of clips, and has a map for each."""
        return isinstance(self.grid, FrameGrid)

    @property
    def frame_axis(self) -> int:
        """Axis of what the network is given on which the frames of clips lie, 1 or 2; 0: no map has frames."""
        return self.grid.axes[0] if isinstance(self.grid, FrameGrid) else 0

    def frames_apart(self) -> Capture:
        """Returns a copy whose activations and gradients are those of N * T pictures, for methods that pool over them.

        Nothing else of it is to be used: its scores and passes are those of the clips.
        """
        other = self._copy()
        other.__dict__["activations"] = self.activations.transpose(1, 2).flatten(0, 1)
        other.__dict__["gradients"] = self.gradients.movedim(3, 1).flatten(0, 1)
        other._memo = self.memo("frames apart", dict)
        return other

    def frames_together(self, maps: Tensor) -> Tensor:
        """Returns maps (N, K, T, *spatial) of clips from those of their frames, (N * T, K, *spatial)."""
        return maps.unflatten(0, (len(self.input), -1)).transpose(1, 2)

    @property
    def rounds(self) -> bool:
        """Whether `rescore` can round: on this CPU, and for this network as far as it has run."""
        return self._rescorer.rounds

    def rescore(self, x: Tensor, images: Tensor, *, probability: bool = False, rounded: bool = False) -> Tensor:
        """Returns the scores (M, K) of other inputs, without a graph and without hooks.

        Args:
            x: (M, C, *spatial) inputs made from images of the batch.
            images: (M,) int64, which image each was made from: its K targets are scored.
            probability: class scores as probabilities instead of logits.
            rounded: with convolutions in bfloat16, which takes half of the time, where `rounds`.
        """
        return self._rescorer.of_inputs(x, images, self.targets, probability=probability, rounded=rounded)

    def answer(self, x: Tensor, images: Tensor | None = None, rows: int | None = None) -> Answer:
        """Runs the network on other inputs, see `cfcam.capture.rescoring.Rescorer.answer`."""
        return self._rescorer.answer(x, images, rows)

    def rescore_activations(self, activations: Tensor, images: Tensor, *, probability: bool = False) -> Tensor:
        """Returns the scores (M, K) with the target layer's output replaced, without a graph.

        Of one image only the tail behind the layer runs M times, if the network bears it: tried once per capture.

        Args:
            activations: (M, C, *layer_spatial) what the target layer returns in place of its output.
            images: (M,) int64, which image of the batch each was made from: its K targets are scored.
            probability: class scores as probabilities instead of logits.
        """
        return self._rescorer.of_activations(activations, images, self.targets, probability=probability)

    def again(
        self, x: Tensor | None = None, layer: str | nn.Module | None = None, targets: Scores | None = None
    ) -> Capture:
        """Returns a capture of the same images' targets in another input, at another layer, or of other scores.

        The classes stay those of this capture, even where the other input is predicted otherwise. Another input or
        layer costs a pass; other scores alone share this pass, its graph and its memo.

        Args:
            x: (N, C, *spatial) input in place of this one; its spatial size may differ if the network allows that.
            layer: name of another target layer, or the module.
            targets: K other scores of each image.

        Raises:
            InputError: ``x`` is no batch of N images.
            LayerError: see `Capture`.
        """
        other, given = self._copy(), self.given
        if x is not None:
            if x.ndim != self.input.ndim or len(x) != len(self.input):
                raise InputError(f"the other input has shape {tuple(x.shape)} instead of {tuple(self.input.shape)}")
            x = x.to(self.input)
            given = self.as_given(x.clone() if x.is_inference() else x.detach())
        if layer is not None:
            other.layer, other._module = self.network.find(layer)
        other.targets, other._together = self.targets if targets is None else targets, None
        with torch.inference_mode(False), self.autocast():
            if x is not None or layer is not None:
                other._memo = {}
                other._record(given, self._recording.answer.taken)
            other._score()
        return other

    def _copy(self) -> Capture:
        other, members = object.__new__(Capture), vars(Capture)
        computed = {name for name, member in members.items() if isinstance(member, cached_property)}
        other.__dict__.update({name: value for name, value in self.__dict__.items() if name not in computed})
        return other

    def at(self, layers: Sequence[str | nn.Module]) -> list[Capture]:
        """Returns captures of the same input and targets at several layers, from one more pass for all of them.

        One backward pass for each target gives the gradients at all of them. The pass is shared with other parts of
        the targets, see `split`.

        Args:
            layers: names of different layers, or the modules, in any order; each may be inside of another.

        Raises:
            LayerError: see `Capture`.
        """
        found = self.network.find_each(layers)

        def recorded() -> list[tuple[Recording, Rescorer, dict[Any, Any]]]:
            together = Recording.of_layers(self._recording, found, self._scored)
            return [(one, Rescorer(one, self.autocast), {}) for one in together]

        with torch.inference_mode(False), self.autocast():
            known = self.memo(("at", *[name for name, _ in found]), recorded)
            scores = self._scored(known[0][0])
        shared = (Together([one for one, _, _ in known], scores, self.autocast), 0) if len(known) > 1 else None
        captures = []
        for one, rescorer, memo in known:
            other = self._copy()
            other.layer, other._module = one.layer, one.module
            other._recording, other._rescorer, other._memo = one, rescorer, memo
            other._scores, other._together = scores, shared
            captures.append(other)
        return captures

    def asked(self, targets: Any, classes: Sequence[str] | None = None) -> Capture | None:
        """Returns a capture of other targets that shares this pass, its graph and its memo.

        Args:
            targets: see `check_targets`.
            classes: class names, as they were given to this capture.

        Returns:
            None if these targets might be read from another tensor of the network's output, which takes a pass.

        Raises:
            TargetError: see `check_targets`.
        """
        rules = check_targets(targets, len(self.given), self.given.shape[2:])
        want, answer = wanted_of(rules, classes), self._recording.answer
        vector = answer.logits.ndim == 2 and answer.logits.shape[1] >= want.least
        if not vector or replace(want, least=0, vector=False) != replace(self.want, least=0, vector=False):
            return None
        with torch.inference_mode(False):
            found = self.again(targets=self._resolved(rules, classes))
        found.rules = rules
        return found

    def memo(self, key: Any, compute: Callable[[], T]) -> T:
        """Returns ``compute()``, evaluated once per capture and key: what methods share (distances, clusters)."""
        if key not in self._memo:
            self._memo[key] = compute()
        return cast("T", self._memo[key])

    def disturbed(self, change: Callable[[Tensor], Tensor]) -> Capture:
        """Returns a copy whose gradients pass through ``change``, to see what noise on them does to a map.

        So do those of the captures it gives, at other layers, of other inputs or scores. It shares this pass and its
        memo, which holds nothing that depends on gradients.

        Args:
            change: from gradients (N, K, C, *spatial) to others of this shape, for any K of the targets.
        """
        other = self._copy()
        other._change, other.__dict__["activations"] = change, self.activations  # those are not touched
        return other

    def split(self, limit: int | None = None) -> Iterator[Capture]:
        """Yields captures of some of the targets each, such that no gradient takes more than ``limit`` bytes.

        Of many targets and channels they would fill the memory; what is made of few stays in a CPU's cache.

        Args:
            limit: None: 8 MiB on a CPU, 256 MiB elsewhere.
        """
        step = fitting(self._recording.leaves, limit)
        for block in map(self.only, self.blocks(limit)):
            columns = block._scores.shape[1]
            if columns > step and (found := self._recording.at_once(block._scores, self.autocast)) is not None:
                block.__dict__["gradients"] = found  # the parts have views of them
            yield from (block.only(slice(first, first + step)) for first in range(0, columns, step))

    def blocks(self, limit: int | None = None) -> list[slice]:
        """Returns the targets in blocks for `only`: as in `split`; many more if kept once for all places."""
        step, columns = fitting(self._recording.leaves, limit), self._scores.shape[1]
        if step < columns and not (self._together or self._change or "gradients" in self.__dict__):
            step = max(1, step * self._recording.tail(self._scores, self.autocast).places // 8 // step) * step
        return [slice(start, start + step) for start in range(0, columns, step)]

    def only(self, columns: slice) -> Capture:
        """Returns a capture of some of the targets, which shares this pass, its graph and its memo."""
        if columns.start == 0 and columns.stop >= self._scores.shape[1]:
            return self
        part = self._copy()
        part.__dict__["activations"] = self.activations
        if "gradients" in self.__dict__:
            part.__dict__["gradients"] = self.gradients[:, columns]
        part.targets = self.targets.select(columns)
        part._together = self._together and (self._together[0], self._together[1] + columns.start)
        with torch.inference_mode(False), torch.enable_grad():
            part._scores = self._scores[:, columns]
        return part

    def quiet(self) -> ExitStack:
        """Returns the context in which methods compute: no graph, no autocast, no inference mode."""
        return self.autocast.quiet()

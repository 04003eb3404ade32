"""Running a network once: activations, scores, and lazily the gradients between them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from functools import cache, cached_property
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from cfcam.capture.answers.answer import Answer
from cfcam.capture.answers.outputs import find_tensor, replace_tensor
from cfcam.capture.batches import by_batches
from cfcam.capture.half_precision import at_least_float32, gradients, takes_part
from cfcam.capture.inputs import check_rows
from cfcam.capture.kernels import PackedKernels
from cfcam.capture.layers.calls import check_calls, split_call
from cfcam.capture.layers.finding import find_layer
from cfcam.capture.layers.frames import IMAGES, ClipEvidence, FrameGrid, Layout, layout_of, seen_picture, settled
from cfcam.capture.layers.placement import Placement, upsampled
from cfcam.capture.layers.tokens import TokenGrid, one_reading
from cfcam.capture.network import Network
from cfcam.capture.state.guarantee import Autocast, preserved
from cfcam.capture.targets.classes import (
    Kind,
    Scores,
    check_names,
    check_targets,
    resolve_targets,
    wanted_of,
)
from cfcam.errors import CfcamError, InputError, LayerError

T = TypeVar("T")


class Capture:
    """One pass of a network: what every method needs, computed at most once.

    The model runs without a graph up to the target layer. That layer's output becomes a leaf, and only the tail
    behind it is recorded; `torch.autograd.grad` to the leaf then gives the gradients, and no parameter is touched.

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
        output: what the network returned.
        logits: (N, classes) detached.
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
        self.layer, self._module = find_layer(network.model, layer)
        with torch.inference_mode(False):
            self._given = self.input = network.prepare(x)
            rules = check_targets(targets, len(self.input), self.input.shape[2:])
            self.autocast = Autocast.current(self.input.device.type)
            self._want, self.taken = wanted_of(rules, classes), None
            self._run()
            self.taken = self._answer.taken
            check_names(classes, self._logits, self._answer.outputs, self._want)
            with torch.enable_grad():
                self.targets: Scores = resolve_targets(
                    rules,
                    self._logits,
                    classes,
                    self._answer.kind,
                    self.output,
                    self.input.shape[2:],
                    self._answer.numbers,
                )
            check_rows(len(self.targets.indices), self._given.shape)
            self._score()
        self._memo: dict[Any, Any] = {}
        self._change: Callable[[Tensor], Tensor] | None = None

    def _score(self) -> None:
        with torch.enable_grad():
            self._scores = self.targets(self.output, self._logits)
        if not self._scores.requires_grad:
            # The tail ran under the model's own no_grad block around the target layer: record all of the pass.
            self._run(grad=True)
            with torch.enable_grad():
                self._scores = self.targets(self.output, self._logits)

    def _run(self, *, grad: bool = False) -> None:
        leaves: list[Tensor] = []
        self._inside = False
        given, call = self._given, split_call(self.layer)[1]
        place = (self.layer, given.shape[1:])
        evidence = ClipEvidence(tuple(given.shape), x=lambda: given)
        readings: list[TokenGrid] = []
        calls = 0

        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            nonlocal calls, readings
            calls += 1
            if call is not None and calls - 1 != call:
                return output
            tensor = self._checked(output)
            if place not in grids and not leaves:
                readings = evidence.readings(tensor.shape) or evidence.of_one(tensor.shape)
            # A later call's output may depend on an earlier one's: then it keeps its own place in the graph.
            self._inside = torch.is_inference_mode_enabled()
            # Tensors of a part under inference mode are no autograd's: a copy is, and its copy is handed on.
            with torch.inference_mode(False), torch.enable_grad():
                tensor = tensor.clone() if tensor.is_inference() else tensor
                leaves.append(tensor if leaves and tensor.requires_grad else tensor.detach().requires_grad_())
                # The tail gets a copy: an in-place activation behind the layer must not change what was captured.
                handed = leaves[-1].clone()
            torch.set_grad_enabled(True)
            return replace_tensor(output, handed)

        def before(module: nn.Module, args: Any, kwargs: Any) -> None:
            # A later call on the input alone needs no graph of what is inside of the layer.
            seen = [*args, *kwargs.values()]
            if leaves and all(isinstance(one, Tensor) and not one.requires_grad for one in seen):
                torch.set_grad_enabled(grad)

        model, grids = self.network.model, self.network.grids
        observed = nullcontext() if place in grids else evidence.collected(model)
        with preserved(model, given.device), torch.set_grad_enabled(grad), observed:
            handles = [self._module.register_forward_hook(hook)]
            if call is None:
                handles.append(self._module.register_forward_pre_hook(before, with_kwargs=True))
            try:
                self._answer = self.network.answer(given, want=self._want, taken=self.taken)
            finally:
                for handle in handles:
                    handle.remove()
        if self.network.keeper.late:  # the graph holds what was put back: again, on copies
            self._run(grad=grad)
            return
        self.output, self._logits = self._answer.output, self._answer.logits
        self._leaves = leaves
        if place not in grids:
            if len(leaves) > 1:
                readings = evidence.looped(leaves[0].shape, calls)
            if len(leaves) < 2 or not readings:
                check_calls(self.layer, calls)
            self._settle(place, one_reading(readings, self.layer, leaves[0].shape, given.shape), evidence)
        self.grid, self._layout, _ = grids[place]
        if len(leaves) != 1 and not isinstance(self.grid, FrameGrid):
            check_calls(self.layer, calls)
        self.input = self._layout.images(given)

    def _checked(self, output: Any) -> Tensor:
        """Returns the tensor in the layer's output, once it is known to have gradients and maps."""
        tensor = find_tensor(output)
        if tensor is None:
            raise LayerError(f"layer {self.layer!r} returned a {type(output).__name__} without a tensor")
        if not tensor.is_floating_point():
            raise LayerError(
                f"layer {self.layer!r} returns {tensor.dtype}, which has neither gradients nor maps: name a layer"
                " that returns floating-point numbers, or give the network from before it was quantised"
            )
        return tensor

    def _settle(self, place: tuple[str, torch.Size], grid: TokenGrid, evidence: ClipEvidence) -> None:
        """Keeps how the layer's output is seen as maps, and the input as images, once clips are understood."""
        given, call, layout = self._given, split_call(self.layer)[1], IMAGES
        if isinstance(grid, FrameGrid):
            calls = len(self._leaves) > 1
            # Of one clip two copies: the order of the rows shows in a batch only.
            pair = given if len(given) > 1 else torch.cat([given, given])
            if len(given) == 1 and not self._takes_two(pair, sum(map(len, self._leaves))):
                pair, self.network.one_at_a_time = given, True
            grid = settled(grid, pair, self._outputs, self.layer, calls=calls)
            layout = layout_of(grid, given.ndim)
        elif len(grid.grid) == given.ndim - 3:  # one picture of several
            found = None if call is None else seen_picture(given, call, self._leaves[0], self._outputs)
            if found is None:
                one_reading([], self.layer, self._leaves[0].shape, given.shape)
            layout = found or IMAGES
        evidence.forget()
        self.network.grids[place] = grid, layout, evidence

    def _outputs(self, given: Tensor) -> Tensor:
        """Returns the layer's outputs (rows, ...) for another input, one call after another."""
        call, found = split_call(self.layer)[1], list[Tensor]()

        def hook(module: nn.Module, args: Any, output: Any) -> None:
            found.append(self._checked(output).detach().clone())

        with torch.no_grad(), preserved(self.network.model, given.device):
            handle = self._module.register_forward_hook(hook)
            try:
                images = None if len(given) == len(self._given) else given.new_zeros(len(given), dtype=torch.int64)
                self.network.answer(given, images=images, want=self._want, taken=self._answer.again(len(given)))
            finally:
                handle.remove()
        return torch.cat(found if call is None else found[call : call + 1])

    def _takes_two(self, pair: Tensor, rows: int) -> bool:
        """Tells whether the network takes two clips at once; one that takes the slices of one case does not."""
        try:
            return len(self._outputs(pair)) == 2 * rows
        except (RuntimeError, ValueError, TypeError):  # a `CfcamError` among them
            return False

    @property
    def given(self) -> Tensor:
        """What the network is given for `input`: the same but for clips, whose frames may lie before their channels."""
        return self._given

    def as_given(self, x: Tensor) -> Tensor:
        """Returns what the network is given for changed versions (N, C, *spatial) of `input`, all of them, in order."""
        return self._layout.given(x, self._given)

    def placement(self, grid: Sequence[int] | None = None) -> Placement | None:
        """Returns where the cells of a grid lie on the input; None: they share it evenly.

        Args:
            grid: of maps of this capture; None: the layer's.
        """
        own = self.activations.shape[2:] if grid is None else tuple(grid)
        place = (self.layer, self._given.shape[1:])
        placements = self.network.placements.setdefault(place, {})
        if tuple(own) not in placements:
            placements[tuple(own)] = self._placement(tuple(own), *self.network.grids[place])
        return placements[tuple(own)]

    def _placement(
        self, own: tuple[int, ...], known: TokenGrid, layout: Layout, evidence: ClipEvidence
    ) -> Placement | None:
        if own != tuple(known.grid) or isinstance(known, FrameGrid):
            return evidence.placement(known if own == tuple(known.grid) else TokenGrid(own))
        if layout.kind == "one":
            return evidence.single.placement(known) if evidence.single is not None else None
        return evidence.placement(known)

    def over_input(self, maps: Tensor) -> Tensor:
        """Returns maps (M, K, *grid) at the size of `input`, each cell over what it sees; 0 where none does."""
        return upsampled(maps, self.input.shape[2:], self.placement(maps.shape[2:]))

    @property
    def logits(self) -> Tensor:
        """(N, classes) the network's class scores, detached."""
        return self._logits.detach()

    @property
    def kind(self) -> Kind:
        """How the class scores become probabilities: "softmax" or "sigmoid"."""
        return self._answer.kind

    @property
    def scores(self) -> Tensor:
        """(N, K) the explained scores, detached."""
        return self._scores.detach()

    @property
    def probabilities(self) -> Tensor:
        """(N, K) the explained scores, those of classes as probabilities in [0, 1]; detached."""
        with torch.no_grad():
            return self.targets(self.output, self._logits, probability=True).detach()

    @cached_property
    def activations(self) -> Tensor:
        """(N, C, *spatial) the target layer's output, at least float32."""
        return at_least_float32(self.grid.maps(_joined([leaf.detach() for leaf in self._leaves])))

    @cached_property
    def gradients(self) -> Tensor:
        """(N, K, C, *spatial) the gradients of the K scores with respect to the activations, at least float32.

        Raises:
            LayerError: a score does not depend on the layer.
        """
        # Images do not mix in evaluation mode, so the gradient of a sum over a batch is theirs, one by one.
        found = torch.stack([self._gradient(k) for k in range(self._scores.shape[1])], dim=1)
        return found if self._change is None else self._change(found)

    def _gradient(self, k: int) -> Tensor:
        found: list[Tensor | None] = [None]
        if self.network.quantised:
            raise LayerError(
                f"the explained score has no gradient, because {self.network.quantised!r} of this network is quantised:"
                " use score-cam, or the network from before it was quantised"
            )
        if self._scores.requires_grad:
            with torch.inference_mode(False):
                half = self.network.half or takes_part(
                    *self._leaves, self._logits, self._scores, autocast=self.autocast
                )
                try:
                    found = gradients(
                        self._scores[:, k], self._leaves, self._rows(), half=half, retain_graph=True, allow_unused=True
                    )
                except RuntimeError as error:
                    if "checkpoint" not in str(error).lower():
                        raise
                    raise LayerError(
                        f"an activation checkpoint between layer {self.layer!r} and the score refuses gradients to a"
                        " layer: switch it off for the call, with gradient_checkpointing_disable() or"
                        " use_reentrant=False"
                    ) from error
        if all(gradient is None for gradient in found) and (self._inside or self._logits.is_inference()):
            part = f"layer {self.layer!r}, or what follows it," if self._inside else "the end of the network"
            raise LayerError(
                f"{part} runs under torch.inference_mode() in the network's own forward, where no gradients are"
                " recorded: name a layer behind that part, use score-cam, or take inference_mode out of forward"
            )
        if all(gradient is None for gradient in found):
            raise LayerError(
                f"the explained score does not depend on layer {self.layer!r} (its output is unused, or detached on the"
                " way to the logits): name a layer on the path to them"
            )
        pairs = zip(found, self._leaves, strict=True)
        return self.grid.maps(_joined([torch.zeros_like(leaf) if g is None else g for g, leaf in pairs]))

    def _rows(self) -> list[Tensor] | None:
        """Returns for each leaf which image its rows are of; None: row n is of image n."""
        if not isinstance(self.grid, FrameGrid) or len(self._leaves) > 1:
            return None
        return [self.grid.rows(len(self._given)).to(self._given.device)]

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
        other = object.__new__(Capture)
        other.__dict__.update(self.__dict__)
        other.__dict__["activations"] = self.activations.transpose(1, 2).flatten(0, 1)
        other.__dict__["gradients"] = self.gradients.movedim(3, 1).flatten(0, 1)
        other._memo = self.memo("frames apart", dict)
        return other

    def frames_together(self, maps: Tensor) -> Tensor:
        """Returns maps (N, K, T, *spatial) of clips from those of their frames, (N * T, K, *spatial)."""
        return maps.unflatten(0, (len(self.input), -1)).transpose(1, 2)

    def rescore(self, x: Tensor, images: Tensor, *, probability: bool = False) -> Tensor:
        """Returns the scores (M, K) of other inputs, without a graph and without hooks.

        Args:
            x: (M, C, *spatial) inputs made from images of the batch.
            images: (M,) int64, which image each was made from: its K targets are scored.
            probability: class scores as probabilities instead of logits.
        """
        return by_batches(
            self.network, len(self.input), x, images, lambda x, i: self._rescored(x, i, probability=probability)
        )

    def _rescored(self, x: Tensor, images: Tensor, *, probability: bool) -> Tensor:
        if self.input.device.type == "cpu":
            _keep_freed_memory()
        with torch.inference_mode(False), torch.no_grad(), preserved(self.network.model, self.input.device):
            with self.autocast(), self._packed_kernels():
                found = self.answer(x.to(self.input.dtype), images)
            # A softmax in half precision would round away the small differences that masks make.
            scores = self.targets(found.output, at_least_float32(found.logits), images, probability=probability)
        return at_least_float32(scores)

    def answer(self, x: Tensor, images: Tensor | None = None, rows: int | None = None) -> Answer:
        """Runs the network on other inputs, and reads the same tensor of its output as in the first pass.

        Args:
            x: (M, C, *spatial).
            images: (M,) the image of the batch that each was made from; None: they are the batch.
            rows: of the output, where hooks make more or fewer of them than M.
        """
        given = self._layout.given(x, self._given, images)
        if not self.network.one_at_a_time or len(given) == 1:
            return self.network.answer(given, images=images, want=self._want, taken=self._answer.again(rows))
        single = [None] * len(given) if images is None else images.split(1)
        found = [
            self.network.answer(one, images=image, want=self._want, taken=self._answer.again())
            for one, image in zip(given.split(1), single, strict=True)
        ]
        outputs = [one.output for one in found]
        joined = torch.cat(outputs) if all(isinstance(output, Tensor) for output in outputs) else outputs
        return replace(found[0], output=joined, logits=torch.cat([one.logits for one in found]))

    def rescore_activations(self, activations: Tensor, images: Tensor, *, probability: bool = False) -> Tensor:
        """Returns the scores (M, K) with the target layer's output replaced, without a graph.

        If all of it belongs to one image, and the network bears it, the head runs on that image once and only the tail
        behind the layer runs M times. Whether it does is tried out once per capture; if not, all of it runs M times.

        Args:
            activations: (M, C, *layer_spatial) what the target layer returns in place of its output.
            images: (M,) int64, which image of the batch each was made from: its K targets are scored.
            probability: class scores as probabilities instead of logits.
        """
        if self.network.one_at_a_time and len(images) > 1:
            pairs = zip(activations.split(1), images.split(1), strict=True)
            return torch.cat([self.rescore_activations(a, i, probability=probability) for a, i in pairs])
        alone = (
            self.network.batch is None
            and len(images) > 1
            and bool((images == images[0]).all())
            and self._tail_runs_alone(activations, images)
        )
        if alone:
            return self._rescored_activations(self.input[images[:1]], activations, images, probability=probability)
        return by_batches(
            self.network,
            len(self.input),
            activations,
            images,
            lambda a, i: self._rescored_activations(self.input[i], a, i, probability=probability),
        )

    def _rescored_activations(self, x: Tensor, activations: Tensor, images: Tensor, *, probability: bool) -> Tensor:
        call, calls = split_call(self.layer)[1], 0
        parts: list[Tensor] = []

        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            nonlocal calls, parts
            calls += 1
            if call is not None and calls - 1 != call:
                return output
            if not parts:
                # The tail gets a copy: an in-place activation behind the layer must not change the caller's tensor.
                maps = activations.to(self._leaves[0].dtype, copy=True)
                own = _joined([leaf.detach() for leaf in self._leaves])
                parts = list(self.grid.replaced(own, maps, images).chunk(len(self._leaves)))
            return replace_tensor(output, parts.pop(0))

        with torch.inference_mode(False), torch.no_grad(), preserved(self.network.model, self.input.device):
            handle = self._module.register_forward_hook(hook)
            try:
                with self.autocast():
                    found = self.answer(x, images[: len(x)], len(images))
            finally:
                handle.remove()
            scores = self.targets(found.output, at_least_float32(found.logits), images, probability=probability)
        return at_least_float32(scores)

    def _tail_runs_alone(self, activations: Tensor, images: Tensor) -> bool:
        """Tells whether the tail scores a batch of activations alike behind a head that saw one image."""

        def tried() -> bool:
            # Two different rows: a tail that mixes the images of a batch must not pass.
            pair = torch.stack([activations[0], torch.zeros_like(activations[0])])
            try:
                expected = self._rescored_activations(self.input[images[:2]], pair, images[:2], probability=False)
                found = self._rescored_activations(self.input[images[:1]], pair, images[:2], probability=False)
            except (RuntimeError, CfcamError):  # as a concatenation with features from before the layer raises
                return False
            tolerance = {torch.float64: 1e-8, torch.float32: 1e-4}.get(self._leaves[0].dtype, 2e-2)
            return found.shape == expected.shape and torch.allclose(
                found,
                expected,
                rtol=tolerance,
                atol=tolerance * float(expected.abs().nan_to_num().max()),
                equal_nan=True,
            )

        return self.memo("tail runs alone", tried)

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
        other = object.__new__(Capture)
        computed = [name for name, member in vars(Capture).items() if isinstance(member, cached_property)]
        other.__dict__.update({name: value for name, value in self.__dict__.items() if name not in computed})
        if x is not None:
            if x.ndim != self.input.ndim or len(x) != len(self.input):
                raise InputError(f"the other input has shape {tuple(x.shape)} instead of {tuple(self.input.shape)}")
            x = x.to(self.input)
            other.input = x.clone() if x.is_inference() else x.detach()
            other._given = self._layout.given(other.input, self._given)
        if layer is not None:
            other.layer, other._module = find_layer(self.network.model, layer)
        other.targets = self.targets if targets is None else targets
        with torch.inference_mode(False), self.autocast():
            if x is not None or layer is not None:
                other._memo = {}
                other._run()
            other._score()
        return other

    def _packed_kernels(self) -> AbstractContextManager[Any]:
        if self.input.device.type != "cpu" or not PackedKernels.available():
            return nullcontext()
        return self.memo("packed kernels", lambda: PackedKernels(self.network.model.parameters()))

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
        other = object.__new__(Capture)
        other.__dict__.update(self.__dict__)
        other.__dict__.pop("gradients", None)
        other._change = change
        return other

    def split(self, limit: int | None = None) -> Iterator[Capture]:
        """Yields captures of some of the targets each, such that no gradient takes more than ``limit`` bytes.

        They share this pass, its graph and its memo. Many targets of a wide layer (1000 classes x 2048 channels) would
        otherwise fill the memory; on a CPU, what methods make of a small part stays in its cache and on pages that it
        has.

        Args:
            limit: None: 8 MiB on a CPU, 256 MiB elsewhere.
        """
        limit = limit or (1 << 23 if self.input.device.type == "cpu" else 1 << 28)
        columns = self._scores.shape[1]
        numbers = sum(leaf.numel() * max(4, leaf.element_size()) for leaf in self._leaves)
        step = max(1, limit // max(1, numbers))
        if step >= columns:
            yield self
            return
        for start in range(0, columns, step):
            part = object.__new__(Capture)
            part.__dict__.update(self.__dict__)
            if "gradients" in self.__dict__:
                part.__dict__["gradients"] = self.gradients[:, start : start + step]
            part.targets = self.targets.select(slice(start, start + step))
            with torch.inference_mode(False), torch.enable_grad():
                part._scores = self._scores[:, start : start + step]
            yield part

    def quiet(self) -> ExitStack:
        """Returns the context in which methods compute: no graph, no autocast, no inference mode."""
        stack = ExitStack()
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stack.enter_context(self.autocast(enabled=False))
        return stack


def _joined(leaves: Sequence[Tensor]) -> Tensor:
    """Returns the outputs of one layer, call after call, as one tensor."""
    return leaves[0] if len(leaves) == 1 else torch.cat(list(leaves))


@cache
def _keep_freed_memory() -> None:
    """Has the C library keep what one masked pass frees for the next; once for the process.

    With fresh pages for each pass, a ResNet-18 takes a tenth longer and a MobileNetV2 twice as long. glibc gives back
    what is free beyond twice the largest block that it has seen mapped and freed, up to 32 MiB (mallopt(3),
    M_MMAP_THRESHOLD). This block is never touched.
    """
    torch.empty(31 << 20, dtype=torch.uint8)

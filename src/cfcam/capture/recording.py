"""One pass that is recorded: the target layer's output is a leaf, and the graph goes from it to the class scores."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from cfcam.capture.answers.answer import Answer, Taken
from cfcam.capture.answers.heads import Wanted
from cfcam.capture.answers.outputs import find_tensor, replace_tensor
from cfcam.capture.half_precision import at_least_float32, gradients, takes_part
from cfcam.capture.layers.calls import check_calls, split_call
from cfcam.capture.layers.frames import IMAGES, ClipEvidence, FrameGrid, Layout, layout_of, seen_picture, settled
from cfcam.capture.layers.tokens import TokenGrid, one_reading
from cfcam.capture.network import Network
from cfcam.capture.state.guarantee import Autocast, preserved
from cfcam.errors import LayerError


class Recording:
    """One pass of a network, recorded from its target layer on.

    The model runs without a graph up to the target layer. That layer's output becomes a leaf, and only the tail
    behind it is recorded; `torch.autograd.grad` to the leaf then gives the gradients, and no parameter is touched.

    Args:
        network: the model.
        given: (N, ...) what it is given.
        layer: name of the target layer, perhaps with the call that is meant.
        module: this layer.
        want: what the class scores must fit.
        taken: which tensor of the output was taken in an earlier pass, and how it was read; None: this is the first.
        grad: whether all of the pass is recorded, as behind a ``no_grad`` block of the model's own.

    Attributes:
        answer: what the network returned.
        leaves: the layer's output, call after call.
        inside: whether the layer runs under inference mode in the network's own forward.
        grid: how maps are seen in the layer's output, which may be tokens.
        layout: how images are seen in what the network is given, which may be clips.
        input: (N, C, *spatial) these images.

    Raises:
        LayerError: the layer did not run or ran several times, has no spatial extent, or returns no numbers.
    """

    answer: Answer
    leaves: list[Tensor]
    inside: bool
    grid: TokenGrid
    layout: Layout
    input: Tensor

    def __init__(
        self,
        network: Network,
        given: Tensor,
        layer: str,
        module: nn.Module,
        *,
        want: Wanted,
        taken: Taken | None = None,
        grad: bool = False,
    ) -> None:
        self.network, self.given = network, given
        self.layer, self.module = layer, module
        self.want, self._taken = want, taken
        self._run(grad=grad)

    @property
    def place(self) -> tuple[str, torch.Size]:
        """The layer and the input's shape (C, *spatial), for which the network keeps how outputs are seen."""
        return self.layer, self.given.shape[1:]

    def _run(self, *, grad: bool) -> None:
        leaves: list[Tensor] = []
        self.inside = False
        given, call, place = self.given, split_call(self.layer)[1], self.place
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
            self.inside = torch.is_inference_mode_enabled()
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
            handles = [self.module.register_forward_hook(hook)]
            if call is None:
                handles.append(self.module.register_forward_pre_hook(before, with_kwargs=True))
            try:
                self.answer = self.network.answer(given, want=self.want, taken=self._taken)
            finally:
                for handle in handles:
                    handle.remove()
        if self.network.keeper.late:  # the graph holds what was put back: again, on copies
            self._run(grad=grad)
            return
        self.leaves = leaves
        if place not in grids:
            if len(leaves) > 1:
                readings = evidence.looped(leaves[0].shape, calls)
            if len(leaves) < 2 or not readings:
                check_calls(self.layer, calls)
            self._settle(one_reading(readings, self.layer, leaves[0].shape, given.shape), evidence)
        self.grid, self.layout, _ = grids[place]
        if len(leaves) != 1 and not isinstance(self.grid, FrameGrid):
            check_calls(self.layer, calls)
        self.input = self.layout.images(given)

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

    def _settle(self, grid: TokenGrid, evidence: ClipEvidence) -> None:
        """Keeps how the layer's output is seen as maps, and the input as images, once clips are understood."""
        given, call, layout = self.given, split_call(self.layer)[1], IMAGES
        if isinstance(grid, FrameGrid):
            calls = len(self.leaves) > 1
            # Of one clip two copies: the order of the rows shows in a batch only.
            pair = given if len(given) > 1 else torch.cat([given, given])
            if len(given) == 1 and not self._takes_two(pair, sum(map(len, self.leaves))):
                pair, self.network.one_at_a_time = given, True
            grid = settled(grid, pair, self._outputs, self.layer, calls=calls)
            layout = layout_of(grid, given.ndim)
        elif len(grid.grid) == given.ndim - 3:  # one picture of several
            found = None if call is None else seen_picture(given, call, self.leaves[0], self._outputs)
            if found is None:
                one_reading([], self.layer, self.leaves[0].shape, given.shape)
            layout = found or IMAGES
        evidence.forget()
        self.network.grids[self.place] = grid, layout, evidence

    def _outputs(self, given: Tensor) -> Tensor:
        """Returns the layer's outputs (rows, ...) for another input, one call after another."""
        call, found = split_call(self.layer)[1], list[Tensor]()

        def hook(module: nn.Module, args: Any, output: Any) -> None:
            found.append(self._checked(output).detach().clone())

        with torch.no_grad(), preserved(self.network.model, given.device):
            handle = self.module.register_forward_hook(hook)
            try:
                images = None if len(given) == len(self.given) else given.new_zeros(len(given), dtype=torch.int64)
                self.network.answer(given, images=images, want=self.want, taken=self.answer.again(len(given)))
            finally:
                handle.remove()
        return torch.cat(found if call is None else found[call : call + 1])

    def _takes_two(self, pair: Tensor, rows: int) -> bool:
        """Tells whether the network takes two clips at once; one that takes the slices of one case does not."""
        try:
            return len(self._outputs(pair)) == 2 * rows
        except (RuntimeError, ValueError, TypeError):  # a `CfcamError` among them
            return False

    def activations(self) -> Tensor:
        """Returns the layer's output (N, C', *layer_spatial), seen as maps, detached, at least float32."""
        return at_least_float32(self.grid.maps(self.own()))

    def own(self) -> Tensor:
        """Returns the layer's output as it is, its calls joined, detached."""
        return _joined([leaf.detach() for leaf in self.leaves])

    def gradient(self, scores: Tensor, k: int, autocast: Autocast) -> Tensor:
        """Returns the gradients (N, C', *layer_spatial) of one column of scores, seen as maps, at least float32.

        Args:
            scores: (N, K) of this pass's graph.
            k: which of them.
            autocast: that of the caller.

        Raises:
            LayerError: the score does not depend on the layer, or what lies between refuses gradients.
        """
        found: list[Tensor | None] = [None]
        if self.network.quantised:
            raise LayerError(
                f"the explained score has no gradient, because {self.network.quantised!r} of this network is quantised:"
                " use score-cam, or the network from before it was quantised"
            )
        if scores.requires_grad:
            with torch.inference_mode(False):
                half = self.network.half or takes_part(*self.leaves, self.answer.logits, scores, autocast=autocast)
                try:
                    found = gradients(
                        scores[:, k], self.leaves, self._rows(), half=half, retain_graph=True, allow_unused=True
                    )
                except RuntimeError as error:
                    if "checkpoint" not in str(error).lower():
                        raise
                    raise LayerError(
                        f"an activation checkpoint between layer {self.layer!r} and the score refuses gradients to a"
                        " layer: switch it off for the call, with gradient_checkpointing_disable() or"
                        " use_reentrant=False"
                    ) from error
        if all(gradient is None for gradient in found) and (self.inside or self.answer.logits.is_inference()):
            part = f"layer {self.layer!r}, or what follows it," if self.inside else "the end of the network"
            raise LayerError(
                f"{part} runs under torch.inference_mode() in the network's own forward, where no gradients are"
                " recorded: name a layer behind that part, use score-cam, or take inference_mode out of forward"
            )
        if all(gradient is None for gradient in found):
            raise LayerError(
                f"the explained score does not depend on layer {self.layer!r} (its output is unused, or detached on the"
                " way to the logits): name a layer on the path to them"
            )
        pairs = zip(found, self.leaves, strict=True)
        return self.grid.maps(_joined([torch.zeros_like(leaf) if g is None else g for g, leaf in pairs]))

    def _rows(self) -> list[Tensor] | None:
        """Returns for each leaf which image its rows are of; None: row n is of image n."""
        if not isinstance(self.grid, FrameGrid) or len(self.leaves) > 1:
            return None
        return [self.grid.rows(len(self.given)).to(self.given.device)]


def _joined(leaves: Sequence[Tensor]) -> Tensor:
    """Returns the outputs of one layer, call after call, as one tensor."""
    return leaves[0] if len(leaves) == 1 else torch.cat(list(leaves))

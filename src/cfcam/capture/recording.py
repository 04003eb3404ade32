"""One pass that is recorded: the target layer's output is a leaf, and the graph goes from it to the class scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from cfcam.capture.adapter import Adapter
from cfcam.capture.answers.answer import Answer, Taken
from cfcam.capture.answers.heads import Wanted
from cfcam.capture.answers.outputs import find_tensor, replace_tensor
from cfcam.capture.columns import MANY, Tail, all_gradients, refusal, seen_together, stacked, tail_of, whole
from cfcam.capture.first_pass import told_by_few
from cfcam.capture.half_precision import at_least_float32, gradients, takes_part
from cfcam.capture.halves import small_convolutions
from cfcam.capture.kernels import PackedKernels
from cfcam.capture.layers.calls import check_calls, split_call
from cfcam.capture.layers.frames import IMAGES, ClipEvidence, FrameGrid, Layout, layout_of, seen_picture, settled
from cfcam.capture.layers.placement import Placement
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
    images: Tensor | None = None
    """(M,) of what is given, the image of an earlier pass that each row was made from; None: it is that batch."""
    _asked: tuple[Any, Tail] | None = None

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
        Recording.run([self], grad=grad)

    @classmethod
    def of_layers(
        cls,
        first: Recording,
        layers: Sequence[tuple[str, nn.Module]],
        scored: Callable[[Recording], Tensor],
        versions: tuple[Tensor, Tensor] | None = None,
    ) -> list[Recording]:
        """Returns recordings of an earlier one's input, or of versions of it, at several layers, from one more pass.

        Args:
            first: says what is run, and what is read of the output.
            layers: names of different layers, and they themselves.
            scored: gives the scores in a recording, to see whether there is a graph, or the pass is to be recorded from
                its beginning.
            versions: (M, C, *spatial) what is run instead, and (M,) the image that each was made from; None: the input.

        Raises:
            LayerError: see the class.
        """
        together = []
        for layer, module in layers:
            one = object.__new__(cls)
            one.network, one.given, one.layer, one.module = first.network, first.given, layer, module
            one.want, one._taken = first.want, first.answer.taken
            if versions is not None:
                one.given, one.images = first.layout.given(versions[0], first.given, versions[1]), versions[1]
            together.append(one)
        cls.run(together, grad=False)
        if not scored(together[0]).requires_grad:
            cls.run(together, grad=True)
        return together

    @property
    def place(self) -> tuple[str, torch.Size]:
        """The layer and the input's shape (C, *spatial), for which the network keeps how outputs are seen."""
        return self.layer, self.given.shape[1:]

    def placement(self, grid: tuple[int, ...]) -> Placement | None:
        """Returns where the cells of a grid, of the layer or not, lie on the input; None: they share it evenly."""
        placements = self.network.placements.setdefault(self.place, {})
        if grid not in placements:
            known, layout, evidence = self.network.grids[self.place]
            own = grid == tuple(known.grid)
            if own and not isinstance(known, FrameGrid) and layout.kind == "one":
                placements[grid] = evidence.single.placement(known) if evidence.single is not None else None
            else:
                placements[grid] = evidence.placement(known if own else TokenGrid(grid))
        return placements[grid]

    def _listen(self, evidence: ClipEvidence, together: Sequence[Recording], *, grad: bool) -> list[RemovableHandle]:
        """Hooks the layer for the pass that comes, which other recordings may share; returns the hooks.

        Args:
            evidence: what the pass tells of grids.
            together: the recordings of the pass, this one among them.
            grad: whether all of the pass is recorded.
        """
        self.leaves, self.inside, self._calls, self._readings = [], False, 0, list[TokenGrid]()
        self._handed: list[Tensor] = []
        call, place, grids = split_call(self.layer)[1], self.place, self.network.grids

        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            self._calls += 1
            if call is not None and self._calls - 1 != call:
                return output
            tensor = self._checked(output)
            if place not in grids and not self.leaves:
                self._readings = evidence.readings(tensor.shape) or evidence.of_one(tensor.shape)
            # What depends on an earlier call's output, or another layer's, keeps its own place in the graph.
            begun = any(one.leaves for one in together)
            self.inside = torch.is_inference_mode_enabled()
            # Tensors of a part under inference mode are no autograd's: a copy is, and its copy is handed on.
            with torch.inference_mode(False), torch.enable_grad():
                tensor = tensor.clone() if tensor.is_inference() else tensor
                self.leaves.append(tensor if begun and tensor.requires_grad else tensor.detach().requires_grad_())
                # The tail gets a copy: an in-place activation behind the layer must not change what was captured.
                handed = self.leaves[-1].clone()
                self._handed.append(handed)
            torch.set_grad_enabled(True)
            return replace_tensor(output, handed)

        def before(module: nn.Module, args: Any, kwargs: Any) -> None:
            # A later call on the input alone needs no graph of what is inside of the layer.
            seen = [*args, *kwargs.values()]
            if self.leaves and all(isinstance(one, Tensor) and not one.requires_grad for one in seen):
                torch.set_grad_enabled(grad)

        handles = [self.module.register_forward_hook(hook)]
        if call is None:
            handles.append(self.module.register_forward_pre_hook(before, with_kwargs=True))
        return handles

    def _understand(self, evidence: ClipEvidence) -> None:
        """Settles, after the pass, how the layer's output is seen as maps, and the input as images."""
        leaves, readings, grids = self.leaves, self._readings, self.network.grids
        self._hooked, self._handed = any(one._backward_hooks for one in self._handed), []  # the model changes gradients
        if self.place not in grids:
            if len(leaves) > 1:
                readings = evidence.looped(leaves[0].shape, self._calls)
            if len(leaves) < 2 or not readings:
                check_calls(self.layer, self._calls)
            self._settle(one_reading(readings, self.layer, leaves[0].shape, self.given.shape), evidence)
        self.grid, self.layout, _ = grids[self.place]
        if len(leaves) != 1 and not isinstance(self.grid, FrameGrid):
            check_calls(self.layer, self._calls)
        self.input = self.layout.images(self.given)

    @staticmethod
    def run(together: Sequence[Recording], *, grad: bool) -> None:
        """Runs the network once for recordings of one input at different layers.

        Args:
            together: of one network and input; what was taken in an earlier pass is the first one's.
            grad: whether all of the pass is recorded, as behind a ``no_grad`` block of the model's own.
        """
        network, given = together[0].network, together[0].given
        known = all(network.knows(one.layer, given) for one in together)
        packed, packs = network.kernels_for(watched=not known), network.packed is not None and not known
        plain = partial(Recording._pass, together, None, grad=grad)
        if packs and told_by_few(together, plain, partial(Recording.run, together, grad=grad)):
            return
        run = partial(Recording._pass, together, packed, grad=grad)
        evidence = plain() if packed is None else packed.run(run, plain)
        late = network.keeper.late  # the graph holds what was put back: again, on copies
        for one in () if late else together:
            one._understand(evidence)
        if late or packs:  # later passes are packed, and their numbers are not to differ from the first one's
            plain_answer = together[0].answer
            Recording.run(together, grad=grad)
            if packs and not network.trust.compared(together[0].answer.logits, plain_answer.logits):
                Recording.run(together, grad=grad)

    @staticmethod
    def _pass(together: Sequence[Recording], packed: PackedKernels | None, *, grad: bool) -> ClipEvidence:
        network, given = together[0].network, together[0].given
        evidence = ClipEvidence(tuple(given.shape), x=lambda: given)
        known = all(network.knows(one.layer, given) for one in together)
        observed = nullcontext() if known else evidence.collected(network.model)
        with preserved(network.model, given.device), torch.set_grad_enabled(grad), observed, small_convolutions(given):
            handles = [handle for one in together for handle in one._listen(evidence, together, grad=grad)]
            try:
                first = together[0]
                with packed or nullcontext():
                    answer = network.answer(given, images=first.images, want=first.want, taken=first._taken)
            finally:
                for handle in handles:
                    handle.remove()
        for one in together:
            one.answer = answer
        return evidence

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
        return self.seen(Recording.differentiate([self], scores, k, autocast)[0])

    def gradients(self, scores: Tensor, autocast: Autocast) -> Tensor:
        """Returns `gradient` of each column of scores, (N, K, C', *layer_spatial); see `at_once`."""
        found, columns = self.at_once(scores, autocast), range(scores.shape[1])
        return stacked([self.gradient(scores, k, autocast) for k in columns]) if found is None else found

    def at_once(self, scores: Tensor, autocast: Autocast) -> Tensor | None:
        """Returns `gradients` from one pass back, expanded behind pooling; None: they are few, or it is slower."""
        if scores.shape[1] < MANY or not (tail := self.tail(scores, autocast)).batchable:
            return None
        return seen_together(all_gradients(scores, self.leaves, tail.pool), self.seen, isinstance(self.grid, FrameGrid))

    def tail(self, scores: Tensor, autocast: Autocast) -> Tail:
        """Returns what lies between the layer and scores (N, K); asked once of all slices of the same scores."""
        last, odd = whole(scores), self.network.quantised or self.network.half
        if last is None or odd or takes_part(*self.leaves, self.answer.logits, scores, autocast=autocast):
            return Tail(batchable=False)
        if isinstance(self.network.model, Adapter) and self.network.model.batched:
            return Tail(batchable=True)
        before = tuple(node for node, _ in last.next_functions)
        if self._asked is None or self._asked[0] != before:
            tail = tail_of(scores, self.leaves)
            self._asked = before, tail._replace(pool=None) if self._hooked else tail
        return self._asked[1]

    @staticmethod
    def differentiate(
        together: Sequence[Recording], scores: Tensor, k: int, autocast: Autocast
    ) -> list[list[Tensor | None]]:
        """Returns the gradients of one column of scores for the leaves of each recording of one pass, taken together.

        Args:
            together: recordings of one pass.
            scores: (N, K) of this pass's graph.
            k: which of them.
            autocast: that of the caller.

        Raises:
            LayerError: what lies between refuses gradients.
        """
        network, leaves = together[0].network, [leaf for one in together for leaf in one.leaves]
        found: list[Tensor | None] = [None] * len(leaves)
        if network.quantised:
            raise LayerError(
                f"the explained score has no gradient, because {network.quantised!r} of this network is quantised:"
                " use score-cam, or the network from before it was quantised"
            )
        if scores.requires_grad:
            with torch.inference_mode(False):
                half = network.half or takes_part(*leaves, together[0].answer.logits, scores, autocast=autocast)
                rows = [row for one in together for row in one._rows()] if half else None
                try:
                    found = gradients(scores[:, k], leaves, rows, half=half, retain_graph=True, allow_unused=True)
                except RuntimeError as error:
                    if (why := refusal(error, [one.layer for one in together])) is None:
                        raise
                    raise LayerError(why) from error
        rest = iter(found)
        return [[next(rest) for _ in one.leaves] for one in together]

    def seen(self, found: Sequence[Tensor | None]) -> Tensor:
        """Returns gradients of the leaves as maps (N, C', *layer_spatial).

        Raises:
            LayerError: the score does not depend on the layer.
        """
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

    def _rows(self) -> list[Tensor]:
        """Returns for each leaf which image its rows are of."""
        if not isinstance(self.grid, FrameGrid) or len(self.leaves) > 1:
            return [torch.arange(len(leaf), device=leaf.device) for leaf in self.leaves]
        return [self.grid.rows(len(self.given)).to(self.given.device)]


def _joined(leaves: Sequence[Tensor]) -> Tensor:
    """Returns the outputs of one layer, call after call, as one tensor."""
    return leaves[0] if len(leaves) == 1 else torch.cat(list(leaves))

"""A user's model with the one way in which cfcam calls it, and what a first pass tells of its layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from cfcam.capture.adapter import UNBATCHED, Adapter, call, unwrapped
from cfcam.capture.answers.answer import Answer, Answers, Taken
from cfcam.capture.answers.heads import Wanted, checked_output
from cfcam.capture.answers.probabilities import Kind, Probability
from cfcam.capture.answers.readings import checked_probability
from cfcam.capture.batches import of_one_size
from cfcam.capture.detectors.detections import Detections
from cfcam.capture.inputs import check_type
from cfcam.capture.kernels import PackedKernels
from cfcam.capture.layers.choosing import candidates, choose_layer, with_reach
from cfcam.capture.layers.dense import dense_layers
from cfcam.capture.layers.finding import INPUT, find_layer
from cfcam.capture.layers.frames import IMAGES, ClipEvidence, Layout
from cfcam.capture.layers.placement import Placement
from cfcam.capture.layers.probing import LayerInfo, probe
from cfcam.capture.layers.tokens import TokenGrid
from cfcam.capture.mixing import DRAWS, NOTE
from cfcam.capture.packing import Trust
from cfcam.capture.state.checkpoints import without_checkpoints
from cfcam.capture.state.guarantee import preserved
from cfcam.capture.state.keeping import Keeper
from cfcam.capture.targets.classes import check_targets, wanted_of
from cfcam.errors import InputError, LayerError, OutputError, few


class Network:
    """A user's model with the one way in which cfcam calls it.

    Args:
        model: any module; it is never changed, see `cfcam.capture.state.guarantee.preserved`.
        probability: how logits become probabilities; "auto" takes them as they are if the network ends in a softmax or
            sigmoid, else the sigmoid for a single logit and for a Hugging Face configuration that says
            "multi_label_classification", else the softmax; "given": the output is probabilities.
        output: which tensor of the output holds the class scores, see `capture.answers.heads.named_leaf`; None: the one
            that fits class names and targets.

    Raises:
        InputError: the model is none that can be observed, or ``probability`` is unknown.
    """

    def __init__(self, model: nn.Module, probability: Probability = "auto", output: str | int | None = None) -> None:
        self.model = unwrapped(model)
        self.probability = checked_probability(probability)
        self.output = checked_output(output)
        self.want = Wanted()
        """What class scores must fit in passes that ask for nothing else."""
        self.answers = Answers(self.probability, self.output)
        self.keeper = Keeper(self.model)
        self._lazy = True  # until its parameters were seen to be there
        self.entrance = nn.Identity()
        """What each input goes through first: the layer `INPUT`, whose output is the network's input."""
        self.batch: int | None = None
        """The only batch size that the network takes, once it was seen to fail on another."""
        self.grids: dict[tuple[str, torch.Size], tuple[TokenGrid, Layout, ClipEvidence]] = {}
        """Layer and input shape (C, *spatial) -> how the layer's output is seen as maps, and the input as images, and
        what tells where the maps' cells lie; once that is known."""
        self.placements: dict[tuple[str, torch.Size], dict[tuple[int, ...], Placement | None]] = {}
        """For the same layer and input shape: grid -> where its cells lie."""
        self.last_layers: dict[tuple[str, int, torch.Size], tuple[str, ...]] = {}
        """Layer, a number and an input's shape (C, *spatial) -> so many blocks that end with that layer."""
        self.before_pass: Callable[[], None] | None = None
        """Called before each pass; what it raises stops the work, and leaves the model as it was."""
        self.apart = False
        """Whether views of images run one after another, because it was seen to fail on several of them."""
        self.mixes: bool | None = None
        """Whether an answer depends on what else is in the batch, so that versions of an image run alone; None: not
        tried, see `capture.mixing`."""
        self.draws = False
        """Whether it was then seen to draw random numbers, others for each row."""
        self.unmixed: dict[str, int] = {}
        """How many rows of one batch did not mix, as was tried: "" -> of inputs, a layer -> of its output."""
        self.one_by_one = False
        """Whether images of a batch are explained one by one if it mixes them, because their batches are ours."""
        self.detects = False
        """Whether boxes of a detector were seen among its answers."""
        self.one_at_a_time = False
        """Whether the network was seen to take no second clip: one that takes the slices of one case as its batch."""
        self.packed: PackedKernels | None = None
        """Kernels that are packed for all passes to come, see `pack`; None: each capture packs some for its own."""
        self.trust = Trust()
        """Whether passes on packed kernels have given the network's numbers."""

    def pack(self) -> None:
        """Has first passes run on packed kernels too, and keeps these: worth it where many captures follow."""
        self.packed = self.kernels()

    def kernels(self) -> PackedKernels | None:
        """Returns packed kernels of the model as it is; None where there is nothing to pack them for."""
        if self.trust.agreed is False or not PackedKernels.available():
            return None
        packed = PackedKernels(self.model.parameters(), self.trust)
        return packed if packed.any else None

    def kernels_for(self, *, watched: bool) -> PackedKernels | None:
        """Returns packed kernels for a recorded pass, if they are kept: for one pass alone packing takes longer.

        Small convolutions of a single volume are seen to by `cfcam.capture.halves`.

        Args:
            watched: whether hooks look at all layers in it, so that no steps are taken together.
        """
        return None if watched else self.packed

    def knows(self, layer: str, given: Tensor) -> bool:
        """Tells whether it is known how a layer's output is seen as maps, by an earlier pass or by an `Adapter`."""
        place = layer, given.shape[1:]
        if place not in self.grids and self.find(layer)[1] is self.entrance:
            grid = tuple(given.shape[2:])
            self.grids[place] = TokenGrid(grid), IMAGES, ClipEvidence(tuple(given.shape))
            self.placements[place] = {grid: None}
        if place not in self.grids and isinstance(self.model, Adapter) and layer in self.model.grids:
            grid, placement = self.model.grids[layer]
            self.grids[place] = grid, IMAGES, ClipEvidence(tuple(given.shape))
            self.placements[place] = {tuple(grid.grid): placement}
        return place in self.grids

    @property
    def input_layer(self) -> str:
        """What the layer `INPUT` is called, of a network whose own layer has that name, too."""
        return f"({INPUT})" if INPUT in self.model._modules else INPUT

    def find(self, layer: Any) -> tuple[str, nn.Module]:
        """Returns a layer's name and module, see `find_layer`; of `INPUT` what the input goes through first.

        Raises:
            LayerError: see `find_layer`.
        """
        if isinstance(layer, str) and layer == self.input_layer:
            return layer, self.entrance
        return find_layer(self.model, layer)

    def find_each(self, layers: Sequence[str | nn.Module]) -> list[tuple[str, nn.Module]]:
        """Returns names and modules of different layers, see `find`.

        Raises:
            LayerError: see `find_layer`, or one is named twice, which would count double.
        """
        found = [self.find(layer) for layer in layers]
        names = [name for name, _ in found]
        if twice := [name for name in names if names.count(name) > 1]:
            raise LayerError(
                f"layer {twice[0]!r} is named twice among {few(names, 5)}, and would count double: name it once"
            )
        return found

    def prepare(self, x: Tensor) -> Tensor:
        """Checks an input and brings it to the device and floating type of the network's parameters.

        Raises:
            InputError: ``x`` is no floating tensor (N, C, *spatial) with N >= 1 and one to three spatial axes.
        """
        check_type(x)
        if not 3 <= x.ndim <= 5 or x.numel() == 0:
            single = " (of a single picture, x[None, None])" if x.ndim == 2 and x.numel() else ""
            raise InputError(
                f"the input has shape {tuple(x.shape)}: give a batch (N, C, H, W) or (N, C, D, H, W){single}"
            )
        if not x.is_floating_point():
            raise InputError(f"the input is a tensor of {x.dtype}: give normalised floating-point images")
        self._lazy = self._lazy and any(isinstance(p, nn.UninitializedParameter) for p in self.model.parameters())
        if self._lazy:
            raise InputError(
                f"{type(self.model).__name__} has lazy layers without weights: run it once on a batch of your own, or"
                " load its weights"
            )
        first = next((p for p in self.model.parameters() if p.is_floating_point()), None)
        if first is not None:
            known = x.dtype == first.dtype or torch.is_autocast_enabled(first.device.type)
            known = known or any(p.dtype == x.dtype for p in self.model.parameters())
            x = x.to(first.device, x.dtype if known else first.dtype)
        # Autograd refuses inference tensors, so one made under the caller's inference mode is copied.
        return x.clone() if x.is_inference() else x.detach()

    def __call__(
        self, x: Tensor, weights: dict[str, Tensor] | None = None, images: Tensor | None = None
    ) -> tuple[Any, Tensor]:
        """Runs the network and returns its output, and the class scores in it; see `answer`."""
        found = self.answer(x, weights, images)
        return found.output, found.logits

    def answer(
        self,
        x: Tensor,
        weights: dict[str, Tensor] | None = None,
        images: Tensor | None = None,
        *,
        want: Wanted | None = None,
        taken: Taken | None = None,
    ) -> Answer:
        """Runs the network and returns its output, and the class scores in it, those from before a last activation.

        Args:
            x: (N, C, *spatial) input.
            weights: parameters and buffers that stand in for the model's own in this pass.
            images: (N,) int64, which image of the batch each was made from, for an `Adapter`; None: they are the batch.
            want: what the class scores must fit; None: `want`.
            taken: which tensor was taken in the first pass, and how it was read; None: this is a first pass.

        Raises:
            InputError: the model cannot be called with one tensor.
            OutputError: the output holds no class scores, several tensors that could be, or numbers that are not what
                they are said to be.
        """
        if self.before_pass is not None:
            self.before_pass()
        run: Callable[..., Any] = self.model
        if weights:

            def run(*args: Any) -> Any:
                return torch.func.functional_call(self.model, weights, args)

        look = weights is None and not torch.overrides._get_current_function_mode_stack()
        with (
            self.keeper.kept(x.device, len(x), look=look),
            without_checkpoints(),
            self.answers.heard(self.model) as listener,
        ):
            # The network gets an input of its own, which it may change in place.
            output = call(self.model, self.entrance(x.clone()), images, run)
        return self.answers.taken(
            output, x, listener, self._usual(), want or self.want, taken, type(self.model).__name__
        )

    def kind(self) -> Kind:
        """Returns "softmax" or "sigmoid": how the scores become probabilities, as far as passes have told."""
        last = self.answers.last
        return self._usual() if last is None else last.reading.kind

    def _usual(self) -> Kind:
        if self.probability in ("softmax", "sigmoid"):
            return self.probability
        problem = getattr(getattr(self.model, "config", None), "problem_type", None)
        return "sigmoid" if problem == "multi_label_classification" else "softmax"

    def record(self) -> dict[str, Any]:
        """Returns how the output is read, as plain values: the tensor taken, if it is one of several; notes."""
        last = self.answers.last
        told = [] if last is None else list(last.reading.notes)
        told += [NOTE] * bool(self.mixes) + [DRAWS] * self.draws
        notes = {"notes": told} if told else {}
        if last is None:
            return {"probability": self.probability if self.probability == "given" else self._usual(), **notes}
        taken = {"output": last.path} if last.path else {}
        kind = {} if last.reading.given is None else {"kind": last.reading.kind}
        return {"probability": last.reading.words, **kind, **taken, **notes}

    @cached_property
    def quantised(self) -> str | None:
        """Name of a module whose quantised arithmetic has no gradient, and would be passed by in silence; or None."""
        modules = self.model.named_modules()
        return next((name for name, m in modules if type(m).__module__.startswith("torch.ao.nn.quantized")), None)

    @cached_property
    def half(self) -> bool:
        """Whether any parameter is float16, whose gradients vanish unless they are scaled."""
        return any(p.dtype == torch.float16 for p in self.model.parameters())


def probe_layers(
    network: Network,
    x: Tensor,
    targets: Any = None,
    classes: Sequence[str] | None = None,
    want: Wanted | None = None,
) -> tuple[list[LayerInfo], tuple[int, ...]]:
    """Runs the network on the first image of ``x`` and returns its layers and its output's shape.

    A network that takes batches of one size only (``x.view(8, -1)`` in its forward, an exported program) is run on all
    of ``x``: then the layers' and the output's shapes begin with that size.

    Args:
        network: the model.
        x: (N, C, *spatial).
        targets: what will be explained, see `check_targets`: of several outputs the one that fits is taken.
        classes: class names.
        want: what the class scores must fit; None: what targets and classes ask.
    """
    with torch.inference_mode(False):
        batch = network.prepare(x)
        want = want or wanted_of(check_targets(targets, len(batch), batch.shape[2:]), classes)
        with preserved(network.model, batch.device):
            try:
                return _probed(network, batch[: network.batch or 1], want)
            except Exception as error:
                if len(batch) == 1 or network.batch is not None or not of_one_size(error):
                    raise
                try:
                    found = _probed(network, batch, want)
                except Exception:  # noqa: BLE001 (it was not the size)
                    raise error from None
                if any(i.shape and i.shape[0] == 1 and len(i.shape) == batch.ndim + 1 for i in found[0]):
                    name = type(network.model).__name__
                    raise InputError(f"{name} ran on all of the input {tuple(batch.shape)}: {UNBATCHED}") from None
                network.batch = len(batch)
                return found


def _probed(network: Network, sample: Tensor, want: Wanted) -> tuple[list[LayerInfo], tuple[int, ...]]:
    shape: list[tuple[int, ...]] = []

    def logits() -> Tensor:
        answer = network.answer(sample, want=want)
        network.detects = isinstance(answer.output, Detections)
        return answer.or_anything()

    def run() -> None:
        shape.append(tuple(logits().shape))
        if len(sample) == 1 and shape[0] and shape[0][0] > 1:
            raise OutputError(
                f"{type(network.model).__name__} returned scores {shape[0]} for a batch of 1 image: if a batch size is"
                f" written into its forward, give it that many images ({shape[0][0]}?)"
            )

    layers = probe(network.model, sample.shape, run)
    if len(shape[0]) == sample.ndim:
        layers = dense_layers(network.model, layers, shape[0], logits)
    elif any(info.tokens for info in candidates(layers)):
        layers = with_reach(network.model, layers, logits)
    return layers, shape[0]


def automatic_layer(network: Network, x: Tensor, targets: Any = None, classes: Sequence[str] | None = None) -> str:
    """Returns the name of the layer that `choose_layer` picks for the user's own input ``x`` (N, C, *spatial)."""
    if isinstance(network.model, Adapter) and network.model.layer is not None:
        return network.model.layer
    layers, output_shape = probe_layers(network, x, targets, classes)
    if network.detects:
        wide = [i for i in layers if i.plain and not i.reducing and i.shape is not None and len(i.shape) == x.ndim]
        names = [i.name for i in wide if "backbone" in i.name and "position" not in i.name]  # those see no picture
        such = f", such as {names[-1]!r}" if names else ", the last layer before its heads"
        raise LayerError(
            "no layer can be chosen for a detector, whose boxes may come from several scales: name the end of its"
            f" backbone (layer=, --layer){such}"
        )
    return choose_layer(layers, (network.batch or 1, *x.shape[1:]), output_shape).name

"""Running a network once: activations, scores, and lazily the gradients between them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import cached_property
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from cfcam.capture.layers import LayerInfo, choose_layer, find_layer, probe
from cfcam.capture.outputs import LOGIT_KEYS, find_tensor, replace_tensor
from cfcam.capture.state import Autocast, preserved
from cfcam.capture.targets import Probability, check_targets, resolve_targets
from cfcam.errors import InputError, LayerError, OutputError

T = TypeVar("T")


class Network:
    """A user's model with the one way in which cfcam calls it.

    Args:
        model: any module; it is never changed, see `cfcam.capture.state.preserved`.
        probability: how logits become probabilities; "auto" takes the sigmoid for a single logit and for a Hugging
            Face configuration that says "multi_label_classification", else the softmax.
    """

    def __init__(self, model: nn.Module, probability: Probability = "auto") -> None:
        if not isinstance(model, nn.Module):
            raise InputError(f"the model is a {type(model).__name__}, not a torch.nn.Module")
        # Compiled code skips hooks; the module that was compiled does the same work and has them.
        self.model: nn.Module = getattr(model, "_orig_mod", model)
        self.probability = probability

    def prepare(self, x: Tensor) -> Tensor:
        """Checks an input and brings it to the device and floating type of the network's parameters.

        Raises:
            InputError: ``x`` is no floating tensor (N, C, *spatial) with N >= 1 and one to three spatial axes.
        """
        if not isinstance(x, Tensor):
            raise InputError(f"the input is a {type(x).__name__}, not a tensor (N, C, *spatial)")
        if not 3 <= x.ndim <= 5 or x.numel() == 0:
            raise InputError(f"the input has shape {tuple(x.shape)}: give a batch (N, C, H, W) or (N, C, D, H, W)")
        if not x.is_floating_point():
            raise InputError(f"the input is a tensor of {x.dtype}: give normalised floating-point images")
        first = next((p for p in self.model.parameters() if p.is_floating_point()), None)
        if first is not None:
            known = x.dtype == first.dtype or torch.is_autocast_enabled(first.device.type)
            known = known or any(p.dtype == x.dtype for p in self.model.parameters())
            x = x.to(first.device, x.dtype if known else first.dtype)
        # Autograd refuses inference tensors, so one made under the caller's inference mode is copied.
        return x.clone() if x.is_inference() else x.detach()

    def __call__(self, x: Tensor, weights: dict[str, Tensor] | None = None) -> tuple[Any, Tensor]:
        """Runs the network and returns its output, and the tensor of logits in it.

        Args:
            x: (N, C, *spatial) input.
            weights: parameters and buffers that stand in for the model's own in this pass.

        Raises:
            OutputError: the output holds no tensor.
        """
        if weights or self._frozen:
            copies = {name: tensor.clone() for name, tensor in self._frozen.items()}
            output = torch.func.functional_call(self.model, copies | (weights or {}), (x,))
        else:
            output = self.model(x)
        logits = find_tensor(output, LOGIT_KEYS)
        if logits is None:
            raise OutputError(
                f"{type(self.model).__name__} returned a {type(output).__name__} without a tensor of class scores: wrap"
                " it in a module whose forward returns logits (N, classes)"
            )
        return output, logits.unsqueeze(1) if logits.ndim == 1 and logits.shape[0] == x.shape[0] else logits

    def kind(self) -> Any:
        """Returns "softmax" or "sigmoid"."""
        if self.probability != "auto":
            return self.probability
        problem = getattr(getattr(self.model, "config", None), "problem_type", None)
        return "sigmoid" if problem == "multi_label_classification" else "softmax"

    @cached_property
    def _frozen(self) -> dict[str, Tensor]:
        """Parameters and buffers of a model built under inference mode: autograd works on copies of them."""
        tensors = [*self.model.named_parameters(), *self.model.named_buffers()]
        return {name: tensor for name, tensor in tensors if tensor.is_inference()}


def probe_layers(network: Network, x: Tensor) -> tuple[list[LayerInfo], tuple[int, ...]]:
    """Runs the network on the first image of ``x`` and returns its layers and its output's shape."""
    shape: list[tuple[int, ...]] = []
    with torch.inference_mode(False):
        sample = network.prepare(x)[:1]
        with preserved(network.model, sample.device):
            layers = probe(network.model, lambda: shape.append(tuple(network(sample)[1].shape)))
    return layers, shape[0]


def automatic_layer(network: Network, x: Tensor) -> str:
    """Returns the name of the layer that `choose_layer` picks for the user's own input ``x`` (N, C, *spatial)."""
    layers, output_shape = probe_layers(network, x)
    return choose_layer(layers, (1, *x.shape[1:]), output_shape).name


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
            self.input = network.prepare(x)
            rules = check_targets(targets, len(self.input))
            self.autocast = Autocast.current(self.input.device.type)
            self._run()
            with torch.enable_grad():
                self.targets = resolve_targets(rules, self._logits, classes, network.kind())
                self._scores = self.targets(self.output, self._logits)
            if not self._scores.requires_grad:
                # The tail ran under the model's own no_grad block around the target layer: record all of the pass.
                self._run(grad=True)
                with torch.enable_grad():
                    self._scores = self.targets(self.output, self._logits)
        self._memo: dict[Any, Any] = {}

    def _run(self, *, grad: bool = False) -> None:
        leaves: list[Tensor] = []

        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            tensor = find_tensor(output)
            if tensor is None:
                raise LayerError(f"layer {self.layer!r} returned a {type(output).__name__} without a tensor")
            if leaves:
                raise LayerError(
                    f"layer {self.layer!r} runs several times in one pass, so its output is ambiguous: name the block"
                    " around it"
                )
            leaves.append(tensor.detach().requires_grad_())
            torch.set_grad_enabled(True)
            # The tail gets a copy: an in-place activation behind the layer must not change what was captured.
            return replace_tensor(output, leaves[0].clone())

        with preserved(self.network.model, self.input.device), torch.set_grad_enabled(grad):
            handle = self._module.register_forward_hook(hook)
            try:
                self.output, self._logits = self.network(self.input)
            finally:
                handle.remove()
        if not leaves:
            raise LayerError(f"layer {self.layer!r} did not run on this input: name one that does (cfcam layers)")
        self._leaf = leaves[0]
        leaf = self._leaf
        if leaf.ndim != self.input.ndim or leaf.shape[0] != len(self.input) or leaf[0, 0].numel() < 2:
            raise LayerError(
                f"layer {self.layer!r} returns {tuple(leaf.shape)} for an input of {tuple(self.input.shape)}, which"
                " has no spatial extent to map: name an earlier layer"
            )

    @property
    def logits(self) -> Tensor:
        """(N, classes) the network's class scores, detached."""
        return self._logits.detach()

    @property
    def scores(self) -> Tensor:
        """(N, K) the explained scores, detached."""
        return self._scores.detach()

    @cached_property
    def activations(self) -> Tensor:
        """(N, C, *spatial) the target layer's output, at least float32."""
        return _at_least_float32(self._leaf.detach())

    @cached_property
    def gradients(self) -> Tensor:
        """(N, K, C, *spatial) the gradients of the K scores with respect to the activations, at least float32.

        Raises:
            LayerError: a score does not depend on the layer.
        """
        # Images do not mix in evaluation mode, so the gradient of a sum over a batch is theirs, one by one.
        return torch.stack([_at_least_float32(self._gradient(k)) for k in range(self._scores.shape[1])], dim=1)

    def _gradient(self, k: int) -> Tensor:
        gradient = None
        if self._scores.requires_grad:
            with torch.inference_mode(False):
                (gradient,) = torch.autograd.grad(
                    self._scores[:, k].sum(), self._leaf, retain_graph=True, allow_unused=True
                )
        if gradient is None:
            raise LayerError(
                f"the explained score does not depend on layer {self.layer!r} (its output is unused, or detached on the"
                " way to the logits): name a layer on the path to them"
            )
        return gradient

    def rescore(self, x: Tensor, images: Tensor, *, probability: bool = False) -> Tensor:
        """Returns the scores (M, K) of other inputs, without a graph and without hooks.

        Args:
            x: (M, C, *spatial) inputs made from images of the batch.
            images: (M,) int64, which image each was made from: its K targets are scored.
            probability: class scores as probabilities instead of logits.
        """
        with torch.inference_mode(False), torch.no_grad(), preserved(self.network.model, self.input.device):
            x, weights = self._channels_last(x.to(self.input.dtype))
            with self.autocast():
                output, logits = self.network(x, weights)
            scores = self.targets(output, logits, images, probability=probability)
        return _at_least_float32(scores)

    def _channels_last(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns a batch, and copies of the model's kernels, in the layout that a CPU convolves batches fastest in.

        ResNet-18, batches of 8 on two cores: 23 ms an image as usual, 21 with the input, 17 with the kernels too.
        """
        layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.ndim)
        if layout is None or x.device.type != "cpu" or len(x) == 1:
            return x, {}

        def kernels() -> dict[str, Tensor]:
            named = self.network.model.named_parameters()
            return {n: p.detach().contiguous(memory_format=layout) for n, p in named if p.ndim == x.ndim}

        return x.contiguous(memory_format=layout), self.memo("channels last", kernels)

    def memo(self, key: Any, compute: Callable[[], T]) -> T:
        """Returns ``compute()``, evaluated once per capture and key: what methods share (distances, clusters)."""
        if key not in self._memo:
            self._memo[key] = compute()
        return cast("T", self._memo[key])

    def split(self, limit: int = 1 << 28) -> Iterator[Capture]:
        """Yields captures of some of the targets each, such that no gradient takes more than ``limit`` bytes.

        They share this pass, its graph and its memo. Many targets of a wide layer (1000 classes x 2048 channels) would
        otherwise fill the memory.
        """
        columns = self._scores.shape[1]
        step = max(1, limit // max(1, self._leaf.numel() * max(4, self._leaf.element_size())))
        if step >= columns:
            yield self
            return
        for start in range(0, columns, step):
            part = object.__new__(Capture)
            part.__dict__.update(self.__dict__)
            part.__dict__.pop("gradients", None)
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


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()

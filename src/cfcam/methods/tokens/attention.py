"""Attention rollout and LeGrad: maps from the attention of a transformer, not from its activations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cfcam.capture import Adapter, Capture
from cfcam.capture.answers.outputs import find_tensor, replace_tensor
from cfcam.capture.half_precision import at_least_float32, gradients, takes_part
from cfcam.capture.layers.attention import AttentionMap, AttentionRecorder
from cfcam.capture.mixing import differ
from cfcam.capture.state.guarantee import preserved
from cfcam.capture.targets.tokens import TextOutput
from cfcam.errors import MethodError
from cfcam.methods.base import Method

_ADVICE = "use grad-cam, which needs no attention"


@dataclass(frozen=True)
class AttentionRollout(Method):
    """Attention rollout: ``A_L ... A_1`` of the layers' attention, each averaged over heads, with half an identity.

    ``A_l = (mean_heads(attention_l) + I) / 2``, because half of a block's output is its own input. The map is what the
    token that the classifier reads takes from each patch; where it reads the patches, their mean. **It is the same for
    every class**: attention does not depend on what is explained, and no gradient is taken. Values sum to at most 1.

    Raises:
        MethodError: the network shows no attention between all of its tokens, or the target layer's tokens are others.

    Source: Abnar and Zuidema 2020, arXiv 2005.00928, section 3 (attention rollout).
    """

    name: ClassVar[str] = "attention-rollout"
    cost: ClassVar[str] = "2"
    selective: ClassVar[bool] = True
    uses_gradients: ClassVar[bool] = False

    def __call__(self, capture: Capture) -> Tensor:
        """Returns maps (N, K, *grid), zero or positive, equal for all K targets."""
        structure = _structure(capture, self.name)
        with _watched(capture, differentiable=False) as recorder:
            capture.answer(capture.input)
        batch = len(capture.input)
        attention = [at_least_float32(layer.by_image(layer.weights, batch).mean(1)) for layer in recorder.maps]
        identity = torch.eye(attention[0].shape[-1], device=attention[0].device, dtype=attention[0].dtype)
        rollout = identity
        for weights in attention:
            rollout = (weights + identity) / 2 @ rollout
        prefix = capture.grid.prefix
        rows = rollout[:, 0] if structure.reads_first_token else rollout[:, prefix:].mean(1)
        maps = rows[:, None, prefix:].unflatten(2, capture.grid.grid).to(capture.activations.dtype)
        return maps.repeat(1, capture.scores.shape[1], *[1] * len(capture.grid.grid))


@dataclass(frozen=True)
class LeGrad(Method):
    """LeGrad: ``mean_l mean_heads mean_rows ReLU(d s_l / d attention_l)``.

    ``s_l`` is the explained score with the output of block l in place of the last block's, so that what each block
    forms is judged by the network's own head: final norm, pooling, classifier. All blocks go through that head
    together, in one more pass.

    Raises:
        MethodError: the network shows no attention between all of its tokens, or is no plain stack of blocks with one
            attention each.

    Source: Bousselham et al. 2024, arXiv 2404.03214, section 3.
    """

    name: ClassVar[str] = "legrad"
    cost: ClassVar[str] = "2 + backward per block"
    selective: ClassVar[bool] = True
    uses_gradients: ClassVar[bool] = False  # of the activations; those of the attention are summed as they come
    needs_gradients: ClassVar[bool] = True

    def __call__(self, capture: Capture) -> Tensor:
        """Returns maps (N, K, *grid), zero or positive."""
        blocks = _structure(capture, self.name).blocks(self.name)
        batch = len(capture.input)
        with _watched(capture, differentiable=True) as recorder, _last_block_gives_all(capture.network.model, blocks):
            found = capture.answer(capture.input, rows=len(blocks) * batch)
            if differ(found.logits[-batch:], capture.logits):
                raise MethodError(
                    f"{self.name} runs all blocks through the head in one batch, and this network's answer for an image"
                    " depends on what else is in its batch: use attention-rollout or grad-cam"
                )
            images = torch.arange(batch, device=found.logits.device).repeat(len(blocks))
            scores = capture.targets(found.output, found.logits, images).unflatten(0, (len(blocks), batch))
        if not scores.requires_grad:
            raise MethodError(f"legrad needs gradients behind the attention, and the scores have none: {_ADVICE}")
        with torch.inference_mode(False), torch.enable_grad():
            columns = [_relevance(recorder.maps, scores[:, :, k]) for k in range(scores.shape[2])]
        maps = torch.stack(columns, dim=1)[:, :, capture.grid.prefix :]
        return maps.unflatten(2, capture.grid.grid).to(capture.activations.dtype)


def _relevance(layers: Sequence[AttentionMap], scores: Tensor) -> Tensor:
    """Returns (N, T) the mean positive gradient of scores (L, N) with respect to the L layers' attention to a token."""
    means = []
    for layer, score in zip(layers, scores, strict=True):
        images = torch.arange(len(score), device=score.device)
        rows = images.repeat_interleave(len(layer.weights) // len(score))
        half = takes_part(score, layer.weights)
        (gradient,) = gradients(score, [layer.weights], [rows], half=half, retain_graph=True)
        assert gradient is not None  # noqa: S101 (it raises if there is none)
        means.append(layer.by_image(gradient, len(score)).relu().mean((1, 2)))
    return torch.stack(means).mean(0)


@dataclass(frozen=True)
class _Structure:
    """Where a network attends.

    Attributes:
        paths: dotted name of the module of each attention.
        reads_first_token: whether the classifier reads the first token, if there are tokens before the patches.
    """

    paths: tuple[str, ...]
    reads_first_token: bool

    def blocks(self, method: str) -> list[str]:
        """Returns the name of the block around each attention.

        Raises:
            MethodError: the attentions are not in one block each, side by side.
        """
        parts = [path.split(".") for path in self.paths]
        depth = 0
        while all(len(p) > depth + 1 and p[depth] == parts[0][depth] for p in parts):
            depth += 1
        blocks = [".".join(p[: depth + 1]) for p in parts]
        if len(set(blocks)) < len(blocks):
            raise MethodError(
                f"{method} needs a stack of blocks with one attention each, and this network attends in"
                f" {', '.join(dict.fromkeys(self.paths))}: use attention-rollout or grad-cam"
            )
        return blocks


def _structure(capture: Capture, method: str) -> _Structure:
    """Returns where the network attends, found by a pass of the first image, once per capture.

    Raises:
        MethodError: see `AttentionRollout`.
    """

    def find() -> tuple[_Structure, AttentionRecorder]:
        with _watched(capture, differentiable=True, batch=1) as recorder:
            logits = capture.answer(capture.input[:1]).logits
        reads = False
        if recorder.maps and capture.grid.prefix and logits.requires_grad:
            last = recorder.maps[-1]
            with torch.inference_mode(False), torch.enable_grad():
                score, one = logits.amax(1), torch.zeros(len(last.weights), dtype=torch.int64, device=logits.device)
                half = takes_part(score, last.weights)
                (gradient,) = gradients(score, [last.weights], [one], half=half, allow_unused=True)
            reads = gradient is not None and bool((last.by_image(gradient, 1)[:, :, 0] != 0).any())
        return _Structure(tuple(m.path for m in recorder.maps), reads), recorder

    structure, recorder = capture.memo("attention structure", find)
    _check(capture, recorder, method)
    return structure


def _check(capture: Capture, recorder: AttentionRecorder, method: str) -> None:
    inner = capture.network.model
    model = type(inner.model if isinstance(inner, Adapter) else inner).__name__
    if isinstance(capture.output, TextOutput):
        raise MethodError(
            f"{method} reads the attention of networks that classify, and {model} writes a text: use hires-cam or"
            " grad-cam, which need no attention"
        )
    if not recorder.maps and not recorder.other:
        raise MethodError(
            f"{method} needs the attention maps of a transformer, and {model} computes none that can be seen: set"
            f" attn_implementation='eager' if it is one of transformers, else {_ADVICE}"
        )
    sizes = sorted({m.weights.shape[-1] for m in recorder.maps})
    if recorder.other or len(sizes) != 1:
        raise MethodError(
            f"{method} needs attention between all tokens in every layer, and {model} attends within windows, on"
            f" several grids or to reduced tokens: {_ADVICE}"
        )
    expected = capture.grid.prefix + int(torch.Size(capture.grid.grid).numel())
    if sizes[0] != expected or capture.grid.channels == 1:
        raise MethodError(
            f"{method} maps {sizes[0]} tokens, and layer {capture.layer!r} has {capture.grid}: name a layer of the"
            " tokens, like the one that is chosen automatically"
        )


@contextmanager
def _watched(capture: Capture, *, differentiable: bool, batch: int | None = None) -> Iterator[AttentionRecorder]:
    model = capture.network.model
    recorder = AttentionRecorder(model, batch or len(capture.input), differentiable=differentiable)
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.set_grad_enabled(differentiable))
        stack.enter_context(preserved(model, capture.input.device))
        stack.enter_context(capture.autocast())
        stack.enter_context(recorder.recording())
        yield recorder


@contextmanager
def _last_block_gives_all(model: nn.Module, blocks: Sequence[str]) -> Iterator[None]:
    """Lets the last block return what all blocks returned, one after the other along the batch."""
    seen: list[Tensor] = []

    def hook(module: nn.Module, args: Any, output: Any) -> Any:
        tensor = find_tensor(output)
        if tensor is None:
            raise MethodError(f"legrad needs blocks that return tokens, and {type(module).__name__} returns none")
        seen.append(tensor)
        last = len(seen) == len(blocks)
        return replace_tensor(output, torch.cat(seen) if last else tensor.detach())

    handles = [model.get_submodule(name).register_forward_hook(hook) for name in blocks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()

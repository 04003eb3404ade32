"""Which layer: one is chosen by looking at what the network does with the user's input."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Container, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from cfcam.capture.answers.outputs import find_tensor, replace_tensor
from cfcam.capture.half_precision import gradients, takes_part
from cfcam.capture.layers.calls import call_names
from cfcam.capture.layers.frames import FrameGrid
from cfcam.capture.layers.probing import LayerInfo
from cfcam.capture.layers.tokens import one_reading
from cfcam.errors import LayerError

_NONE_NEEDED = "take a method that needs none (smooth-grad, integrated-gradients, full-grad, guided-backprop)"
_ATTENTION = re.compile(r"(attn|attention)[^.]*$", re.IGNORECASE)


def with_reach(model: nn.Module, layers: Sequence[LayerInfo], run: Callable[[], Tensor]) -> list[LayerInfo]:
    """Runs the network once more, with a graph, and returns the layers with `LayerInfo.reaches`.

    Behind the last attention only the class token may count: then the patch tokens have no gradient, and no map.

    Args:
        model: the network.
        layers: from `probe`; those that could be chosen are tried.
        run: runs the network on the same sample and returns its logits (1, ...).
    """
    tried = {i.name: i for i in candidates(layers)}
    kept: dict[str, Tensor] = {}

    def keep(name: str, output: Any) -> Any:
        tensor = find_tensor(output)
        if tensor is None or not tensor.is_floating_point():
            return output
        torch.set_grad_enabled(True)  # also inside a no_grad block of the model's own
        if not tensor.requires_grad:
            tensor = tensor.detach().requires_grad_()
        # What follows gets a copy: an in-place operation must not change what is kept.
        kept[name] = tensor
        return replace_tensor(output, tensor.clone())

    handles = [
        model.get_submodule(name).register_forward_hook(lambda _, __, output, name=name: keep(name, output))
        for name in tried
    ]
    try:
        logits = run()
    finally:
        for handle in handles:
            handle.remove()
    found: Sequence[Tensor | None] = [None] * len(kept)
    if logits.requires_grad:
        with torch.enable_grad():
            score = logits.float().amax(1).sum()[None]
            one = [torch.zeros(len(t), dtype=torch.int64, device=t.device) for t in kept.values()]
            half = takes_part(logits, *kept.values())
            found = gradients(score, list(kept.values()), one, half=half, allow_unused=True)
    reach = {n: _most_places(tried[n], g) for n, g in zip(kept, found, strict=True)}
    return [replace(i, reaches=reach.get(i.name)) for i in layers]


def _most_places(info: LayerInfo, gradient: Tensor | None) -> bool:
    if gradient is None:
        return False
    reading = info.readings[0]
    if info.looped and isinstance(reading, FrameGrid):
        reading = reading.frame  # what was kept is the last call's
    moved = (reading.maps(gradient) != 0).any(1)
    return bool(moved.float().mean() >= 0.5)


def candidates(layers: Sequence[LayerInfo]) -> list[LayerInfo]:
    """Returns the layers among which one is chosen: those with one way to see their output as maps."""
    return [i for i in _usable(layers) if len(i.readings) == 1]


def _usable(layers: Sequence[LayerInfo]) -> list[LayerInfo]:
    """Returns the eligible layers; those of single frames only where none has places along all axes of the input."""
    eligible = _eligible(layers)
    return [i for i in eligible if not i.framed] or eligible


def _eligible(layers: Sequence[LayerInfo]) -> list[LayerInfo]:
    # What a block of tokens or an attention does inside (its maps, positions) may look like a grid, and is none.
    cores = _attentions(layers)
    blocks = cores | {i.name for i in layers if _is_flat(i)}
    return [
        i
        for i in layers
        if (i.calls == 1 or i.looped)
        and i.readings
        and not i.reducing
        and not i.head
        and (
            not i.step and not _within(i.name, cores)
            if i.tokens
            else i.plain and not _within(i.name, blocks if len(i.readings[0].grid) > 1 else cores)
        )
    ]


def _attentions(layers: Sequence[LayerInfo]) -> set[str]:
    """Returns the names of the innermost modules that are called attention."""
    named = {i.name for i in layers if _ATTENTION.search(i.name)}
    return {name for name in named if not any(other.startswith(f"{name}.") for other in named)}


def _is_flat(info: LayerInfo) -> bool:
    """Tells whether an output has the shape of tokens (N, T, C)."""
    return info.shape is not None and len(info.shape) == 3 and info.shape[1] > 1


def _unread(layers: Sequence[LayerInfo], start: int, images: int) -> LayerInfo | None:
    """Returns the last block or norm, from a place on, that works on tokens (1, T, C) of which no grid is known."""
    inside = _attentions(layers)
    prefix = max((reading.prefix for i in layers for reading in i.readings), default=0)
    for i in reversed(layers[start:]):
        if not _is_flat(i) or i.readings or i.step or not i.plain or i.reducing or _within(i.name, inside):
            continue
        batch, tokens, width = i.shape or ()
        if batch == images and tokens > max(prefix, 1) and width > 1:  # class and other tokens alone have no place
            return i
    return None


def _within(name: str, containers: Container[str]) -> bool:
    parts = name.split(".")
    return any(".".join(parts[:depth]) in containers for depth in range(1, len(parts)))


def choose_layer(
    layers: Sequence[LayerInfo], input_shape: Sequence[int], output_shape: Sequence[int] | None
) -> LayerInfo:
    """Chooses the last layer that has a place for each part of the input, before the pooling that feeds the classifier.

    Among modules that return the same tensor the outermost is named (``layer4``, not ``layer4.2.relu``), because
    inner ones are often called several times in a pass. A layer at whose places the predicted class does not depend is
    passed over: behind the last attention of a vision transformer only its class token may count.

    Args:
        layers: from `probe` and `with_reach`.
        input_shape: (N, C, *spatial) of the probed input.
        output_shape: shape of the network's output; a layer that returns a tensor of this shape is its head.

    Raises:
        LayerError: no layer fits, or the network goes on to tokens that are no grid, or could be several; lists
            candidates.
    """
    eligible = [i for i in _usable(layers) if i.head is False or i.shape != tuple(output_shape or ())]
    fitting = [i for i in eligible if len(i.readings) == 1 and i.reaches is not False]
    if not fitting:
        raise LayerError(_why_none(layers, eligible, input_shape))
    chosen = _last(fitting, layers, input_shape)
    start = next(n for n, i in enumerate(layers) if i.name == chosen.same_as) + 1
    if unclear := next((i for i in reversed(layers[start:]) if i in eligible and len(i.readings) > 1), None):
        one_reading(unclear.readings, unclear.name, unclear.shape or (), input_shape)
    if len(input_shape) > 3 and (unread := _unread(layers, start, input_shape[0])):
        axes = len(input_shape)
        placed = [i for i in layers if i.plain and i.readings and i.calls == 1 and len(i.shape or ()) == axes]
        raise LayerError(
            f"this network works on tokens {unread.shape} at {unread.name!r}, which are no grid, behind"
            f" {chosen.name!r}, its last layer with one, whose map might mislead: name one with layer=... Layers"
            f" with a grid: {_listing(placed or fitting)}"
        )
    return chosen


def _last(fitting: Sequence[LayerInfo], layers: Sequence[LayerInfo], input_shape: Sequence[int]) -> LayerInfo:
    """Returns the last of the fitting layers, by its outermost name."""
    # A block that ends on a coarser grid has branches of the finer one inside; what they started from is before it.
    final = math.prod(fitting[-1].grid or ())
    coarser = {
        i.name
        for i in layers
        if i.plain and i.kind != "Sequential" and i.shape is not None and len(i.shape) == len(input_shape)
        if math.prod(i.grid or i.shape[2:]) < final
    }
    level = [i for i in fitting if i.grid == fitting[-1].grid]
    source = ([i for i in level if not _within(i.name, coarser)] or level)[-1].same_as
    same = [i for i in fitting if i.same_as == source]
    return next((i for i in reversed(same) if not i.step), same[0])  # an Identity behind it says nothing


def _why_none(layers: Sequence[LayerInfo], eligible: Sequence[LayerInfo], input_shape: Sequence[int]) -> str:
    if all(i.shape is None for i in layers):
        return (
            "no module of this network was seen at work (a traced or exported graph?): give the Python module, or"
            f" torch.export.unflatten(program), or {_NONE_NEEDED}, or, where it has no gradients, layer='input' and"
            " occlusion or score-cam"
        )
    repeated = [i for i in layers if i.calls > 1 and i.plain and not i.reducing and len(i.shape or ()) > 3]
    if repeated and not eligible:
        last = [i for i in repeated if i.same_as == repeated[-1].same_as][-1]
        return (
            f"every layer with places runs several times in one pass (two pictures, and one trunk?): name one call with"
            f" layer=..., {call_names(last.name, last.calls)}. Layers: {_listing(layers)}"
        )
    shapes = [i.shape for i in layers if i.plain and i.shape is not None and len(i.shape) == len(input_shape)]
    folded = [shape for shape in shapes if shape[0] > input_shape[0]]
    if any(len(i.readings) == 1 for i in eligible):
        why = (
            "the predicted class's logit depends on no layer's output at most places (a classifier of zeros, or a"
            " network without gradients)"
        )
    elif folded and not eligible:
        return (
            f"layers work on {folded[-1][0]} pictures for {input_shape[0]} image (flips, crops or tiles of it?),"
            " and which is which cannot be told: give the network without these, or one picture at a time through"
            f" cfcam.capture.Adapter. Layers: {_listing(layers)}"
        )
    else:
        why = (
            f"no layer's output has a spatial extent for an input of shape {tuple(input_shape)}: the network flattens"
            " it first, or works on tokens (N, T, C) that are no grid"
        )
    return f"{why}; {_NONE_NEEDED}, or name one with layer=... Layers: {_listing(layers)}"


def _listing(layers: Sequence[LayerInfo], most: int = 6) -> str:
    shown = [f"{i.name} {i.shape}" for i in layers if i.shape is not None][-most:]
    return ", ".join(shown) or "none ran"

"""Layers of segmentation networks: which of them are the head, and which lead to an auxiliary output only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor, nn

from cfcam.capture.layers.choosing import candidates, with_reach
from cfcam.capture.layers.probing import LayerInfo

_AT_ONCE = 4


def dense_layers(
    model: nn.Module,
    layers: Sequence[LayerInfo],
    output_shape: Sequence[int],
    run: Callable[[], Tensor],
) -> list[LayerInfo]:
    """Returns the layers of a segmentation network with `LayerInfo.head`, and `LayerInfo.reaches` of those at its end.

    Such networks end in what is no layer to map: the last convolution and what follows it, which is the class scores
    (perhaps on a coarser grid, from which they are interpolated), or an auxiliary head that only training uses. What
    feeds the last convolution is the layer to map: the scores are linear in it, so that a channel's pooled gradient
    holds everywhere. One block earlier it need not: behind a norm, Grad-CAM of one organ lies on another
    (tests/test_organ_energy.py). Layers are tried from the end, few at a time, because a graph of all of the network
    may not fit the memory.

    Args:
        model: the network.
        layers: from `probe`.
        output_shape: (1, classes, *spatial) of the class scores.
        run: runs the network on the sample and returns its class scores.
    """
    judged = list(layers)
    tried = candidates(layers)
    while tried:
        some, tried = tried[-_AT_ONCE:], tried[:-_AT_ONCE]
        found = {i.name: i.reaches for i in with_reach(model, some, run)}
        judged = [replace(i, reaches=found[i.name]) if i.name in found else i for i in judged]
        heads = _heads(model, judged, output_shape)
        judged = [replace(i, head=i.name in heads) for i in judged]
        if any(found[i.name] and i.name not in heads for i in some):
            return judged
    return list(layers)  # nothing is to be told from gradients, as in a quantised network


def _heads(model: nn.Module, layers: Sequence[LayerInfo], output_shape: Sequence[int]) -> set[str]:
    """Returns the names of the last module that mixes channels, and of what ran behind it."""
    found: set[str] = set()
    for i in reversed(layers):
        if i.reaches is False or i.shape is None or len(i.shape) != len(output_shape):
            continue
        if i.shape[1] != output_shape[1]:
            break
        found.add(i.name)
        if any(p.ndim > 1 for p in model.get_submodule(i.name).parameters(recurse=False)):
            break
    return found

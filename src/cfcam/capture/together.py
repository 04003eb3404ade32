"""Gradients at several layers of one pass, which one backward pass for each score gives; and second derivatives."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cfcam.capture.columns import MANY, all_gradients, seen_together, stacked, tail_of
from cfcam.capture.half_precision import at_least_float32, takes_part
from cfcam.capture.layers.frames import FrameGrid
from cfcam.capture.recording import Recording
from cfcam.capture.state.guarantee import Autocast
from cfcam.errors import LayerError


class Together:
    """The gradients of one set of scores at several layers: what is found for one is kept until the others ask.

    Args:
        recordings: of one pass, one a layer.
        scores: (N, K) of its graph.
        autocast: that of the caller.
    """

    def __init__(self, recordings: Sequence[Recording], scores: Tensor, autocast: Autocast) -> None:
        self._recordings, self._scores, self._autocast = list(recordings), scores, autocast
        self._found: dict[int, dict[int, list[Tensor | None]]] = {}

    def gradient(self, recording: Recording, k: int) -> Tensor:
        """Returns the gradients (N, C', *layer_spatial) of one column of scores at the layer of one recording.

        Raises:
            LayerError: the score does not depend on the layer, or what lies between refuses gradients.
        """
        mine = self._recordings.index(recording)
        if mine not in self._found.get(k, {}):
            found = Recording.differentiate(self._recordings, self._scores, k, self._autocast)
            self._found[k] = dict(enumerate(found))
        column = self._found[k]
        gradients = column.pop(mine)
        if not column:
            del self._found[k]
        return recording.seen(gradients)


def curvatures(recording: Recording, scores: Tensor, autocast: Autocast, known: dict[str, bool]) -> Tensor:
    """Returns (N, K, C', *layer_spatial) of all K scores, see `curvature`; at once if that gives the same.

    Args:
        recording: of the layer.
        scores: (N, K) of its graph.
        autocast: that of the caller.
        known: is filled with what is found out: whether it does, for scores like these.
    """
    found = _at_once(recording, scores, autocast) if known.get("alike", True) else None
    if found is not None and "alike" not in known:
        most = torch.linalg.vector_norm(found, torch.inf, dim=[0, *range(2, found.ndim)])
        k = int(most.argmax())
        alone = curvature(recording, scores, k, autocast)
        known["alike"] = torch.allclose(found[:, k], alone, rtol=1e-3, atol=1e-4 * float(alone.abs().max()))
    if found is None or not known["alike"]:
        return stacked([curvature(recording, scores, k, autocast) for k in range(scores.shape[1])])
    return found


def _at_once(recording: Recording, scores: Tensor, autocast: Autocast) -> Tensor | None:
    """Returns `curvatures` as gradients of the scores' change along the activations, ``sum(dy/dA . A)``.

    That change is linear in what the pass back begins with, so that one more pass back gives it for all K scores.

    Returns:
        None where they are few, or it is slower, or cannot be had.
    """
    tail, leaves = recording.tail(scores, autocast), recording.leaves
    if scores.shape[1] < MANY or not tail.batchable or tail.norms:
        return None
    with torch.inference_mode(False), torch.enable_grad():
        rows = torch.ones_like(scores, requires_grad=True)
        found = torch.autograd.grad(scores, leaves, rows, create_graph=True, allow_unused=True)
        pairs = [(g, leaf.detach()) for g, leaf in zip(found, leaves, strict=True) if g is not None]
        if not pairs:
            return None  # it says why where each score has passes of its own
        slopes, along = zip(*pairs, strict=True)
        try:
            (changes,) = torch.autograd.grad(slopes, [rows], along, create_graph=True)
        except RuntimeError:  # likewise
            return None
        behind = tail_of(changes, leaves)
        pool = None if tail.pool is None else behind.pool
        second = all_gradients(changes, leaves, pool) if behind.batchable else None
    if second is None:
        return None
    if all(one is None for one in second):  # the tail is linear
        A = recording.activations()
        return torch.zeros_like(A)[:, None].expand(len(A), scores.shape[1], *A.shape[1:])
    return seen_together(second, recording.seen, isinstance(recording.grid, FrameGrid))


def curvature(recording: Recording, scores: Tensor, k: int, autocast: Autocast) -> Tensor:
    """Returns the Hessian of one column of scores times the activations, (N, C', *layer_spatial), at least float32.

    It is the gradient of ``sum(dy/dA . A)`` with the second factor held, and 0 behind a piecewise linear tail.

    Args:
        recording: of the layer.
        scores: (N, K) of its graph.
        k: which of them.
        autocast: that of the caller.

    Raises:
        LayerError: the score does not depend on the layer, or the network has no second derivatives there.
    """
    leaves, logits = recording.leaves, recording.answer.logits
    first = recording.gradient(scores, k, autocast)  # says what is wrong, if something is
    if recording.network.half or takes_part(*leaves, logits, scores, autocast=autocast):
        raise LayerError(
            f"second derivatives behind layer {recording.layer!r} do not fit into float16: give the network and its"
            " input as bfloat16 or float32"
        )
    with torch.inference_mode(False), torch.enable_grad():
        found = torch.autograd.grad(scores[:, k].sum(), leaves, create_graph=True, allow_unused=True)
        pairs = [(g, leaf.detach()) for g, leaf in zip(found, leaves, strict=True) if g is not None and g.requires_grad]
        if not pairs:  # the tail is linear
            return torch.zeros_like(first)
        inner = torch.stack([(g * activations).sum() for g, activations in pairs]).sum()
        try:
            second = torch.autograd.grad(inner, leaves, retain_graph=True, allow_unused=True)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:120]
            raise LayerError(
                f"what follows layer {recording.layer!r} has no second derivatives ({reason}): write the attention out"
                " (attn_implementation='eager', fused_attn = False), or use grad-cam"
            ) from error
    known = [torch.zeros_like(leaf) if h is None else h for h, leaf in zip(second, leaves, strict=True)]
    return recording.seen([at_least_float32(h) for h in known])

"""Many passes of one batch, each on inputs changed in another way, for gradients of many targets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy

from torch import Tensor

from cfcam.capture.capture import Capture
from cfcam.capture.rescoring import Rescorer

_SMALL = 2
"""Numbers of a layer's output to one of the input, for which passes are kept."""


def in_blocks(capture: Capture, draws: Callable[[], Iterable[Tensor]]) -> Iterator[tuple[Capture, Iterator[Capture]]]:
    """Yields captures of some of the targets each, with those of the same targets in other inputs, draw by draw.

    The draws are run once where little is kept of a pass: the layer's output is small, and neither convolutions nor
    attention lie behind it, whose gradients would take far more than the pass. Else they are run for each block again.

    Args:
        capture: of the batch.
        draws: gives the other inputs (N, C, *spatial), the same each time.
    """
    blocks = capture.blocks()
    passes = [_kept(capture.again(x)) for x in draws()] if len(blocks) > 1 and _is_small(capture) else None
    for columns in blocks:
        part = capture.only(columns)
        yield part, _other(part, columns, passes, draws)


def _other(
    part: Capture, columns: slice, passes: Sequence[Capture] | None, draws: Callable[[], Iterable[Tensor]]
) -> Iterator[Capture]:
    if passes is None:
        return (part.again(x) for x in draws())
    return (one.only(columns) for one in passes)


def _is_small(capture: Capture) -> bool:
    recording = capture._recording
    small = sum(leaf.numel() for leaf in recording.leaves) <= _SMALL * recording.given.numel()
    return small and recording.tail(capture._scores, capture.autocast).batchable


def _kept(capture: Capture) -> Capture:
    """Returns a capture for gradients alone, without the input: of its size there is a single number."""
    recording = copy(capture._recording)
    recording.given = recording.given.new_zeros(()).expand(recording.given.shape)
    recording.input = recording.input.new_zeros(()).expand(recording.input.shape)
    capture._recording, capture._rescorer = recording, Rescorer(recording, capture.autocast)
    return capture

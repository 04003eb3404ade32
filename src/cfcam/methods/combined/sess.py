"""SESS: any method, on windows that slide over the input at several sizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from cfcam.capture import Capture
from cfcam.capture.layers.placement import LINEAR
from cfcam.errors import MethodError
from cfcam.methods.combined.fusion import unit_peak
from cfcam.methods.numbers import check_each_number, check_numbers
from cfcam.methods.wrapping import Wrapper

_LEAST = 1e-3
"""Of a window's maximum: what is less is taken for 0, which it is but for the rounding of where its places lie."""


@dataclass(frozen=True)
class SESS(Wrapper):
    """SESS: another method's maps of windows of the enlarged input, weighted by the class' score in each window.

    The input is enlarged by each scale; windows of the input's own size slide over it by ``stride`` of their size, the
    last ones at the border. The positive part of a window's map is scaled to its maximum, weighted by the class'
    probability there, and laid back. The map is the mean, over the windows of all scales, of what is above 0 at a
    place (above a thousandth of the window's maximum, so that no rounding decides). So small things are looked at as
    large as the network takes them, and windows without the class count for little.

    Args:
        base: the method.
        scales: enlargements, 1 or more each; 1 is the input itself.
        stride: of the windows, as a share of their size, above 0 and at most 1.
        keep: share of the windows, those with the largest scores, that are not left out, of each image and class.

    Source: Tursun et al. 2022, arXiv 2207.01769: scaling, sliding, pre-filtering, weighting, averaging of what is above
    0; of its other fusions none.
    """

    name: ClassVar[str] = "sess"
    cost: ClassVar[str] = "the method's x windows"
    scales: tuple[float, ...] = (1.0, 1.5, 2.0)
    stride: float = 0.5
    keep: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_each_number(self, "scales", least=1)
        if not self.scales:
            raise MethodError("SESS(scales=()): a tuple of numbers, 1 or more")
        check_numbers(self, "stride", "keep", above=0, most=1)

    @property
    def label(self) -> str:
        """The key of the maps in an explanation: the method's, and that windows slide."""
        return f"{self.base.label}-{self.name}"

    def __call__(self, capture: Capture) -> Tensor:
        """Returns maps (N, K, *input_spatial), in [0, 1]."""
        size, enough = capture.input.shape[2:], self._enough(capture)
        total = count = torch.zeros((), device=capture.input.device)
        for scale, start in self._windows(size):
            seen = self._seen(capture, scale, start)
            score = seen.probabilities
            weight = torch.where(score < enough, 0, score).reshape(*score.shape, *[1] * len(size))
            map_ = seen.over_input(unit_peak(self.base_maps(seen))) * weight
            canvas = map_.new_zeros(*map_.shape[:2], *_enlarged(size, scale))
            canvas[_at(start, size)] = map_
            laid = _resized(canvas, size)
            total, count = total + laid, count + ~(laid <= _LEAST * weight)  # NaN is counted, and shows
        return total / count.clamp(min=1)

    def _enough(self, capture: Capture) -> Tensor:
        """Returns (N, K) the least score of a window that is not left out."""
        if self.keep == 1:
            return torch.full_like(capture.probabilities, -torch.inf)
        windows = self._windows(capture.input.shape[2:])
        scores = torch.stack([self._seen(capture, scale, start).probabilities for scale, start in windows])
        return scores.sort(0, descending=True).values[max(1, round(self.keep * len(scores))) - 1]

    def _windows(self, size: Sequence[int]) -> Iterator[tuple[float, tuple[int, ...]]]:
        for scale in dict.fromkeys(self.scales):
            room = [large - n for large, n in zip(_enlarged(size, scale), size, strict=True)]
            steps = [max(1, round(self.stride * n)) for n in size]
            places = [sorted({*range(0, r + 1, s), r}) for r, s in zip(room, steps, strict=True)]
            for start in product(*places):
                yield scale, start

    def _seen(self, capture: Capture, scale: float, start: tuple[int, ...]) -> Capture:
        if scale == 1:
            return capture
        window = partial(_window, scale=scale, start=start)
        return capture.again(window(capture.input), targets=capture.targets.moved(window))


def _enlarged(size: Sequence[int], scale: float) -> list[int]:
    """Returns the size of the enlarged input; an axis of one place stays one."""
    return [round(scale * n) if n > 1 else 1 for n in size]


def _window(x: Tensor, scale: float, start: tuple[int, ...]) -> Tensor:
    """Returns a window (N, C, *spatial) of x enlarged, of x's own size."""
    large = _resized(x, _enlarged(x.shape[2:], scale))
    return large[_at(start, x.shape[2:])].contiguous()


def _at(start: Sequence[int], size: Sequence[int]) -> tuple[slice, ...]:
    """Returns the index of a window in (N, K, *spatial)."""
    return (slice(None), slice(None), *[slice(s, s + n) for s, n in zip(start, size, strict=True)])


def _resized(x: Tensor, size: Sequence[int]) -> Tensor:
    if list(x.shape[2:]) == list(size):
        return x
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return F.interpolate(wide, list(size), mode=LINEAR[x.ndim - 2], align_corners=False).to(x.dtype)

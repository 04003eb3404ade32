"""Which views an input is seen in: what keeps its meaning hangs on what kind of input it is, which no pixel tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from cfcam.errors import MethodError, shown
from cfcam.methods.clusters.views import SHORT, View

Kind = Literal["unknown", "photograph", "radiograph", "volume", "signal"]
KINDS: tuple[str, ...] = get_args(Kind)

THICK = 1.5
"""An axis whose places lie more than so many times as far apart as those of the finest is not moved along: in a volume
of thick slices a step of one voxel is another slice, and no small motion."""

NOISE = 0.05
"""Of the standard series, in standard deviations of the image: it moves a network's answers about as far as a step of
one pixel does (MobileNetV2 on photographs and on ultrasound; twice as far on chest films)."""


@dataclass(frozen=True)
class _Kept:
    """What keeps the meaning of a kind of input.

    Attributes:
        axes: how many spatial axes it has, without those of frames; None: any.
        flips: axes, counted from the last, along which it may be flipped.
        turns: whether it may be turned a little.
        said: what it is, and why it is not moved otherwise.
    """

    axes: int | None
    flips: tuple[int, ...]
    turns: bool
    said: str


_KEPT = {
    "unknown": _Kept(None, (-1, -2, -3), True, ""),
    "photograph": _Kept(2, (-1,), True, "a photograph is flipped left-right at most: it has an above and a below"),
    "radiograph": _Kept(2, (), True, "a radiograph is not flipped: its sides have a meaning"),
    "volume": _Kept(3, (), False, "a volume is moved by steps and noise alone: its sides have a meaning"),
    "signal": _Kept(1, (), False, "a signal is moved in time alone: run backwards it is another"),
}


def check_kind(owner: str, kind: object, views: int | tuple[View, ...], spacing: object) -> None:
    """Refuses a kind that there is not, views that change its meaning, and distances that are none.

    Args:
        owner: what was given them, as said to people.
        kind: one of `KINDS`.
        views: how many, or which.
        spacing: see `series`.

    Raises:
        MethodError: one of them does not fit.
    """
    if not isinstance(kind, str) or kind not in KINDS:
        raise MethodError(f"{owner}(kind={shown(kind)}): one of {', '.join(map(repr, KINDS))}")
    kept = _KEPT[kind]
    for view in views if isinstance(views, tuple) else ():
        if not set(view.flip) <= set(kept.flips) or (view.turn and not kept.turns):
            raise MethodError(f"{owner}(kind={kind!r}): the view {view.words} changes what it means: {kept.said}")
    if (kind != "unknown" or spacing is not None) and not views:
        raise MethodError(f"{owner}(kind={kind!r}, views=0): kind and spacing choose views: give a number of them")
    if spacing is None:
        return
    if not isinstance(spacing, tuple) or not spacing or not all(_is_distance(one) for one in spacing):
        raise MethodError(f"{owner}(spacing={shown(spacing)}): a tuple of numbers above 0, one for each spatial axis")
    if kept.axes is not None and len(spacing) != kept.axes:
        raise MethodError(
            f"{owner}(kind={kind!r}, spacing={shown(spacing)}): a {kind} has {kept.axes} spatial axes, and as many"
            " distances are due"
        )
    if isinstance(views, tuple):
        raise MethodError(f"{owner}(views=(...), spacing=...): spacing chooses axes of the standard series: give views=4")

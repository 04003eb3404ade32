"""Which views an input is seen in: what keeps its meaning hangs on what kind of input it is, which no pixel tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from cfcam.capture import Capture
from cfcam.errors import MethodError, shown
from cfcam.methods.clusters.seen import still_axes
from cfcam.methods.clusters.views import SHORT, View
from cfcam.methods.numbers import check_each_number

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


def check_kind(owner: Any) -> None:
    """Refuses a kind that there is not, views that change its meaning, and distances that are none.

    Args:
        owner: the frozen dataclass that has them, as ``kind``, ``views`` and ``spacing``; see `series_of`.

    Raises:
        MethodError: one of them does not fit.
    """
    kind, views, spacing, name = owner.kind, owner.views, owner.spacing, type(owner).__name__
    if not isinstance(kind, str) or kind not in KINDS:
        raise MethodError(f"{name}(kind={shown(kind)}): one of {', '.join(map(repr, KINDS))}")
    kept = _KEPT[kind]
    for view in views if isinstance(views, tuple) else ():
        if not set(view.flip) <= set(kept.flips) or (view.turn and not kept.turns):
            raise MethodError(f"{name}(kind={kind!r}): the view {view.words} changes what it means: {kept.said}")
    if (kind != "unknown" or spacing is not None) and not views:
        raise MethodError(f"{name}(kind={kind!r}, views=0): kind and spacing choose views: give a number of them")
    if spacing is None:
        return
    check_each_number(owner, "spacing", above=0)
    if kept.axes is not None and len(spacing) != kept.axes:
        raise MethodError(
            f"{name}(kind={kind!r}, spacing={_listed(spacing)}): a {kind} has {_axes(kept.axes)}, and as many"
            " distances are due"
        )
    if isinstance(views, tuple):
        raise MethodError(
            f"{name}(views=(...), spacing=...): spacing chooses axes of the standard series: give views=4"
        )


def series_of(
    capture: Capture, views: int | tuple[View, ...], kind: str, spacing: tuple[float, ...] | None, name: str
) -> tuple[View, ...]:
    """Returns the views of an input; what was chosen for its kind, or by its spacing, stands in the capture's notes.

    Args:
        capture: of the input.
        views: how many, or which.
        kind: one of `KINDS`.
        spacing: see `series`.
        name: of the method, for the notes.

    Raises:
        MethodError: the input is of another kind, or has another number of axes.
    """
    size = capture.input.shape[2 + still_axes(capture) :]
    due = _KEPT[kind].axes
    if due is not None and len(size) != due:
        raise MethodError(f"{name}: a {kind} has {_axes(due)}, and the input {len(size)}: give the kind that it is")
    if spacing is not None and len(spacing) != len(size):
        raise MethodError(
            f"{name}: spacing={_listed(spacing)} is of {_axes(len(spacing))}, and the input has {len(size)}: give a"
            " distance for each"
        )
    chosen = series(views, kind, spacing, size) if isinstance(views, int) else views
    if kind != "unknown" or spacing is not None:
        of = "an input" if kind == "unknown" else f"a {kind}"
        where = "" if spacing is None else f" with places {' x '.join(f'{mm:g}' for mm in spacing)} apart"
        line = f"{name}: views of {of}{where}: {'; '.join(view.words for view in chosen)}"
        said: dict[str, list[int]] = capture.memo("notes", dict)
        said[line] = list(range(len(capture.input)))
    return chosen


def series(
    count: int, kind: str = "unknown", spacing: tuple[float, ...] | None = None, size: Sequence[int] | None = None
) -> tuple[View, ...]:
    """Returns the first views of a kind's standard series: small motions, and then faint noise of either sign.

    Nothing in it changes what an input of that kind means. What else would keep the meaning of a photograph, a flip,
    makes no better maps than other views (``benchmarks/results/views.md``).

    Args:
        count: 0 or more.
        kind: one of `KINDS`.
        spacing: how far apart the places of each axis lie, in any unit: axes on which they lie more than `THICK` times
            as far apart as on the finest that moves are not moved along. None: all are.
        size: of these axes; None: unknown.
    """
    moved = (True,) if spacing is None else _fine(spacing, size)
    ones, twos = ([View(shift=n if all(moved) else tuple(n * m for m in moved)) for n in (far, -far)] for far in (1, 2))
    motions = [*ones, *twos]
    noise = [View(noise=NOISE * (1 - 2 * (n % 2)), seed=n // 2) for n in range(count - len(motions))]
    return (*motions[:count], *noise)


def _fine(spacing: tuple[float, ...], size: Sequence[int] | None) -> tuple[bool, ...]:
    """Returns which axes are moved along: of those that a `View` moves along at all, the fine ones."""
    finest = min((mm for mm, n in zip(spacing, size or (), strict=False) if n >= SHORT), default=min(spacing))
    return tuple(mm <= THICK * finest for mm in spacing)


def _axes(count: int) -> str:
    return f"{count} spatial {'axis' if count == 1 else 'axes'}"


def _listed(spacing: tuple[float, ...]) -> str:
    return f"({', '.join(f'{mm:g}' for mm in spacing)})"

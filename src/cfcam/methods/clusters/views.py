"""Views of an input: small motions and noise, and how a map of a view is laid back over the input itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cfcam.capture.layers.placement import Placement, along
from cfcam.errors import MethodError, seed_number, shown, whole_number
from cfcam.methods.numbers import check_numbers

_MOST_DEGREES = 180
SHORT = 8  # an axis of fewer pixels is not moved: a pixel of it is no small motion


@dataclass(frozen=True)
class View:
    """A version of an input: moved, flipped, turned, with noise, in this order. ``View()`` is the input itself.

    Args:
        shift: pixels along the spatial axes, towards higher indices; the border is repeated. One number: along each.
            Fewer numbers than axes are of the last ones; an axis of fewer than 8 pixels, and that of the frames of a
            clip, stays.
        flip: spatial axes, counted from the last (-1: left-right).
        turn: degrees, in the plane of the last two axes, about the centre, which keep the border; of pictures and
            volumes.
        noise: standard deviation of Gaussian noise, in standard deviations of the image; negative: the same noise with
            the other sign.
        seed: of the noise, which is the same for every image of a batch.
    """

    shift: int | tuple[int, ...] = 0
    flip: tuple[int, ...] = ()
    turn: float = 0.0
    noise: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        steps = [whole_number(n, "View: shift", error=MethodError) for n in _several(self.shift)]
        object.__setattr__(self, "shift", tuple(steps) if isinstance(self.shift, tuple) else steps[0])
        object.__setattr__(self, "seed", seed_number(self.seed, MethodError))
        if not isinstance(self.flip, tuple) or any(type(axis) is not int for axis in self.flip):
            raise MethodError(f"View(flip={shown(self.flip)}): a tuple of spatial axes, as (-1,) for left-right")
        if len(set(self.flip)) != len(self.flip) or not all(-3 <= axis <= -1 for axis in self.flip):
            raise MethodError(f"View(flip={self.flip}): different spatial axes from -3 to -1, counted from the last")
        check_numbers(self, "turn", "noise")
        if abs(self.turn) > _MOST_DEGREES:
            raise MethodError(f"View(turn={self.turn:g}): degrees from -180 to 180")

    def check(self, size: Sequence[int], still: int = 0) -> None:
        """Refuses a view that inputs have not: of axes they lack, or moved by so much that little of them is left.

        Args:
            size: *spatial.
            still: see `steps`.

        Raises:
            MethodError: it is such a view.
        """
        if any(axis < -len(size) for axis in self.flip) or (self.turn and len(size) < 2):
            raise MethodError(f"{self}: the input has {len(size)} spatial axes")
        for step, length in zip(self.steps(size, still), size, strict=True):
            if 2 * abs(step) > length:
                raise MethodError(
                    f"View(shift={self.shift}): more than half of an axis of {length} pixels, of which too little would"
                    " be left: move it less"
                )

    @property
    def is_retest(self) -> bool:
        """Whether it is the input again, moved by one pixel: what the network's test-retest is measured by."""
        steps = _several(self.shift)
        return not self.flip and not self.turn and not self.noise and {abs(step) for step in steps} in ({1}, {0, 1})

    @property
    def words(self) -> str:
        """What it is, as shown to people."""
        steps = _several(self.shift)
        said = [f"moved by {', '.join(map(str, steps))}"] if any(steps) else []
        said += [f"flipped along {', '.join(map(str, self.flip))}"] if self.flip else []
        said += [f"turned by {self.turn:g}"] if self.turn else []
        said += [f"noise of {self.noise:g}"] if self.noise else []
        return " and ".join(said) or "as it is"

    def steps(self, size: Sequence[int], still: int = 0) -> list[int]:
        """Returns by how many pixels each axis of an input moves.

        Args:
            size: *spatial.
            still: so many of the first axes stay, which are no places (frames).
        """
        axes = len(size)
        given = self.shift if isinstance(self.shift, tuple) else (self.shift,) * axes
        if len(given) > axes:
            raise MethodError(f"View(shift={self.shift}): the input has {axes} spatial axes")
        steps = [0] * (axes - len(given)) + list(given)
        return [0 if n < still or size[n] < SHORT else step for n, step in enumerate(steps)]

    def of(self, x: Tensor, still: int = 0) -> Tensor:
        """Returns the view of inputs (N, C, *spatial); see `steps`."""
        seen = self.moved(x, still)
        if self.noise:
            # one draw for all images: an image's map does not depend on its batch
            draw = torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(self.seed))
            size = x.flatten(1).float().std(1, correction=0).reshape(-1, *[1] * (x.ndim - 1))
            seen = seen + (self.noise * size * draw.to(size)).to(x.dtype)
        return seen

    def moved(self, x: Tensor, still: int = 0, *, empty: bool = False) -> Tensor:
        """Returns what motions alone make of ``x`` (N, C, *spatial), of the same size.

        Args:
            x: inputs, or masks of places in them.
            still: see `steps`.
            empty: whether what comes in from outside is 0, and not the border repeated.
        """
        size = x.shape[2:]
        self.check(size, still)
        for axis, step in enumerate(self.steps(size, still)):
            if step:
                source = torch.arange(size[axis], dtype=torch.float64) - step
                outside = (source < 0) | (source > size[axis] - 1)
                clamped = source.clamp(0, size[axis] - 1)
                x = along(x, axis + 2, clamped, outside if empty else torch.zeros_like(outside))
        x = x.flip(self.flip) if self.flip else x
        if self.turn:
            places = [torch.arange(n, dtype=torch.float64) + 0.5 for n in size[-2:]]
            rows, columns = _turned(places[0], places[1], size[-2:], -self.turn)
            x = _plane(x, rows - 0.5, columns - 0.5, "zeros" if empty else "border")
        return x

    def laid_back(
        self, maps: Tensor, size: Sequence[int], placement: Placement | None, still: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Returns maps (M, C, *cells) of the view where they lie on the input, and which cells the view shows (*cells).

        What a view does not show is 0.

        Args:
            maps: of the view.
            size: *spatial of the input.
            placement: of the cells on an input; None: they share it evenly.
            still: see `steps`.
        """
        shown = torch.ones(maps.shape[2:], dtype=torch.bool)
        cells, axes, steps = maps.shape[2:], len(size), self.steps(size, still)
        if not any(steps) and not self.flip and not self.turn:
            return maps, shown
        known = placement or Placement(tuple(size), (None,) * axes)
        spans = [known.span(axis, n) for axis, n in enumerate(cells)]
        # where the input's cells are seen in the view, axis by axis
        seen = [span.first + span.step * torch.arange(n, dtype=torch.float64) + step
                for span, n, step in zip(spans, cells, steps, strict=True)]  # fmt: skip
        hidden = [(at < 0) | (at > length) for at, length in zip(seen, size, strict=True)]
        seen = [length - at if axis - axes in self.flip else at
                for axis, (at, length) in enumerate(zip(seen, size, strict=True))]  # fmt: skip
        for axis, (at, span, out) in enumerate(zip(seen, spans, hidden, strict=True)):
            if self.turn and axis >= axes - 2:
                continue
            position, unseen = span.positions(at, cells[axis])
            if steps[axis] or axis - axes in self.flip:
                maps = along(maps, axis + 2, position, unseen | out)
                shown &= ~(unseen | out).reshape([-1 if d == axis else 1 for d in range(axes)])
        if self.turn:
            rows, columns = _turned(seen[-2], seen[-1], size[-2:], self.turn)
            (down, above), (across, beside) = (
                span.positions(at, n) for span, at, n in zip(spans[-2:], (rows, columns), cells[-2:], strict=True)
            )
            out = above | beside | (rows < 0) | (rows > size[-2]) | (columns < 0) | (columns > size[-1])
            out = out | hidden[-2][:, None] | hidden[-1]
            maps = _plane(maps, down, across, "border").masked_fill(out.to(maps.device), 0)
            shown = shown & ~out
        return maps, shown


def _several(shift: int | tuple[int, ...]) -> tuple[int, ...]:
    return shift if isinstance(shift, tuple) else (shift,)


def _turned(rows: Tensor, columns: Tensor, size: Sequence[int], degrees: float) -> tuple[Tensor, Tensor]:
    """Returns where the places of rows (h,) and columns (w,) are after a turn about the centre, in pixels, (h, w)."""
    angle = math.radians(degrees)
    down, across = (rows - size[0] / 2)[:, None], columns - size[1] / 2
    return (
        size[0] / 2 + math.cos(angle) * down + math.sin(angle) * across,
        size[1] / 2 - math.sin(angle) * down + math.cos(angle) * across,
    )


def _plane(x: Tensor, rows: Tensor, columns: Tensor, padding: str) -> Tensor:
    """Returns x (N, C, *, H, W) interpolated linearly at places (h, w), counted in its own rows and columns."""
    flat = x.reshape(-1, 1, *x.shape[-2:]) if x.ndim == 5 else x
    wide = flat.to(torch.promote_types(x.dtype, torch.float32))
    scaled = [2 * at / max(n - 1, 1) - 1 for at, n in ((columns, x.shape[-1]), (rows, x.shape[-2]))]
    grid = torch.stack(scaled, -1).to(wide).expand(len(wide), -1, -1, -1)
    found = F.grid_sample(wide, grid, padding_mode=padding, align_corners=True)
    return found.to(x.dtype).reshape(*x.shape[:-2], *rows.shape)

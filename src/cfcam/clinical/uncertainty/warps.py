"""Small changes of an image, each with the way in which its map comes back onto the original."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from cfcam.clinical.checks.motions import inverse_motion, motion_of, warp
from cfcam.errors import InputError
from cfcam.metrics.functional.robustness import add_noise, shift, unshift

_SHOWN = 0.999  # of a position, to count as shown by a moved image


@dataclass(frozen=True)
class Change:
    """One change of an image.

    Attributes:
        name: as shown to people.
        apply: (N, C, *spatial) -> the same shape.
        back: maps (N, K, *spatial) of the changed image -> on the original's grid, NaN where it does not show a place.
    """

    name: str
    apply: Callable[[Tensor], Tensor]
    back: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Augmentations:
    """Which changes an image undergoes, besides none; each in both directions.

    Attributes:
        shift: share of each spatial axis, rounded to whole positions and at least one; 0: none. Axes of fewer than 16
            positions are not shifted.
        degrees: turn about the centre; of a volume about its first axis. 0: none.
        zoom: larger and smaller by this share; 0: none.
        noise: standard deviation in those of the image; 0: none.
        noise_draws: how many noisy images.
        flips: spatial axes counted from the last (-1: left-right), of which every subset is one more image. None by
            default: in the images of a patient left is not right, and a network may have learned which is which.

    Raises:
        InputError: a number out of range.
    """

    shift: float = 0.02
    degrees: float = 2.0
    zoom: float = 0.02
    noise: float = 0.05
    noise_draws: int = 2
    flips: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        fine = 0 <= self.shift < 0.5 and 0 <= self.degrees <= 45 and 0 <= self.zoom < 0.5 and self.noise >= 0
        distinct = len(set(self.flips)) == len(self.flips) and all(-3 <= axis <= -1 for axis in self.flips)
        if not fine or not distinct or self.noise_draws < 0:
            raise InputError(
                f"{self}: give shift and zoom in [0, 0.5), degrees in [0, 45], noise and noise_draws of 0 or more,"
                " different flips from -3 to -1"
            )

    def of(self, x: Tensor, seed: int = 0) -> list[Change]:
        """Returns the changes of inputs (N, C, *spatial), the first of which is none.

        Args:
            x: with 2 or 3 spatial axes.
            seed: of the noise.

        Raises:
            InputError: another number of axes, flips of axes that the input has not, or nothing is to be changed.
        """
        if not isinstance(x, Tensor) or x.ndim not in (4, 5):
            raise InputError("augmentation takes pictures (N, C, H, W) and volumes (N, C, D, H, W)")
        if any(axis < 2 - x.ndim for axis in self.flips):
            raise InputError(f"flips {self.flips}: the input has {x.ndim - 2} spatial axes")
        changes = [Change("none", _same, _same), *self._shifts(x), *self._motions(x), *self._noises(seed)]
        changes += self._flips()
        if len(changes) == 1:
            raise InputError("these augmentations change nothing: set one of them above 0")
        return changes

    def _shifts(self, x: Tensor) -> Iterator[Change]:
        if not self.shift:
            return
        for axis, size in enumerate(x.shape[2:]):
            if size < 16:
                continue
            for sign in (1, -1):
                pixels = [0] * (x.ndim - 2)
                pixels[axis] = sign * max(1, round(self.shift * size))
                name = f"shifted by {pixels[axis]:+d} along axis {axis}"
                yield Change(name, partial(shift, pixels=pixels), partial(_unshifted, pixels=pixels))

    def _motions(self, x: Tensor) -> Iterator[Change]:
        ways = [(f"turned by {sign * self.degrees:+g} degrees", sign * self.degrees, 1.0) for sign in (1, -1)]
        if not self.degrees:
            ways = []
        if self.zoom:
            ways += [("larger", 0.0, 1 / (1 + self.zoom)), ("smaller", 0.0, 1 + self.zoom)]
        for name, degrees, scale in ways:
            motion = motion_of(x, degrees, scale)
            yield Change(name, partial(_moved, motion=motion, outside="border"), partial(_moved_back, motion=motion))

    def _noises(self, seed: int) -> Iterator[Change]:
        for draw in range(self.noise_draws if self.noise else 0):
            # Far from the seeds that a user tries one after the other, so that their draws are not the same ones.
            drawn = partial(add_noise, level=self.noise, seed=seed + 1_000_003 * draw)
            yield Change(f"noise, draw {draw + 1}", drawn, _same)

    def _flips(self) -> Iterator[Change]:
        for count in range(1, len(self.flips) + 1):
            for axes in itertools.combinations(self.flips, count):
                mirrored = partial(torch.flip, dims=axes)
                yield Change(f"mirrored along {axes}", mirrored, mirrored)


def _same(values: Tensor) -> Tensor:
    return values


def _unshifted(maps: Tensor, pixels: list[int]) -> Tensor:
    return unshift(maps.flatten(0, 1), pixels).unflatten(0, maps.shape[:2])


def _moved(values: Tensor, motion: Tensor, outside: str) -> Tensor:
    # All images move alike: they go as channels of one.
    return warp(values.flatten(0, 1)[None], motion, outside)[0].unflatten(0, values.shape[:2])


def _moved_back(maps: Tensor, motion: Tensor) -> Tensor:
    back = inverse_motion(motion)
    seen = _moved(torch.ones_like(maps[:1, :1]), motion, "zeros") > _SHOWN
    seen = _moved(seen.to(maps), back, "zeros") > _SHOWN
    return torch.where(seen, _moved(maps, back, "zeros"), torch.nan)

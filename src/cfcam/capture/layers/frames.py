"""Clips and stacks of slices: frames folded into the batch, or given to one trunk call after call.

A 2-D trunk in a network of clips (N, T, C, H, W) works on N * T pictures. Its output is seen as maps (N, C, T, h, w),
one a frame. Which axis of the input holds the frames, and in which order the trunk gets them, is found out by an
experiment: another last frame of the first image must change its own rows, and no other image's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from cfcam.capture.layers.placement import Placement
from cfcam.capture.layers.tokens import Evidence, TokenGrid, fitting
from cfcam.errors import LayerError

FEWEST_CALLS = 3
"""Fewer calls of one trunk are a pair of pictures to compare, of which one is to be named, and no clip."""


@dataclass(frozen=True)
class Layout:
    """How a network's input is seen as images with their channels first, (N, C, *spatial).

    Attributes:
        kind: "images" (as it is), "frames" (N, T, C, H, W), "slices" (N, S, H, W), without channels, or "one" of the
            pictures of each image.
        axis: of "one": the axis of the input on which the pictures lie.
        index: of "one": which.
    """

    kind: str = "images"
    axis: int = 1
    index: int = 0

    def images(self, given: Tensor) -> Tensor:
        """Returns the input (N, C, *spatial) of what the network is given; a view."""
        if self.kind == "frames":
            return given.transpose(1, 2)
        if self.kind == "slices":
            return given.unsqueeze(1)
        return given.select(self.axis, self.index) if self.kind == "one" else given

    def given(self, images: Tensor, whole: Tensor, which: Tensor | None = None) -> Tensor:
        """Returns what the network is given for images (M, C, *spatial).

        Args:
            images: changed versions of those of a batch.
            whole: what the network was given for the batch: of "one", the other pictures are taken from it.
            which: (M,) the image of the batch that each was made from; None: M = N, in order.
        """
        if self.kind == "frames":
            return images.transpose(1, 2)
        if self.kind == "slices":
            return images.squeeze(1)
        if self.kind == "one":
            others = (whole[: len(images)] if which is None else whole[which]).clone()
            others.select(self.axis, self.index).copy_(images)
            return others
        return images


IMAGES = Layout()


@dataclass(frozen=True)
class FrameGrid(TokenGrid):
    """How an output of one row a frame is seen as maps (N, C, T, *grid of a frame).

    Attributes:
        frame: how a row is seen as maps.
        axes: of the input, on which the frames may lie; one of them, once it is settled.
        by_frame: whether all images' first frames come first: row ``t * N + n``; else ``n * T + t``.
        backward: whether the last frame comes first, of calls.
    """

    frame: TokenGrid = field(default_factory=lambda: TokenGrid(()))
    axes: tuple[int, ...] = (1,)
    by_frame: bool = False
    backward: bool = False

    @classmethod
    def of(cls, frame: TokenGrid, count: int, axes: tuple[int, ...]) -> FrameGrid:
        """Returns the grid of ``count`` frames, whose order is not settled yet."""
        return cls((count, *frame.grid), frame.prefix, frame.channels, frame.suffix, frame, axes)

    def is_view(self, ndim: int) -> bool:
        """Whether maps are a view of the output with its channels first."""
        return self.frame.is_view(ndim)

    def rows(self, images: int) -> Tensor:
        """Returns (rows,) int64, which image each row is of."""
        rows = torch.arange(images * self.grid[0])
        return rows % images if self.by_frame else rows // self.grid[0]

    def maps(self, output: Tensor) -> Tensor:
        """Returns the maps (N, C, T, *grid of a frame)."""
        rows, count = self.frame.maps(output), self.grid[0]
        split = (
            rows.unflatten(0, (count, -1)).movedim(0, 2)
            if self.by_frame
            else rows.unflatten(0, (-1, count)).movedim(1, 2)
        )
        return split.flip(2) if self.backward else split

    def replaced(self, output: Tensor, maps: Tensor, images: Tensor) -> Tensor:
        """Returns M outputs like the layer's with other maps (M, C, T, *grid of a frame) in them."""
        n, count = len(output) // self.grid[0], self.grid[0]
        own = torch.arange(len(output), device=output.device)
        # (N, T) the row of each frame, in the order in which the layer has them
        where = own.unflatten(0, (count, n)).T if self.by_frame else own.unflatten(0, (n, count))
        where = where[images.to(where.device)]
        maps = maps.flip(2) if self.backward else maps
        if self.by_frame:
            rows, where = maps.movedim(2, 0).flatten(0, 1), where.T.flatten()
        else:
            rows, where = maps.movedim(2, 1).flatten(0, 1), where.flatten()
        return self.frame.replaced(output, rows, where)

    def __str__(self) -> str:
        return f"{self.grid[0]} frames of {self.frame}"


def layout_of(grid: TokenGrid, ndim: int) -> Layout:
    """Returns how an input of ``ndim`` axes is seen as images, for a layer with this grid."""
    if not isinstance(grid, FrameGrid):
        return IMAGES
    if ndim == len(grid.grid) + 1:
        return Layout("slices")
    return Layout("frames") if grid.axes == (1,) else IMAGES


def settled(grid: FrameGrid, given: Tensor, run: Callable[[Tensor], Tensor], layer: str, *, calls: bool) -> FrameGrid:
    """Returns the grid with the axis and the order of its frames, found by runs with another last frame.

    Args:
        grid: of the layer.
        given: what the network is given, two images or more.
        run: from an input to the layer's output (rows, ...) for it; of a layer that is called frame by frame, to its
            outputs one after another.
        layer: name of the layer, for messages.
        calls: whether the layer is called frame by frame.

    Raises:
        LayerError: the rows are no frames of single images, or two axes fit.
    """
    count, found, output = grid.grid[0], [], run(given)
    for axis in grid.axes:
        changed = _changed_rows(output, run(_other(given, axis, given.shape[axis] - 1)))
        alike = min(count, len(given)) == 1  # of one frame, or of one image, both orders are the same
        orders = (True,) if calls else (False,) if alike else (False, True)
        for by_frame in orders:
            one = replace(grid, axes=(axis,), by_frame=by_frame)
            frames = [r // len(given) if by_frame else r for r in changed]
            own = all((r % len(given) == 0) if by_frame else r < count for r in changed)
            if not changed or not own:
                continue
            if count - 1 in frames and (0 not in frames or len(grid.axes) == 1):
                found.append(one)
            elif calls and frames == [0]:
                found.append(replace(one, backward=True))
    if len(found) == 1:
        return found[0]
    many = "frames may lie on two axes of the input" if found else "rows are not the frames of one image each, in order"
    raise LayerError(
        f"layer {layer!r} returns {tuple(output.shape)} for an input of {tuple(given.shape)}, and its {many}: name"
        " another layer, or fold the frames through cfcam.capture.Adapter, one image at a time"
    )


def seen_picture(given: Tensor, call: int, output: Tensor, run: Callable[[Tensor], Tensor]) -> Layout | None:
    """Returns which of the pictures (N, T, C, H, W) or (N, C, T, H, W) one call of a layer saw; None: not one alone.

    Args:
        given: what the network is given.
        call: which call it was: that picture is tried first.
        output: of the layer in this call.
        run: from another input to the layer's output in this call.
    """
    for axis in (1, 2):
        order = sorted(range(given.shape[axis]), key=lambda index: index != call)
        seen = [index for index in order if _changed_rows(output, run(_other(given, axis, index)))]
        if len(seen) == 1 and given.shape[axis] > 1:
            return Layout("one", axis, seen[0])
    return None


def _other(given: Tensor, axis: int, index: int) -> Tensor:
    """Returns the input with another picture in place of one of the first image."""
    other = given.clone()
    picture = other[0].select(axis - 1, index)
    noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(0)).to(picture)
    spread = picture.float().std(correction=0).nan_to_num() + 0.1
    picture.add_(noise * spread.to(picture))
    return other


def _changed_rows(output: Tensor, other: Tensor) -> list[int]:
    """Returns the rows that differ, by more than the rounding of the others."""
    change = (output.detach().float() - other.detach().float()).flatten(1).abs().nan_to_num().amax(1)
    return (change > 1e-4 * change.amax()).nonzero().flatten().tolist()


def folds(input_shape: Sequence[int]) -> dict[tuple[int, tuple[int, ...]], tuple[int, ...]]:
    """Returns (number of frames, (C, *spatial) of a frame) -> axes of an input on which these frames may lie."""
    if len(input_shape) == 4:
        _, slices, *spatial = input_shape
        return {(slices, (1, *spatial)): (1,)} if slices > 1 else {}
    if len(input_shape) != 5:
        return {}
    _, a, b, *spatial = input_shape
    if a == b:
        return {(a, (b, *spatial)): (1, 2)}
    return {(a, (b, *spatial)): (1,), (b, (a, *spatial)): (2,)}


def _folded(x: Callable[[], Tensor], axis: int) -> Tensor:
    return x().movedim(axis, 1).flatten(0, 1)


@dataclass
class ClipEvidence(Evidence):
    """What a network did with a batch, of images or of clips.

    Attributes:
        folded: (number of frames, its axes) -> what it did with the frames, all in one batch.
        single: what it did with single pictures of a clip; None: the input is no clip.
    """

    folded: dict[tuple[int, tuple[int, ...]], Evidence] = field(default_factory=dict)
    single: Evidence | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        n, x = self.input_shape[0], self.x
        for (count, frame), axes in folds(self.input_shape).items():
            seen = None if x is None or len(self.input_shape) == 4 else partial(_folded, x, axes[0])
            self.folded[count, axes] = Evidence((n * count, *frame), x=seen)
        if len(self.input_shape) == 5:
            self.single = Evidence((n, *self.input_shape[2:]))

    def note(self, module: nn.Module, args: Any, output: Any) -> None:
        """Takes note of one module's output."""
        super().note(module, args, output)
        for other in self._others():
            other.note(module, args, output)

    def expect(self, model: nn.Module) -> None:
        """Takes note of what the model's parameters tell."""
        super().expect(model)
        for other in self._others():
            other.expect(model)

    def forget(self) -> None:
        """Lets go of the batch."""
        self.x = None
        for other in self._others():
            other.x = None

    def _others(self) -> list[Evidence]:
        return [*self.folded.values(), *([] if self.single is None else [self.single])]

    def readings(self, shape: Sequence[int]) -> list[TokenGrid]:
        """Returns the ways in which an output of this shape carries maps, those of a row a frame among them."""
        framed: list[TokenGrid] = [
            FrameGrid.of(reading, count, axes)
            for (count, axes), other in self.folded.items()
            if other.grids  # a convolution worked on the frames
            for reading in other.readings(shape)
        ]
        # Of a network that worked on frames only, T vectors (N, T, C) are no grid of the clip.
        own = [] if self.grids == {} and any(other.grids for other in self.folded.values()) else super().readings(shape)
        return own or framed

    def of_one(self, shape: Sequence[int]) -> list[TokenGrid]:
        """Returns the ways in which an output of this shape carries maps of one picture of a clip."""
        return self.single.readings(shape) if self.single is not None and self.single.grids else []

    def looped(self, shape: Sequence[int], calls: int) -> list[TokenGrid]:
        """Returns the ways to see the outputs of a layer that is called frame by frame as maps."""
        axes = tuple(axis for axis in (1, 2) if len(self.input_shape) == 5 and self.input_shape[axis] == calls)
        if calls < FEWEST_CALLS or not axes:
            return []
        return [FrameGrid.of(reading, calls, axes) for reading in self.of_one(shape)]

    def fits(self, reading: TokenGrid) -> bool:
        """Tells whether maps can be maps of the input, frame by frame."""
        if isinstance(reading, FrameGrid):
            return fitting(reading.frame.grid, self.input_shape[-len(reading.frame.grid) :])
        return super().fits(reading)

    def placement(self, grid: TokenGrid) -> Placement | None:
        """Returns where the cells of a layer's maps lie; None: they share the input evenly."""
        if not isinstance(grid, FrameGrid):
            return super().placement(grid)
        others = [
            other
            for (count, axes), other in self.folded.items()
            if count == grid.grid[0] and set(grid.axes) <= set(axes)
        ]
        for other in [*others, *([] if self.single is None else [self.single])]:
            if found := other.placement(grid.frame):
                return Placement((grid.grid[0], *found.input_size), (None, *found.spans))
        return None

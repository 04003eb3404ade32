"""Which cell of a picture each image token of a vision-language model stands for, by the model's own configuration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cfcam.capture import TokenGrid
from cfcam.capture.layers.image_tokens import ImageTokens
from cfcam.capture.layers.placement import Placement, Span, even
from cfcam.capture.layers.tokens import MAX_PREFIX
from cfcam.errors import LayerError


@dataclass(frozen=True)
class ImageGrid:
    """Where image tokens lie.

    Attributes:
        tokens: how they are seen as maps.
        size: (height, width) in pixels of what the maps cover.
        words: where this is known from, as shown to people.
        placement: where the cells lie on it, if they do not share it evenly.
    """

    tokens: TokenGrid
    size: tuple[int, int]
    words: str
    placement: Placement | None = None


def sides(value: Any) -> tuple[int, int] | None:
    """Returns a configuration's height and width, which may be one number; None: there is none."""
    if isinstance(value, int):
        return value, value
    if isinstance(value, (list, tuple)) and len(value) == 2:
        return int(value[0]), int(value[1])
    return None


def patches(config: Any, size: Sequence[int], count: int, *, pooled: int = 1, least: int = 0) -> ImageGrid:
    """Returns the grid of tokens that an encoder makes of patches, behind a class token and registers if it has them.

    Args:
        config: of the encoder: patch_size, depths of one whose patches are merged.
        size: (height, width) of the picture that it gets.
        count: how many tokens there are.
        pooled: patches along each axis that later become one token.
        least: tokens before the grid that are known to be there.

    Raises:
        LayerError: the configuration states no patches, or another number of them.
    """
    patch, name = sides(getattr(config, "patch_size", None)), getattr(config, "model_type", type(config).__name__)
    if patch is None:
        raise LayerError(
            f"the configuration of {name} states no patch_size, so that the grid of its {count} image tokens cannot be"
            " told: name a layer with a grid of its own, layer=..."
        )
    merged = 2 ** (len(getattr(config, "depths", ()) or (0,)) - 1)
    cell = patch[0] * merged, patch[1] * merged
    cells = size[0] // cell[0] // pooled, size[1] // cell[1] // pooled
    before = count - math.prod(cells)
    if math.prod(cells) < 2 or not least <= before <= MAX_PREFIX or (pooled > 1 and before):
        raise LayerError(
            f"{name} gives {count} image tokens for a picture of {size[0]} x {size[1]}, and its configuration (patches"
            f" of {patch[0]} x {patch[1]}{f', {pooled} x {pooled} in one token' if pooled > 1 else ''}) tells of"
            f" {cells[0]} x {cells[1]}: their grid cannot be told; name a layer with a grid of its own, layer=..."
        )
    spans = [_span(length, step, n) for length, step, n in zip(size, cell, cells, strict=True)] if pooled == 1 else []
    said = f"patches of {cell[0]} x {cell[1]} pixels" + (f", {pooled} x {pooled} in one token" if pooled > 1 else "")
    said += f"; {before} other token{'s' * (before > 1)} before them dropped" if before else ""
    placement = Placement((size[0], size[1]), tuple(spans)) if any(spans) else None
    return ImageGrid(TokenGrid(cells, before, -1), (size[0], size[1]), said, placement)


def _span(length: int, step: int, cells: int) -> Span | None:
    found = Span(step / 2, float(step), 0.0, float(step * cells))
    return None if found == even(length, cells) else found


def square(count: int, size: Sequence[int], words: str) -> ImageGrid:
    """Returns the grid of tokens that are a square; raises `LayerError` if their number is none."""
    side = math.isqrt(count)
    if side * side != count or side < 2:
        raise LayerError(f"{count} image tokens ({words}) are no square: their grid cannot be told")
    return ImageGrid(TokenGrid((side, side), channels=-1), (size[0], size[1]), words)


def merged(thw: Sequence[int], merge: int, patch: int, count: int) -> ImageGrid:
    """Returns the grid of a picture of its own size, whose patches are merged (Qwen2-VL, arXiv 2409.12191, 2.1).

    Args:
        thw: patches in time, height and width.
        merge: patches along each axis that become one token.
        patch: side of one in pixels.
        count: how many tokens there are.

    Raises:
        LayerError: it is a clip, or the numbers do not fit.
    """
    time, height, width = (int(n) for n in thw)
    cells = height // merge, width // merge
    if time != 1 or math.prod(cells) != count or count < 2:
        raise LayerError(
            f"{count} image tokens for patches {time} x {height} x {width}, {merge} x {merge} in one token: no grid of"
            " one picture (clips are not explained)"
        )
    said = f"{height} x {width} patches of {patch} pixels, {merge} x {merge} in one token"
    return ImageGrid(TokenGrid(cells, channels=-1), (height * patch, width * patch), said)


def tiles(rows: int, columns: int, each: int, count: int, tile: Sequence[int]) -> ImageGrid:
    """Returns the grid of a picture cut into tiles, row by row, with the whole picture, small, behind them.

    Idefics3 and SmolVLM, arXiv 2408.12637, section 3: the tiles' cells are put together; the small whole is a second
    view of the same places, whose tokens are left out.

    Args:
        rows: of tiles; 0: the picture was not cut.
        columns: of tiles.
        each: tokens of a tile.
        count: of all tokens.
        tile: (height, width) in pixels.

    Raises:
        LayerError: the numbers do not fit.
    """
    side = math.isqrt(each)
    views = rows * columns + 1 if rows and columns else 1
    if side * side != each or side < 2 or views * each != count:
        raise LayerError(f"{count} image tokens for {rows} x {columns} tiles of {each} each: their grid cannot be told")
    if views == 1:
        return ImageGrid(TokenGrid((side, side), channels=-1), (tile[0], tile[1]), f"{side} x {side} pooled patches")
    index = [
        (i // side * columns + j // side) * each + i % side * side + j % side
        for i in range(rows * side)
        for j in range(columns * side)
    ]
    words = f"{rows} x {columns} tiles of {side} x {side} pooled patches; the small whole picture behind them left out"
    grid = ImageTokens((rows * side, columns * side), index=tuple(index))
    return ImageGrid(grid, (rows * tile[0], columns * tile[1]), words)


def any_resolution(shape: Sequence[int], side: int, size: Sequence[int], count: int, tile: Sequence[int]) -> ImageGrid:
    """Returns the grid of a picture in tiles behind the small whole, without its padding, each line with an end.

    LLaVA-NeXT: the tiles' cells are put together, the rows or columns that lie on padding alone are dropped, and a
    token of no place ends each line.

    Args:
        shape: rows and columns of tiles.
        side: cells of a tile along each axis.
        size: (height, width) of the picture itself.
        count: of all tokens.
        tile: (height, width) of a tile in pixels.

    Raises:
        LayerError: the numbers do not fit.
    """
    height, width = shape[0] * side, shape[1] * side
    if size[1] / size[0] > width / height:
        pad = (height - int(round(size[0] * width / size[1], 7))) // 2
        lines, columns = height - 2 * pad, width
    else:
        pad = (width - int(round(size[1] * height / size[0], 7))) // 2
        lines, columns = height, width - 2 * pad
    if side * side + lines * (columns + 1) != count:
        raise LayerError(
            f"{count} image tokens for {shape[0]} x {shape[1]} tiles of {side} x {side}: their grid cannot be told"
        )
    first = side * side
    index = tuple(first + i * (columns + 1) + j for i in range(lines) for j in range(columns))
    words = (
        f"{shape[0]} x {shape[1]} tiles of {side} x {side} patches, padding and ends of lines dropped; the small whole"
        " picture before them left out"
    )
    pixels = round(lines * tile[0] / side), round(columns * tile[1] / side)
    return ImageGrid(ImageTokens((lines, columns), index=index), pixels, words)

"""Drawing with distances: soft shapes, smooth noise and strokes on a coordinate grid.

Every length is a share of the picture's width: the number of pixels changes the resolution and nothing else.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Point = tuple[float, float]


class Canvas:
    """Pixel centres of a square: `x` in [-0.5, 0.5] rightwards, `y` in [0, 1] downwards, (size, size)."""

    def __init__(self, size: int) -> None:
        centres = ((np.arange(size) + 0.5) / size).astype(np.float32)
        self.size = size
        self.pixel = 1.0 / size
        self.y, self.x = np.meshgrid(centres, centres - np.float32(0.5), indexing="ij")

    def soft(self, distance: Array, edge: float = 0.0) -> Array:
        """Membership in [0, 1] of a signed distance (negative inside): 1/2 at 0, at least a pixel soft."""
        half = max(edge, 0.75 * self.pixel)
        return smoothstep(distance, half, -half)

    def noise(self, rng: np.random.Generator, cells: int) -> Array:
        """Smooth noise of about unit variance, `cells` bumps across: a cubic B-spline on random knots."""
        knots = rng.standard_normal((cells + 3, cells + 3)).astype(np.float32)
        cell, basis = _spline(self.size, cells)
        rows = sum(basis[:, k, None] * knots[cell + k] for k in range(4))
        columns = np.asarray(rows, dtype=np.float32).T
        field = sum(basis[:, k, None] * columns[cell + k] for k in range(4))
        return np.asarray(field, dtype=np.float32).T * np.float32(2.09)

    def stroke(self, x: Array, y: Array, points: Sequence[Point]) -> Array:
        """Distance to a polyline in rigid coordinates `x`, `y`; exact within 3.5 % of the width, else 1."""
        reach = 0.035
        distance = np.ones_like(x)
        for (ax, ay), (bx, by) in pairwise(points):
            window = self._window(x, y, (ax + bx) / 2, (ay + by) / 2, reach + np.hypot(bx - ax, by - ay) / 2)
            px, py = x[window] - np.float32(ax), y[window] - np.float32(ay)
            dx, dy = np.float32(bx - ax), np.float32(by - ay)
            along = np.clip((px * dx + py * dy) / max(float(dx * dx + dy * dy), 1e-12), 0, 1)
            np.minimum(distance[window], norm(px - along * dx, py - along * dy), out=distance[window])
        return distance

    def _window(self, x: Array, y: Array, cx: float, cy: float, reach: float) -> tuple[slice, slice]:
        """The rows and columns that hold every pixel within `reach` of a point of a rigid frame."""
        middle = self.size // 2
        scale = float(np.hypot(x[middle, middle + 1] - x[middle, middle], y[middle, middle + 1] - y[middle, middle]))
        cos = float(x[middle, middle + 1] - x[middle, middle]) / scale
        sin = float(y[middle, middle + 1] - y[middle, middle]) / scale
        fx, fy = cx - float(x[middle, middle]), cy - float(y[middle, middle])
        column = middle + (cos * fx + sin * fy) / scale
        row = middle + (cos * fy - sin * fx) / scale
        span = reach / scale + 2
        low = np.clip([row - span, column - span], 0, self.size).astype(int)
        high = np.clip([row + span + 1, column + span + 1], 0, self.size).astype(int)
        return slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1]))


def norm(x: npt.ArrayLike, y: npt.ArrayLike) -> Array:
    """Euclidean length; faster than `numpy.hypot`, whose care about overflow is not needed here."""
    x, y = np.asarray(x, dtype=np.float32), np.asarray(y, dtype=np.float32)
    return np.asarray(np.sqrt(x * x + y * y), dtype=np.float32)


def overlap(*distances: Array) -> Array:
    """Signed distance to the part that several shapes share (a bound of it, as usual for distances)."""
    return np.asarray(np.maximum.reduce(distances), dtype=np.float32)


def union(*distances: Array) -> Array:
    """Signed distance to several shapes together."""
    return np.asarray(np.minimum.reduce(distances), dtype=np.float32)


def smoothstep(value: Array, start: float, stop: float) -> Array:
    """0 at `start`, 1 at `stop`, a smooth cubic between; `start` may be the larger one."""
    t = np.asarray((value - np.float32(start)) * np.float32(1 / (stop - start)), dtype=np.float32)
    np.clip(t, 0, 1, out=t)
    return t * t * (3 - 2 * t)


def ellipse(x: Array, y: Array, centre: Point, axes: Point, turn: float = 0.0) -> Array:
    """Signed distance (first order) to an ellipse turned by `turn` radians, clockwise on the picture."""
    px, py = x - np.float32(centre[0]), y - np.float32(centre[1])
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    u, v = (cos * px + sin * py) / np.float32(axes[0]), (cos * py - sin * px) / np.float32(axes[1])
    radius = norm(u, v)
    slope = norm(u / np.float32(axes[0]), v / np.float32(axes[1]))
    return np.asarray(radius * (radius - 1) / np.maximum(slope, 1e-6), dtype=np.float32)


def box(x: Array, y: Array, centre: Point, half: Point, rounding: float, turn: float = 0.0) -> Array:
    """Signed distance to a rounded rectangle turned by `turn` radians, clockwise on the picture."""
    px, py = x - np.float32(centre[0]), y - np.float32(centre[1])
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    u = np.abs(cos * px + sin * py) - np.float32(half[0] - rounding)
    v = np.abs(cos * py - sin * px) - np.float32(half[1] - rounding)
    outside = norm(np.maximum(u, 0), np.maximum(v, 0))
    return np.asarray(outside + np.minimum(np.maximum(u, v), 0) - np.float32(rounding), dtype=np.float32)


def curve(points: Sequence[Point], pieces: int = 8) -> list[Point]:
    """A Catmull-Rom curve through `points`, as a polyline with `pieces` straight parts between two points."""
    knots = np.array([points[0], *points, points[-1]], dtype=np.float64)
    t = np.linspace(0, 1, pieces, endpoint=False)[:, None]
    path = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(knots, knots[1:], knots[2:], knots[3:], strict=False)
    ]
    return [(float(px), float(py)) for px, py in np.concatenate([*path, knots[-1:]])]


def _spline(size: int, cells: int) -> tuple[npt.NDArray[np.intp], Array]:
    """First knot (size,) and the weights (size, 4) of the four knots that a pixel of one axis feels."""
    position = (np.arange(size) + 0.5) / size * cells
    cell = position.astype(np.intp)
    t = position - cell
    basis = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, 3 * t * (1 + t - t * t) + 1, t**3], axis=1) / 6
    return cell, basis.astype(np.float32)

"""Turns, zooms and shifts of an image, and the way back.

A motion is the affine (axes, axes + 1) that `F.affine_grid` takes: from places in the moved image to places in the
original one, where the last axis comes first, in units of half an axis. It is float64, on the CPU.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def motion_of(x: Tensor, degrees: float, scale: float) -> Tensor:
    """Returns a turn in the plane of the last two axes, about the centre, with a zoom of all axes.

    Args:
        x: (N, C, *spatial), what is to be moved.
        degrees: of the turn.
        scale: how much of the image is seen: below 1 what is shown becomes larger.
    """
    axes = x.ndim - 2
    turn = torch.eye(axes, dtype=torch.float64)
    angle = math.radians(degrees)
    aspect = x.shape[-2] / x.shape[-1]  # so that a turn is one in pixels, not in units of the axes
    turn[0, 0] = turn[1, 1] = math.cos(angle)
    turn[0, 1], turn[1, 0] = -math.sin(angle) * aspect, math.sin(angle) / aspect
    return torch.cat([turn * scale, torch.zeros(axes, 1, dtype=torch.float64)], 1)


def inverse_motion(motion: Tensor) -> Tensor:
    """Returns the motion (axes, axes + 1) that undoes one."""
    back = torch.linalg.inv(motion[:, :-1])
    return torch.cat([back, -back @ motion[:, -1:]], 1)


def warp(values: Tensor, motion: Tensor, outside: str) -> Tensor:
    """Returns an image moved, linearly sampled.

    Args:
        values: (1, C, *spatial).
        motion: (axes, axes + 1).
        outside: what lies beyond the border: "zeros", or "border" for its own values.
    """
    grid = F.affine_grid(motion[None].to(values), [1, *values.shape[1:]], align_corners=False)
    return F.grid_sample(values, grid, padding_mode=outside, align_corners=False)

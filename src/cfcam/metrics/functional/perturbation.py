"""Removing and restoring the pixels of an image in the order of a map, and what a network says of the results."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from cfcam.errors import InputError
from cfcam.metrics.functional.imputation import noisy_linear_imputation

__all__ = [
    "Baseline",
    "Mode",
    "Score",
    "baseline_image",
    "has_evidence",
    "masked_input",
    "masked_probability",
    "noisy_linear_imputation",
    "perturbation_curve",
    "rank_positions",
]

Score = Callable[[Tensor, Tensor], Tensor]
"""Inputs (M, C, *spatial), and the image of the batch (M,) that each was made from -> the probability of the class that
is explained there (M,)."""

Baseline = Literal["black", "mean", "blur", "noise"]
Mode = Literal["deletion", "insertion"]
BLUR = 1 / 16
"""Standard deviation of the blurred baseline as a share of each axis: 14 pixels of 224."""


def has_evidence(heatmap: Tensor) -> Tensor:
    """Returns (B,) bool: the map (B, *spatial) is finite and somewhere positive. Other maps are not assessed."""
    flat = heatmap.flatten(1)
    return flat.isfinite().all(1) & (flat > 0).any(1)


def image_seeds(x: Tensor, seed: int = 0) -> list[int]:
    """Returns N seeds made from the content of images (N, C, *spatial): equal for equal images, wherever they stand."""
    return [zlib.crc32(image.detach().float().cpu().contiguous().numpy().tobytes()) ^ seed for image in x]


def baseline_image(x: Tensor, kind: Baseline, black: float | Tensor = 0.0, *, seed: int = 0) -> Tensor:
    """Returns what an image without its pixels looks like: (B, C, *spatial).

    None of them is what the network was trained on, and rankings of methods depend on which is taken: a flat colour
    leaves the outline of what was removed to be seen, a blur leaves the layout, noise leaves neither and looks like
    nothing that the network knows. Look at several.

    Args:
        x: (B, C, *spatial) images, as the network takes them.
        kind: "black", the value ``black`` everywhere; "mean", the mean of each image and channel; "blur", the image
            convolved with a Gaussian whose standard deviation is a sixteenth of each axis, borders normalised. (RISE
            used 5 of 224 pixels in a window of 11, which is no removal: it left a MobileNetV2 with a mean probability
            of 0.13 for the class that it gave 0.82 before; a sixteenth leaves 0.003. 48 ImageNet pictures.) "noise",
            for each position a normal draw with the mean and the standard deviation of the image's channel, the same
            draw for the same image.
        black: what a black pixel becomes in preprocessing, a number or one for each channel (C,). With ImageNet's
            normalisation 0 is not black, but the mean colour of that data set (which RISE's code used).
        seed: of the noise, together with the image's content.

    Raises:
        InputError: another kind, or values of black for another number of channels.

    Source: Petsiuk et al. 2018 (RISE), arXiv 1806.07421; noise: Sturmfels et al. 2020, Distill, 10.23915/distill.00022.

    Example:
        >>> baseline_image(torch.tensor([[[1.0, 2.0, 6.0]]]), "mean")
        tensor([[[3., 3., 3.]]])
    """
    if kind == "black":
        value = torch.as_tensor(black, dtype=x.dtype, device=x.device)
        if value.ndim > 1 or value.numel() not in (1, x.shape[1]):
            raise InputError(
                f"black has shape {tuple(value.shape)} for images of {x.shape[1]} channels: give a number, or one for"
                " each channel"
            )
        return value.reshape(-1, *[1] * (x.ndim - 2)).expand_as(x).clone()
    if kind == "mean":
        return x.mean(tuple(range(2, x.ndim)), keepdim=True).expand_as(x).clone()
    if kind == "blur":
        return _blurred(x)
    if kind == "noise":
        return _noise_like(x, seed)
    raise InputError(f"baseline {kind!r}: 'black', 'mean', 'blur' or 'noise'")


def _noise_like(x: Tensor, seed: int) -> Tensor:
    """Returns normal noise with the mean and the deviation of each image's channels."""
    # On the CPU, so that every device gets the same.
    draws = [torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(s)) for s in image_seeds(x, seed)]
    places = tuple(range(2, x.ndim))
    return x.mean(places, keepdim=True) + x.std(places, correction=0, keepdim=True) * torch.stack(draws).to(x)


def _blurred(x: Tensor) -> Tensor:
    for axis in range(2, x.ndim):
        place = torch.arange(x.shape[axis], device=x.device, dtype=x.dtype)
        sigma = BLUR * x.shape[axis]
        weights = (-(place[:, None] - place).square() / (2 * sigma**2)).softmax(1)
        x = (x.movedim(axis, -1) @ weights.T).movedim(-1, axis)
    return x.contiguous()


def rank_positions(heatmap: Tensor, seed: int = 0) -> Tensor:
    """Returns (B, P) int64: the positions of each map (B, *spatial) from the most to the least important.

    Equal values come in the order of one random permutation, the same for every map: the thousands of zeros of a
    rectified map, taken row by row, would restore an image from its top.

    Args:
        heatmap: (B, *spatial).
        seed: of the permutation. The global random state is neither used nor changed.

    Example:
        >>> rank_positions(torch.tensor([[0.0, 0.7, 1.0, 0.2]])).tolist()
        [[2, 1, 3, 0]]
    """
    flat = heatmap.flatten(1)
    shuffled = torch.randperm(flat.shape[1], generator=torch.Generator().manual_seed(seed)).to(flat.device)
    return shuffled[flat[:, shuffled].argsort(dim=1, descending=True, stable=True)]


def masked_input(x: Tensor, heatmap: Tensor, baseline: Tensor | None = None) -> Tensor:
    """Returns the images under their maps, ``M x + (1 - M) b`` for each channel: (B, C, *spatial), as it takes them.

    Without a baseline the network sees the value 0 where the map is 0: black only if preprocessing leaves black at 0,
    the mean colour of the data set with ImageNet's normalisation. This is the convention of the published figures.

    Args:
        x: (B, C, *spatial).
        heatmap: (B, *spatial) in [0, 1].
        baseline: (B, C, *spatial) what is shown where the map is 0, see `baseline_image`; None: zeros.

    Raises:
        InputError: the maps or the baseline are not of the images' size.

    Source: Chattopadhay et al. 2018, arXiv 1710.11063, "Objective evaluation for object recognition".

    Example:
        >>> masked_input(torch.tensor([[[2.0, 4.0], [6.0, 8.0]]]), torch.tensor([[0.5, 1.0]]))
        tensor([[[1., 4.],
                 [3., 8.]]])
    """
    check_maps(x, heatmap)
    share = heatmap.unsqueeze(1).to(x.dtype)
    if baseline is None:
        return x * share
    _check_baseline(x, baseline)
    return torch.lerp(baseline, x, share)  # exact at 0 and at 1


def check_maps(x: Tensor, heatmap: Tensor) -> None:
    """Raises `InputError` unless there is one map (B, *spatial) of the size of each image (B, C, *spatial)."""
    if heatmap.shape != (x.shape[0], *x.shape[2:]):
        raise InputError(
            f"maps {tuple(heatmap.shape)} for images {tuple(x.shape)}: give one map an image, of its size,"
            f" {(x.shape[0], *x.shape[2:])}"
        )


def masked_probability(
    score: Score, x: Tensor, heatmap: Tensor, *, baseline: Tensor | None = None, batch_size: int = 16
) -> Tensor:
    """Returns (B,) the probabilities of the images under their maps; NaN for a map without evidence.

    Args:
        score: see `Score`.
        x: (B, C, *spatial).
        heatmap: (B, *spatial) in [0, 1].
        baseline: (B, C, *spatial), see `masked_input`.
        batch_size: inputs in one pass.

    Raises:
        InputError: maps or baseline are not of the images' size, or ``score`` returns anything but (M,).
    """
    check_maps(x, heatmap)
    if baseline is not None:
        _check_baseline(x, baseline)
    assessed = has_evidence(heatmap).nonzero().squeeze(1)

    def make(pairs: Tensor) -> Tensor:
        images = assessed[pairs]
        return masked_input(x[images], heatmap[images], None if baseline is None else baseline[images])

    return spread(score_pairs(score, make, assessed, batch_size), assessed, len(x))


def perturbation_curve(
    score: Score,
    x: Tensor,
    heatmap: Tensor,
    *,
    baseline: Tensor,
    mode: Mode = "deletion",
    steps: int = 32,
    ends: Tensor | None = None,
    batch_size: int = 16,
    seed: int = 0,
) -> Tensor:
    """Returns (B, steps + 1) the probability while pixels are removed, or restored, in the order of the map.

    Column j holds the probability with the fraction j / steps of the positions (rounded to whole positions) replaced by
    those of the baseline (deletion), or of the image put into the baseline (insertion), most important first. A map
    without evidence has NaN in its row and costs no pass.

    Args:
        score: see `Score`; ``steps + 1`` inputs an image.
        x: (B, C, *spatial).
        heatmap: (B, *spatial); only its order counts, ties broken as in `rank_positions`.
        baseline: (B, C, *spatial), see `baseline_image`.
        mode: "deletion" or "insertion".
        steps: intervals of the curve. With 32 the area differs by some 0.004 from that with 224, as in RISE (mean of 10
            ImageNet pictures, MobileNetV2).
        ends: (B, 2) the probabilities of the images and of their baselines, where they are known: two passes an image
            less. They are the same for every map of an image, and for both modes.
        batch_size: inputs in one pass; bounds the memory.
        seed: for ties.

    Raises:
        InputError: shapes that do not fit, another mode, or a number of steps that is not 1 to the number of positions.

    Source: Petsiuk et al. 2018 (RISE), arXiv 1806.07421.

    Example:
        The "network" of this example answers with the mean of its input, so the curve tells how much of it is left.

        >>> x = torch.tensor([[[0.0, 4.0, 0.0, 0.0]]])
        >>> heatmap = torch.tensor([[0.1, 1.0, 0.5, 0.2]])
        >>> def score(inputs, images):
        ...     return inputs.mean((1, 2))
        >>> perturbation_curve(score, x, heatmap, baseline=torch.zeros_like(x), steps=4)
        tensor([[1., 0., 0., 0., 0.]])
    """
    check_maps(x, heatmap)
    positions = heatmap[0].numel()
    _check_curve(x, baseline, mode, steps, positions)
    counts = torch.linspace(0, positions, steps + 1, dtype=torch.float64, device=x.device).round().long()
    if ends is not None:
        counts = counts[1:-1]
    assessed = has_evidence(heatmap).nonzero().squeeze(1)
    ranks = inverse_order(rank_positions(heatmap[assessed], seed))
    before, after = (x, baseline) if mode == "deletion" else (baseline, x)

    def make(pairs: Tensor) -> Tensor:
        row, column = pairs // len(counts), pairs % len(counts)
        changed = (ranks[row] < counts[column, None]).unflatten(1, x.shape[2:]).unsqueeze(1)
        return torch.where(changed, after[assessed[row]], before[assessed[row]])

    curves = score_pairs(score, make, assessed.repeat_interleave(len(counts)), batch_size)
    curves = curves.reshape(len(assessed), len(counts))
    if ends is not None:
        known = ends[assessed].to(curves)
        original, removed = known[:, :1], known[:, 1:]
        first, last = (original, removed) if mode == "deletion" else (removed, original)
        curves = torch.cat([first, curves, last], 1)
    return spread(curves, assessed, len(x))


def _check_baseline(x: Tensor, baseline: Tensor) -> None:
    if baseline.shape != x.shape:
        raise InputError(f"the baseline is {tuple(baseline.shape)} for images {tuple(x.shape)}: see baseline_image")


def _check_curve(x: Tensor, baseline: Tensor, mode: str, steps: int, positions: int) -> None:
    _check_baseline(x, baseline)
    if mode not in ("deletion", "insertion"):
        raise InputError(f"mode {mode!r}: 'deletion' or 'insertion'")
    if not 1 <= steps <= positions:
        raise InputError(f"{steps} steps for maps of {positions} positions: give 1 to {positions}")


def inverse_order(order: Tensor) -> Tensor:
    """Returns (B, P) int64 the rank of each position, for positions (B, P) in the order of their ranks."""
    ranks = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, ranks)


def score_pairs(score: Score, make: Callable[[Tensor], Tensor], images: Tensor, batch_size: int) -> Tensor:
    """Returns (M,) the probabilities of M inputs that exist ``batch_size`` at a time.

    Args:
        score: see `Score`.
        make: numbers (m,) int64 out of 0 to M - 1 -> these inputs (m, C, *spatial).
        images: (M,) the image that each input is made from.
        batch_size: inputs in one pass.

    Raises:
        InputError: ``score`` returns anything but one number an input.
    """
    if len(images) == 0:  # no map of the batch can be read; a network need not take an empty batch
        return torch.zeros(0, device=images.device)
    parts = []
    with torch.no_grad():
        for pairs in torch.arange(len(images), device=images.device).split(batch_size):
            values = score(make(pairs), images[pairs])
            if values.shape != pairs.shape:
                raise InputError(
                    f"the score function returned {tuple(values.shape)} for {len(pairs)} inputs: return one probability"
                    f" each, ({len(pairs)},)"
                )
            parts.append(values)
    return torch.cat(parts)


def spread(values: Tensor, assessed: Tensor, count: int) -> Tensor:
    """Returns (count, ...) with ``values`` (A, ...) in the rows ``assessed`` (A,), and NaN in the others."""
    result = values.new_full((count, *values.shape[1:]), torch.nan)
    result[assessed] = values
    return result

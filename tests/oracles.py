"""The methods written out in float64 NumPy: one image and one target at a time, loops instead of tensor algebra."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from sklearn.cluster import DBSCAN


def cam(A: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return sum(w * a for w, a in zip(weights, A, strict=True))


def grad_cam(A: np.ndarray, g: np.ndarray) -> np.ndarray:
    return np.maximum(cam(A, [gradient.mean() for gradient in g]), 0)


def grad_cam_plus_plus(A: np.ndarray, g: np.ndarray) -> np.ndarray:
    weights = []
    for a, gradient in zip(A, g, strict=True):
        weight = 0.0
        for value in gradient.ravel():
            denominator = 2 * value**2 + a.sum() * value**3
            alpha = value**2 / denominator if denominator != 0 else 0.0
            weight += alpha * max(value, 0.0)
        weights.append(weight)
    return np.maximum(cam(A, weights), 0)


def upsample(image: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Linear interpolation without corner alignment, axis by axis."""
    for axis, new in enumerate(size):
        old = image.shape[axis]
        position = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, None)
        low = np.minimum(np.floor(position).astype(int), old - 1)
        high = np.minimum(low + 1, old - 1)
        fraction = (position - low).reshape([-1 if i == axis else 1 for i in range(image.ndim)])
        image = np.take(image, low, axis) * (1 - fraction) + np.take(image, high, axis) * fraction
    return image


def score_cam(A: np.ndarray, x: np.ndarray, score: Callable[[np.ndarray], float], softmax: bool = False) -> np.ndarray:
    baseline = score(np.zeros_like(x))
    weights = np.full(len(A), -np.inf if softmax else 0.0)
    for k, a in enumerate(A):
        if a.max() > a.min():
            mask = upsample((a - a.min()) / (a.max() - a.min()), x.shape[1:])
            weights[k] = score(x * mask) - baseline
    if softmax:
        weights = np.exp(weights - weights.max()) / np.exp(weights - weights.max()).sum()
    return np.maximum(cam(A, weights), 0)


def reflected(index: int, size: int) -> int:
    if index < 0:
        return -index
    return 2 * (size - 1) - index if index >= size else index


def bilateral(image: np.ndarray, radius: int = 2, sigma_space: float = 1.5, sigma_range: float = 1.0) -> np.ndarray:
    # The lower of the two middle values, as torch has the median of an even number.
    def median(v: np.ndarray) -> float:
        return np.sort(v.ravel())[(v.size - 1) // 2]

    spread = 1.4826 * median(abs(image - median(image)))
    spread = sigma_range * (spread if spread > 0 else image.std())
    out = np.zeros_like(image)
    reach = [range(-min(radius, s - 1), min(radius, s - 1) + 1) for s in image.shape]
    for place in np.ndindex(*image.shape):
        total = norm = 0.0
        for step in itertools.product(*reach):
            q = tuple(reflected(p + d, s) for p, d, s in zip(place, step, image.shape, strict=True))
            weight = np.exp(-sum(d * d for d in step) / (2 * sigma_space**2))
            if spread > 0:
                weight *= np.exp(-((image[q] - image[place]) ** 2) / (2 * spread**2))
            total, norm = total + weight * image[q], norm + weight
        out[place] = total / norm
    return out


def box(image: np.ndarray, radius: int) -> np.ndarray:
    out = np.zeros_like(image)
    for place in np.ndindex(*image.shape):
        window = tuple(
            slice(max(p - min(radius, s - 1), 0), p + min(radius, s - 1) + 1)
            for p, s in zip(place, image.shape, strict=True)
        )
        out[place] = image[window].mean()
    return out


def guided(image: np.ndarray) -> np.ndarray:
    sizes = [s for s in image.shape if s > 1]
    radius = max(1, int(np.prod(sizes) ** (1 / len(sizes)) / 4 + 1e-9))
    mean = box(image, radius)
    variance = box(image * image, radius) - mean**2
    eps = 0.1 * image.var()
    if eps == 0:
        return image
    slope = variance / (variance + eps)
    return box(slope, radius) * image + box((1 - slope) * mean, radius)


def published(image: np.ndarray, sigma_space: float = 5.0, sigma_range: float = 0.1) -> np.ndarray:
    kernel = np.zeros_like(image)
    for place in np.ndindex(*image.shape):
        distance = sum((p - s / 2) ** 2 for p, s in zip(place, image.shape, strict=True))
        value = image[place] - image.mean()
        kernel[place] = np.exp(-distance / (2 * sigma_space**2)) * np.exp(-(value**2) / (2 * sigma_range**2))
    kernel /= kernel.sum() + 1e-6
    out = np.zeros_like(image)
    for place in np.ndindex(*image.shape):
        for k in np.ndindex(*kernel.shape):
            q = tuple(p + i - (s - 1) // 2 for p, i, s in zip(place, k, kernel.shape, strict=True))
            if all(0 <= i < s for i, s in zip(q, image.shape, strict=True)):
                out[place] += kernel[k] * image[q]
    return out


FILTERS = {"bilateral": bilateral, "guided": guided, "published": published, None: lambda image: image}


def cf_cam(
    A: np.ndarray,
    g: np.ndarray,
    *,
    important_quantile: float | None = 0.75,
    eps_quantile: float = 0.25,
    min_samples_fraction: float = 0.05,
    filter: str | None = "bilateral",  # noqa: A002
    outliers: str = "drop",
    weighting: str = "linear",
    eps_diagonal: bool = False,
    eps_minimum: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the map and scikit-learn's labels of the clustered channels (-2 for important ones)."""
    flat = A.reshape(len(A), -1)
    labels = np.full(len(A), -2)
    norms = np.linalg.norm(flat, axis=1)
    clustered = np.arange(len(A))
    if important_quantile is not None:
        clustered = np.where(norms < np.percentile(norms, 100 * important_quantile))[0]
    if len(clustered):
        distance = np.sqrt(((flat[clustered, None] - flat[None, clustered]) ** 2).sum(-1))
        pairs = distance.ravel() if eps_diagonal else distance[~np.eye(len(clustered), dtype=bool)]
        eps = max(np.percentile(pairs, 100 * eps_quantile) if len(pairs) else 0.0, eps_minimum)
        samples = max(2, int(len(clustered) * min_samples_fraction))
        # scikit-learn refuses a radius of 0, which identical channels give.
        fitted = DBSCAN(eps=max(eps, 1e-300), min_samples=samples, metric="precomputed").fit(distance)
        labels[clustered] = fitted.labels_
    weights, kept = np.zeros(len(A)), labels != -1
    for k in range(len(A)):
        if labels[k] == -2 or (labels[k] == -1 and outliers == "keep"):
            weights[k], kept[k] = g[k].mean(), True
        elif labels[k] >= 0:
            weights[k] = FILTERS[filter](g[labels == labels[k]].mean(0)).mean()
    if weighting == "softmax":
        exponent = np.where(kept, np.exp(weights - weights[kept].max(initial=-np.inf)), 0)
        weights = exponent / exponent.sum() if kept.any() else weights * 0
    return np.maximum(cam(A, weights), 0), labels


def unit_range(A: np.ndarray) -> np.ndarray:
    out = np.zeros_like(A)
    for k, a in enumerate(A):
        if a.max() > a.min():
            out[k] = (a - a.min()) / (a.max() - a.min())
    return out


def k_means(vectors: np.ndarray, groups: int, counts: np.ndarray, rounds: int = 10) -> np.ndarray:
    """Lloyd's algorithm from the longest vector and then always the one farthest from all centres; -1: not counted."""
    where = np.flatnonzero(counts)
    labels = np.full(len(vectors), -1)
    centres = [vectors[where[np.argmax([(vectors[i] ** 2).sum() for i in where])]]]
    while len(centres) < groups:
        nearest = [min(((vectors[i] - c) ** 2).sum() for c in centres) for i in where]
        centres.append(vectors[where[int(np.argmax(nearest))]])
    centres = np.array(centres)
    for _ in range(rounds):
        for i in where:
            labels[i] = np.argmin(((vectors[i] - centres) ** 2).sum(1))
        for c in range(groups):
            if (labels == c).any():
                centres[c] = vectors[labels == c].mean(0)
    return labels


def cf_cam_shrunk(
    A: np.ndarray,
    g: np.ndarray,
    *,
    groups: int = 32,
    shrinkage: float = 0.5,
    filter: str | None = "bilateral",  # noqa: A002
    important_quantile: float | None = None,
    signed: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the map of CF-CAM by k-means, and the groups."""
    flat = A.reshape(len(A), -1)
    counts = flat.max(1) > flat.min(1)
    if important_quantile is not None:
        norms = np.linalg.norm(flat, axis=1)
        counts &= norms < np.percentile(norms, 100 * important_quantile)
    labels = k_means(unit_range(A).reshape(len(A), -1), groups, counts)
    weights = np.array([gradient.mean() for gradient in g])
    for k in np.flatnonzero(labels >= 0):
        shared = FILTERS[filter](g[labels == labels[k]].mean(0)).mean()
        weights[k] = (1 - shrinkage) * g[k].mean() + shrinkage * shared
    raw = cam(A, weights)
    return (raw if signed else np.maximum(raw, 0)), labels


def group_masks(A: np.ndarray, labels: np.ndarray, groups: int) -> list[np.ndarray]:
    masks = unit_range(A)
    return [masks[labels == c].mean(0) for c in range(groups) if (labels == c).any()]


def posterior(prior: np.ndarray, design: np.ndarray, y: np.ndarray, doubt: float = 1.0) -> np.ndarray:
    """The mean of m given y = design m + noise, m normal around the prior scaled to fit y; its positive part."""
    m = prior.ravel()
    fitted = design @ m
    scale = (fitted @ y) / (fitted @ fitted)
    m = m * (scale if scale > 0 else 1)
    residual = y - design @ m
    level = abs(m).mean()
    V = np.diag((abs(m) + level) * level)
    S = design @ V @ design.T + doubt * residual.var(ddof=1) * np.eye(len(y))
    return np.maximum(m + V @ design.T @ np.linalg.inv(S) @ residual, 0).reshape(prior.shape)


# --- the relatives ---------------------------------------------------------------------------------------------------


def hires_cam(A: np.ndarray, g: np.ndarray) -> np.ndarray:
    out = np.zeros(A.shape[1:])
    for place in np.ndindex(*out.shape):
        for k in range(len(A)):
            out[place] += g[(k, *place)] * A[(k, *place)]
    return out


def layer_cam(A: np.ndarray, g: np.ndarray) -> np.ndarray:
    out = np.zeros(A.shape[1:])
    for place in np.ndindex(*out.shape):
        for k in range(len(A)):
            out[place] += max(g[(k, *place)], 0) * A[(k, *place)]
        out[place] = max(out[place], 0)
    return out


def xgrad_cam(A: np.ndarray, g: np.ndarray) -> np.ndarray:
    weights = []
    for a, gradient in zip(A, g, strict=True):
        weight = 0.0
        for value, slope in zip(a.ravel(), gradient.ravel(), strict=True):
            weight += slope * value / a.sum() if a.sum() != 0 else 0.0
        weights.append(weight)
    return np.maximum(cam(A, weights), 0)


def eigen_cam(features: np.ndarray, center: bool = False) -> np.ndarray:
    """By the full singular value decomposition of the positions x channels matrix."""
    matrix = np.array([features[(slice(None), *place)] for place in np.ndindex(*features.shape[1:])])
    means = [row.mean() for row in matrix]
    if center:
        matrix = matrix - matrix.mean(axis=0)
    _, _, right = np.linalg.svd(matrix, full_matrices=True)
    projection = np.array([row @ right[0] for row in matrix])
    towards = sum(p * mean for p, mean in zip(projection, means, strict=True))
    if abs(right[0].sum()) < 1e-3 * np.sqrt(len(right[0])):  # behind a layer norm there is no mean
        towards = projection[np.argmax(abs(projection))]
    return (projection if towards >= 0 else -projection).reshape(features.shape[1:])


def ablation_cam(A: np.ndarray, score: Callable[[np.ndarray], float], divide: bool = False) -> np.ndarray:
    weights = []
    for k in range(len(A)):
        ablated = A.copy()
        ablated[k] = 0
        weights.append((score(A) - score(ablated)) / (score(A) if divide else 1))
    return np.maximum(cam(A, weights), 0)


def smooth_grad_cam_plus_plus(A: np.ndarray, gradients: list[np.ndarray]) -> np.ndarray:
    """From the gradients of every noisy sample."""
    weights = []
    for k, a in enumerate(A):
        weight = 0.0
        for place in np.ndindex(*a.shape):
            first = sum(g[k][place] for g in gradients) / len(gradients)
            second = sum(g[k][place] ** 2 for g in gradients) / len(gradients)
            third = sum(g[k][place] ** 3 for g in gradients) / len(gradients)
            denominator = 2 * second + a.sum() * third
            weight += (second / denominator if denominator != 0 else 0.0) * max(first, 0.0)
        weights.append(weight)
    return np.maximum(cam(A, weights), 0)


def ss_cam(A: np.ndarray, x: np.ndarray, score: Callable[[np.ndarray], float], noises: list[np.ndarray]) -> np.ndarray:
    weights = np.zeros(len(A))
    for k, a in enumerate(A):
        if a.max() > a.min():
            mask = upsample((a - a.min()) / (a.max() - a.min()), x.shape[1:])
            for noise in noises:
                weights[k] += (score(x * (mask + noise)) - score(x * noise)) / len(noises)
    return np.maximum(cam(A, weights), 0)


def is_cam(A: np.ndarray, x: np.ndarray, score: Callable[[np.ndarray], float], steps: int, path: str) -> np.ndarray:
    weights = np.zeros(len(A))
    for k, a in enumerate(A):
        if a.max() > a.min():
            mask = upsample((a - a.min()) / (a.max() - a.min()), x.shape[1:])
            cumulative = 0.0
            for i in range(1, steps + 1):
                cumulative += (i - 1) / steps
                fraction = i / steps if path == "linear" else cumulative
                weights[k] += (score(x * mask * fraction) - score(np.zeros_like(x))) / steps
    return np.maximum(cam(A, weights), 0)


def fusion(maps: list[np.ndarray], mode: str) -> np.ndarray:
    size = tuple(max(m.shape[axis] for m in maps) for axis in range(maps[0].ndim))
    scaled = []
    for m in maps:
        positive = np.maximum(m, 0)
        scaled.append(upsample(positive / positive.max() if positive.max() > 0 else positive, size))
    out = np.zeros(size)
    for place in np.ndindex(*size):
        values = [m[place] for m in scaled]
        out[place] = {"mean": np.mean, "max": np.max, "product": np.prod}[mode](values)
    return out


def occlusion(
    x: np.ndarray, grid: tuple[int, ...], score: Callable[[np.ndarray], float], window: float, cover: np.ndarray
) -> np.ndarray:
    out = np.zeros(grid)
    for cell in np.ndindex(*grid):
        covered = x.copy()
        for place in np.ndindex(*x.shape[1:]):
            share = [n / g for n, g in zip(x.shape[1:], grid, strict=True)]
            offset = [p + 0.5 - (c + 0.5) * s for p, c, s in zip(place, cell, share, strict=True)]
            if all(-window * s / 2 <= o < window * s / 2 for o, s in zip(offset, share, strict=True)):
                covered[(slice(None), *place)] = cover[(slice(None), *place)]
        out[cell] = score(x) - score(covered)
    return out


def zoom(image: np.ndarray, scale: float, border: bool) -> np.ndarray:
    """Magnified about the centre, linearly interpolated; beyond it its border, or zeros."""
    out = np.zeros_like(image)
    for place in np.ndindex(*image.shape):
        position = [(p + 0.5 - s / 2) / scale + s / 2 - 0.5 for p, s in zip(place, image.shape, strict=True)]
        if border:
            position = [min(max(p, 0), s - 1) for p, s in zip(position, image.shape, strict=True)]
        for corner in itertools.product((0, 1), repeat=image.ndim):
            at = [int(np.floor(p)) + c for p, c in zip(position, corner, strict=True)]
            weight = np.prod([1 - abs(p - a) for p, a in zip(position, at, strict=True)])
            if all(0 <= a < s for a, s in zip(at, image.shape, strict=True)):
                out[place] += weight * image[tuple(at)]
    return out

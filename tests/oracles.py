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

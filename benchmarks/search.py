"""``python -m benchmarks search``: settings of CF-CAM within its idea, on the tuning parts only.

What is reported elsewhere was measured on the test parts, each picture once; these figures only say where the default
and `CFCAM.best` came from, and what was tried besides. They are means over a few pictures, without correction for
their number.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import cfcam
from benchmarks import report
from benchmarks.datasets import study
from benchmarks.machine import describe
from benchmarks.scorecard import NEIGHBOURS, prepared
from cfcam.capture import Capture
from cfcam.capture.targets.scores import Scores
from cfcam.methods.base import Method
from cfcam.methods.clustering import dbscan, squared_distances
from cfcam.methods.clusters.cluster_filter_cam import CFCAM, Clusters
from cfcam.methods.combined.fusion import Fusion
from cfcam.methods.gradient.grad_cam import GradCAM
from cfcam.methods.wrapping import Wrapper
from cfcam.metrics.scorecard.card import Scorecard

STUDIES = ("imagenet-v2", "imagenet-v1", "ultrasound", "chest", "adrenal", "phantoms")
METRICS = {
    "adcc": "ADCC",
    "insertion-deletion-blur": "ins − del",
    "enrichment": "enrichment",
    "gradient-noise-soft-iou": "gradient noise",
    "input-noise-soft-iou": "input noise",
}
REFERENCE = "Grad-CAM"


@dataclass(frozen=True)
class Knee(CFCAM):
    """DBSCAN whose eps lies at the knee of the sorted distances to the k-th neighbour (Ester et al. 1996, 4.2)."""

    def _labels(self, features: Tensor, count: Tensor) -> Tensor:
        squared = squared_distances(features, self.metric)
        smallest = (self.min_samples_fraction * count.double() + 1e-9).floor().clamp(min=2)
        distances = squared.clamp(min=0).sqrt()
        radii = [_knee(d.sort(1).values[:, int(k) - 1]) for d, k in zip(distances, smallest, strict=True)]
        return dbscan(squared, torch.stack(radii).square(), smallest)


def _knee(distances: Tensor) -> Tensor:
    """The value at which the sorted curve lies farthest below its chord."""
    curve = distances.sort().values
    chord = torch.linspace(float(curve[0]), float(curve[-1]), len(curve), dtype=curve.dtype)
    return curve[(chord - curve).argmax()]


@dataclass(frozen=True)
class HDBSCAN(CFCAM):
    """Clusters of varying density in place of one radius (Campello et al. 2013), by scikit-learn."""

    def _labels(self, features: Tensor, count: Tensor) -> Tensor:
        from sklearn import cluster

        found = []
        for distances in squared_distances(features, self.metric).clamp(min=0).sqrt():
            clusterer = cluster.HDBSCAN(min_cluster_size=3, metric="precomputed", copy=True)
            found.append(torch.from_numpy(clusterer.fit_predict(distances.numpy()).astype(np.int64)))
        return torch.stack(found).clamp(min=-1)


@dataclass(frozen=True)
class ByContribution(CFCAM):
    """The channels that matter most to the class, |w| . sum A, keep their own gradient; the others are pooled."""

    share: float = 0.05

    def weights(self, capture: Capture) -> Tensor:
        own = capture.gradients.flatten(3).mean(3)
        strength = own.abs() * capture.activations.flatten(2).abs().sum(2)[:, None]
        kept = strength >= strength.quantile(1 - self.share, dim=2, keepdim=True)
        return torch.where(kept & (strength > 0), own, super().weights(capture))


@dataclass(frozen=True)
class ElementWise(CFCAM):
    """The half own, half cluster gradient, used position by position: ReLU(sum_k g_k . A_k)."""

    def __call__(self, capture: Capture) -> Tensor:
        clusters: Clusters = self.clusters(capture)
        member = clusters.membership[:, None]
        g = capture.gradients.flatten(3)
        mean = member @ g / member.sum(-1, keepdim=True).clamp(min=1)
        shared = torch.where(clusters.labels[:, None, :, None] >= 0, member.transpose(2, 3) @ mean, g)
        pooled = g.lerp(shared, self.shrinkage).unflatten(3, capture.gradients.shape[3:])
        return (pooled * capture.activations[:, None]).sum(2).relu_()


@dataclass(frozen=True, kw_only=True)
class Odds(Scores):
    """log(p / (1 - p)) of each class: what has to change for its probability to change."""

    def __call__(
        self, output: Any, logits: Tensor, images: Tensor | None = None, *, probability: bool = False
    ) -> Tensor:
        own = super().__call__(output, logits, images, probability=probability)
        if probability or self.probability == "sigmoid" or logits.shape[1] == 1:
            return own  # a logit of a sigmoid is its log-odds
        others = logits[:, None].expand(-1, own.shape[1], -1)
        indices = self.indices if images is None else self.indices[images]
        return own - others.scatter(2, indices[..., None], -torch.inf).logsumexp(2)

    def select(self, columns: slice) -> Odds:
        return Odds(self.indices[:, columns], probability=self.probability)


@dataclass(frozen=True)
class LogOdds(Wrapper):
    """A method on the log-odds of the class in place of its logit; no further pass."""

    def __call__(self, capture: Capture) -> Tensor:
        odds = Odds(capture.targets.indices, probability=capture.targets.probability)
        return self.base_maps(capture.again(targets=odds))


@dataclass(frozen=True)
class Smoothed(Wrapper):
    """A map blurred at the layer's own resolution by the binomial kernel (1, 2, 1) / 4 on each axis."""

    def __call__(self, capture: Capture) -> Tensor:
        maps = self.base_maps(capture)
        for axis in range(2, maps.ndim):
            size = maps.shape[axis]
            before = maps.index_select(axis, torch.arange(size).sub(1).clamp(min=0))
            after = maps.index_select(axis, torch.arange(size).add(1).clamp(max=size - 1))
            maps = (before + 2 * maps + after) / 4
        return maps


def candidates(neighbours: tuple[str, ...] = ()) -> dict[str, Method]:
    """Name -> setting, in the order of the table.

    Args:
        neighbours: the last layers of the same grid as the target layer, it among them; empty: there are none.
    """
    published = CFCAM.bilateral()
    found: dict[str, Method] = {
        REFERENCE: GradCAM(),
        "published, bilateral": published,
        "published, guided": CFCAM.guided(),
        "hierarchical by norm": CFCAM.hierarchical(),
        "DBSCAN, cosine, eps 5 %": replace(published, metric="cosine", eps_quantile=0.05),
        "the same, outliers kept": replace(published, metric="cosine", eps_quantile=0.05, outliers="keep"),
        "DBSCAN, correlation, eps 5 %, outliers kept": replace(
            published, metric="correlation", eps_quantile=0.05, outliers="keep"
        ),
        "DBSCAN, cosine, eps 1 %, outliers kept": replace(
            published, metric="cosine", eps_quantile=0.01, outliers="keep"
        ),
        "DBSCAN, cosine, eps at the knee, outliers kept": Knee(
            clustering="dbscan", shrinkage=1.0, metric="cosine", outliers="keep", min_samples_fraction=0.0
        ),
        "HDBSCAN, cosine, outliers kept": HDBSCAN(clustering="dbscan", shrinkage=1.0, metric="cosine", outliers="keep"),
        "HDBSCAN, cosine, outliers kept, half own": HDBSCAN(clustering="dbscan", metric="cosine", outliers="keep"),
    }
    for groups in (8, 16, 32, 64):
        for shrinkage in (0.5, 1.0):
            found[f"k-means {groups}, shrinkage {shrinkage:g}"] = CFCAM(groups=groups, shrinkage=shrinkage)
    found |= {
        "k-means 32, shrinkage 0.75": CFCAM(shrinkage=0.75),
        "k-means 32, no filter": CFCAM(filter=None),
        "k-means 32, a quarter important by norm": CFCAM(important_quantile=0.75),
        "k-means 32, 5 % important by contribution": ByContribution(shrinkage=1.0),
        "k-means 32, element by element": ElementWise(),
        "k-means 32, two layers, mean": Fusion(base=CFCAM(), grids=2),
        "k-means 32, two layers, product": Fusion(base=CFCAM(), grids=2, mode="product"),
        "k-means 32, three layers, mean": Fusion(base=CFCAM(), grids=3),
        "k-means 32, blurred": Smoothed(base=CFCAM()),
        "Grad-CAM, two layers, mean": Fusion(base=GradCAM(), grids=2),
        "Grad-CAM, log-odds": LogOdds(base=GradCAM()),
        "k-means 32, log-odds": LogOdds(base=CFCAM()),
        "k-means 32, log-odds, shrinkage 1": LogOdds(base=CFCAM(shrinkage=1.0)),
        "k-means 32, log-odds, blurred": Smoothed(base=LogOdds(base=CFCAM())),
        "k-means 32, log-odds, two layers, mean": LogOdds(base=Fusion(base=CFCAM(), grids=2)),
        "k-means 32, log-odds, three layers, mean": LogOdds(base=Fusion(base=CFCAM(), grids=3)),
        "k-means 30, masked passes": CFCAM(groups=30, evidence=True),
        "the same, doubt 2": CFCAM(groups=30, evidence=True, doubt=2.0),
        "the same, doubt 3": CFCAM(groups=30, evidence=True, doubt=3.0),
        "the same, doubt 5": CFCAM(groups=30, evidence=True, doubt=5.0),
    }
    if neighbours:
        found["Grad-CAM, last blocks, mean"] = Fusion(base=GradCAM(), layers=neighbours)
        found["k-means 32, last blocks, mean"] = Fusion(base=CFCAM(), layers=neighbours)
        found["k-means 32, log-odds, last blocks, mean"] = LogOdds(base=Fusion(base=CFCAM(), layers=neighbours))
    return found


def main(arguments: argparse.Namespace) -> None:
    """Writes ``scorecard/search-NAME.json`` for each study, and of all that are there ``scorecard/search.md``."""
    place, limit = prepared(arguments)
    for name in arguments.study or STUDIES:
        started = time.perf_counter()
        found = study(name, limit, "tune")
        card = cfcam.evaluate(
            found.model,
            found.samples,
            candidates(NEIGHBOURS.get(found.layer, ())),
            tuple(METRICS),
            controls=False,
            layer=found.layer or None,
            batch_size=4,
            steps=12,
        )
        record = {
            "command": f"python -m benchmarks search --study {name} --limit {limit}",
            "machine": describe(),
            "torch": str(torch.__version__),
            "what": found.what,
            "images": card.images,
            "seconds": round(time.perf_counter() - started),
            "headers": _headers(),
            "rows": _rows(card),
        }
        (place / f"search-{name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        print(f"{name}: {card.images} images in {record['seconds']} s", flush=True)
    (place / "search.md").write_text(_page(place), encoding="utf-8")


def _page(place: Path) -> str:
    records = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(place.glob("search-*.json"))]
    parts = [
        f"{r['what'][0].upper()}{r['what'][1:]}: {r['images']} images of the tuning part. `{r['command']}`\n\n"
        + report.table(r["headers"], r["rows"])
        for r in records
    ]
    return "\n\n".join(parts) + "\n"


def _headers() -> tuple[str, ...]:
    return ("setting", "empty maps", *(f"{title} (z)" for title in METRICS.values()))


def _rows(card: Scorecard) -> list[list[str]]:
    empty = card.empty()
    table = {metric: _per_image(card, metric) for metric in METRICS}
    rows = []
    for method in card.methods:
        cells = [method, str(sum(empty[method].values()))]
        for metric in METRICS:
            own, reference = table[metric][method], table[metric][REFERENCE]
            both = np.isfinite(own) & np.isfinite(reference)
            difference = (own - reference)[both]
            spread = difference.std(ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else 0.0
            z = f" ({difference.mean() / spread:+.1f})" if spread > 0 else ""
            cells.append(f"{np.nanmean(own):.3f}{z}" if np.isfinite(own).any() else "-")
        rows.append(cells)
    return rows


def _per_image(card: Scorecard, metric: str) -> dict[str, np.ndarray]:
    """Method -> values in the order of the images, NaN where it was not assessed."""
    return {
        method: np.array([row.values.get(metric, np.nan) for row in card.rows if row.method == method])
        for method in card.methods
    }

"""CF-CAM: gradients filtered cluster by cluster, with clusters of similar channels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from cfcam.capture import Capture
from cfcam.errors import MethodError
from cfcam.methods.base import Method, places, weighted_sum
from cfcam.methods.clustering import dbscan, k_means, one_hot, squared_distances, squared_radius
from cfcam.methods.clusters.cluster_evidence import ROUND, updated
from cfcam.methods.clusters.filters import FILTERS, Filter
from cfcam.methods.clusters.over_views import over_views
from cfcam.methods.clusters.series import Kind, check_kind, series_of
from cfcam.methods.clusters.views import View
from cfcam.methods.numbers import check_count, check_flags, check_numbers, check_whole_numbers
from cfcam.methods.rounding import averages, say_empty
from cfcam.methods.scored.score_cam import unit_range

MAX_POSITIONS = 4096
"""Maps with more positions than this are average-pooled before their distances are taken (volumes, early layers)."""

# Distances at a time. Beyond 32 MiB a tensor, the C library maps fresh pages for each, which doubles the time. Four
# images of 768 clustered channels fit into what the network's own pass has just freed, and take less time than six.
_DISTANCE_BUDGET = 2_400_000

_CHOICES = {
    "clustering": ("k-means", "dbscan"),
    "metric": ("euclidean", "cosine", "correlation"),
    "outliers": ("drop", "keep"),
    "weighting": ("linear", "softmax"),
    "precision": ("auto", "float32"),
}


@dataclass(frozen=True)
class Clusters:
    """The channels of N images after clustering; they depend on the activations only, never on a target.

    Attributes:
        important: (N, C) bool, channels that keep their own gradient.
        labels: (N, C) int64, cluster of every other channel, -1 for outliers and for important channels.
    """

    important: Tensor
    labels: Tensor

    @cached_property
    def membership(self) -> Tensor:
        """(N, L, C) float, 1 where a channel belongs to a cluster; L is the largest number of clusters."""
        count = max(int(self.labels.max()) + 1, 0)
        return one_hot(self.labels, count)


@dataclass(frozen=True)
class CFCAM(Method):
    """Cluster-filter CAM: the gradients of similar channels are averaged and filtered together.

    Per image: (1) channels whose L2 norm is at or above the ``important_quantile`` of all keep their own gradient;
    (2) the others are clustered; (3) outliers of DBSCAN are dropped; (4) the mean gradient of each cluster is filtered;
    (5) a channel's weight is ``w_k = (1 - shrinkage) mean_s(own) + shrinkage mean_s(its cluster's)``; (6)
    ``ReLU(sum_k w_k A_k)``. With ``evidence``, two masked passes per cluster correct that map until it holds still, see
    `cfcam.methods.clusters.cluster_evidence`. With ``views`` it is the mean of the maps of several views of the input,
    laid back, with clusters of their mean activations; views, clusters and ``layers`` count by how they agree, see
    `cfcam.methods.clusters.agreement`, and a view that moves the network's answer beyond its test-retest is left out.

    The default is the setting that held best on the scorecard (``docs/scorecard.md``): no channel is dropped, and noise
    on the gradients or the input moves the map less than Grad-CAM's. The publications' settings are the presets
    `bilateral`, `guided` and `reference`; `hierarchical` is the publication with linear weights.

    Clusters depend on the activations only: K targets share them. Maps of more than `MAX_POSITIONS` positions are
    pooled before distances are taken.

    Args:
        clustering: "k-means" into ``groups`` of channels alike in shape (each scaled to [0, 1]; flat channels keep
            their own gradient), or "dbscan" on distances of the maps, as published.
        groups: clusters of k-means.
        shrinkage: in [0, 1], share of the cluster's gradient in the weight of its channels; 1 as published. None: as
            the views have it, see `cfcam.methods.clusters.agreement.pooling`.
        evidence: correct the map by up to ``2 groups + 2`` masked passes; needs k-means.
        doubt: of the evidence, see `cfcam.methods.clusters.cluster_evidence.updated`; above 0.
        tolerance: no more masks are shown once those left are expected to move the map by less, as 1 - its correlation
            with that of all, see `cfcam.methods.clusters.cluster_evidence.Posterior.movement`; 0: all are shown.
        precision: of the masked passes: "auto", in bfloat16 where the CPU has it and the rounding is measured to move
            the map by less than half of the tolerance, which then stands in the notes; or "float32".
        views: how many views of the input besides itself, of the standard series (steps of one and two pixels, faint
            noise), or these `View`s, a `View` of one pixel's step among them.
        layers: how many layers, the target and the last blocks before it, or their names; several take one more pass,
            and a number of them one pass of an image, once for a network.
        important_quantile: in [0, 1]; None: no such level, every channel is clustered.
        filter: "bilateral", "guided", "published", a `Filter`, or None for the plain mean gradient.
        eps_quantile: DBSCAN's eps as a quantile, in [0, 1], of the off-diagonal distances.
        min_samples_fraction: in [0, 1]; DBSCAN's min_samples is ``max(2, floor(it x channels clustered))``.
        metric: of DBSCAN: "euclidean", "cosine" or "correlation".
        outliers: of DBSCAN: "drop" (weight 0) or "keep" (their own gradient).
        weighting: "linear", or "softmax" over the weights of the kept channels, which removes the class from the map
            wherever gradients are small; it is here to reproduce published figures.
        eps_diagonal: take the quantile over the whole matrix, its zero diagonal included.
        eps_minimum: eps is at least this.
        kind: of the input, which no pixel tells: "photograph", "radiograph" (and whatever else has sides: ultrasound,
            slices), "volume", "signal" or "unknown". Views that would change its meaning are refused.
        spacing: how far apart the places of each spatial axis lie, in any unit; None: unknown. The standard series does
            not move along the axes of thick slices, see `cfcam.methods.clusters.series.THICK`.

    Source: arXiv 2504.00060.
    """

    name: ClassVar[str] = "cf-cam"
    clustering: Literal["k-means", "dbscan"] = "k-means"
    groups: int = 32
    shrinkage: float | None = 0.5
    evidence: bool = False
    doubt: float = 1.0
    tolerance: float = 3e-4
    precision: Literal["auto", "float32"] = "auto"
    views: int | tuple[View, ...] = 0
    layers: int | tuple[str, ...] = 1
    important_quantile: float | None = None
    filter: Literal["bilateral", "guided", "published"] | Filter | None = "bilateral"
    eps_quantile: float = 0.25
    min_samples_fraction: float = 0.05
    metric: Literal["euclidean", "cosine", "correlation"] = "euclidean"
    outliers: Literal["drop", "keep"] = "drop"
    weighting: Literal["linear", "softmax"] = "linear"
    eps_diagonal: bool = False
    eps_minimum: float = 0.0
    kind: Kind = "unknown"
    spacing: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for field, choices in _CHOICES.items():
            if getattr(self, field) not in choices:
                raise MethodError(f"CFCAM({field}={getattr(self, field)!r}): one of {', '.join(map(repr, choices))}")
        check_whole_numbers(self, "groups")
        check_flags(self, "evidence", "eps_diagonal")
        check_numbers(self, "doubt", above=0)
        check_numbers(self, "tolerance", "eps_minimum", least=0)
        check_numbers(self, "eps_quantile", "min_samples_fraction", least=0, most=1)
        check_numbers(self, "shrinkage", "important_quantile", least=0, most=1, optional=True)
        if self.evidence and self.clustering != "k-means":
            raise MethodError("CFCAM(evidence=True, clustering='dbscan'): masks are made of the clusters of k-means")
        self._check_views()
        named = isinstance(self.filter, str) and self.filter in FILTERS
        if self.filter is not None and not isinstance(self.filter, Filter) and not named:
            raise MethodError(f"CFCAM(filter={self.filter!r}): one of {', '.join(FILTERS)}, a Filter or None")

    def _check_views(self) -> None:
        check_count(self, "layers", "a number of layers, 1 or more, or a tuple of their names", of=str)
        views = "a number of views, 0 or more, or a tuple of View(...)"
        check_count(self, "views", views, of=View, least=0)
        check_kind(self)
        if self.shrinkage is None and not self.views:
            raise MethodError("CFCAM(shrinkage=None, views=0): how much is shared is measured over views: give some")
        if self.evidence and (self.views or self.layers != 1):
            raise MethodError("CFCAM(evidence=True, views=..., layers=...): evidence is of one view at one layer")
        if isinstance(self.views, tuple) and self.views and not any(view.is_retest for view in self.views):
            raise MethodError(
                "CFCAM(views=(...)): a step of one pixel, View(shift=1), must be among them: it measures how far the"
                " network's answer moves by itself, which no other view may exceed"
            )

    @classmethod
    def bilateral(cls) -> CFCAM:
        """The published description's setting: every channel clustered by DBSCAN, bilateral filter."""
        return cls(clustering="dbscan", shrinkage=1.0)

    @classmethod
    def guided(cls) -> CFCAM:
        """The published guided variant: every channel clustered, eps over the whole matrix, guided filter."""
        return cls(clustering="dbscan", shrinkage=1.0, filter="guided", eps_diagonal=True)

    @classmethod
    def hierarchical(cls) -> CFCAM:
        """The publication with linear weights: the quarter of the channels with the largest norm keep theirs."""
        return cls(clustering="dbscan", shrinkage=1.0, important_quantile=0.75)

    @classmethod
    def reference(cls) -> CFCAM:
        """The published code's arithmetic, to reproduce its figures: hierarchical, its own filter, softmax weights."""
        return cls(
            clustering="dbscan",
            shrinkage=1.0,
            important_quantile=0.75,
            filter="published",
            weighting="softmax",
            eps_minimum=1e-5,
        )

    @classmethod
    def best(cls) -> CFCAM:
        """The default, cautiously corrected by 10 to 72 masked passes: between Grad-CAM and Score-CAM in cost."""
        return cls(groups=30, evidence=True, doubt=5.0)

    @classmethod
    def steady(cls, kind: Kind = "unknown", spacing: tuple[float, ...] | None = None) -> CFCAM:
        """Over four steps of the input, by one pixel and by two, with all shares measured over them: five passes.

        Args:
            kind: see `CFCAM`.
            spacing: see `CFCAM`.
        """
        return cls(views=4, shrinkage=None, kind=kind, spacing=spacing)

    @property
    def cost(self) -> str:  # type: ignore[override]
        """Passes of the network for one image, with the masked ones of the evidence, of which not all may be run."""
        views = self.views if isinstance(self.views, int) else len(self.views)
        # Of a first round that is shown in both precisions, one may be for nothing.
        twice = 2 + 2 * ROUND if self.precision == "auto" and self.tolerance and self.groups > ROUND else 0
        masked = 2 + 2 * self.groups + twice
        return f"{f'up to {1 + masked}' if self.evidence else 1 + views + (self.layers != 1)} + backward"

    @property
    def pools(self) -> bool:  # type: ignore[override]
        """Whether frames of a clip are taken one by one: masked passes and views are of all of the clip."""
        return not self.evidence and not self._several

    @property
    def label(self) -> str:
        """The method's name, with that of the preset that these parameters are, if they are one."""
        names = ("bilateral", "guided", "hierarchical", "reference", "best", "steady")
        presets = {getattr(CFCAM, name)(): name for name in names}
        itself = replace(self, kind="unknown", spacing=None)  # of whatever kind of input
        return f"{self.name}-{presets[itself]}" if itself in presets else self.name

    @property
    def _several(self) -> bool:
        return bool(self.views) or self.layers != 1

    def parameters(self) -> dict[str, Any]:
        """Returns the hyper-parameters as plain values, for provenance."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in super().parameters().items()}

    def __call__(self, capture: Capture) -> Tensor:
        """Returns maps (N, K, *layer_spatial), zero or positive; of several layers on the finest of their grids."""
        if self._several:
            views = series_of(capture, self.views, self.kind, self.spacing, self.label)
            return over_views(capture, views, self.layers, self)
        maps = weighted_sum(self.weights(capture), capture.activations)
        if self.evidence:
            masks, _ = unit_range(capture.activations)
            labels, name = self.clusters(capture).labels, self.label if self.precision == "auto" else ""
            maps = updated(capture, maps, masks, labels, self.groups, self.doubt, self.tolerance, name)
        return maps.relu_()

    def weights(self, capture: Capture) -> Tensor:
        """Returns the channel weights (N, K, C)."""
        weights, nothing = self.weights_of(capture, capture.gradients, self.clusters(capture))
        say_empty(capture, capture.layer, nothing)
        return weights

    def weights_of(
        self, capture: Capture, gradients: Tensor, clusters: Clusters, share: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns the channel weights (N, K, C) of gradients (N, K, C, *spatial), and where these average to 0.

        Args:
            capture: whose floating types say what rounding is, see `cfcam.methods.rounding.averages`.
            gradients: of N images and K targets.
            clusters: of their channels.
            share: (N, K, C) that of the clusters; None: ``shrinkage``.
        """
        own, nothing = averages(capture, gradients)
        pooled = own.new_tensor(self.shrinkage or 0.0) if share is None else share
        important, labels = clusters.important[:, None], clusters.labels[:, None]
        alone = self.outliers == "keep" or self.clustering == "k-means"
        keep_own = important | (labels < 0) if alone else important
        weights = torch.where(keep_own, own, 0)
        if clusters.membership.shape[1]:
            shared = self._cluster_weights(capture, gradients, clusters.membership.to(own.dtype))
            given = shared.gather(2, labels.clamp(min=0).expand_as(own))
            weights = torch.where(labels >= 0, torch.lerp(own, given, pooled), weights)
        if self.weighting == "linear":
            return weights, nothing & ~weights.any(2)
        kept = keep_own | (labels >= 0)
        return torch.where(kept, weights.masked_fill(~kept, -torch.inf).softmax(-1), 0), torch.zeros_like(nothing)

    def _cluster_weights(self, capture: Capture, gradients: Tensor, membership: Tensor) -> Tensor:
        """Returns (N, K, L) the spatial mean of each cluster's filtered mean gradient."""
        size = membership.sum(-1).clamp(min=1)[:, None, :, None]
        filtering = self.filter if isinstance(self.filter, Filter) or self.filter is None else FILTERS[self.filter]
        g, spatial = places(gradients), gradients.shape[3:]  # (N, K, C, S)
        if g.shape[3] == 1 < spatial.numel():  # one number each: a product of matrices, and mostly nothing to filter
            mean = (g[..., 0] @ membership.mT)[..., None] / size
            if filtering is None or filtering.keeps_constants:
                return mean[..., 0]
            mean = mean.expand(-1, -1, -1, spatial.numel())
        else:
            mean = membership[:, None] @ g / size  # (N, K, L, S)
        if filtering is None:
            return averages(capture, mean)[0]
        filtered = filtering(mean.flatten(0, 2).unflatten(1, spatial))
        return averages(capture, filtered.unflatten(0, mean.shape[:3]))[0]

    def clusters(self, capture: Capture) -> Clusters:
        """Returns the clusters of the capture's channels, computed once per capture and clustering parameters."""
        return capture.memo(("clusters", self.clustering_settings), lambda: self.clusters_of(capture.activations))

    @property
    def clustering_settings(self) -> tuple[object, ...]:
        """What the clusters of given activations depend on."""
        if self.clustering == "k-means":
            return self.important_quantile, self.groups
        key = (self.important_quantile, self.metric, self.eps_quantile, self.eps_diagonal)
        return *key, self.eps_minimum, self.min_samples_fraction

    def clusters_of(self, activations: Tensor) -> Clusters:
        """Returns the clusters of the channels of activations (N, C, *spatial)."""
        return self._group(activations) if self.clustering == "k-means" else self._cluster(activations)

    def _group(self, activations: Tensor) -> Clusters:
        important = self._important(activations)
        masks, varied = unit_range(_pooled(activations))
        labels = k_means(masks.flatten(2), self.groups, varied & ~important)
        return Clusters(important, labels)

    def _cluster(self, activations: Tensor) -> Clusters:
        important = self._important(activations)
        features = _pooled(activations).flatten(2)
        count = (~important).sum(1)
        size = int(count.max()) if len(count) else 0
        labels = torch.full(important.shape, -1, dtype=torch.int64, device=important.device)
        if size == 0:
            return Clusters(important, labels)
        # The channels to cluster come first, padded to the largest number of them in the batch.
        order = important.byte().argsort(dim=1, stable=True)[:, :size]
        step = max(1, _DISTANCE_BUDGET // size**2)
        for rows in torch.arange(len(features), device=features.device).split(step):
            chosen = features[rows].gather(1, order[rows, :, None].expand(-1, -1, features.shape[2]))
            found = self._labels(chosen, count[rows])
            labels[rows] = labels[rows].scatter(1, order[rows], found)
        return Clusters(important, labels)

    def _important(self, activations: Tensor) -> Tensor:
        """Returns (N, C) bool."""
        if self.important_quantile is None:
            return torch.zeros(activations.shape[:2], dtype=torch.bool, device=activations.device)
        norms = activations.flatten(2).norm(dim=2)
        return norms >= norms.quantile(self.important_quantile, dim=1, keepdim=True)

    def _labels(self, features: Tensor, count: Tensor) -> Tensor:
        """Returns DBSCAN labels (N, M) of the first ``count`` vectors of each image's M; -1 for the others."""
        squared = squared_distances(features, self.metric)
        padding = torch.arange(features.shape[1], device=features.device) >= count[:, None]
        if bool(padding.any()):
            squared.masked_fill_(padding[:, :, None] | padding[:, None, :], torch.inf)
        radius = squared_radius(squared, count, self.eps_quantile, diagonal=self.eps_diagonal)
        min_samples = (self.min_samples_fraction * count.double() + 1e-9).floor().clamp(min=2)
        return dbscan(squared, radius.clamp(min=self.eps_minimum**2), min_samples)


def _pooled(activations: Tensor) -> Tensor:
    """Returns maps (N, C, *spatial) of at most `MAX_POSITIONS` positions."""
    axes = activations.ndim - 2
    pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[axes - 1]
    while activations.shape[2:].numel() > MAX_POSITIONS:
        activations = pool(activations, [min(2, s) for s in activations.shape[2:]])
    return activations

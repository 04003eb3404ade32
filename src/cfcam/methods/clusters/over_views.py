"""A map over several views and layers of an input, which count by how they agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from cfcam.capture import Capture
from cfcam.methods.base import weighted_sum
from cfcam.methods.clusters.agreement import layer_weights, pooling, precisions, trust
from cfcam.methods.clusters.seen import Seen, last_layers, seen
from cfcam.methods.clusters.views import View
from cfcam.methods.combined.fusion import on_finest
from cfcam.methods.rounding import averages, say_empty


class Labelled(Protocol):
    """Clusters of channels: ``labels`` (N, C) int64, -1 for none."""

    @property
    def labels(self) -> Tensor:
        """The cluster of each channel."""


C = TypeVar("C", bound=Labelled)


class Weighing(Protocol[C]):
    """A method that weighs channels by their gradients and clusters."""

    @property
    def label(self) -> str:
        """Its name, for notes."""

    @property
    def clustering_settings(self) -> tuple[object, ...]:
        """What its clusters of given activations depend on."""

    def clusters_of(self, activations: Tensor) -> C:
        """Returns clusters of the channels of activations (N, C, *cells)."""

    def weights_of(
        self, capture: Capture, gradients: Tensor, clusters: C, share: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Returns weights (N, K, C) for gradients (N, K, C, *cells), and (N, K) bool where these average to 0.

        ``share`` is that of the clusters; None: ``shrinkage``.
        """

    @property
    def shrinkage(self) -> float | None:
        """Its own share of the clusters; None: as the views have it."""


def over_views(capture: Capture, views: Sequence[View], layers: int | tuple[str, ...], method: Weighing[C]) -> Tensor:
    """Returns maps (N, K, *cells), zero or positive: the mean of those of each view, laid back, at one or more layers.

    At a layer, ``M(s) = sum_v p_v(s) sum_k w_kv B_kv(s)``. A_kv are the activations in view v, laid back; p_v(s) the
    view's share by `precisions`, among the views that show the cell; the clusters those of the channels of
    ``sum_v p_v A_kv``, for all views; w_kv the weights of the method in v; and ``B_kv = a_kv + r_k (A_kv - a_kv)``,
    with a_kv the mean in space and r_k the `trust` in the channel's cluster. So what a channel adds to the score stays,
    and is spread evenly as far as its place is an accident of the view.

    Several layers' positive parts are scaled to their maxima, brought to the finest of the grids, and averaged by
    `layer_weights`.

    Args:
        capture: of the input, at the target layer.
        views: besides the input itself; none: the input alone.
        layers: how many, see `last_layers`; or their names.
        method: weighs the channels.
    """
    names = last_layers(capture, layers) if isinstance(layers, int) else layers
    found = [_mean_map(one, method) for one in seen(capture, views, names, method.label)]
    if len(found) == 1:
        return found[0][0].relu_()
    peaks = [maps.relu().flatten(2).amax(2) for maps, _, _ in found]
    scales = [torch.where(peak > 0, peak, 1) for peak in peaks]
    scaled = [
        maps.relu() / scale.reshape(*scale.shape, *[1] * (maps.ndim - 2))
        for (maps, _, _), scale in zip(found, scales, strict=True)
    ]
    errors = torch.stack([error / scale.square() for (_, error, _), scale in zip(found, scales, strict=True)])
    stack = on_finest(scaled, [one.layer.placement(maps.shape[2:]) for maps, _, one in found])
    weights = layer_weights(stack.flatten(3), errors).to(stack)
    return (stack * weights.reshape(*weights.shape, *[1] * (stack.ndim - 3))).sum(0)


def _mean_map(one: Seen, method: Weighing[C]) -> tuple[Tensor, Tensor, Seen]:
    """Returns a layer's mean map over views, signed, and the mean variance (N, K) of its cells."""
    A, shown = one.activations.flatten(3), one.shown.flatten(1)

    def shared() -> tuple[C, Tensor, Tensor]:
        views = precisions(A, one.kept, shown)
        share = views[..., None] * shown[:, None]
        share = (share / share.sum(0)).to(A)
        clusters = method.clusters_of((A * share[:, :, None]).sum(0).unflatten(2, one.shown.shape[1:]))
        return clusters, share, trust(A, one.kept, shown, clusters.labels)

    key = ("clusters over views", tuple(one.views), one.layer.layer, method.clustering_settings)
    clusters, share, trusted = one.capture.memo(key, shared)
    even = A.sum(3) / shown.sum(1).reshape(-1, 1, 1)  # a_kv, of the cells that the view shows
    which, gradients = zip(*one.gradients(), strict=True)
    pooled = None
    if method.shrinkage is None:
        means = torch.stack([averages(one.capture, g)[0] for g in gradients])
        pooled = pooling(means, one.kept[list(which)], clusters.labels)
    maps, count = list[Tensor](), one.kept.sum(0)[:, None]
    empty = torch.ones(gradients[0].shape[:2], dtype=torch.bool, device=A.device)
    for v, g in zip(which, gradients, strict=True):
        B = torch.lerp(even[v][..., None], A[v], trusted[..., None])
        weights, nothing = method.weights_of(one.capture, g, clusters, pooled)
        empty &= nothing | ~one.kept[v][:, None]
        maps.append(weighted_sum(weights, B))
    say_empty(one.capture, one.layer.layer, empty)
    shares = share[list(which)][:, :, None]  # (V', N, 1, S)
    stack = torch.stack(maps)
    mean = (stack * shares).sum(0)
    error = ((stack - mean).square() * shares).sum(0).mean(2) / (count - 1).clamp(min=1)
    return mean.unflatten(2, one.shown.shape[1:]), error, one

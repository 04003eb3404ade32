"""Which layer: candidates ranked by a quick scorecard on a few of the user's own images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Any, get_args

import torch
from torch import Tensor, nn

from cfcam.capture import Capture, LayerInfo, Network, probe_layers
from cfcam.capture.answers.probabilities import Probability
from cfcam.capture.targets.classes import class_names
from cfcam.capture.targets.dense import averaged
from cfcam.errors import LayerError, MethodError, seed_number, shown, whole_number
from cfcam.maps import heatmaps_of
from cfcam.methods import get_method
from cfcam.methods.base import Method
from cfcam.metrics.functional import faithfulness, perturbation, robustness, similarity
from cfcam.metrics.scorecard.batch import explained_probability

_NOISE = 0.2
_STEPS = 10
_MANY, _FEW = 8, 3
_FUSED = 3  # of the best single layers, pairs of which are tried


@dataclass(frozen=True)
class LayerScore:
    """What the maps of a layer, or of two layers fused, are worth on a few images.

    Attributes:
        layers: names; two for a fusion.
        fusion: "mean" or "product" of the two layers' maps; None for a single layer.
        grid: positions of the (finer) layer's maps.
        insertion_deletion: area between the insertion and the deletion curve, blurred baseline; higher is better.
        adcc: average of drop, coherency and complexity; higher is better.
        stability: soft IoU under noise on the input; higher is better.
        rank: mean of the three ranks, 1 is best.
        empty: maps without positive evidence, which are in no mean.
    """

    layers: tuple[str, ...]
    fusion: str | None
    grid: tuple[int, ...]
    insertion_deletion: float
    adcc: float
    stability: float
    rank: float
    empty: int

    @property
    def measured(self) -> tuple[float, float, float]:
        """What it is ranked by; NaN of which nothing could be measured."""
        return self.insertion_deletion, self.adcc, self.stability

    @property
    def name(self) -> str:
        """How it is called: ``features.17``, ``mean(features.13, features.17)``."""
        return self.layers[0] if self.fusion is None else f"{self.fusion}({', '.join(self.layers)})"


def candidate_layers(
    network: Network, x: Tensor, most: int = 8, targets: Any = None, classes: Sequence[str] | None = None
) -> list[LayerInfo]:
    """Returns the last layers worth comparing, from early to late: the outermost module of each distinct output.

    Args:
        network: the model.
        x: (N, C, *spatial) input.
        most: candidates.
        targets: as for `cfcam.explain`.
        classes: class names.

    Raises:
        LayerError: no layer's output has a spatial extent.
    """
    layers, output_shape = probe_layers(network, x, targets, classes)
    found = [
        info
        for info in layers
        if info.calls == 1
        and info.plain
        and not info.reducing
        and info.spatial((1, *x.shape[1:]))
        and info.shape != tuple(output_shape)
    ]
    blocks = _blocks(found)
    if not blocks:
        raise LayerError(
            "no layer's output has a spatial extent, so there is none to compare; methods of the input's own places"
            " need none (smooth-grad, integrated-gradients, full-grad, guided-backprop)"
        )
    return blocks[-most:]


def _blocks(found: Sequence[LayerInfo]) -> list[LayerInfo]:
    """Returns the outermost modules; one that holds many (``features`` of a MobileNet) is replaced by what it holds."""
    names = {info.name for info in found}

    def children(name: str) -> list[str]:
        start = f"{name}." if name else ""
        return [n for n in names if n.startswith(start) and n != name and "." not in n[len(start) :]]

    outer = [n for n in names if not any(n.startswith(f"{other}.") for other in names)]
    while held := [n for n in outer if len(children(n)) >= _MANY or (len(outer) < _FEW and len(children(n)) > 1)]:
        outer = [n for n in outer if n not in held] + [child for n in held for child in children(n)]
    kept = [info for info in found if info.name in outer]
    last = {info.same_as: info for info in kept}  # of modules that return one tensor, the outermost comes last
    return [info for info in kept if last[info.same_as] is info]


def measure_layers(
    model: nn.Module,
    images: Tensor,
    targets: Any = None,
    *,
    method: str | Method = "grad-cam",
    layers: Sequence[str] | None = None,
    most: int = 8,
    fusions: bool = True,
    classes: Sequence[str] | None = None,
    probability: Probability = "auto",
    output: str | int | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[LayerScore]:
    """Ranks layers, and fusions of two of the best, by faithfulness and robustness on a few images.

    Each candidate costs about 25 passes of the network for each image.

    Args:
        model: the network.
        images: (N, C, *spatial), as the network takes them; 4 to 16 of them are enough.
        targets: as for `cfcam.explain`.
        method: whose maps are compared.
        layers: names of candidates; None: `candidate_layers`.
        most: candidates, if none are named.
        fusions: try the mean and the product of two layers' maps as well.
        classes: class names, for targets given by name.
        probability: how the output is read; see `cfcam.Explainer`.
        output: which tensor holds the class scores; see `cfcam.Explainer`.
        seed: of the noise, and of ties in the order of pixels.
        progress: called with how many candidates are measured, and how many there are at most: at the beginning, and
            after each.

    Returns:
        The candidates, best first.

    Raises:
        LayerError: none of the candidates can be mapped, or measured on these images.
        MethodError: the method's maps do not depend on the layer, or it is no method.
        InputError: a number is none of its kind.
    """
    seed, most, classes = seed_number(seed), whole_number(most, "most", 1), class_names(classes)
    chosen = get_method(method) if isinstance(method, str) else method
    if not isinstance(chosen, Method):
        raise MethodError(f"method={shown(method)}: the name of a method, or an instance like GradCAM()")
    network = Network(model, probability, output)
    given = [layers] if isinstance(layers, str) else list(layers or ())
    names = given or [info.name for info in candidate_layers(network, images, most, targets, classes)]
    trial = _Trial(network, images, targets, classes, chosen, seed)
    pairs = min(len(names), _FUSED) * (min(len(names), _FUSED) - 1) // 2 if fusions else 0
    total, tell = len(names) + 2 * pairs, progress or (lambda done, total: None)
    tell(0, total)
    found: list[LayerScore] = []
    for n, name in enumerate(names, 1):
        found += trial.single(name)
        if n > 1 and trial.ignores_layers():
            raise MethodError(
                f"{chosen.label} gives the same map whichever layer is named: there is no layer to choose for it;"
                " rank layers by a method of one layer, as grad-cam"
            )
        tell(n, total)
    scores = _ranked(found)
    if not scores:
        raise LayerError(f"none of these layers can be mapped: {', '.join(names)}")
    if all(math.isnan(value) for score in scores for value in score.measured):
        raise LayerError(
            f"nothing could be measured of {', '.join(names)}: on none of these images {chosen.label} has a map with"
            " evidence; give other images or targets, or name a layer"
        )
    if fusions:
        best = [score.layers[0] for score in scores[:_FUSED]]
        fused = []
        for n, (pair, how) in enumerate(product(combinations(best, 2), ("mean", "product")), len(names) + 1):
            fused.append(trial.fused(pair, how))
            tell(n, total)
        scores = _ranked([*scores, *fused])
    return scores


def measured_layer(model: nn.Module, images: Tensor, targets: Any = None, **options: Any) -> str:
    """Returns the name of the single layer that `measure_layers` puts first."""
    return measure_layers(model, images, targets, fusions=False, **options)[0].layers[0]


class _Trial:
    """Maps of one method by layer, of the images and of the images with noise; and what they are worth."""

    def __init__(
        self,
        network: Network,
        images: Tensor,
        targets: Any,
        classes: Sequence[str] | None,
        method: Method,
        seed: int,
    ) -> None:
        self.network, self.method, self.seed = network, method, seed
        self.images, self.targets, self.classes = images, targets, classes
        self.heat: dict[str, tuple[Tensor, Tensor]] = {}
        self.grids: dict[str, tuple[int, ...]] = {}
        self.captures: dict[str, Capture] = {}

    def maps(self, capture: Capture) -> Tensor:
        """Returns maps (N, 1, *layer_spatial) of the first target."""
        with capture.quiet():
            return self.method.maps(capture)[:, :1]

    def ignores_layers(self) -> bool:
        """Whether the layers that were measured, two or more, all have the same maps, and maps that are not empty."""
        heats = [heat for heat, _ in self.heat.values()]
        same = [one.shape == heats[0].shape and torch.allclose(one, heats[0], atol=1e-4) for one in heats[1:]]
        return bool(same) and all(same) and bool(heats[0].any())

    def single(self, layer: str) -> Iterator[LayerScore]:
        """Yields the layer's score; nothing if its score does not depend on it."""
        try:
            known = next(iter(self.captures.values()), None)
            if known is None:
                capture = Capture(self.network, self.images, layer=layer, targets=self.targets, classes=self.classes)
                capture = capture.again(targets=averaged(capture.targets))
            else:  # the same scores of the same places, whatever is predicted
                capture = known.again(layer=layer)
            maps = self.maps(capture)
        except (LayerError, MethodError):
            return
        size = capture.input.shape[2:]
        moved = self.maps(capture.again(robustness.add_noise(capture.input, _NOISE, seed=self.seed)))
        self.captures[layer] = capture
        self.grids[layer] = tuple(maps.shape[2:])
        placement = capture.placement(maps.shape[2:])
        self.heat[layer] = (heatmaps_of(maps, size, placement)[:, 0], heatmaps_of(moved, size, placement)[:, 0])
        yield self._score((layer,), None, *self.heat[layer])

    def fused(self, layers: tuple[str, ...], how: str) -> LayerScore:
        first, second = (self.heat[layer] for layer in layers)
        heat, moved = (_fuse(a, b, how) for a, b in zip(first, second, strict=True))
        return self._score(layers, how, heat, moved)

    def _score(self, layers: tuple[str, ...], how: str | None, heat: Tensor, moved: Tensor) -> LayerScore:
        capture = self.captures[layers[0]]
        x, original = capture.input, explained_probability(capture)

        def score(inputs: Tensor, images: Tensor) -> Tensor:
            return capture.rescore(inputs, images, probability=True)[:, 0]

        areas = [
            faithfulness.auc(
                perturbation.perturbation_curve(
                    score,
                    x,
                    heat,
                    baseline=perturbation.baseline_image(x, "blur"),
                    steps=_STEPS,
                    mode=mode,
                    seed=self.seed,
                )
            )
            for mode in get_args(perturbation.Mode)[::-1]
        ]
        seen = perturbation.masked_input(x, heat)
        again = [self.captures[layer].again(seen) for layer in layers]
        masked = [heatmaps_of(self.maps(other), x.shape[2:], other.placement())[:, 0] for other in again]
        second = masked[0] if how is None else _fuse(masked[0], masked[1], how)
        adcc = faithfulness.adcc(
            faithfulness.coherency(heat, second),
            faithfulness.complexity(heat),
            faithfulness.average_drop(original, explained_probability(again[0])),
        )
        empty = int((heat.flatten(1).amax(1) == 0).sum())
        stable = similarity.soft_iou(heat, moved)
        grid = max((self.grids[layer] for layer in layers), key=lambda g: g[0])
        faithful, averaged, steady = (float(v.nanmean()) for v in (areas[0] - areas[1], adcc, stable))
        return LayerScore(layers, how, grid, faithful, averaged, steady, rank=0.0, empty=empty)


def _fuse(a: Tensor, b: Tensor, how: str) -> Tensor:
    """Returns heatmaps (N, *spatial) fused, scaled to a maximum of 1."""
    both = (a + b) / 2 if how == "mean" else (a * b).sqrt()
    peak = both.flatten(1).amax(1).reshape(-1, *[1] * (both.ndim - 1))
    return torch.where(peak > 0, both / peak, 0)


def _ranked(scores: Sequence[LayerScore]) -> list[LayerScore]:
    """Returns the scores with their mean ranks, best first; a value that is NaN ranks last."""

    def ranks(values: list[float]) -> list[float]:
        order = torch.tensor(values).nan_to_num(nan=-torch.inf)
        higher = (order[None] > order[:, None]).sum(1)
        equal = (order[None] == order[:, None]).sum(1)
        return (higher + (equal + 1) / 2).tolist()

    columns = [ranks([getattr(s, key) for s in scores]) for key in ("insertion_deletion", "adcc", "stability")]
    ranked = [replace(s, rank=sum(column[i] for column in columns) / 3) for i, s in enumerate(scores)]
    return sorted(ranked, key=lambda s: (s.rank, -s.insertion_deletion))

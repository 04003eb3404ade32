"""How each group of metrics is computed on a batch: every pass of the network serves all that can use it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, get_args

import torch
from torch import Tensor

from cfcam.methods.base import Method
from cfcam.methods.wrapping import Wrapper
from cfcam.metrics.functional import (
    cost,
    faithfulness,
    localization,
    parts,
    peaks,
    perturbation,
    robustness,
    sanity,
    similarity,
    trust,
)
from cfcam.metrics.scorecard.batch import Batch, predicted
from cfcam.metrics.scorecard.catalogue import SIMILARITIES, columns
from cfcam.metrics.scorecard.curves import CURVES, ROAD_PERCENTILES, stored
from cfcam.metrics.scorecard.left_out import PEAK_CHANGES
from cfcam.metrics.scorecard.masked import assess_masked
from cfcam.metrics.scorecard.samples import packed

_INPUT_NOISE, _GRADIENT_NOISE, _JPEG_QUALITY = 0.2, 3.0, 30
_WINDOW_WIDTH, _WINDOW_CENTRE = 0.9, 0.05
_SENSITIVITY_RADIUS = 0.05
_COMPARED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "soft-iou": similarity.soft_iou,
    "pearson": similarity.pearson,
    "ssim": similarity.ssim,
}


def assess_faithfulness(batch: Batch) -> None:
    """Enters what the network's answer says of each map."""
    for method in batch.methods:
        coherencies = assess_masked(batch, method)
        _curves(batch, method)
        _road(batch, method, coherencies)
    _parts(batch)


def _curves(batch: Batch, method: str) -> None:
    settings = batch.settings
    for kind in get_args(perturbation.Baseline):
        names = [f"insertion-{kind}", f"deletion-{kind}"]
        both = f"insertion-deletion-{kind}"
        if not settings.wants(*names, both):
            continue
        baseline, ends = batch.baseline(kind)
        areas = {}
        modes: tuple[perturbation.Mode, ...] = ("insertion", "deletion")
        for mode, name in zip(modes, names, strict=True):
            if not settings.wants(*CURVES[name].metrics):
                continue
            curve = perturbation.perturbation_curve(
                batch.score,
                batch.x,
                batch.heatmaps[method],
                baseline=baseline,
                steps=settings.steps,
                mode=mode,
                ends=ends,
                batch_size=settings.passes_at_once,
                seed=settings.seed,
            )
            areas[mode] = faithfulness.auc(curve)
            batch.add(method, name, areas[mode])
            _keep(batch, method, name, curve)
        if settings.wants(both):
            batch.add(method, both, areas["insertion"] - areas["deletion"])


def _keep(batch: Batch, method: str, name: str, curves: Tensor) -> None:
    batch.remember(method, CURVES[name].key, stored(curves))


def _road(batch: Batch, method: str, coherencies: dict[str, Tensor]) -> None:
    """Enters ROAD, and ARCC with the coherency (N,) of each baseline."""
    arcc = columns("arcc")
    if not batch.settings.wants("road", *arcc.values()):
        return
    heat = batch.heatmaps[method]
    morf, lerf = faithfulness.road_curves(
        batch.score,
        batch.x,
        heat,
        ROAD_PERCENTILES,
        seed=batch.settings.seed,
        batch_size=batch.settings.passes_at_once,
    )
    road = faithfulness.road(morf, lerf)
    batch.add(method, "road", road)
    for name, curves in (("road-morf", morf), ("road-lerf", lerf)):
        if batch.settings.wants(*CURVES[name].metrics):
            _keep(batch, method, name, curves)
    for kind, coherency in coherencies.items():
        batch.add(method, arcc[kind], faithfulness.arcc(coherency, faithfulness.complexity(heat), road))


def _parts(batch: Batch) -> None:
    """Enters how maps go with what the network answers where one part is not there."""
    if not batch.settings.wants("part-removal", "part-removal-ceiling"):
        return
    several = [(n, k, part) for n, sample in enumerate(batch.samples) for k, part in enumerate(sample.parts)]
    if not several:
        return
    x, count = batch.x, max(len(sample.parts) for sample in batch.samples)
    falls = x.new_full((len(x), count), torch.nan, dtype=torch.float32)
    masks = torch.zeros(len(x), count, *x.shape[2:], dtype=torch.bool, device=x.device)
    at_once = batch.settings.passes_at_once
    for start in range(0, len(several), at_once):
        some = several[start : start + at_once]
        images = torch.tensor([n for n, _, _ in some], device=x.device)
        without = torch.stack([part.without for _, _, part in some]).to(x)
        fall = batch.capture.scores[images, 0] - batch.capture.rescore(without, images)[:, 0]
        for (n, k, part), value in zip(some, fall.float(), strict=True):
            falls[n, k], masks[n, k] = value, part.mask.to(masks)
    told = [
        {part.name: value for part, value in zip(sample.parts, row, strict=False)}
        for sample, row in zip(batch.samples, falls.tolist(), strict=True)
    ]
    for method, maps in batch.maps.items():
        grid = maps.shape[2:]
        placement = batch.capture.placement(grid)
        batch.add(method, "part-removal", parts.part_removal(maps[:, 0], masks, falls, placement))
        perfect = parts.part_removal_ceiling(masks, falls, grid, placement)
        batch.add(method, "part-removal-ceiling", perfect)
        batch.remember(method, "falls", told)


AGAINST_TRUTH: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "hit-rate": localization.hit_rate,
    "energy": localization.energy_in_ground_truth,
    "enrichment": localization.enrichment,
    "iou-otsu": localization.iou_otsu,
    "auprc": localization.auprc,
}
"""Columns that are a function of heat maps (N, *spatial) and masks (N, *spatial), and of nothing else."""


def assess_localization(batch: Batch) -> None:
    """Enters how maps and ground truth agree; images without ground truth are not assessed."""
    known = [n for n, sample in enumerate(batch.samples) if sample.ground_truth is not None]
    if not known:
        return
    truth = torch.zeros(len(batch.samples), *batch.x.shape[2:], dtype=torch.bool, device=batch.x.device)
    for n in known:
        truth[n] = batch.samples[n].ground_truth.to(truth)  # type: ignore[union-attr]
    threshold = batch.settings.threshold
    measures = dict(AGAINST_TRUTH)
    if threshold is not None:
        measures["iou-tuned"] = partial(localization.iou, threshold=threshold)
    at = 0.5 if threshold is None else threshold
    measures["lesion-coverage"] = partial(localization.lesion_coverage, threshold=at, overlap=batch.settings.overlap)
    measures["false-components"] = partial(localization.false_components, threshold=at)
    for method, heat in batch.heatmaps.items():
        for name, measure in measures.items():
            if batch.settings.wants(name):
                batch.add(method, name, measure(heat, truth))
        if batch.settings.wants("max-box-acc"):
            tables = localization.max_box_hits(heat, truth)  # (N, T, L) bool
            kept = [None if bool(table.isnan().any()) else table.int().tolist() for table in tables.cpu()]
            batch.remember(method, "max-box-acc", kept)


def assess_robustness(batch: Batch) -> None:
    """Enters how maps move when what should not matter is changed, and when the class is."""
    _gradient_noise(batch)
    flipped: dict[str, list[Tensor]] = {}
    for name, changed, undo in _perturbed(batch):
        _stability(batch, name, changed, undo, flipped)
    for method, found in flipped.items():
        batch.add(method, "responsiveness", torch.stack(found).nanmean(0))
    _max_sensitivity(batch)
    _peak_shift(batch)


def _gradient_noise(batch: Batch) -> None:
    if not batch.settings.wants(*(f"gradient-noise-{key}" for key in SIMILARITIES)):
        return
    seeds = perturbation.image_seeds(batch.x, batch.settings.seed)
    capture = batch.capture.disturbed(lambda g: robustness.noisy_gradients(g, _GRADIENT_NOISE, seed=seeds))
    using = [name for name, method in batch.methods.items() if _uses_gradients(method)]
    for method, maps in batch.subject.maps(capture, using).items():
        _compare(batch, method, "gradient-noise", batch.heatmaps[method], batch.drawn(maps))


def _uses_gradients(method: Method) -> bool:
    return method.uses_gradients or (isinstance(method, Wrapper) and _uses_gradients(method.base))


def _perturbed(batch: Batch) -> Any:
    """Yields name, changed input, and how its maps are brought back over the original (with what lies outside NaN)."""
    x, seed = batch.x, batch.settings.seed

    def same(maps: Tensor) -> Tensor:
        return maps

    def asked(name: str) -> bool:
        return batch.settings.wants("responsiveness", *(f"{name}-{key}" for key in SIMILARITIES))

    if asked("input-noise"):
        yield "input-noise", robustness.add_noise(x, _INPUT_NOISE, seed=seed), same
    if asked("shift"):
        pixels = [max(1, size // 16) for size in x.shape[2:]]
        yield "shift", robustness.shift(x, pixels), lambda maps: robustness.unshift(maps, pixels)
    if asked("jpeg") and x.ndim == 4 and x.shape[1] in (1, 3):
        yield "jpeg", robustness.jpeg(x, _JPEG_QUALITY), same
    if asked("window"):
        yield "window", robustness.window(x, _WINDOW_WIDTH, _WINDOW_CENTRE), same


def _stability(batch: Batch, name: str, changed: Tensor, undo: Any, flipped: dict[str, list[Tensor]]) -> None:
    targets, before = batch.capture.targets.indices, predicted(batch.capture.logits)
    capture = batch.subject.capture(batch.capture.as_given(changed), targets)
    now = predicted(capture.logits)
    unchanged = now == before
    flips = ~unchanged & (
        targets[:, 0] == before
    )  # of a label that was not predicted, no map of the first class is here
    maps = batch.subject.maps(capture)
    new = None
    if batch.settings.wants("responsiveness") and bool(flips.any()):
        new = batch.subject.maps(capture.again(targets=replace(capture.targets, indices=now[:, None])))
    for method in batch.methods:
        original, moved = batch.heatmaps[method], undo(batch.drawn(maps[method]))
        _compare(batch, method, name, original, moved, unchanged)
        if batch.settings.wants("responsiveness"):
            value = original.new_full((len(original),), torch.nan)
            if new is not None:
                value = robustness.responsiveness(original, undo(batch.drawn(new[method])), flips)
            flipped.setdefault(method, []).append(value)


def _compare(
    batch: Batch, method: str, name: str, original: Tensor, moved: Tensor, unchanged: Tensor | None = None
) -> None:
    kept = torch.ones(len(original), dtype=torch.bool, device=original.device) if unchanged is None else unchanged
    for key, compare in _COMPARED.items():
        if batch.settings.wants(f"{name}-{key}"):
            value = robustness.stability(original, moved, kept, similarity=compare)
            batch.add(method, f"{name}-{key}", value)


def _max_sensitivity(batch: Batch) -> None:
    if not batch.settings.wants("max-sensitivity"):
        return
    inputs = robustness.max_sensitivity_inputs(
        batch.x, _SENSITIVITY_RADIUS, batch.settings.draws, seed=batch.settings.seed
    )
    drawn: dict[str, list[Tensor]] = {name: [] for name in batch.methods}
    for x in inputs:
        for method, maps in batch.again(x, batch.methods)[1].items():
            drawn[method].append(batch.drawn(maps))
    for method, found in drawn.items():
        batch.add(method, "max-sensitivity", robustness.max_sensitivity(batch.heatmaps[method], torch.stack(found)))


def _peak_shift(batch: Batch) -> None:
    if not batch.settings.wants("peak-shift"):
        return
    black, white = batch.level(batch.settings.black), batch.level(batch.settings.white)
    found: dict[str, list[Tensor]] = {name: [] for name in batch.methods}
    shifts, tried = [], [set[str]() for _ in batch.samples]
    for change in peaks.small_changes(batch.x, black, white):
        shifts.append(change.shift)
        for names, possible in zip(tried, change.possible.tolist(), strict=True):
            names |= {change.name} if possible else set()
        for method, maps in batch.again(change.x, batch.methods)[1].items():
            kept = change.possible.reshape(-1, *[1] * (maps.ndim - 2))
            found[method].append(torch.where(kept, maps[:, 0], torch.nan))
    if not shifts:
        return
    ways = torch.tensor(shifts, device=batch.x.device)
    for method, changed in found.items():
        size = batch.x.shape[2:]
        batch.add(method, "peak-shift", peaks.peak_shift(batch.maps[method][:, 0], torch.stack(changed), ways, size))
        batch.remember(method, PEAK_CHANGES, [sorted(names) for names in tried])


def assess_sanity(batch: Batch) -> None:
    """Enters whether maps depend on what the network has learned, and on the class."""
    if batch.settings.wants("class-sensitivity"):
        for method, maps in batch.maps.items():
            value = sanity.class_sensitivity(batch.heatmaps[method], batch.drawn(maps, 1))
            batch.add(method, "class-sensitivity", value)
    if batch.settings.wants("class-agreement"):
        for method, maps in batch.maps.items():
            batch.add(method, "class-agreement", sanity.class_agreement(maps[:, 0], maps[:, 1]))
    if not batch.settings.wants("mprt", "mprt-passed", "emprt"):
        return
    stages: dict[str, list[Tensor]] = {name: [] for name in batch.methods}
    for network in batch.subject.randomised(batch.capture.given):
        for method, maps in batch.again(batch.x, batch.methods, network)[1].items():
            stages[method].append(maps[:, :1])
    for method, found in stages.items():
        original, cells = batch.heatmaps[method], batch.maps[method][:, 0]
        drawn = torch.stack([batch.drawn(maps) for maps in found])
        batch.add(method, "mprt", sanity.mprt(drawn, original, similarity="soft_iou")[-1])
        batch.add(method, "emprt", sanity.emprt(original, drawn[-1]))
        # On the layer's own cells, as the maps that are kept, with whose similarity it is compared.
        similarities = sanity.mprt(torch.stack(found)[:, :, 0], cells, similarity="soft_iou")  # (S, N)
        batch.remember(method, "mprt", similarities.T.tolist())
        batch.remember(method, "map", packed(cells))


def assess_trust(batch: Batch) -> None:
    """Enters how maps of other networks, and of other images of the class, agree with these."""
    for metric, function in (("repeatability", trust.repeatability), ("reproducibility", trust.reproducibility)):
        if not batch.settings.wants(metric):
            continue
        network, layer = batch.subject.second(metric, batch.capture.given)
        capture = batch.subject.capture(batch.capture.given, batch.capture.targets.indices, network, layer)
        for method, maps in batch.subject.maps(capture).items():
            batch.add(method, metric, function(batch.heatmaps[method], batch.drawn(maps)))
    if batch.settings.wants("c-score"):
        for method, maps in batch.maps.items():
            batch.remember(method, "map", packed(maps[:, 0]))


def assess_cost(batch: Batch) -> None:
    """Enters what each method costs by itself, measured on the first batch only, warm, with the load of the machine."""
    if batch.subject.costs is not None:
        return
    batch.subject.costs = {}
    load = cost.load_per_core()
    for name, method in batch.methods.items():
        measured, rounds = cost.measure_warm(batch.subject.network.model, partial(_alone, batch, method))
        n = len(batch.samples)
        batch.subject.costs[name] = {
            "milliseconds": measured.milliseconds / n,
            "forward-passes": measured.forward_passes / n,
            "peak-memory": measured.peak_bytes / 2**20,
            "calls": rounds,
            **({} if load is None else {"load per core": load}),
        }


def _alone(batch: Batch, method: Method) -> Tensor:
    capture = batch.subject.capture(batch.capture.given, batch.capture.targets.indices[:, :1])
    with capture.quiet():
        return method.maps(capture)


BY_GROUP: dict[str, Callable[[Batch], None]] = {
    "faithfulness": assess_faithfulness,
    "localization": assess_localization,
    "robustness": assess_robustness,
    "sanity": assess_sanity,
    "trust": assess_trust,
    "cost": assess_cost,
}

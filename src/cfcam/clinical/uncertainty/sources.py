"""Where samples of a map come from: dropout, several networks, small changes of the image, several methods.

All of them explain the same classes in every sample, and give their samples in parts: `summarise` them, or keep them
all with `collect`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cfcam.capture import Target
from cfcam.clinical.uncertainty.dropout import dropout_modules, dropout_on, pass_seeds
from cfcam.clinical.uncertainty.passes import OneMethod, Run, SettledTargets, check_count, whole
from cfcam.clinical.uncertainty.samples import Samples
from cfcam.clinical.uncertainty.warps import Augmentations, Change
from cfcam.errors import CfcamError, InputError, TargetError
from cfcam.explainer import Explainer
from cfcam.explanation import Explanation
from cfcam.methods.base import Method
from cfcam.metrics.functional.perturbation import image_seeds


class NotAvailableError(CfcamError, ValueError):
    """A network has nothing that this kind of uncertainty could come from."""


def mc_dropout(
    model: nn.Module | Explainer,
    x: Tensor,
    method: str | Method = "grad-cam",
    targets: Any = None,
    samples: int = 20,
    seed: int = 0,
    *,
    batch_size: int | None = None,
    run: Run = whole,
) -> Iterator[Samples]:
    """Samples maps and predictions of a network with its dropout left on (Monte Carlo dropout).

    Only dropout is switched on: BatchNorm and everything else stays in evaluation; see `dropout_modules` for what
    counts, and what does not. The network, its hooks and the global random state are the same after each part as
    before. Each image is repeated to fill a pass, and drawn for by itself, from its content and the seed: a batch
    equals its images one by one. A method with several passes explains one thinned network as long as they have one
    batch size; the masked passes of Score-CAM and its like each draw units of their own, which adds to the spread.

    Args:
        model: a network, or an `Explainer` where layer, classes or kind of probability are to be set.
        x: (N, C, *spatial), as the network takes it.
        method: one method.
        targets: as for `Explainer.__call__`; "predicted" and its like are decided once, by a pass without dropout.
        samples: how many for each image, 2 or more.
        seed: of the units that are dropped. Another ``batch_size`` draws others.
        batch_size: images in one pass; None: as many as have some four million values together. With an
            `Adapter` or score targets, which belong to the images of the batch, all images of ``x`` are one pass.
        run: how a batch is explained; other ways than `whole` are given one sample at a time.

    Returns:
        The samples in parts; nothing is computed before they are asked for, except the pass without dropout.

    Raises:
        NotAvailableError: the network has no dropout, or none with a rate above 0.
        InputError: fewer than two samples, or an input that does not fit.
        CfcamError: as `Explainer.__call__`.

    Source: Gal and Ghahramani 2016, arXiv 1506.02142, eq. 6.
    """
    job = OneMethod.of(model, method, "mc-dropout", run)
    check_count(samples, 2, "samples")
    network = job.explainer._network.model
    modules = dropout_modules(network)
    if not modules:
        raise NotAvailableError(
            f"MC dropout is not available: {type(network).__name__} has no dropout module with a rate above 0; take an"
            " ensemble of checkpoints, augmentation, or the disagreement of methods"
        )
    goals = SettledTargets.of(targets, x, job.prediction(x))
    if run is whole:
        job.explainer.layer_for(x)  # so that the layer is not chosen by a pass with dropout
    return _dropout_parts(job, x, goals, modules, samples, seed, batch_size)


def ensemble(
    models: Sequence[nn.Module | Explainer],
    x: Tensor,
    method: str | Method = "grad-cam",
    targets: Any = None,
    *,
    run: Run = whole,
) -> Iterator[Samples]:
    """Samples maps and predictions from several networks: checkpoints, folds, or different architectures.

    Args:
        models: two or more networks with the same classes in the same order; `Explainer`s where layers, classes or
            kind of probability are to be set.
        x: (N, C, *spatial), as all of the networks take it.
        method: one method.
        targets: as for `Explainer.__call__`; "predicted" and its like are those of the networks' mean probability, for
            which each explains its own prediction once before.
        run: how a batch is explained.

    Returns:
        One part for each network.

    Raises:
        InputError: fewer than two networks, or their classes differ.
        CfcamError: as `Explainer.__call__`.

    Source: Lakshminarayanan et al. 2017, arXiv 1612.01474, sec. 2.4.
    """
    jobs = [OneMethod.of(model, method, "ensemble", run) for model in models]
    check_count(len(jobs), 2, "networks")
    names = next((job.explainer.classes for job in jobs if job.explainer.classes), None)
    for n, job in enumerate(jobs):
        if job.explainer.classes not in (None, names):
            raise InputError(
                f"network {n + 1} of the ensemble has other class names than the first, or another order: an ensemble"
                " needs the same classes"
            )
        if job.explainer.classes is None and names:
            job.explainer.classes = names

    def mean_prediction(rule: Target) -> Tensor:
        found = [job.run(job.explainer, x, None).probabilities for job in jobs]
        known = [p.double().cpu() for p in found if p is not None]
        if len(known) < len(found):
            raise TargetError("networks without class probabilities have no common prediction: name the classes")
        _check_classes(known)
        return rule.indices(torch.stack(known).mean(0), names)

    goals = SettledTargets.of(targets, x, mean_prediction)
    return _ensemble_parts(jobs, x, goals)


def augmentation(
    model: nn.Module | Explainer,
    x: Tensor,
    method: str | Method = "grad-cam",
    targets: Any = None,
    *,
    changes: Augmentations | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    run: Run = whole,
) -> Iterator[Samples]:
    """Samples maps and predictions of an image under small changes, as between two acquisitions; maps are moved back.

    The image itself is the first sample. Where a moved image does not show a place of the original, that sample says
    nothing there, and the others count.

    Args:
        model: a network, or an `Explainer`.
        x: (N, C, *spatial) with 2 or 3 spatial axes.
        method: one method.
        targets: as for `Explainer.__call__`; "predicted" and its like are decided once, by the image itself.
        changes: which; None: the defaults of `Augmentations`.
        seed: of the noise, together with the image's content.
        batch_size: images in one pass; see `mc_dropout`.
        run: how a batch is explained.

    Raises:
        InputError: changes that the input cannot undergo.
        CfcamError: as `Explainer.__call__`.

    Source: Wang et al. 2019, arXiv 1807.07356, eq. 4 and 5, for predictions; here for maps as well.
    """
    job = OneMethod.of(model, method, "augmentation", run)
    todo = (changes or Augmentations()).of(x, seed)
    goals = SettledTargets.of(targets, x, job.prediction(x))
    return _augmented_parts(job, x, goals, todo, batch_size)


def method_disagreement(explanation: Explanation, methods: Sequence[str] | None = None) -> Iterator[Samples]:
    """Takes the methods of one explanation for samples: they share one pass, one prediction and one set of targets.

    What they disagree on says how much the map depends on the choice of the method. It is never a probability, and
    there is no entropy.

    Args:
        explanation: of two or more methods.
        methods: some of them; None: all.

    Raises:
        InputError: fewer than two methods, or no maps of one of them.
    """
    names = list(explanation.methods if methods is None else methods)
    check_count(len(names), 2, "methods")
    unknown = [name for name in names if name not in explanation.maps]
    if unknown:
        raise InputError(f"no maps of {unknown[0]!r} in this explanation; it has {', '.join(explanation.maps)}")

    def parts() -> Iterator[Samples]:
        for name in names:
            heat = explanation.heatmaps(name)[None]
            yield Samples(heat, None, explanation.status[name][None], explanation.targets, "methods", "several")

    return parts()


def collect(parts: Iterable[Samples]) -> Samples:
    """Returns all samples in one piece, for those who want to see each map.

    Raises:
        InputError: there are none.
    """
    every = list(parts)
    if not every:
        raise InputError("there are no samples: parts can be gone through once, make them again")
    first = every[0]
    known = [part.probabilities for part in every if part.probabilities is not None]
    return Samples(
        heatmaps=torch.cat([part.heatmaps for part in every]),
        probabilities=torch.cat(known) if known else None,
        statuses=np.concatenate([part.statuses for part in every]),
        targets=first.targets,
        source=first.source,
        method=first.method,
        multilabel=first.multilabel,
    )


def _dropout_parts(
    job: OneMethod,
    x: Tensor,
    goals: SettledTargets,
    modules: list[nn.Module],
    samples: int,
    seed: int,
    batch_size: int | None,
) -> Iterator[Samples]:
    groups, fitting = job.groups(x, goals, batch_size)
    starts = range(0, samples, fitting)
    seeds = [pass_seeds(image_seeds(x[group]), seed, len(starts)) for group in groups]
    model = job.explainer._network.model
    device = next((p.device for p in model.parameters()), x.device)
    for n, start in enumerate(starts):
        count = min(fitting, samples - start)
        part = []
        for group, own in zip(groups, seeds, strict=True):
            inputs = x[group].repeat(count, *[1] * (x.ndim - 1)).unflatten(0, (count, -1))
            with dropout_on(model, modules, device, own[n]):
                part.append(job.samples(inputs, goals.rows(group, count)))
        yield _side_by_side(part)


def _ensemble_parts(jobs: list[OneMethod], x: Tensor, goals: SettledTargets) -> Iterator[Samples]:
    first: Samples | None = None
    for job in jobs:
        part = job.samples(x[None], goals.rows(slice(None), 1))
        first = first or part
        _check_members(first, part)
        yield part


def _augmented_parts(
    job: OneMethod, x: Tensor, goals: SettledTargets, changes: list[Change], batch_size: int | None
) -> Iterator[Samples]:
    groups, fitting = job.groups(x, goals, batch_size)
    for start in range(0, len(changes), fitting):
        some = changes[start : start + fitting]
        part = []
        for group in groups:
            inputs = torch.stack([change.apply(x[group]) for change in some])
            part.append(job.samples(inputs, goals.rows(group, len(some))))
        joined = _side_by_side(part)
        moved = [change.back(maps) for change, maps in zip(some, joined.heatmaps, strict=True)]
        yield Samples(
            torch.stack(moved),
            joined.probabilities,
            joined.statuses,
            joined.targets,
            joined.source,
            joined.method,
            joined.multilabel,
        )


def _side_by_side(parts: list[Samples]) -> Samples:
    """The samples of some images and of others, as those of all of them."""
    first = parts[0]
    known = [part.probabilities for part in parts if part.probabilities is not None]
    return Samples(
        heatmaps=torch.cat([part.heatmaps for part in parts], dim=1),
        probabilities=torch.cat(known, dim=1) if known else None,
        statuses=np.concatenate([part.statuses for part in parts], axis=1),
        targets=torch.cat([part.targets for part in parts]),
        source=first.source,
        method=first.method,
        multilabel=first.multilabel,
    )


def _check_members(first: Samples, part: Samples) -> None:
    if (first.probabilities is None) != (part.probabilities is None) or first.multilabel != part.multilabel:
        raise InputError(
            "the networks of the ensemble give different kinds of output (softmax, sigmoid, or no classes): set"
            " probability= of their Explainers alike"
        )
    if first.probabilities is not None and part.probabilities is not None:
        _check_classes([first.probabilities, part.probabilities])


def _check_classes(probabilities: Sequence[Tensor]) -> None:
    counts = sorted({p.shape[-1] for p in probabilities})
    if len(counts) > 1:
        raise InputError(
            f"the networks of the ensemble have {' and '.join(map(str, counts))} classes: an ensemble needs the same"
            " classes"
        )

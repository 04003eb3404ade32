"""Does a map depend on what the network has learned, and on the class? Randomised networks, and what maps they give."""

from __future__ import annotations

import copy
import itertools
import zlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from cfcam.capture import Network
from cfcam.capture.answers.heads import Wanted
from cfcam.capture.state.guarantee import preserved
from cfcam.errors import InputError
from cfcam.metrics.functional.perturbation import has_evidence
from cfcam.metrics.functional.similarity import Similarity, comparison

BINS = 100


def randomised(
    model: nn.Module, seed: int = 0, *, most: int | None = None, sample: Tensor | None = None, reset: bool = True
) -> Iterator[tuple[str, nn.Module]]:
    """Yields the network with ever more of its layers randomised, from the logits down (cascading randomisation).

    A layer is a module that owns parameters. It is initialised afresh by its ``reset_parameters`` (the running
    statistics of a BatchNorm too); a module without that, or with modules inside, has each of its own parameters drawn
    from a normal distribution of the parameter's mean and standard deviation (of the mean's size for a single value).
    The draws are made on the CPU with a seed of the layer's name: the same on every device, and whatever ``most`` is.

    Fresh parameters are mostly smaller than trained ones, so that in a deep network without normalisation layers little
    of the image is left at the end: every image then has about the same map, and a map that is negative everywhere is
    not assessed. ``reset=False`` keeps the size of what each layer has learned.

    Every item is the same copy of the model, changed further from one to the next: use it, or copy it, before the
    next. The model itself is not touched, nor is the global random state.

    Args:
        model: the network.
        seed: of the new parameters.
        most: so many stages at most, spread evenly from the first (the top layer) to the last (all layers); 1: the
            last alone. All layers above are randomised at each.
        sample: (N, C, *spatial) input to find the order of the layers with, in one pass of its first image. Without it
            they come in the order of their registration (as in Quantus), which is that of most networks.
        reset: use ``reset_parameters``; False: draw the parameters of every layer with their own mean and deviation.

    Yields:
        The name of the lowest layer randomised so far, and the network.

    Raises:
        InputError: the model has no parameters, or ``most`` is below 1.

    Source: Adebayo et al. 2018, arXiv 1810.03292, section 3.1.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
        >>> [name for name, network in randomised(model)]
        ['3', '0']
    """
    if most is not None and most < 1:
        raise InputError(f"at most {most} stages of randomisation: give 1 or more")
    network = copy.deepcopy(getattr(model, "_orig_mod", model))
    layers = _from_the_top(network, sample)
    if not layers:
        raise InputError(f"{type(model).__name__} has no parameters that could be randomised")
    return _cascade(network, layers, seed, _stages(len(layers), most), reset)


def _cascade(
    network: nn.Module, layers: list[tuple[str, nn.Module]], seed: int, stages: set[int], reset: bool
) -> Iterator[tuple[str, nn.Module]]:
    for index, (name, layer) in enumerate(layers):
        # Not small numbers, with which a network may have been initialised before its training.
        _randomise(layer, zlib.crc32(f"layer {name}".encode()) ^ seed, reset)
        if index in stages:
            yield name, network


def _stages(layers: int, most: int | None) -> set[int]:
    if most is None or most >= layers:
        return set(range(layers))
    return {layers - 1} if most == 1 else {round(i * (layers - 1) / (most - 1)) for i in range(most)}


def _from_the_top(network: nn.Module, sample: Tensor | None) -> list[tuple[str, nn.Module]]:
    """Returns name and module of everything that owns parameters, the last used first."""
    layers = [(name, m) for name, m in network.named_modules() if next(m.parameters(recurse=False), None) is not None]
    if sample is not None:
        started = _starts(network, sample)
        layers.sort(key=lambda layer: _start(layer[0], started))
    return layers[::-1]


def _starts(network: nn.Module, sample: Tensor) -> dict[str, int]:
    """Returns the order in which modules last start in a pass, by name."""
    clock, started = itertools.count(), {}

    def note(name: str) -> None:
        started[name] = next(clock)

    runner = Network(network)
    x = runner.prepare(sample)[:1]
    handles = [m.register_forward_pre_hook(lambda *_, name=n: note(name)) for n, m in network.named_modules()]
    try:
        with torch.inference_mode(False), torch.no_grad(), preserved(network, x.device):
            runner.answer(x, want=Wanted(scores=False))
    finally:
        for handle in handles:
            handle.remove()
    return started


def _start(name: str, started: dict[str, int]) -> int:
    """Returns when a module starts; one whose parameters are used from outside starts with the module around it."""
    while name and name not in started:
        name = name.rpartition(".")[0]
    return started.get(name, -1)


def _randomise(layer: nn.Module, seed: int, reset: bool) -> None:
    with torch.inference_mode(False), torch.no_grad():
        # A module around others may reset those too, which are layers of their own.
        if reset and callable(getattr(layer, "reset_parameters", None)) and next(layer.children(), None) is None:
            fresh: Any = copy.deepcopy(layer).cpu()
            with torch.random.fork_rng(devices=[]):
                # Not torch.manual_seed, which would seed the accelerators' generators as well.
                torch.default_generator.manual_seed(seed)
                fresh.reset_parameters()
            layer.load_state_dict(fresh.state_dict())
            return
        generator = torch.Generator().manual_seed(seed)
        for parameter in layer.parameters(recurse=False):
            mean, deviation = parameter.mean(), parameter.std(correction=0)
            noise = torch.randn(parameter.shape, generator=generator).to(parameter)
            parameter.copy_(mean + torch.where(deviation > 0, deviation, mean.abs()) * noise)


def mprt(maps_by_stage: Tensor, original: Tensor, similarity: Similarity = "ssim") -> Tensor:
    """Returns (S, B) how alike the map of the network and those of its randomised copies are; lower is better.

    The curve of model parameter randomisation: it should fall from the first stage on, and end below
    `random_similarity` (`passes_mprt`). NaN where one of the maps is not finite or has no positive evidence.

    Args:
        maps_by_stage: (S, B, *spatial), by the networks of `randomised`, for the same class.
        original: (B, *spatial).
        similarity: "ssim" (as the sources), "soft_iou", "pearson", or a function of two batches of maps.

    Raises:
        InputError: the shapes do not fit, or the similarity is unknown.

    Source: Adebayo et al. 2018, arXiv 1810.03292; Arun et al. 2021, Radiology: Artificial Intelligence 3(6).

    Example:
        >>> original = torch.tensor([[0.0, 1.0, 0.5]])
        >>> mprt(torch.tensor([[[0.0, 1.0, 0.0]], [[1.0, 0.0, 0.0]]]), original, "soft_iou")
        tensor([[0.6667],
                [0.0000]])
    """
    if maps_by_stage.ndim != original.ndim + 1 or not len(maps_by_stage):
        raise InputError(
            f"maps {tuple(maps_by_stage.shape)} of randomised networks for originals {tuple(original.shape)}: give"
            " (S, B, *spatial), S at least 1"
        )
    compare = comparison(similarity)
    return torch.stack([compare(original, maps) for maps in maps_by_stage])


def random_similarity(maps: Tensor, pairs: int = 50, *, seed: int = 0, similarity: Similarity = "ssim") -> Tensor:
    """Returns () the mean similarity of random pairs of maps of different images: what maps have in common by chance.

    All pairs are taken if there are no more than ``pairs``. NaN with fewer than two maps that can be assessed. It
    depends on the maps' resolution: compare it with similarities of maps of the same size only.

    Args:
        maps: (B, *spatial) of the trained network, one an image.
        pairs: how many to draw.
        seed: of the draw.
        similarity: as for `mprt`.

    Raises:
        InputError: ``pairs`` is below 1, or the similarity is unknown.

    Source: Arun et al. 2021, Radiology: Artificial Intelligence 3(6), figure 3 (50 pairs).

    Example:
        >>> maps = torch.tensor([[0.0, 1.0, 0.5], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
        >>> random_similarity(maps, similarity="soft_iou")
        tensor(0.2222)
    """
    if pairs < 1:
        raise InputError(f"{pairs} pairs of maps: give 1 or more")
    compare = comparison(similarity)
    known = maps[has_evidence(maps)]
    n = len(known)
    if n < 2:
        return maps.new_full((), torch.nan)
    if n * (n - 1) // 2 <= pairs:
        first, second = torch.combinations(torch.arange(n)).T
    else:
        generator = torch.Generator().manual_seed(seed)
        first = torch.randint(n, (pairs,), generator=generator)
        second = (first + torch.randint(1, n, (pairs,), generator=generator)) % n
    return compare(known[first.to(maps.device)], known[second.to(maps.device)]).nanmean()


def passes_mprt(similarities: Tensor, threshold: float | Tensor) -> Tensor:
    """Returns 1 where a map of a randomised network is less like the original than chance, else 0; NaN stays NaN.

    Args:
        similarities: of any shape, as from `mprt`; the last stage decides.
        threshold: as from `random_similarity` of maps of the same size.

    Source: Arun et al. 2021, Radiology: Artificial Intelligence 3(6), figure 3.

    Example:
        >>> passes_mprt(torch.tensor([0.2, 0.9, torch.nan]), 0.5)
        tensor([1., 0., nan])
    """
    limit = torch.as_tensor(threshold, dtype=similarities.dtype, device=similarities.device)
    unknown = similarities.isnan() | limit.isnan()
    return (similarities < limit).to(similarities.dtype).masked_fill(unknown, torch.nan)


def emprt(original: Tensor, randomised_map: Tensor, bins: int = BINS) -> Tensor:
    """Returns (B,) the relative rise of a map's complexity when all the network is random: eMPRT; higher is better.

    ``(H(randomised) - H(original)) / H(original)`` with H the entropy of the histogram of a map's values, in ``bins``
    bins from its minimum to its maximum. At least -1. NaN where a map is not finite or has no positive evidence, or the
    original is constant.

    Args:
        original: (B, *spatial).
        randomised_map: (B, *spatial) by the fully randomised network.
        bins: of the histogram. Quantus' default; it derives the number from the data if asked to.

    Raises:
        InputError: the shapes do not fit.

    Source: Hedström et al. 2023, arXiv 2405.02383; Quantus' `EfficientMPRT`.

    Example:
        >>> emprt(torch.tensor([[0.0, 0.0, 0.5, 0.5]]), torch.tensor([[0.1, 0.3, 0.6, 1.0]]))
        tensor([1.])
    """
    if original.shape != randomised_map.shape:
        raise InputError(
            f"maps {tuple(original.shape)} and {tuple(randomised_map.shape)} cannot be compared: give (B, *spatial) of"
            " one shape"
        )
    assessed = has_evidence(original) & has_evidence(randomised_map)
    before, after = (_entropy(torch.where(_column(assessed, m), m, 0), bins) for m in (original, randomised_map))
    return torch.where(assessed & (before > 0), (after - before) / before, torch.nan)


def class_sensitivity(map_c: Tensor, map_other: Tensor, similarity: Similarity = "soft_iou") -> Tensor:
    """Returns (B,) how different the maps of two classes of one image are: ``1 - similarity``; higher is better.

    0: the same map for both classes. NaN where one of them is not finite or has no positive evidence.

    Args:
        map_c: (B, *spatial) of the explained class.
        map_other: (B, *spatial) of another.
        similarity: "soft_iou", "pearson" (then between 0 and 2), "ssim", or a function of two batches of maps.

    Raises:
        InputError: the shapes do not fit, or the similarity is unknown.

    Example:
        >>> class_sensitivity(torch.tensor([[0.0, 1.0, 0.5]]), torch.tensor([[0.0, 1.0, 0.0]]))
        tensor([0.3333])
    """
    return 1 - comparison(similarity)(map_c, map_other)


def class_agreement(map_c: Tensor, map_other: Tensor, similarity: Similarity = "spearman") -> Tensor:
    """Returns (B,) how far the maps of two classes of one image coincide: their rank correlation; lower is better.

    1: the places come in the same order, so the map does not tell the two classes apart, whatever is drawn in one and
    left pale in the other; 0: the two have nothing to do with each other, as those of chance; -1: what speaks for one
    speaks least for the other. Negative values count as 0, as they are drawn. NaN where one of them is not finite, has
    no positive evidence (a class without any cannot coincide with another: read how many images were assessed), or is
    constant. `class_sensitivity` asks the same of soft IoU, in which a common background can differ in strength.

    Args:
        map_c: (B, *cells) raw maps of the explained class, on the layer's own grid: interpolation between cells would
            make the ranks of neighbours alike.
        map_other: (B, *cells) of the strongest other class.
        similarity: "spearman", or another of `class_sensitivity`.

    Raises:
        InputError: the shapes do not fit, or the similarity is unknown.

    Source: the question is that of CASE, arXiv 2506.07327; the rank correlation is ours.

    Example:
        >>> class_agreement(torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[1.0, 6.0, 2.0]]))
        tensor([0.5000])
    """
    return comparison(similarity)(map_c.clamp(min=0), map_other.clamp(min=0))


def _entropy(maps: Tensor, bins: int) -> Tensor:
    """Returns (B,) the entropy in nats of each map's histogram, binned as `numpy.histogram` does."""
    flat = maps.flatten(1).double()
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    edges = low + (high - low) / bins * torch.arange(bins + 1, device=maps.device)
    index = (torch.searchsorted(edges, flat, right=True) - 1).clamp(0, bins - 1)
    counts = flat.new_zeros(len(flat), bins).scatter_add_(1, index, torch.ones_like(flat))
    information: Tensor = torch.special.entr(counts / flat.shape[1])
    return information.sum(1).float()


def _column(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (like.ndim - 1))

"""How far a map can be relied on: how much it varies, and what its method shows of a network at random."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from time import perf_counter

import torch

from cfcam.clinical.uncertainty import Augmentations, Samples, augmentation, pairwise_agreement, summarise
from cfcam.errors import InputError
from cfcam.imaging import Image, Volume
from cfcam.jobs.engine.batch import by_image
from cfcam.jobs.study.uncertainty import runner
from cfcam.maps import Status
from cfcam.metrics.functional.sanity import randomised
from cfcam.web.library.about import About
from cfcam.web.library.maps import Heat, StudyMap
from cfcam.web.live.engine import LiveEngine, content_of
from cfcam.web.live.maker import maker_of
from cfcam.web.live.maps import RULE, cut_and_peak, map_id, map_of, way_home
from cfcam.web.live.network import Ticket

SEED = 0
"""Of the noise of augmentation, and of the weights of a control."""

_THRESHOLD = 0.5  # of the share of samples, where the map itself has no threshold, as in a study
_SMALL_PRINT = "that samples agree does not make a map right"
_LOOKS_LIKE = "a map that looks like this one says little of what the network has learned"

Found = tuple[StudyMap, float | None, list[str]]


def uncertainty(engine: LiveEngine, image: Image | Volume, of: StudyMap, ticket: Ticket) -> Found:
    """Measures how much a map varies when the image changes a little, as ``cfcam explain --uncertainty augmentation``.

    Args:
        engine: explains; in its thread.
        image: of the study.
        of: a map of evidence.
        ticket: of who asks.

    Returns:
        The standard deviation as a map, on a scale of its own (its maximum is ``scale_max``); the mean agreement of the
        samples, None where fewer than two can be read; and what is to be said, a line each.

    Raises:
        Abandoned: nobody waits any more.
        CfcamError: the map is not one of evidence for a class by this network, or the network fails.
    """
    begun = perf_counter()
    own, explainer = maker_of(engine, image, of, what="this is measured of")
    x = engine.preprocess(image)(image)[None]
    with engine.at_work(own, ticket):
        parts = augmentation(explainer, x, of.method, [of.class_index], seed=SEED, run=runner(own))
        steps = len(Augmentations().of(x, SEED))
        summary = summarise(_told(parts, steps, ticket), of.threshold or _THRESHOLD)
    sd, back = summary.sd[0, 0].cpu(), way_home(engine.preprocess(image), image)

    def deviation() -> Heat:
        found: Heat = back(sd[None])[0].numpy()
        return found

    def heat() -> Heat:
        values = deviation()
        values /= values.max() or 1
        return values

    top = float(deviation().max())
    threshold, peak = cut_and_peak(heat(), image) if top else (None, None)
    made = replace(
        of,
        id=map_id("uncertainty", content_of(image), of.id, summary.source, SEED),
        method=f"{of.method}, SD under {summary.source}",
        heat=heat,
        raw=deviation,
        margin=None,
        status="ok" if top else "does not vary",
        threshold=threshold,
        rule=RULE,
        peak=peak,
        scale_max=top or None,
        scale_group=None,
        kind="uncertainty",
        seconds=round(perf_counter() - begun, 4),
        source="live",
        about=About(),  # a report would take it for evidence of the network
    )
    agreement = float(summary.agreement[0, 0])
    largest = f"standard deviation of the heat map, at most {top:.3g} of 1"
    return made, None if math.isnan(agreement) else agreement, [largest, summary.note(0, 0), _SMALL_PRINT]


def control(engine: LiveEngine, image: Image | Volume, of: StudyMap, ticket: Ticket) -> Found:
    """Explains the same by a copy of the network whose weights are drawn at random, as the sanity checks do.

    Every layer's parameters are drawn with their own mean and deviation; the network itself is not touched.

    Args:
        engine: explains; in its thread.
        image: of the study.
        of: a map of evidence.
        ticket: of who asks.

    Returns:
        The map of the random network; its agreement with the map, None where one of them is empty; and what is to be
        said, a line each.

    Raises:
        Abandoned: nobody waits any more.
        CfcamError: as `uncertainty`.

    Source: Adebayo et al. 2018, arXiv 1810.03292, section 3.1.
    """
    begun = perf_counter()
    own, trained = maker_of(engine, image, of, what="this is measured of")
    x = engine.preprocess(image)(image)[None]
    with engine.at_work(own, ticket):
        ((_, model),) = randomised(own.network.model, SEED, most=1, sample=x, reset=False)
        ticket.tell(0.3)
        model.register_forward_pre_hook(lambda *_: ticket.check())  # of the copy
        explainer = own.explainer_of(model).but(trained.methods, layer=of.layer)
        (explanation,) = by_image(runner(own)(explainer, x, [of.class_index]))
        if isinstance(explanation, str):
            raise InputError(f"the network with random weights gives no map: {explanation}")
        ticket.tell(0.9)
    back = way_home(engine.preprocess(image), image)

    def heat() -> Heat:
        found: Heat = back(explanation.heatmaps(of.method)[0, 0]).numpy()
        return found

    key = map_id("control", content_of(image), of.id, SEED)
    made = replace(
        map_of(image, explanation, heat, key=key, kind="control", seconds=perf_counter() - begun),
        method=f"{of.method}, weights at random (seed {SEED})",
        probability=None,  # of a network that has learned nothing
        about=About(),
    )
    both = torch.stack([torch.from_numpy(of.heat()), torch.from_numpy(heat())])[:, None]
    readable = torch.tensor([[one.status == str(Status.OK)] for one in (of, made)])
    agreement = float(pairwise_agreement(both, readable)[0])
    said = ["each layer's weights are drawn at random with their own mean and deviation", _LOOKS_LIKE]
    return made, None if math.isnan(agreement) else agreement, said


def _told(parts: Iterable[Samples], steps: int, ticket: Ticket) -> Iterator[Samples]:
    done = 0
    for part in parts:
        done += len(part.heatmaps)
        ticket.tell(done / steps)
        yield part

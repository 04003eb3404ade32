"""A prior study beside the current one: registered, explained and compared by the code of ``cfcam compare``.

The numbers are those of ``cfcam compare`` for the same two images: measured on the prior's grid, to which its
registration leads. What is shown lies on the current study's grid, by the inverse of the same matrix
(`cfcam.clinical.comparison.beside`): nothing is registered a second time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import numpy as np

from cfcam.clinical.comparison.beside import Beside
from cfcam.clinical.comparison.changes import compare
from cfcam.clinical.comparison.gate import Gate, RegistrationError
from cfcam.clinical.comparison.quality import Registration, RegistrationKind
from cfcam.clinical.comparison.result import SENTENCE, Comparison
from cfcam.errors import InputError
from cfcam.imaging import Image, Volume
from cfcam.jobs.compare.images import CompareImages, matched, registered
from cfcam.jobs.compare.studies import Study as Placeable
from cfcam.jobs.compare.studies import placed_study
from cfcam.jobs.compare.tables import registration_line
from cfcam.jobs.inputs.preparing import assumption_notes
from cfcam.maps import Status
from cfcam.web.library.about import About
from cfcam.web.library.facts import Facts, compact, in_file_order, window_of
from cfcam.web.library.maps import Heat, StudyMap, Under
from cfcam.web.library.nifti import Nifti, of_picture, of_volume
from cfcam.web.library.study import Study
from cfcam.web.live.engine import LiveEngine, content_of
from cfcam.web.live.maker import maker_of
from cfcam.web.live.maps import RULE, Handed, cut_and_peak, map_id, peak_at, without_values
from cfcam.web.live.network import Ticket
from cfcam.web.live.schemas import Change, Compared
from cfcam.web.schemas import Channel, Window

NO_DIFFERENCE = "no difference"

_ALIKE = 0.5  # common part of two windows


@dataclass(frozen=True)
class _OfPair(About):
    """How a difference was made; a report would take it for evidence of the network, so that no more is said."""

    answer: Compared | None = field(default=None, repr=False)


def beside(
    engine: LiveEngine,
    ticket: Ticket,
    study: Study,
    of: StudyMap,
    prior: Study,
    *,
    registration: RegistrationKind = "rigid",
    retests: int = 8,
    notes: Sequence[str] = (),
) -> Compared:
    """Lays a prior study beside a map, in the network's thread; the study is given the maps that come of it.

    An answer that the study still has the maps of is given again.

    Args:
        engine: explains.
        ticket: of who asks.
        study: the current one.
        of: a map of it, of evidence for one class by this network; the prior is explained by the same method, at the
            same layer, for the same class.
        prior: the other study.
        registration: how the images are brought together.
        retests: of each study, for the repeatability; 0: none, and no verdicts.
        notes: what is to be said first.

    Raises:
        Abandoned: nobody waits any more.
        InputError: the map is not this network's, the studies are not of a kind, or do not lie on each other.
        CfcamError: a study cannot be read, compared, or explained.
    """
    begun = perf_counter()
    image, earlier = study.image(), prior.image()
    if isinstance(image, Volume) != isinstance(earlier, Volume):
        raise InputError("one study is a picture and the other a volume: not compared; choose a prior of the same kind")
    own, explainer = maker_of(engine, image, of, what="a prior is laid beside")
    parts = [content_of(image), content_of(earlier), of.id, registration, retests]
    ids = map_id("prior", *parts), map_id("difference", *parts)
    if (kept := _kept(study, ids, of, prior)) is not None:
        return kept
    engine.preprocess(earlier)
    images = CompareImages(
        explainer, engine.preprocess(image), engine.name, engine.classes, method=of.method, retests=retests
    )
    studies, more = matched(placed_study(earlier), placed_study(image))
    found = _registered(studies, registration)
    ticket.tell(0.1)
    with engine.at_work(own, ticket):
        maps = images.maps(studies, found, of.class_index)
    ticket.tell(0.9)
    comparison = compare(*maps, registration=found)
    ticket.check()
    laid = Beside(found.matrix, maps[0].raw(), maps[1].raw(), studies[0].grid, studies[1].grid, comparison.scale)
    told = _told(comparison, [*assumption_notes(images.preprocess), *notes, *more])
    del comparison  # of a large volume its pictures are more than a gigabyte
    seconds = perf_counter() - begun
    under = _under(laid, study, prior, image, earlier)
    before = _prior_map(ids[0], laid, image, under, of, maps[0].probability, seconds)
    after = _difference(ids[1], laid, image, of, seconds)
    shown = before.described(study.id)
    assert shown.under is not None  # noqa: S101 (a prior lies on its own image)
    answer = Compared(
        prior=prior.id,
        current=of.described(study.id),
        prior_maps=[shown],
        difference=after.described(study.id),
        original=shown.under.url,
        **told,
    )
    for one in (before, replace(after, about=_OfPair(answer=answer))):
        study.add(one)
        if study.kind == "volume":
            study.levels(one.id)
    return answer


def _told(comparison: Comparison, notes: Sequence[str]) -> dict[str, Any]:
    """What is said of a comparison; nothing in it holds a picture."""
    return {
        "quality": {
            **comparison.registration.as_dict(),
            "unit": comparison.unit,
            "seen": float(comparison.seen.mean()),
            "text": registration_line(comparison),
        },
        "threshold": comparison.threshold,
        "changes": [Change(**vars(one)) for one in comparison.changes],
        "verdict": comparison.verdict,
        "statement": SENTENCE,
        "notices": [*dict.fromkeys((*notes, *comparison.notes))],
    }


def _kept(study: Study, ids: tuple[str, str], of: StudyMap, prior: Study) -> Compared | None:
    maps = study.maps
    if not all(one in maps for one in (*ids, of.id)):
        return None
    known = maps[ids[1]].about
    answer = known.answer if isinstance(known, _OfPair) else None
    return answer if answer is not None and answer.prior == prior.id else None


def _registered(studies: Sequence[Placeable], kind: RegistrationKind) -> Registration:
    gate = Gate()
    try:
        return registered(studies, kind, gate)
    except RegistrationError as error:
        if error.registration is None:
            why = str(error).partition(";")[0]
        else:
            why = f"registration not good enough ({'; '.join(gate.problems(error.registration.quality))})"
        raise InputError(
            f"{why}: not compared; look at both studies: if they lie over each other as they are, choose the"
            " registration none"
        ) from error


def _prior_map(
    key: str,
    laid: Beside,
    image: Image | Volume,
    under: Under,
    of: StudyMap,
    probability: float | None,
    seconds: float,
) -> StudyMap:
    """The prior's own map, on the current study's grid."""

    def heat() -> Heat:
        values = laid.map()
        values /= values.max() or np.float32(1)
        return values

    values = laid.map()
    top = float(values.max())
    values /= np.float32(top or 1)
    threshold, peak = cut_and_peak(values, image) if top > 0 else (None, None)
    return StudyMap(
        id=key,
        method=of.method,
        class_index=of.class_index,
        class_name=of.class_name,
        heat=Handed(heat, values) if values.ndim == 3 else heat,
        probability=probability,
        status=str(Status.OK if top > 0 else Status.NO_POSITIVE_EVIDENCE),
        layer=of.layer,
        threshold=threshold,
        rule=RULE,
        peak=peak,
        scale_max=top or None,
        scale_group=of.scale_group,
        kind="prior",
        seconds=round(seconds, 4),
        source="live",
        raw=laid.map,
        under=under,
        about=About(),
    )


def _difference(key: str, laid: Beside, image: Image | Volume, of: StudyMap, seconds: float) -> StudyMap:
    """Current less prior; in the 255 steps in which it is sent the middle is none."""

    def heat() -> Heat:
        return _halved(laid.difference())

    values = laid.difference()
    at = max(int(values.argmax()), int(values.argmin()), key=lambda n: abs(float(values.flat[n])))
    most = abs(float(values.flat[at]))
    index = np.unravel_index(at, values.shape)
    halved = _halved(values)
    return StudyMap(
        id=key,
        method=of.method,
        class_index=of.class_index,
        class_name=of.class_name,
        heat=Handed(heat, halved) if halved.ndim == 3 else heat,
        status=str(Status.OK) if most > 0 else NO_DIFFERENCE,
        layer=of.layer,
        peak=peak_at(tuple(int(i) for i in index), image) if most > 0 else None,
        kind="difference",
        seconds=round(seconds, 4),
        source="live",
        raw=laid.difference,
    )


def _halved(values: Heat) -> Heat:
    """From [-1, 1] to [0, 1], in place."""
    values += 1
    values /= 2
    return values


def _under(laid: Beside, study: Study, prior: Study, image: Image | Volume, earlier: Image | Volume) -> Under:
    """The prior's image on the current study's grid; made when it is looked at."""
    if isinstance(image, Image) and isinstance(earlier, Image):
        kind = np.dtype(np.uint8) if earlier.pixels.ndim == 3 else image.pixels.dtype
        high, spacing = float(np.iinfo(kind).max), image.spacing
        shown = Window(low=0, high=high, function="LINEAR_EXACT", source="as the file would be shown")
        return Under(lambda _: _picture(laid, prior.image(), kind, spacing), shown)
    assert isinstance(image, Volume) and isinstance(earlier, Volume)  # noqa: S101, PT018 (told before)
    empty = without_values(image)
    here, there = study.facts(), prior.facts()
    channels = tuple(
        after.model_copy(update={"window": shared_window(before, after)})
        for before, after in zip(here.channels, there.channels, strict=False)
    )
    return Under(lambda channel: _volume(laid, prior.image(), empty, channel), shared_window(here, there), channels)


def shared_window(current: Facts | Channel, prior: Facts | Channel) -> Window:
    """Returns the window that a prior volume, or a channel of it, is shown in beside the current one.

    It is the current one's where grey values mean the same: in HU, or where most of both windows is common to them.
    Else, as of two MR of other gain, it is the prior's own.
    """
    here, there = current.window, prior.window
    common = min(here.high, there.high) - max(here.low, there.low)
    whole = max(here.high, there.high) - min(here.low, there.low)
    same = current.values.unit == prior.values.unit == "HU" or common >= _ALIKE * whole
    return here if same else there


def _picture(laid: Beside, earlier: Any, kind: np.dtype[Any], spacing: tuple[float, float] | None) -> Nifti:
    high = np.iinfo(kind).max
    planes = [np.rint(laid.laid(plane) * np.float32(high)).astype(kind) for plane in earlier.planes().numpy()]
    return of_picture(planes[0] if len(planes) == 1 else np.stack(planes, 2), spacing, window=(0.0, float(high)))


def _volume(laid: Beside, earlier: Any, image: Any, channel: int) -> Nifti:
    """Whole numbers stay whole: of CT half a HU is not seen, and it takes half the memory."""
    values = earlier.channel(channel)
    found = laid.laid(values, outside=float(values.min()))
    if compact(values).dtype != np.float32:
        np.rint(found, out=found)
    turned, affine = in_file_order(found, image)
    window = window_of(earlier, channel)
    return of_volume(compact(turned), affine, window=(window.low, window.high))

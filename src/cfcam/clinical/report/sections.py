"""The pictures of a report in their order: class by class, and what varies over samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from cfcam.clinical.report import words
from cfcam.clinical.report.pictures import Picture, Scale, bare, mapped
from cfcam.clinical.report.planes import Slice, planes_of
from cfcam.clinical.study_result import Heat, MapResult, StudyResult, Uncertainty
from cfcam.clinical.where import steadiness, where
from cfcam.imaging.drawing.look import Look
from cfcam.shown import counted

OK = "ok"
EVIDENCE = "share of this map's highest value"
_SD_PALETTE, _SHARE_PALETTE = "viridis", "cividis"
_SD_STEPS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75)  # of two samples in [0, 1] divided by n - 1 it may be 0.71
_HALF = 0.5


@dataclass(frozen=True)
class PictureRow:
    """Pictures that stand beside each other.

    Attributes:
        title: over the row; "" where the pictures say it.
        pictures: from left to right.
    """

    title: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class ClassSection:
    """What explains one class.

    Attributes:
        name: of the class.
        answer: its probability as shown; of a contrast of two classes its margin.
        doubt: why the map may explain nothing that the network says; "" where its class is likely.
        rows: the original beside the map of each method; of a volume for each plane.
    """

    name: str
    answer: str
    doubt: str
    rows: tuple[PictureRow, ...]


@dataclass(frozen=True)
class UncertaintySection:
    """How one source of uncertainty is shown: what was varied, pictures, and numbers with what they mean."""

    title: str
    subject: str
    meaning: str
    note: str
    rows: tuple[PictureRow, ...]
    numbers: tuple[tuple[str, str, str], ...]


def class_sections(study: StudyResult, look: Look) -> list[ClassSection]:
    """Returns a section for each explained class, in the study's order."""
    of_classes = [list(group) for _, group in groupby(study.maps, lambda one: (one.class_index, one.class_name))]
    return [_class_section(study, maps, look) for maps in of_classes]


def uncertainty_section(study: StudyResult, one: Uncertainty, look: Look) -> UncertaintySection:
    """Returns what is known of the variation of the first map and its prediction."""
    planes = planes_of(study, [one.mean] if one.mean.any() else [])
    highest = next((step for step in _SD_STEPS if float(one.sd.max()) <= step), _SD_STEPS[-1])
    threshold = words.number(one.threshold)
    mean = Scale(look.palette, 1.0, "mean of the maps", one.threshold, f"threshold {threshold}")
    spread = Scale(_SD_PALETTE, highest, "standard deviation over the samples")
    share = Scale(_SHARE_PALETTE, 1.0, f"share of samples at or above {threshold}", _HALF, "half of them")
    shown: tuple[tuple[str, Heat, Scale, float | None], ...] = (
        ("Mean map", one.mean, mean, one.threshold if one.mean.any() else None),
        ("Spread", one.sd, spread, None),
        ("How often marked", one.inclusion, share, _HALF if one.inclusion.any() else None),
    )
    rows = []
    for plane in planes:
        mean_map, varied, marked = (
            mapped(
                plane,
                heat,
                scale,
                title,
                _alt(study, plane, f"{title}, {scale.label}; {look.words()}"),
                look.blend,
                threshold=level,
            )
            for title, heat, scale, level in shown
        )
        rows += [PictureRow("", (_original(study, plane), mean_map)), PictureRow("", (varied, marked))]
    return UncertaintySection(
        title=words.SOURCES.get(one.source, one.source),
        subject=f"{counted(one.samples, 'sample')}; map: {one.method}; class: {one.class_name}",
        meaning=words.SOURCE_MEANINGS.get(one.source, ""),
        note=one.note,
        rows=tuple(rows),
        numbers=_uncertainty_numbers(one),
    )


def readable(maps: Sequence[MapResult]) -> list[MapResult]:
    """Returns the maps that can be read."""
    return [one for one in maps if one.status == OK]


def map_picture(study: StudyResult, one: MapResult, plane: Slice, look: Look, title: str) -> Picture:
    """Returns one map on one plane, with the outline of its region and its peak; or the reason why there is none."""
    if one.status != OK:
        alt = f"{_alt(study, plane, 'The picture')} without a map: {one.method} gave none for {one.class_name}"
        return bare(plane, title, f"{alt} ({one.status}).", stamp=f"No map: {one.status}")
    region, level = one.regions.regions[0], one.regions.threshold
    mark = "" if level is None else words.threshold(one.regions)
    scale = Scale(look.palette, 1.0, EVIDENCE, level, mark)
    place = f"it points most strongly to: {where(study, one)} ({steadiness(study, one)})"
    alt = (
        f"{_alt(study, plane, 'The picture')} with the {one.method} map for {one.class_name}, {look.words()}; {place}."
    )
    return mapped(plane, one.heatmap, scale, title, alt, look.blend, threshold=level, peak=region.peak)


def _class_section(study: StudyResult, maps: list[MapResult], look: Look) -> ClassSection:
    planes = planes_of(study, [one.heatmap for one in readable(maps)])
    rows = [
        PictureRow("", (_original(study, plane), map_picture(study, one, plane, look, one.method)))
        for one in maps
        for plane in planes
    ]
    first = maps[0]
    return ClassSection(first.class_name, words.answer(first), words.doubt(study, first), tuple(rows))


def _original(study: StudyResult, plane: Slice) -> Picture:
    alt = f"{_alt(study, plane, 'The picture')} as the network was given it, without a map."
    return bare(plane, "Original", alt)


def _alt(study: StudyResult, plane: Slice, what: str) -> str:
    modality = f" ({study.modality})" if study.modality else ""
    return f"{what}{modality}" + (f", {plane.name}" if plane.name else "")


def _uncertainty_numbers(one: Uncertainty) -> tuple[tuple[str, str, str], ...]:
    """The numbers that there are: samples that share one prediction have no more than an overlap."""
    mean, sd = words.probability(one.probability_mean), words.number(one.probability_sd)
    overlap = "mean overlap of pairs of maps: 1 the same, 0 none"
    if one.source == "methods":
        overlap += f". {words.BY_CONSTRUCTION}"
    rows = (
        (one.agreement, "Overlap of the maps", words.number(one.agreement), overlap),
        (
            one.probability_mean,
            "Probability",
            f"{mean} ± {sd}",
            f"of {one.class_name}: mean ± standard deviation over the samples",
        ),
        (
            one.entropy,
            "Entropy",
            f"{words.number(one.entropy)} nats",
            "how undecided the answer is on the whole; 0 is decided",
        ),
        (
            one.mutual_information,
            "Mutual information",
            f"{words.number(one.mutual_information)} nats",
            "the part of the entropy that comes from samples contradicting each other",
        ),
    )
    return tuple(shown for value, *text in rows if value is not None for shown in [(text[0], text[1], text[2])])

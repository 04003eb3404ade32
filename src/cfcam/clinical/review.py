"""What a reader says of a map: accepted, rejected or amended, and what was shown when that was said.

A review is a record of the audit, and is never changed: a later one of the same map takes its place and refers to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from cfcam.errors import InputError

if TYPE_CHECKING:
    from cfcam.clinical.audit import Record


class Verdict(StrEnum):
    """What a reader makes of a map."""

    ACCEPT = "accept"
    REJECT = "reject"
    AMEND = "amend"


CODES: Mapping[Verdict, tuple[str, str]] = {
    Verdict.ACCEPT: ("verdict-accept", "The reader accepts the map"),
    Verdict.REJECT: ("verdict-reject", "The reader rejects the map"),
    Verdict.AMEND: ("verdict-amend", "The reader amends the map"),
}
"""What each is called in other systems: value and meaning of a code of cfcam's own; they never change."""


@dataclass(frozen=True)
class Shown:
    """The map that a reader was shown.

    Attributes:
        study: its id in the viewer.
        map: likewise.
        source_sha256: of the bytes of the picture or volume.
        map_sha256: of the map's values, from `cfcam.clinical.review.values_sha256`.
        weights_sha256: of the network's weights; "" where nothing says which they were.
        method: of cfcam; "" if unknown.
        layer: dotted name of the target layer; "" if unknown.
        class_index: number of the explained class; None if it is of no class.
        probability: of the class, in [0, 1]; None if unknown.
        pseudonym: of the patient if cfcam gave one; a patient's own identity never gets here.
    """

    study: str
    map: str
    source_sha256: str
    map_sha256: str
    weights_sha256: str
    method: str
    layer: str
    class_index: int | None
    probability: float | None
    pseudonym: str | None = None


@dataclass(frozen=True)
class Review:
    """One verdict on one map.

    Attributes:
        shown: the map.
        verdict: what the reader makes of it.
        reviewer: the reader's name, as it was given and not checked.
        comment: the reader's words; "" for none.
        amended: what the reader puts in the place of what the map says (`cfcam.clinical.audit.fields.AMENDED`).
        view: how the map was shown (`cfcam.clinical.audit.fields.VIEW`).
        supersedes: the id of the record that this one takes the place of; None for the first of a map.
        record_id: of its record; "" until it is in an audit.
        time: when it was recorded, in UTC; None until then.
        hash: SHA-256 of the record; "" until then.

    Raises:
        InputError: an amendment that changes nothing, or something amended without that verdict.
    """

    shown: Shown
    verdict: Verdict
    reviewer: str
    comment: str = ""
    amended: Mapping[str, Any] = field(default_factory=dict)
    view: Mapping[str, Any] = field(default_factory=dict)
    supersedes: str | None = None
    record_id: str = ""
    time: datetime | None = None
    hash: str = ""

    def __post_init__(self) -> None:
        if self.verdict is Verdict.AMEND and not (self.amended or self.comment):
            raise InputError("an amendment says what is amended: give a comment, or what takes its place")
        if self.verdict is not Verdict.AMEND and self.amended:
            raise InputError(f"{self.verdict}: something is amended, and the verdict does not say so: give amend")

    def details(self) -> dict[str, Any]:
        """Returns the fields of its record; a method or layer called in a way that might name somebody stays out."""
        from cfcam.clinical.audit import FIELDS

        shown = self.shown
        named = {"method": shown.method, "layer": shown.layer}
        known = {
            "study": shown.study,
            "map": shown.map,
            "data_sha256": shown.source_sha256,
            "map_sha256": shown.map_sha256,
            "model_sha256": shown.weights_sha256,
            **{name: text for name, text in named.items() if FIELDS[name].accepts(text)},
            "target": shown.class_index,
            "probability": shown.probability,
            "pseudonym": shown.pseudonym,
            "reviewer": self.reviewer,
            "comment": self.comment,
            "amended": dict(self.amended),
            "view": dict(self.view),
            "refers_to": self.supersedes,
        }
        return {"decision": self.verdict.value, **{k: v for k, v in known.items() if v not in (None, "", {})}}

    @classmethod
    def of(cls, record: Record) -> Review | None:
        """Returns the review of a record; None of one that is none, such as a record of another action."""
        given = record.details
        needed = ("study", "map", "data_sha256", "map_sha256", "decision", "reviewer")
        if any(not isinstance(given.get(name), str) for name in needed) or given["decision"] not in list(Verdict):
            return None
        shown = Shown(
            study=given["study"],
            map=given["map"],
            source_sha256=given["data_sha256"],
            map_sha256=given["map_sha256"],
            weights_sha256=given.get("model_sha256", ""),
            method=given.get("method", ""),
            layer=given.get("layer", ""),
            class_index=given.get("target"),
            probability=given.get("probability"),
            pseudonym=given.get("pseudonym"),
        )
        try:
            return cls(
                shown,
                Verdict(given["decision"]),
                given["reviewer"],
                given.get("comment", ""),
                given.get("amended", {}),
                given.get("view", {}),
                given.get("refers_to"),
                record.id,
                record.time,
                record.hash,
            )
        except InputError:
            return None


@dataclass(frozen=True)
class MapReviews:
    """All reviews of one map, oldest first.

    Attributes:
        reviews: at least one.
    """

    reviews: tuple[Review, ...]

    @property
    def latest(self) -> Review:
        """The one that counts."""
        return self.reviews[-1]

    @property
    def contested(self) -> bool:
        """Whether readers differ, each by the last that they said."""
        return len({one.verdict for one in {one.reviewer: one for one in self.reviews}.values()}) > 1


def study_id(place: str) -> str:
    """Returns the id of a study: the same place in what was opened, the same study; "run/NAME" for one of a run."""
    return f"s-{hashlib.sha256(place.encode(errors='surrogatepass')).hexdigest()[:12]}"


def map_id(*parts: str) -> str:
    """Returns the id of a map: the same parts, the same map.

    Of a file these are the SHA-256 of the source, "file", the method, the number of the class, its name where that
    number is negative, and the layer.
    """
    return f"m-{hashlib.sha256('|'.join(parts).encode(errors='surrogatepass')).hexdigest()[:12]}"


def values_sha256(values: ArrayLike) -> str:
    """Returns the SHA-256 of a map's values: float32, little end first, the last axis fastest, without a header."""
    return hashlib.sha256(np.ascontiguousarray(values, dtype="<f4").data).hexdigest()


def by_map(reviews: Iterable[Review]) -> dict[str, MapReviews]:
    """Returns the reviews of each map, by its id, in the order in which the maps were first answered."""
    found: dict[str, list[Review]] = {}
    for one in reviews:
        found.setdefault(one.shown.map, []).append(one)
    return {key: MapReviews(tuple(several)) for key, several in found.items()}

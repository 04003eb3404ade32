"""Which studies may be a prior of another: of its kind, the same patient's first; no patient is named by it."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from weakref import WeakKeyDictionary

from cfcam.errors import CfcamError
from cfcam.jobs.inputs.patients import patient_and_date
from cfcam.web.library.study import Study
from cfcam.web.schemas import Prior, Priors

FEW = 64
"""Studies of unknown patients that are offered, at most; of more nobody finds the right one in a list."""

_KEY = secrets.token_bytes(32)  # of this process: what is made of an id cannot be looked up in a list of ids


@dataclass(frozen=True)
class _Whose:
    """Whose a study is: the same digest for one patient id, and no id; and on which day it was made."""

    patient: str | None = field(default=None, repr=False)
    day: int | None = field(default=None, repr=False)


_known: WeakKeyDictionary[Study, _Whose] = WeakKeyDictionary()


def candidates(study: Study, studies: Iterable[Study]) -> list[Study]:
    """Returns the studies of one kind with another, without itself and those whose picture is not there."""
    return [other for other in studies if other is not study and other.kind == study.kind and other.given is not None]


def offered(study: Study, others: Sequence[Study]) -> Priors:
    """Returns what may be a prior of a study; the headers of all that are DICOM are read for that, once.

    Studies that are known to be another patient's are left out. First come those that are known to be of the same
    patient: of these the last one before the study first, then those without a date, then later ones. Then, unless
    they are many, those of which it is not known, in the same order, and by name.

    Args:
        study: the current study.
        others: from `candidates`.
    """
    own = _whose(study)
    same: list[Prior] = []
    unknown: list[Prior] = []
    for other in others:
        its = _whose(other)
        known = own.patient is not None and its.patient is not None
        if known and own.patient != its.patient:
            continue
        days = None if own.day is None or its.day is None else own.day - its.day
        one = Prior(study=other.brief(), same_patient=True if known else None, days=days)
        (same if known else unknown).append(one)
    many = len(unknown) > FEW
    return Priors(
        priors=[*sorted(same, key=_order), *([] if many else sorted(unknown, key=_order))],
        others=len(unknown) if many else 0,
    )


def _whose(study: Study) -> _Whose:
    if (found := _known.get(study)) is None:
        found = _known[study] = _read(study)
    return found


def _read(study: Study) -> _Whose:
    if study.given is None or study.given.label is None:  # no DICOM
        return _Whose()
    try:
        patient, date = patient_and_date(study.given.path)
    except (CfcamError, OSError):
        return _Whose()  # reading it will say what is wrong
    digest = hmac.new(_KEY, patient.encode(), hashlib.sha256).hexdigest() if patient else None
    try:
        return _Whose(digest, datetime.strptime(date, "%Y%m%d").toordinal())
    except ValueError:
        return _Whose(digest)


def _order(prior: Prior) -> tuple[int, int, str]:
    days = prior.days
    group = 1 if days is None else 0 if days >= 0 else 2
    return group, abs(days or 0), prior.study.name.casefold()

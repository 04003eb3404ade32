"""What a reader is shown, as a record says it, and what a record may not say."""

from __future__ import annotations

from pathlib import Path
from weakref import WeakKeyDictionary

from cfcam.clinical.review import Shown, values_sha256
from cfcam.imaging import Volume
from cfcam.jobs.assess.identity import check_said, patient_of
from cfcam.jobs.inputs.privacy import comes_from_dicom
from cfcam.web.exports.result import source_of
from cfcam.web.library.about import about
from cfcam.web.library.maps import StudyMap
from cfcam.web.library.study import Study
from cfcam.web.problems import RefusedError

_hashes: WeakKeyDictionary[StudyMap, str] = WeakKeyDictionary()  # of hundreds of megabytes, and they do not change


def shown(study: Study, one: StudyMap) -> Shown:
    """Returns what a record says of a map; it is read for that.

    Raises:
        CfcamError: the study or the map cannot be read.
    """
    if one.kind in ("prior", "difference"):
        raise RefusedError(409, f"a {one.kind} is no map of this study alone: answer on the study's own map beside it")
    model = about(one).model
    source = source_of(study, whole=False)
    return Shown(
        study=study.id,
        map=one.id,
        source_sha256=study.facts().sha256,
        map_sha256=hash_of(one),
        weights_sha256="" if model is None else model.weights_sha256,
        method=one.method,
        layer=one.layer or "",
        class_index=one.class_index if one.class_index >= 0 else None,
        probability=one.probability,
        pseudonym=None if source is None else source.pseudonym,
    )


def hash_of(one: StudyMap) -> str:
    """Returns the SHA-256 of a map's values in [0, 1] on the study's grid."""
    if (known := _hashes.get(one)) is None:
        known = _hashes[one] = values_sha256(one.heat())
    return known


def check_words(study: Study, comment: str, reviewer: str) -> None:
    """Refuses a text that says who the patient is, see `cfcam.jobs.assess.identity.check_said`.

    Raises:
        InputError: one does; the message does not repeat it.
    """
    file = _header_of(study)
    if file is not None:
        check_said(patient_of(file), comment, reviewer)


def _header_of(study: Study) -> Path | None:
    if study.given is None or not comes_from_dicom(study.given):
        return None
    image = study.image()
    if isinstance(image, Volume):
        return image.source.instances[0].path if image.source.instances else None
    return study.given.path

"""A study in the audit: hashes, numbers and short names, nothing that could identify a patient."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfcam.clinical.study_result import StudyResult
from cfcam.files import sha256_of
from cfcam.jobs.engine.inference import Engine
from cfcam.jobs.study.settings import StudySettings

if TYPE_CHECKING:
    from cfcam.clinical.audit import Audit, Record

_OUR_UIDS = "2.25."


def enter(
    audit: Audit,
    study: StudyResult,
    objects: Sequence[Path],
    masks: Sequence[Path],
    how: StudySettings,
    settings: str,
) -> Record:
    """Enters an explained study.

    Args:
        audit: where.
        study: what was explained.
        objects: DICOM objects that were written, named by kind and UID.
        masks: files of masks that were read.
        how: what was asked for.
        settings: SHA-256 of everything that changes the files.

    Raises:
        AuditError: the database refuses.
    """
    from cfcam.exchange import measurements_of

    probabilities = dict.fromkeys((one.class_index, one.probability) for one in study.maps)
    uids = [uid for uid in (file.stem.rpartition("_")[2] for file in objects) if uid.startswith(_OUR_UIDS)]
    details: dict[str, Any] = {
        "pseudonym": study.pseudonym,
        "data_sha256": study.source_sha256,
        "model_sha256": study.model.weights_sha256,
        "settings_sha256": settings,
        "object_sha256": [sha256_of(file) for file in objects],
        "object_uids": uids,
        "modality": study.modality,
        "method": list(dict.fromkeys(one.method for one in study.maps)),
        "layer": study.model.layer,
        "target": [index for index, _ in probabilities],
        "probability": [value for _, value in probabilities if value is not None],
        "measures": measurements_of(study.maps[0].regions["map"], study.maps[0].regions.stability),
        "mask_sha256": [sha256_of(file) for file in masks if file.is_file()],
        "checks": {_short(check.name): check.outcome.value.replace(" ", "-") for check in study.checks},
        "formats": [*how.dicom, *how.report, *(["patient-page"] if how.patient_page else [])],
        "version": study.provenance.get("cfcam"),
        "device": study.provenance.get("device"),
        "outcome": "success",
    }
    return audit.append("explain", _recordable(details))


def enter_failure(audit: Audit, data_sha256: str | None, engine: Engine, cause: str, settings: str) -> Record:
    """Enters that a study could not be explained.

    Args:
        audit: where.
        data_sha256: of the source, if it could be read.
        engine: what explains.
        cause: name of the error's class.
        settings: see `enter`.

    Raises:
        AuditError: the database refuses.
    """
    details = {
        "data_sha256": data_sha256,
        "model_sha256": engine.provenance()["model"]["sha256"],
        "settings_sha256": settings,
        "error": cause,
        "outcome": "serious-failure",
    }
    return audit.append("explain", _recordable(details))


def _short(name: str) -> str:
    """A check's name as the audit takes names."""
    return re.sub(r"[^a-z0-9+._-]+", "-", name.lower()).strip("-")[:40]


def _recordable(details: dict[str, Any]) -> dict[str, Any]:
    """What the audit takes: a layer or method that is called in a way that might name somebody stays out."""
    from cfcam.clinical.audit import FIELDS

    return {
        name: value
        for name, value in details.items()
        if value not in (None, "", [], {}) and FIELDS[name].accepts(value)
    }

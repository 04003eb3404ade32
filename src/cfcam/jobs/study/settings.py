"""What is made of each study beside its pictures: objects, numbers, report, record, uncertainty."""

from __future__ import annotations

import glob
import hashlib
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfcam.clinical.checks.results import Limits
from cfcam.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from cfcam.jobs.inputs.masks import RegionKind
    from cfcam.models import LoadedModel

FORMATS = ("html", "pdf")
"""What a report can be written as."""

LANGUAGES = ("en", "de")
"""What the page for the patient can be written in."""

WAYS = ("mc-dropout", "augmentation", "methods", "ensemble")
"""Ways of estimating how much a map varies."""

_FEWEST_SAMPLES, _MOST_SAMPLES = 2, 1000


@dataclass(frozen=True)
class StudySettings:
    """What is asked for of each study; its numbers are written as table and JSON in any case.

    Attributes:
        dicom: kinds of `cfcam.exchange.KINDS`, for inputs that are DICOM.
        report: formats of the report, of `FORMATS`; empty: none.
        patient_page: write the page for the patient too, because somebody has released it.
        patient_language: of that page, of `LANGUAGES`.
        record: the audit that each study is entered in, a file or a URL; None: none. It may hold a password, and so is
            in no text.
        uncertainty: some of `WAYS`, of the first map of each study.
        samples: how many for "mc-dropout" and "augmentation"; None: the way's own.
        ensemble: further checkpoints of the network, for "ensemble".
        threshold: of the region; see `cfcam.clinical.regions.measure`.
        masks: of what ("organ", "artefacts", "findings") and where they are, as `cfcam.jobs.inputs.masks.RegionMasks`
            takes it; they are measured beside the map, and the first map is checked with them.
        limits: of the site, for these checks.
        allow_burned_in: take pictures too that say that a name stands in their pixels.
        keep_names: name the files of a study by its DICOM file or folder, which may name the patient.
        keep_dates: show the date of a study as its file states it, also where cfcam did not de-identify the file.
        peak_stability: measure whether the peak of each map stays under small motions; None: where there is a report,
            for maps that take no more than one pass.
    """

    dicom: tuple[str, ...] = ()
    report: tuple[str, ...] = ()
    patient_page: bool = False
    patient_language: str = "en"
    record: str | None = field(default=None, repr=False)
    uncertainty: tuple[str, ...] = ()
    samples: int | None = None
    ensemble: tuple[LoadedModel, ...] = field(default=(), repr=False)
    threshold: str | float = "otsu"
    masks: tuple[tuple[RegionKind, str], ...] = ()
    limits: Limits = field(default_factory=Limits)
    allow_burned_in: bool = False
    keep_names: bool = False
    keep_dates: bool = False
    peak_stability: bool | None = None

    def check(self) -> None:
        """Checks what can be checked without a network.

        Raises:
            InputError: an unknown word, a number out of its range, or choices that do not go together.
            MissingExtraError: a library is not installed.
        """
        if self.dicom:
            from cfcam.exchange.dicom.write import check_installed, check_kinds

            check_kinds(self.dicom)
            check_installed()
        _check_words("report", self.report, FORMATS)
        if "pdf" in self.report and find_spec("weasyprint") is None:
            raise MissingExtraError("WeasyPrint", "report", "a report as PDF")
        _check_words("uncertainty", self.uncertainty, WAYS)
        _check_words("patient_language", (self.patient_language,), LANGUAGES)
        if self.samples is not None and not _FEWEST_SAMPLES <= self.samples <= _MOST_SAMPLES:
            raise InputError(f"samples is {self.samples}: give {_FEWEST_SAMPLES} to {_MOST_SAMPLES}")
        _check_threshold(self.threshold)

    def drawn(self) -> dict[str, Any]:
        """Returns the values that change the files; of the audit only that there is one."""
        return {
            "dicom": sorted(self.dicom),
            "report": sorted(self.report),
            "patient_page": self.patient_page,
            "record": self.record is not None,
            "uncertainty": list(self.uncertainty),
            "samples": self.samples,
            "ensemble": list(self.fingerprints),
            "threshold": str(self.threshold),
            **({"patient_language": self.patient_language} if self.patient_language != "en" else {}),
            **({"keep_dates": True} if self.keep_dates else {}),
            **({"peak_stability": self.peak_stability} if self.peak_stability is not None else {}),
            **({"masks": dict(self.mask_states), "limits": asdict(self.limits)} if self.masks else {}),
        }

    @cached_property
    def mask_states(self) -> dict[str, str]:
        """For each kind of mask a SHA-256 that changes with its files."""
        return {kind: state_of(where) for kind, where in self.masks}

    @cached_property
    def fingerprints(self) -> tuple[str, ...]:
        """SHA-256 of the weights of each further checkpoint."""
        from cfcam.explainer import Explainer

        return tuple(Explainer(model.module, "grad-cam").fingerprint() for model in self.ensemble)


def state_of(where: str) -> str:
    """Returns a SHA-256 that changes with the files of masks; the names themselves may be those of patients."""
    place = Path(where.partition("#")[0])
    named = sorted(place.iterdir()) if place.is_dir() else [Path(f) for f in sorted(glob.glob(_pattern(place)))]  # noqa: PTH207 (an absolute pattern)
    states = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in named if file.is_file()]
    return hashlib.sha256(repr((where, states)).encode()).hexdigest()


def _pattern(place: Path) -> str:
    before, stem, after = str(place).partition("{stem}")
    return glob.escape(before) + ("*" if stem else "") + glob.escape(after)


def _check_words(option: str, words: tuple[str, ...], known: tuple[str, ...]) -> None:
    unknown = [word for word in words if word not in known]
    if unknown:
        raise InputError(f"{option} {unknown[0]!r}: give some of {', '.join(known)}")


def _check_threshold(threshold: str | float) -> None:
    """By the function that will use it, so that the two cannot differ."""
    import torch

    from cfcam.clinical.regions import threshold_value

    threshold_value(torch.tensor([0.0, 1.0]), threshold)

"""Studies: what is written beside the maps of each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from cfcam.cli.arguments import places, words
from cfcam.cli.arguments.read import check_words
from cfcam.cli.command import Checked, Command
from cfcam.cli.options import complete
from cfcam.cli.options.masks import WHERE, Artefacts, masks_of
from cfcam.cli.output.panels import Panel
from cfcam.errors import InputError

if TYPE_CHECKING:
    from cfcam.jobs.study.settings import StudySettings

AUDIT_VARIABLE = "CFCAM_AUDIT"

# Known here without importing numpy; a test keeps them equal to what the run takes.
KINDS = ("pm", "seg", "sr", "sc", "gsps")
FORMATS = ("html", "pdf")
WAYS = ("mc-dropout", "augmentation", "methods", "ensemble")
LANGUAGES = ("en", "de")


def _ways(texts: list[str]) -> None:
    for text in texts:
        check_words("--uncertainty", text, WAYS)


def _checkpoints(paths: list[Path]) -> None:
    for path in paths:
        words.weights(str(path))


@dataclass(frozen=True, kw_only=True)
class Study(Command):
    """Options of what is written of each study; with any of them an input becomes a study."""

    panel: ClassVar[Panel | None] = Panel.STUDY

    dicom: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help=f"DICOM objects of each DICOM input: {', '.join(KINDS)}.",
            autocompletion=complete.several(complete.of(*KINDS)),
        ),
        Checked(words.some_of("--dicom", KINDS)),
    ] = None
    report: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="A report of each study, html or pdf, and a page that lists them.",
            autocompletion=complete.several(complete.of(*FORMATS)),
        ),
        Checked(words.some_of("--report", FORMATS)),
    ] = None
    patient_page: Annotated[
        bool,
        typer.Option("--patient-page", help="Write the page for the patient too: only what somebody has released."),
    ] = False
    patient_language: Annotated[
        str,
        typer.Option(
            "--patient-language",
            metavar="CODE",
            help=f"Of that page: {', '.join(LANGUAGES)}.",
            autocompletion=complete.of(*LANGUAGES),
        ),
        Checked(words.one_of("--patient-language", LANGUAGES)),
    ] = "en"
    record: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|URL",
            help=f"Enter each study in this audit; see cfcam audit. [default: {AUDIT_VARIABLE}, if a study is asked"
            " for]",
            show_default=False,
        ),
        Checked(places.audit),
    ] = None
    uncertainty: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WAY",
            help=f"How much the first map varies: {', '.join(WAYS)}; repeatable.",
            autocompletion=complete.several(complete.of(*WAYS)),
        ),
        Checked(_ways),
    ] = None
    samples: Annotated[
        int | None, typer.Option(min=2, max=1000, metavar="N", help="Samples of mc-dropout and augmentation.")
    ] = None
    ensemble: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="A further checkpoint of the network; repeatable."),
        Checked(_checkpoints),
    ] = None
    regions: Annotated[
        bool,
        typer.Option(
            "--regions", help="Write the numbers of the marked region as CSV and JSON (of organs: --by-region)."
        ),
    ] = False
    threshold: Annotated[
        str,
        typer.Option(metavar="RULE", help="Where a region begins: otsu, 0.5, quantile:0.9."),
        Checked(words.rule),
    ] = "otsu"
    organ: Annotated[
        str | None,
        typer.Option(metavar="MASKS", help=f"Where maps may lie, measured and checked: {WHERE}."),
        Checked(places.masks("--organ")),
    ] = None
    artefacts: Artefacts = None
    findings: Annotated[
        str | None,
        typer.Option(metavar="MASKS", help="All findings of a study; likewise."),
        Checked(places.masks("--findings")),
    ] = None
    limits: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSON of the site's limits for the checks."),
        Checked(words.limits),
    ] = None
    allow_burned_in: Annotated[
        bool,
        typer.Option("--allow-burned-in", help="Take DICOM pictures too that say that a name stands in their pixels."),
    ] = False
    keep_names: Annotated[
        bool,
        typer.Option(
            "--keep-names",
            help="Name the files of a study by its DICOM file or folder, even if that is the patient's name.",
        ),
    ] = False
    keep_dates: Annotated[
        bool,
        typer.Option("--keep-dates", help="Show the date of a study as its DICOM file states it, in report and JSON."),
    ] = False
    peak_stability: Annotated[
        bool | None,
        typer.Option(
            "--peak-stability/--no-peak-stability",
            help="Under how many small motions each map's peak stays: 17 passes a picture. [default: in a report]",
            show_default=False,
        ),
    ] = None

    def study(self) -> StudySettings | None:
        """Reads what is asked for of each study; None if that is nothing.

        The checkpoints of an ensemble are not loaded yet.

        Raises:
            InputError: an option needs another one.
        """
        if self.patient_language != LANGUAGES[0] and not self.patient_page:
            raise InputError(
                "--patient-language is for the page for the patient: give --patient-page, if it is released"
            )
        if self.limits is not None and not masks_of(self):
            raise InputError("--limits is for checks: give --organ, --artefacts or --findings")
        if not self._is_asked_for():
            return None
        ways = check_words("--uncertainty", ",".join(self.uncertainty or ()) or None, WAYS)
        self._check_uncertainty(ways)
        place = self.record or os.environ.get(AUDIT_VARIABLE) or None
        if place is not None and self.record is None:  # --record itself is checked with the other arguments
            places.audit(place)
        from cfcam.clinical.checks.results import Limits
        from cfcam.jobs.study.settings import StudySettings

        return StudySettings(
            dicom=check_words("--dicom", self.dicom, KINDS),
            report=check_words("--report", self.report, FORMATS),
            patient_page=self.patient_page,
            patient_language=self.patient_language,
            record=place,
            uncertainty=ways,
            samples=self.samples,
            threshold=self.threshold,
            masks=masks_of(self),
            limits=Limits() if self.limits is None else Limits.read(self.limits),
            allow_burned_in=self.allow_burned_in,
            keep_names=self.keep_names,
            keep_dates=self.keep_dates,
            peak_stability=self.peak_stability,
        )

    def _is_asked_for(self) -> bool:
        wanted = (
            self.dicom, self.report, self.record, self.uncertainty, self.regions, self.patient_page, self.ensemble,
            masks_of(self), self.peak_stability,
        )  # fmt: skip
        if any(wanted):
            return True
        idle = self.keep_names or self.keep_dates or self.allow_burned_in
        if idle or self.threshold != "otsu" or self.samples is not None:
            raise InputError(
                "--threshold, --samples, --keep-names, --keep-dates and --allow-burned-in are for studies: give"
                " --regions, or --report html"
            )
        return False

    def _check_uncertainty(self, ways: tuple[str, ...]) -> None:
        if bool(self.ensemble) != ("ensemble" in ways):
            raise InputError("an ensemble needs checkpoints: give --uncertainty ensemble and --ensemble FILE together")
        if self.samples is not None and not ways:
            raise InputError("--samples is for --uncertainty: give --uncertainty mc-dropout")
        if self.samples is not None and not {"mc-dropout", "augmentation"} & set(ways):
            raise InputError("--samples is for mc-dropout and augmentation: give one of them with --uncertainty")


def without_secrets(
    arguments: Sequence[str], paths: Sequence[Path], output: Path, study: StudySettings, masks: Sequence[str] = ()
) -> tuple[str, ...]:
    """Returns what was typed without paths, which may name a patient, and without the audit's URL and its password."""
    hidden = {str(output): "OUTPUT", **{str(path): "INPUT" for path in paths}}
    hidden |= {f"{path}/": "INPUT" for path in paths} | {f"{output}/": "OUTPUT"}
    hidden |= dict.fromkeys([*(where for _, where in study.masks), *masks], "MASKS")
    hidden |= {study.record: "AUDIT"} if study.record else {}
    kept = list(arguments[:1])
    for argument in arguments[1:]:
        option, equals, value = argument.partition("=")
        if argument in hidden:
            kept.append(hidden[argument])
        elif equals and value in hidden:
            kept.append(f"{option}={hidden[value]}")
        elif argument.startswith("-o") and argument[2:] in hidden:
            kept.append("-oOUTPUT")
        else:
            kept.append(argument)
    return tuple(kept)

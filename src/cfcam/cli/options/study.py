"""Options of ``cfcam explain`` for studies: what is written beside the maps, and how their values are read."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cfcam.cli.arguments import places as argument_places
from cfcam.cli.options import network as options
from cfcam.errors import InputError

if TYPE_CHECKING:
    from cfcam.jobs.inputs.masks import RegionKind
    from cfcam.jobs.study.settings import StudySettings
    from cfcam.models import LoadedModel

PANEL = "The study (report, DICOM objects, record)"
AUDIT_VARIABLE = "CFCAM_AUDIT"

# Known here without importing numpy; a test keeps them equal to what the run takes.
KINDS = ("pm", "seg", "sr", "sc", "gsps")
FORMATS = ("html", "pdf")
WAYS = ("mc-dropout", "augmentation", "methods", "ensemble")


def _completed_list(choices: Sequence[str]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        return [before + comma + choice for choice in choices if choice.startswith(last)]

    return complete


Dicom = Annotated[
    str | None,
    typer.Option(
        "--dicom",
        metavar="A,B",
        help=f"DICOM objects of each DICOM input: {', '.join(KINDS)}.",
        autocompletion=_completed_list(KINDS),
        rich_help_panel=PANEL,
    ),
]
Report = Annotated[
    str | None,
    typer.Option(
        "--report",
        metavar="A,B",
        help="A report of each study, html or pdf, and a page that lists them.",
        autocompletion=_completed_list(FORMATS),
        rich_help_panel=PANEL,
    ),
]
PatientPage = Annotated[
    bool,
    typer.Option(
        "--patient-page",
        help="Write the page for the patient too: only what somebody has released.",
        rich_help_panel=PANEL,
    ),
]
Record = Annotated[
    str | None,
    typer.Option(
        "--record",
        metavar="FILE|URL",
        help=f"Enter each study in this audit; see cfcam audit. [default: {AUDIT_VARIABLE}, if a study is asked for]",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]
Uncertainty = Annotated[
    list[str] | None,
    typer.Option(
        "--uncertainty",
        metavar="WAY",
        help=f"How much the first map varies: {', '.join(WAYS)}; repeatable.",
        autocompletion=lambda incomplete: [way for way in WAYS if way.startswith(incomplete)],
        rich_help_panel=PANEL,
    ),
]
Samples = Annotated[
    int | None,
    typer.Option(
        "--samples",
        min=2,
        max=1000,
        metavar="N",
        help="Samples of mc-dropout and augmentation.",
        rich_help_panel=PANEL,
    ),
]
Ensemble = Annotated[
    list[Path] | None,
    typer.Option(
        "--ensemble", metavar="FILE", help="A further checkpoint of the network; repeatable.", rich_help_panel=PANEL
    ),
]
Regions = Annotated[
    bool,
    typer.Option("--regions", help="Write the numbers of the marked region as CSV and JSON.", rich_help_panel=PANEL),
]
Threshold = Annotated[
    str,
    typer.Option(
        "--threshold", metavar="RULE", help="Where a region begins: otsu, 0.5, quantile:0.9.", rich_help_panel=PANEL
    ),
]
_MASKS = "a mask (PNG, NIfTI, DICOM SEG), a folder, masks/{stem}_lung.png, boxes.csv"
Organ = Annotated[
    str | None,
    typer.Option(
        "--organ", metavar="MASKS", help=f"Where maps may lie, measured and checked: {_MASKS}.", rich_help_panel=PANEL
    ),
]
Artefacts = Annotated[
    str | None,
    typer.Option("--artefacts", metavar="MASKS", help="Devices, markers, borders; likewise.", rich_help_panel=PANEL),
]
Findings = Annotated[
    str | None,
    typer.Option("--findings", metavar="MASKS", help="All findings of a study; likewise.", rich_help_panel=PANEL),
]
Limits = Annotated[
    Path | None,
    typer.Option("--limits", metavar="FILE", help="JSON of the site's limits for the checks.", rich_help_panel=PANEL),
]
AllowBurnedIn = Annotated[
    bool,
    typer.Option(
        "--allow-burned-in",
        help="Take DICOM pictures too that say that a name stands in their pixels.",
        rich_help_panel=PANEL,
    ),
]
KeepNames = Annotated[
    bool,
    typer.Option(
        "--keep-names",
        help="Name the files of a study by its DICOM file or folder, even if that is the patient's name.",
        rich_help_panel=PANEL,
    ),
]
KeepDates = Annotated[
    bool,
    typer.Option(
        "--keep-dates",
        help="Show the date of a study as its DICOM file states it, in report and JSON.",
        rich_help_panel=PANEL,
    ),
]
PeakStability = Annotated[
    bool | None,
    typer.Option(
        "--peak-stability/--no-peak-stability",
        help="Under how many small motions each map's peak stays: 17 passes a picture. [default: in a report]",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]


def read_study(
    *,
    dicom: str | None,
    report: str | None,
    patient_page: bool,
    record: str | None,
    uncertainty: list[str] | None,
    samples: int | None,
    ensemble: list[Path] | None,
    regions: bool,
    threshold: str,
    organ: str | None,
    artefacts: str | None,
    findings: str | None,
    limits: Path | None,
    allow_burned_in: bool,
    keep_names: bool,
    keep_dates: bool,
    peak_stability: bool | None,
) -> StudySettings | None:
    """Reads what is asked for of each study; None if that is nothing.

    The checkpoints of an ensemble are not loaded yet: see `with_ensemble`.

    Raises:
        InputError: a word that there is not, or an option that needs another one.
    """
    given: tuple[tuple[RegionKind, str | None], ...]
    given = (("organ", organ), ("artefacts", artefacts), ("findings", findings))
    masks = tuple((kind, where) for kind, where in given if where is not None)
    if limits is not None and not masks:
        raise InputError("--limits is for checks: give --organ, --artefacts or --findings")
    wanted = (dicom, report, record, uncertainty, regions, patient_page, ensemble, masks, peak_stability)
    if not any(wanted):
        if threshold != "otsu" or samples is not None or keep_names or keep_dates or allow_burned_in:
            raise InputError(
                "--threshold, --samples, --keep-names, --keep-dates and --allow-burned-in are for studies: give"
                " --regions, or --report html"
            )
        return None
    if bool(ensemble) != ("ensemble" in (uncertainty or ())):
        raise InputError("an ensemble needs checkpoints: give --uncertainty ensemble and --ensemble FILE together")
    if samples is not None and not uncertainty:
        raise InputError("--samples is for --uncertainty: give --uncertainty mc-dropout")
    if samples is not None and not {"mc-dropout", "augmentation"} & set(uncertainty or ()):
        raise InputError("--samples is for mc-dropout and augmentation: give one of them with --uncertainty")
    place = record or os.environ.get(AUDIT_VARIABLE) or None
    if place is not None and record is None:  # --record itself is checked with the other arguments
        argument_places.audit(place)
    ways = options.check_words("--uncertainty", ",".join(uncertainty or ()) or None, WAYS)
    from cfcam.clinical.checks.results import Limits as SiteLimits
    from cfcam.jobs.study.settings import StudySettings

    return StudySettings(
        dicom=options.check_words("--dicom", dicom, KINDS),
        report=options.check_words("--report", report, FORMATS),
        patient_page=patient_page,
        record=place,
        uncertainty=ways,
        samples=samples,
        threshold=threshold,
        masks=masks,
        limits=SiteLimits() if limits is None else SiteLimits.read(limits),
        allow_burned_in=allow_burned_in,
        keep_names=keep_names,
        keep_dates=keep_dates,
        peak_stability=peak_stability,
    )


def with_ensemble(
    study: StudySettings | None, checkpoints: Sequence[Path] | None, load: Callable[[str], LoadedModel]
) -> StudySettings | None:
    """Loads the checkpoints of an ensemble into further networks.

    Args:
        study: what is asked for.
        checkpoints: their files.
        load: gives the network with the weights of a file.
    """
    from dataclasses import replace

    if study is None or not checkpoints:
        return study
    return replace(study, ensemble=tuple(load(str(path)) for path in checkpoints))


def without_secrets(
    arguments: Sequence[str], paths: Sequence[Path], output: Path, study: StudySettings
) -> tuple[str, ...]:
    """Returns what was typed without paths, which may name a patient, and without the audit's URL and its password."""
    hidden = {str(output): "OUTPUT", **{str(path): "INPUT" for path in paths}}
    hidden |= {f"{path}/": "INPUT" for path in paths} | {f"{output}/": "OUTPUT"}
    hidden |= {where: "MASKS" for _, where in study.masks}
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

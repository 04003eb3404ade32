"""What is made of a study: objects, report, and the one that ties them together; a folder, whole or not at all."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfcam.errors import ImageError
from cfcam.files import write_whole
from cfcam.jobs.gateway.job import Answer, Job
from cfcam.jobs.gateway.settings import GatewaySettings
from cfcam.jobs.gateway.spool import flush

if TYPE_CHECKING:
    from cfcam.clinical.study_result import StudyResult
    from cfcam.exchange.dicom.study import DicomSource
    from cfcam.jobs.study.result import StudyExplainer

NUMBERS = "study.json"


def made(
    job: Job, settings: GatewaySettings, explainer: StudyExplainer, place: Path, *, after: Callable[[Path, Path], str]
) -> Answer:
    """Explains a study, and writes its results into the spool.

    Args:
        job: the study.
        settings: of the gateway.
        explainer: with the network.
        place: a folder for what is in the making.
        after: called with what was explained and the folder of results; what it returns went wrong, "" is nothing.

    Raises:
        CfcamError: it cannot be explained, or nothing can be made of it.
    """
    target = settings.spool.folder / "results" / job.name
    if target.is_dir():  # by a process that was killed before it could tell
        return Answer(_listed(target))
    started = time.perf_counter()
    source = _source(job, settings, place)
    found = explainer.made(source, whole=True)
    seconds = time.perf_counter() - started
    if found.source is None:
        raise ImageError(f"{found.study.name}: is no DICOM object that results could refer to")
    out = place / "out"
    out.mkdir(mode=0o700)
    notes = _write(found.study, found.source, settings, out)
    trouble = after(source, out)
    results = _listed(out)
    if not any(uid for _, uid, _ in results):
        raise ImageError(f"{found.study.name}: {'; '.join(notes) or 'nothing can be made of it'}")
    flush(out)
    out.rename(target)
    flush(target.parent)
    return Answer(results, notes=tuple(notes), troubles=(trouble,) if trouble else (), seconds=seconds)


def _source(job: Job, settings: GatewaySettings, place: Path) -> Path:
    """The file or folder that is explained: as it came, or without its patient."""
    files: Sequence[Path] = job.files
    if not files:
        raise ImageError("its objects are not in the spool any more: send them again")
    if settings.results.deidentify_key is not None:
        files = _without_patient(job, settings, place)
    return _linked(files, place / "in") if job.volume else files[0]


def _linked(files: Sequence[Path], folder: Path) -> Path:
    """A folder with a series in it; the files are the same, under numbers."""
    folder.mkdir(mode=0o700)
    for number, file in enumerate(files, 1):
        (folder / f"{number:05d}.dcm").hardlink_to(file)
    return folder


def _without_patient(job: Job, settings: GatewaySettings, place: Path) -> list[Path]:
    from cfcam.exchange.deidentify.deidentifier import Deidentifier
    from cfcam.exchange.deidentify.key import kept_key
    from cfcam.exchange.dicom.sources import read_source

    assert settings.results.deidentify_key is not None  # noqa: S101 (asked before)
    key = kept_key(settings.results.deidentify_key)
    clean = Deidentifier(key, allow_burned_in=settings.network[job.network].allow_burned_in)
    folder = place / "clean"
    folder.mkdir(mode=0o700)
    paths = []
    for number, file in enumerate(job.files, 1):
        dataset = clean(read_source(file), f"object {number} of {len(job.files)}")
        paths.append(folder / f"{number:05d}.dcm")
        dataset.save_as(paths[-1], enforce_file_format=True)
    return paths


def _write(study: StudyResult, source: DicomSource, settings: GatewaySettings, out: Path) -> list[str]:
    from cfcam.clinical.report.numbers import as_json
    from cfcam.exchange.dicom.root import report_object, root_object
    from cfcam.exchange.dicom.study import write_dicom
    from cfcam.exchange.dicom.write import save_object

    how = settings.results
    look: dict[str, Any] = {"palette": how.palette, "opacity": how.opacity, "blend": "value"}
    notes: list[str] = []
    files: list[Path] = []
    if how.objects:
        files, notes = write_dicom(study, source, how.objects, out, **look)
    numbers = as_json(study)
    write_whole(out / NUMBERS, numbers)
    if how.report:
        from cfcam.clinical.report.page import render
        from cfcam.clinical.report.pdf import as_pdf

        pdf = as_pdf(render(study, **look), numbers)
        files.append(save_object(report_object(study, source, pdf), "pdf", out))
    if how.root and files:
        save_object(root_object(study, source, files), "ko", out)
    return notes


def _listed(folder: Path) -> tuple[tuple[str, str, str], ...]:
    found = []
    for file in sorted(folder.iterdir()):
        if not file.is_file():
            continue
        kind, _, uid = file.stem.rpartition("_") if file.suffix == ".dcm" else (file.suffix[1:], "", "")
        found.append((file.name, uid, kind))
    return tuple(found)

"""What is made of a study: objects, report, and the one that ties them together; a folder, whole or not at all."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfcam.errors import ImageError
from cfcam.files import check_inside, make_folder, write_whole
from cfcam.imaging.reading.dicom_object import quiet
from cfcam.jobs.gateway.job import Answer, Job, Written
from cfcam.jobs.gateway.prior import COMPARISON, Compared
from cfcam.jobs.gateway.records import BUNDLE, ROOT
from cfcam.jobs.gateway.settings import GatewaySettings
from cfcam.jobs.gateway.spool import AHEAD, flush

if TYPE_CHECKING:
    from pydicom import Dataset

    from cfcam.jobs.study.explained import Made
    from cfcam.jobs.study.result import StudyExplainer

_SOURCE, _FHIR = "_source", "_fhir.json"
_FLUSHED = 8  # at a time


def made(
    job: Job,
    settings: GatewaySettings,
    explainer: StudyExplainer,
    place: Path,
    *,
    compare: Callable[[Path, Path], Compared],
    written: Callable[[Written], None] | None = None,
) -> Answer:
    """Explains a study, and writes its results into the spool.

    Args:
        job: the study.
        settings: of the gateway.
        explainer: with the network.
        place: a folder for what is in the making.
        compare: with the prior, called with what was explained and the folder of results.
        written: told of each object as soon as it is written and may leave; the root comes last.

    Raises:
        CfcamError: it cannot be explained, or nothing can be made of it.
    """
    target = settings.spool.folder / "results" / job.name
    check_inside(target)  # what is behind a link would be sent as ours
    if target.is_dir():  # by a process that was killed before it could tell
        return Answer(_listed(target))
    started = time.perf_counter()
    name = job.name.rpartition("-")[0]
    out = place / "out"
    out.mkdir(mode=0o700)
    source = _source(job, settings, place, out / f"{name}{_SOURCE}")
    found = explainer.made(source, whole=True)
    seconds = time.perf_counter() - started
    if found.source is None:
        raise ImageError(f"{found.study.name}: is no DICOM object that results could refer to")
    beside = compare(source, out)
    objects = _Objects(job.name, out / f"{name}_dicom", settings.spool.folder / AHEAD / job.name, written)
    with quiet():
        notes = _write(found, settings, objects, out / name, beside.prior)
    results = _listed(out)
    if not any(uid for _, uid, _ in results):
        raise ImageError(f"{found.study.name}: {'; '.join(notes) or 'nothing can be made of it'}")
    with ThreadPoolExecutor(_FLUSHED) as pool:  # side by side they are one commit of the file system's journal
        list(pool.map(flush, (out, *out.rglob("*"))))
    out.rename(target)
    flush(target.parent)
    return Answer(results, notes=tuple(notes), troubles=(beside.trouble,) if beside.trouble else (), seconds=seconds)


def _source(job: Job, settings: GatewaySettings, place: Path, folder: Path) -> Path:
    """The file or folder that is explained, as it came or without its patient: it stays with the results."""
    files: Sequence[Path] = job.files
    if not files:
        raise ImageError("its objects are not in the spool any more: send them again")
    if settings.results.deidentify_key is not None:
        files = _without_patient(job, settings, place)
    linked = _linked(files, folder)
    return folder if job.volume else linked[0]


def _linked(files: Sequence[Path], folder: Path) -> list[Path]:
    """The same files in another folder, under numbers."""
    folder.mkdir(mode=0o700)
    paths = [folder / f"{number:05d}.dcm" for number in range(1, len(files) + 1)]
    for path, file in zip(paths, files, strict=True):
        path.hardlink_to(file)
    return paths


def _without_patient(job: Job, settings: GatewaySettings, place: Path) -> list[Path]:
    from cfcam.exchange.deidentify.apart import Apart
    from cfcam.exchange.deidentify.deidentifier import Deidentifier
    from cfcam.exchange.deidentify.key import kept_key

    assert settings.results.deidentify_key is not None  # noqa: S101 (asked before)
    key = kept_key(settings.results.deidentify_key)
    clean = Deidentifier(key, allow_burned_in=settings.network[job.network].allow_burned_in)
    folder = place / "clean"
    folder.mkdir(mode=0o700)
    paths = []
    with Apart(clean) as apart:
        for number, file in enumerate(job.files, 1):
            paths.append(folder / f"{number:05d}.dcm")
            paths[-1].write_bytes(apart(file, f"object {number} of {len(job.files)}").data)
    return paths


class _Objects:
    """The objects of a study, written one after the other.

    Args:
        study: name of the folder of its results.
        folder: for the files.
        ahead: where those lie that an earlier attempt sent, see `cfcam.jobs.gateway.delivery.ahead`.
        written: told of each that may leave.
    """

    def __init__(self, study: str, folder: Path, ahead: Path, written: Callable[[Written], None] | None) -> None:
        self._study, self._folder, self._ahead, self._written = study, folder, ahead, written
        self.files: list[Path] = []
        self.heads: list[Dataset] = []  # what the root has to know of them
        self._held: list[Path] = []

    def save(self, kind: str, dataset: Any) -> None:
        """Writes an object; one that may be in the archive already stays as it was sent."""
        from cfcam.exchange.dicom.sources import read_source, without_pixels
        from cfcam.exchange.dicom.write import object_name, save_object

        sent = self._ahead / object_name(dataset, kind)
        if sent.exists():
            make_folder(self._folder, 0o700)
            file = self._folder / sent.name
            file.hardlink_to(sent)
            dataset = read_source(file)
        else:
            file = save_object(dataset, kind, self._folder)
        self.files.append(file)
        self.heads.append(without_pixels(dataset))
        self._held.append(file)

    def leave(self) -> None:
        """Lets go what was written so far."""
        for file in self._held:
            if self._written is not None:
                self._written(Written(f"{self._study}/{self._folder.name}/{file.name}", file))
        self._held.clear()


def _write(made: Made, settings: GatewaySettings, objects: _Objects, stem: Path, prior: Path | None) -> list[str]:
    """Writes the files of a study, called as those of a folder run are, and returns what there is to know."""
    from cfcam.clinical.report.numbers import as_json
    from cfcam.exchange.dicom.report_object import report_object
    from cfcam.exchange.dicom.root_result import root_result
    from cfcam.exchange.dicom.study import dicom_of

    assert made.source is not None  # noqa: S101 (looked at before)
    how, study, source = settings.results, made.study, made.source
    look: dict[str, Any] = {"palette": how.palette, "opacity": how.opacity, "blend": "value"}
    notes: list[str] = []
    if how.objects:
        for kind, dataset in dicom_of(study, source, how.objects, notes, **look):
            objects.save(kind, dataset)
            if how.record is None:  # what is recorded does not leave before
                objects.leave()
    if how.record is not None:
        study = replace(study, record_id=_recorded(made, objects.files, how.record, settings))
        objects.leave()
    numbers = cache(lambda: as_json(study))
    if how.report:
        from cfcam.clinical.report.page import render
        from cfcam.clinical.report.pdf import as_pdf

        pdf = as_pdf(render(study, **look), numbers())
        write_whole(stem.with_name(f"{stem.name}_report.pdf"), pdf)
        objects.save("pdf", report_object(study, source, pdf))
    if how.comparison and prior is not None:
        objects.save(COMPARISON, _comparison(made, prior, stem.parent))
    if how.root and objects.heads:
        objects.save(ROOT, root_result(objects.heads))
    objects.leave()  # and what nobody waits for after it
    table = stem.with_name(f"{stem.name}_regions.json")
    write_whole(table, numbers())
    if how.fhir or settings.fhir is not None:
        _bundle(table, how.record, stem.with_name(f"{stem.name}{_FHIR}"))
    return notes


def _comparison(made: Made, prior: Path, out: Path) -> Dataset:
    """Returns the comparison with the prior as an object of the study."""
    from cfcam.clinical.report.comparison import render_comparison
    from cfcam.clinical.report.pdf import as_pdf
    from cfcam.exchange.dicom.report_object import comparison_object
    from cfcam.exchange.dicom.sources import read_source

    assert made.source is not None  # noqa: S101 (looked at before)
    numbers = (out / f"{COMPARISON}.json").read_bytes()
    told = json.loads(numbers)
    page = render_comparison(told, (out / f"{COMPARISON}.png").read_bytes())
    pdf = as_pdf(page, numbers, name=f"{COMPARISON}.json")
    before = [read_source(one) for one in (sorted(prior.iterdir()) if prior.is_dir() else [prior])]
    return comparison_object(made.study, made.source, before, pdf, told["settings"])


def _recorded(made: Made, files: Sequence[Path], place: Path, settings: GatewaySettings) -> str:
    """Enters a study in the audit, and returns the number of its record."""
    from cfcam.clinical.audit.audit import Audit
    from cfcam.jobs.study.record import enter
    from cfcam.jobs.study.settings import StudySettings

    how = StudySettings(dicom=settings.results.objects, report=("pdf",) if settings.results.report else ())
    sha256 = str(made.study.provenance["settings_sha256"])
    return enter(Audit(str(place)), made.study, files, made.masks, how, sha256).id


def _bundle(numbers: Path, record: Path | None, file: Path) -> None:
    from cfcam.exchange.fhir.beside import gather
    from cfcam.exchange.fhir.transaction import as_bytes

    write_whole(file, as_bytes(gather(numbers, audit=None if record is None else str(record)).bundle()))


def _listed(folder: Path) -> tuple[tuple[str, str, str], ...]:
    """What is in a folder: of each file its name, its UID and its kind."""
    found = []
    for file in sorted(one for one in folder.rglob("*") if one.is_file() and not one.parent.name.endswith(_SOURCE)):
        kind, _, uid = file.stem.rpartition("_") if file.suffix == ".dcm" else (file.suffix[1:], "", "")
        kind = BUNDLE if file.name.endswith(_FHIR) else kind
        found.append((file.relative_to(folder).as_posix(), uid, kind))
    return tuple(found)

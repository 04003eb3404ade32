"""The door: one answer on one map of a study that was explained, recorded, and written as a document if it is DICOM.

The record is the one that the viewer writes of the same map, and so is the document.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cfcam.clinical.report.read import ENDING, Numbers, read_study, result_of
from cfcam.clinical.review import Review, Shown, map_id, study_id
from cfcam.errors import ImageError, InputError
from cfcam.exchange.dicom.study import DicomSource, review_of
from cfcam.files import make_folder
from cfcam.jobs.assess.book import ReviewBook
from cfcam.jobs.assess.identity import check_said, patient_in
from cfcam.jobs.assess.settings import AssessSettings
from cfcam.jobs.inputs.find import Kind, find_study
from cfcam.jobs.inputs.preparing import VolumeSettings
from cfcam.jobs.inputs.privacy import comes_from_dicom
from cfcam.jobs.inputs.reading import load_picture, load_volume
from cfcam.jobs.runs.manifest import FILE_NAME, Manifest, Record

if TYPE_CHECKING:
    from pydicom import Dataset

_UNKNOWN = (
    "no DICOM SR is written, and the words were not held against the patient's name, as the file that was explained is"
    " not known: give it with --source"
)
_NO_DICOM = "no DICOM SR is written: what was explained is no DICOM"


@dataclass(frozen=True)
class Assessed:
    """What came of an answer.

    Attributes:
        review: as it was recorded.
        document: the DICOM SR; None: there is none, and ``notes`` say why.
        notes: a line each.
    """

    review: Review
    document: Path | None
    notes: tuple[str, ...]


def assess(settings: AssessSettings) -> Assessed:
    """Records an answer, and writes it as a document.

    Everything is read, and the words are held against the patient's name, before anything is recorded.

    Raises:
        CfcamError: there is no such map, a file cannot be read or is another one than was explained, the words name the
            patient, or the audit cannot be used.
    """
    study = read_study(settings.study)
    number = _chosen(study, settings)
    folder, record = _of_run(settings.study)
    path = settings.source or _where_it_was(record)
    source, notes = (None, [_UNKNOWN]) if path is None else _read(path, study)
    if source is not None and source.objects:
        check_said(patient_in(source.objects[0]), settings.comment, settings.reviewer)
    shown = _shown(study, number, settings.study, folder)
    book = ReviewBook(settings.audit, settings.reviewer)
    comment = settings.comment.replace("\r\n", "\n").strip()
    review = book.add(shown, settings.verdict, book.reader(None), comment=comment, amended=settings.amended)
    document = None
    if source is not None:
        answers, _ = book.certified(shown.study, shown.source_sha256)
        of_map = [one for one in answers if one.shown.map == shown.map]
        of_map = of_map[: 1 + [one.record_id for one in of_map].index(review.record_id)]  # others answer meanwhile
        document = _written(study, number, source, of_map, settings.study)
    return Assessed(review, document, tuple(notes))


def _chosen(study: Numbers, settings: AssessSettings) -> int:
    """The number of the map that is meant."""
    told = [f"{one['method']} for {one['class_name']}" for one in study["maps"]]
    found = [
        n
        for n, one in enumerate(study["maps"])
        if settings.method in (None, one["method"])
        and settings.target in (None, one["class_name"], str(one["class_index"]))
    ]
    if len(found) != 1:
        many = "no map is" if not found else f"{len(found)} maps are"
        raise InputError(f"{many} meant: give --method and --target of one of {'; '.join(told) or 'none'}")
    if not study["maps"][found[0]].get("map_sha256"):
        raise InputError(
            f"{settings.study.name}: an earlier cfcam wrote it, without the hash of its maps: explain anew"
        )
    return found[0]


def _of_run(numbers: Path) -> tuple[Path, Record | None]:
    """The folder that a run wrote into, and its line of the study."""
    name = numbers.name.removesuffix(ENDING)
    folder = next((one for one in numbers.absolute().parents if (one / FILE_NAME).is_file()), numbers.absolute().parent)
    called = (numbers.absolute().parent / name).relative_to(folder).as_posix()
    records = Manifest.read(folder) if (folder / FILE_NAME).is_file() else ()
    return folder, next((one for one in records if one.name == called), None)


def _where_it_was(record: Record | None) -> Path | None:
    """The file that was explained, where the run found it; one that is known by a label alone is not known."""
    path = None if record is None else Path(record.input)
    return path if path is not None and path.is_absolute() and path.exists() else None


def _read(path: Path, study: Numbers) -> tuple[DicomSource | None, list[str]]:
    """The DICOM objects behind a study; None, and a line that says why, where nothing can refer to them.

    Raises:
        ImageError: it is another study than the one that was explained, or cannot be read.
    """
    given = find_study(path)
    image = load_picture(given) if given.kind is Kind.PICTURE else load_volume(given, VolumeSettings())
    if image.sha256 != study["source"]["sha256"]:
        raise ImageError(
            "this is another study than the one that was explained, or was changed since: give that one with --source"
        )
    if not comes_from_dicom(given):
        return None, [_NO_DICOM]
    source = DicomSource.of(image, given.path, whole=True)
    return (source, []) if source.missing is None else (None, [f"no DICOM SR is written: {source.missing}"])


def _shown(study: Numbers, number: int, file: Path, folder: Path) -> Shown:
    """What a record says of the map, with the ids that the viewer has for it when it opens the run."""
    one = study["maps"][number]
    index, name, sha256 = one["class_index"], one["class_name"], study["source"]["sha256"]
    saved = file.with_name(f"{file.name.removesuffix(ENDING)}_maps").is_dir()
    volume = study["source"]["spacing_mm"] is not None and len(study["source"]["spacing_mm"]) == 3
    called = name if index < 0 or (volume and not saved) else ""  # of a volume's NIfTI the name is part of the id
    place = (file.absolute().parent / file.name.removesuffix(ENDING)).relative_to(folder).as_posix()
    return Shown(
        study=study_id(f"run/{place}"),
        map=map_id(sha256, "file", one["method"], str(index), called, study["model"]["layer"]),
        source_sha256=sha256,
        map_sha256=one["map_sha256"],
        weights_sha256=study["model"]["weights_sha256"],
        method=one["method"],
        layer=study["model"]["layer"],
        class_index=index if index >= 0 else None,
        probability=one["probability"],
        pseudonym=study["pseudonym"],
    )


def _written(study: Numbers, number: int, source: DicomSource, answers: Sequence[Review], file: Path) -> Path:
    """Writes the document of the last of the answers on a map; it refers to those before it."""
    from cfcam.exchange.dicom.write import save_object

    result = result_of(study, number)
    made: dict[str, Dataset] = {}
    for one in answers:
        before = [made[one.supersedes]] if one.supersedes in made else []
        made[one.record_id] = review_of(result, source, one, before)
    folder = file.with_name(f"{file.name.removesuffix(ENDING)}_dicom")
    make_folder(folder)
    return save_object(made[answers[-1].record_id], "review", folder)

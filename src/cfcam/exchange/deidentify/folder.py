"""De-identification of a whole folder: no name of a file or folder of the source reaches output, log or error."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cfcam.errors import DiskError, ImageError, InputError, MissingExtraError, is_full
from cfcam.exchange.deidentify.apart import Apart
from cfcam.exchange.deidentify.deidentifier import Deidentifier
from cfcam.exchange.deidentify.one import Clean
from cfcam.exchange.dicom.write import save_bytes
from cfcam.files import own_output
from cfcam.imaging.reading.dicom_object import broken
from cfcam.imaging.reading.kinds import is_dicom_file


@dataclass
class FolderReport:
    """What became of a folder.

    Attributes:
        written: the files, named by pseudonym and new UIDs, each once.
        copies: how many files hold a picture that another one holds too, and so give the same file again.
        refused: a line for each picture that was not taken, by its number among the sorted files.
        others: how many files are no DICOM.
    """

    written: list[Path] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    others: int = 0
    copies: int = 0


def deidentify_folder(source: Path, output: Path, deidentifier: Deidentifier) -> FolderReport:
    """De-identify all pictures of a folder with its subfolders, or one file.

    Files become ``output/<pseudonym>/<new series UID>/<new object UID>.dcm``. The source stays as it is.

    Raises:
        ImageError: the source is missing.
        InputError: the output lies in the source, or is it.
        JobError: the output cannot be written into, or another run is at work there.
        DiskError: its disk is full.
    """
    if not source.exists():
        raise ImageError("the folder to de-identify does not exist; check its path")
    inside, outside = source.resolve(), output.resolve()
    if outside == inside or inside in outside.parents:
        raise InputError("the output lies in the folder to de-identify; name one beside it")
    files = sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]
    with own_output(output, shown="the output"):
        return _all(files, output, deidentifier)


def _all(files: Sequence[Path], output: Path, deidentifier: Deidentifier) -> FolderReport:
    report, ours = FolderReport(), dict[Path, None]()
    with Apart(deidentifier) as apart:
        for number, path in enumerate(files, 1):
            where = f"file {number} of {len(files)}"
            try:
                with broken(where, "it cannot be read"):
                    known = is_dicom_file(path)
                if not known:
                    report.others += 1
                    continue
                target = _saved(apart(path, where), where, output, ours)
                report.copies += target in ours
                ours[target] = None
            except MissingExtraError:
                raise
            except (ImageError, InputError) as problem:
                if is_full(problem):  # all others would meet it too
                    raise DiskError("the output", "nothing more fits on it") from problem
                text = str(problem)
                report.refused.append(text if text.startswith(where) else f"{where}: {text}")
    report.written += ours
    return report


def _saved(clean: Clean, where: str, output: Path, ours: Collection[Path]) -> Path:
    target = output / clean.patient / clean.series / f"{clean.uid}.dcm"
    if target in ours and target.read_bytes() != clean.data:
        raise ImageError(f"{where}: has the UID of an earlier file of this folder, and other content; keep one of them")
    return save_bytes(clean.data, target)

"""What a study's header says of its patient, so that none of it gets into a record that is kept for good."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cfcam.errors import InputError
from cfcam.exchange.dicom.sources import pseudonym_of
from cfcam.imaging.reading.dicom_object import broken, quiet
from cfcam.imaging.reading.parsing import parse

_NAMES = ("PatientName", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName")
_IDS = ("PatientID", "OtherPatientIDs", "AccessionNumber", "StudyInstanceUID", "MedicalRecordLocator")
_SHORTEST_WORD = 3
_SHORTEST_ID = 4
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Patient:
    """What a header calls a patient, folded as `folded` does.

    Attributes:
        names: of each name its words.
        ids: identifiers, and the date of birth as people write it.
    """

    names: tuple[tuple[str, ...], ...] = ()
    ids: frozenset[str] = frozenset()

    def named_in(self, text: str) -> bool:
        """Tells whether a text holds a word of a name, or an identifier.

        Words of scripts that put no spaces between them are looked for within others, but not single characters, which
        mean something else too ("high" is a name): of those only a whole name counts.
        """
        said = folded(text)
        words = set(_WORD.findall(said))
        for name in self.names:
            if any(w in words if w.isascii() else len(w) > 1 and w in said for w in name if _is_long(w)):
                return True
            if len(name) > 1 and ("".join(name) in said or " ".join(name) in said):
                return True
        return any(one in said for one in self.ids)

    def is_called(self, text: str) -> bool:
        """Tells whether a text holds a whole name, in any order, or an identifier."""
        said = folded(text)
        words = set(_WORD.findall(said))
        whole = any(set(name) <= words or "".join(name) in said for name in self.names)
        return whole or any(one in said for one in self.ids)


def patient_of(file: Path) -> Patient:
    """Returns what a DICOM file calls its patient; nothing of a file that cfcam de-identified.

    Raises:
        ImageError: it cannot be read.
    """
    with quiet(), broken("the study", "its header cannot be read"):
        return patient_in(parse(file, stop_before_pixels=True))


def patient_in(header: Any) -> Patient:
    """Returns what a header calls its patient; nothing of one that cfcam de-identified."""
    if pseudonym_of(header) is not None:
        return Patient()
    return Patient(tuple(_names(header)), frozenset(_ids(header)))


def check_said(patient: Patient, comment: str, reviewer: str) -> None:
    """Refuses a text that says who the patient is: a record is kept for good.

    A reader may share a name with a patient, so that of the reader's name only the whole of the patient's is refused.

    Args:
        patient: of the study.
        comment: the reader's words.
        reviewer: the reader's name.

    Raises:
        InputError: one does; the message does not repeat it.
    """
    if patient.named_in(comment) or patient.is_called(reviewer):
        raise InputError(
            "the answer names the patient by a word of the study's header, and nothing was recorded: say it without"
        )


def _names(header: Any) -> Iterator[tuple[str, ...]]:
    for key in _NAMES:
        for value in str(header.get(key) or "").split("\\"):
            for written in value.split("="):  # in Latin letters, in ideographs, as it sounds (PS3.5 6.2, PN)
                if name := tuple(_WORD.findall(folded(written))):
                    yield name


def _ids(header: Any) -> Iterator[str]:
    for key in _IDS:
        found = folded(str(header.get(key) or "").strip())
        if len(found) >= _SHORTEST_ID:
            yield found
    born = str(header.get("PatientBirthDate") or "").strip()
    if len(born) == 8 and born.isdecimal():
        year, month, day = born[:4], born[4:6], born[6:]
        yield from (born, f"{year}-{month}-{day}", f"{day}.{month}.{year}")
        yield from (f"{day}/{month}/{year}", f"{month}/{day}/{year}")


def _is_long(word: str) -> bool:
    return len(word) >= _SHORTEST_WORD or not word.isascii()


def folded(text: str) -> str:
    """Returns a text without accents and in small letters, as names are compared."""
    apart = unicodedata.normalize("NFKD", text)
    return "".join(c for c in apart if not unicodedata.combining(c)).casefold()

"""De-identification of DICOM pictures: Basic profile of PS3.15, keyed pseudonyms, one date shift for each patient."""

from __future__ import annotations

import hmac
import re
from base64 import b32encode
from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from cfcam._version import __version__
from cfcam.errors import ImageError, InputError
from cfcam.exchange.deidentify.pixels import PIXELS, check_same_pixels, clean_pixels
from cfcam.exchange.deidentify.profile import PUBLIC_SCHEMES, Action, BasicProfile, action_for, basic_profile
from cfcam.imaging.reading.dicom_frames import check_size
from cfcam.imaging.reading.dicom_object import quiet
from cfcam.imaging.volume import MAX_VOXELS

if TYPE_CHECKING:
    from pydicom import Dataset

SHORTEST_KEY = 16
"""Bytes that a key has at least."""

OFTEN_BURNED_IN = ("US", "SC", "OT", "XC")
"""Modalities whose pictures often show the patient's name."""

MAX_PIXELS = 64_000_000
"""Pixels of a frame, unless told otherwise: as many as are read."""

_DUMMY = "REMOVED"
_LONGEST_SHIFT = 3650  # days
_NAMES = ("PatientName", "OtherPatientNames", "PatientBirthName", "ReferringPhysicianName", "OperatorsName",
          "PerformingPhysicianName", "NameOfPhysiciansReadingStudy", "RequestingPhysician")  # fmt: skip
_NUMBERS = ("PatientID", "OtherPatientIDs", "AccessionNumber", "StudyID", "InstitutionName", "StationName")
_METHODS = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
)


class Deidentifier:
    """Takes the patient out of DICOM pictures, always in the same way for the same key.

    Beside the table of PS3.15: private and unknown elements, every text and every binary element that is not on a
    short list, and overlays are removed, at every depth; codes of a site's own schemes too; every UID that is not one
    of the standard's is replaced; comments within compressed pixels, bytes behind them and bits that belong to no grey
    value go. What the pixels decode to stays the same: each frame is compared. Faces in head scans are not removed.

    Args:
        key: secret of at least 16 bytes. Who has it can find out who is behind a pseudonym.
        allow_burned_in: take pictures too that say, or whose modality suggests, that a name is in their pixels.
        max_pixels: refuse, before anything is decompressed, a picture whose frames have more.
        max_voxels: the same for all frames together.

    Raises:
        InputError: the key is too short.
        MissingExtraError: pydicom or dicom-anonymizer is not installed.
    """

    def __init__(
        self,
        key: bytes,
        *,
        allow_burned_in: bool = False,
        max_pixels: int = MAX_PIXELS,
        max_voxels: int = MAX_VOXELS,
    ) -> None:
        if len(key) < SHORTEST_KEY:
            raise InputError(f"the key has {len(key)} bytes: it must have at least {SHORTEST_KEY}; make a new one")
        self._key = bytes(key)
        self._allow_burned_in = allow_burned_in
        self.max_pixels, self.max_voxels = max_pixels, max_voxels
        self._profile: BasicProfile = basic_profile()

    def __repr__(self) -> str:
        return f"Deidentifier(allow_burned_in={self._allow_burned_in})"

    def settings(self) -> dict[str, Any]:
        """Returns what `of` makes another one of, with the key: for another process, and not to be written."""
        more = {"allow_burned_in": self._allow_burned_in, "max_pixels": self.max_pixels, "max_voxels": self.max_voxels}
        return {"key": self._key.hex()} | more

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Deidentifier:
        """Returns one that gives the same."""
        return cls(**{**settings, "key": bytes.fromhex(settings["key"])})

    def __call__(self, source: Dataset, where: str = "the picture") -> Dataset:
        """Return a de-identified copy; the source stays as it is.

        Args:
            source: a picture with its pixels.
            where: what to call it in messages; nothing of a patient.

        Raises:
            ImageError: it has no pixels, may show a name in them, is broken, or its pixels would change; no message
                quotes what it holds.
        """
        from copy import deepcopy

        from cfcam.imaging.reading.dicom_frames import inflated
        from cfcam.imaging.reading.dicom_object import broken

        with quiet(), broken(where, "an element of it is broken"):
            self._check(source, where)
            source = inflated(source, where)
            dataset = deepcopy(source)
            patient = self._patient(dataset)
            words = _identity_words(dataset)
            clean_pixels(dataset, where)
            self._clean(dataset, self._shift(patient), words)
            self._mark(dataset, self.pseudonym(patient))
            _new_meta(dataset)
        with quiet(), broken(where, "its pixels cannot be decoded, so that nothing shows that they stay the same"):
            check_same_pixels(source, dataset, where)
        return dataset

    def pseudonym(self, patient: str) -> str:
        """Return what a patient id becomes: "P-" and 80 bits of its HMAC-SHA-256 as 16 letters and digits."""
        return "P-" + b32encode(self._digest("patient", patient)[:10]).decode()

    def uid(self, uid: str) -> str:
        """Return what a UID becomes: "2.25." and 128 bits of its HMAC-SHA-256."""
        return f"2.25.{int.from_bytes(self._digest('uid', uid)[:16], 'big')}"

    def _digest(self, purpose: str, text: str) -> bytes:
        return hmac.new(self._key, f"{purpose}\0{text}".encode(), sha256).digest()

    def _shift(self, patient: str) -> timedelta:
        number = int.from_bytes(self._digest("shift", patient)[:8], "big")
        return timedelta(days=-1 - number % _LONGEST_SHIFT)

    def _check(self, source: Dataset, where: str) -> None:
        if not any(key in source for key in PIXELS):
            raise ImageError(f"{where}: has no pixels; only pictures are de-identified, not reports or plans")
        if not source.get("SOPInstanceUID") or not source.get("StudyInstanceUID"):
            raise ImageError(f"{where}: has no UIDs of its own and its study; export it again")
        check_size(source, where, self.max_pixels, self.max_voxels)
        if self._allow_burned_in:
            return
        if str(source.get("BurnedInAnnotation") or "").strip().upper() == "YES":
            raise ImageError(
                f"{where}: says that a name may stand in its pixels (BurnedInAnnotation); look at it, then allow it"
                " (--allow-burned-in) or leave it out"
            )
        if str(source.get("Modality") or "").strip() in OFTEN_BURNED_IN:
            raise ImageError(
                f"{where}: is of a modality whose pixels often show a name ({', '.join(OFTEN_BURNED_IN)}); look at it,"
                " then allow it (--allow-burned-in) or leave it out"
            )

    def _patient(self, dataset: Dataset) -> str:
        """The id; without one every study is a patient of its own, so that two patients never become one."""
        return str(dataset.get("PatientID") or "").strip() or f"study {dataset.StudyInstanceUID}"

    def _clean(self, dataset: Dataset, shift: timedelta, words: frozenset[str]) -> None:
        for tag in list(dataset.keys()):
            element: Any = dataset[tag]
            action = action_for(element, self._profile)
            if action is Action.KEEP and _shows(element, words):
                action = Action.REMOVE
            if action is Action.SHIFT:
                element.value = _shifted(element.value, shift, element.VR)
            elif action is Action.UID:
                element.value = self._replaced(element.value)
            elif action is Action.EMPTY:
                element.value = [] if element.VR == "SQ" else None
            elif action is Action.DUMMY:
                element.value = _DUMMY
            elif action is Action.REMOVE:
                del dataset[tag]
            elif element.VR == "SQ":
                self._clean_items(dataset, element, shift, words)

    def _clean_items(self, dataset: Dataset, element: Any, shift: timedelta, words: frozenset[str]) -> None:
        kept = [item for item in element.value if not _is_of_a_site(item)]
        if element.value and not kept:
            del dataset[element.tag]
            return
        for item in kept:
            for key in PIXELS:  # of an icon or the like, in a compression of its own
                item.pop(key, None)
            self._clean(item, shift, words)
        element.value = kept

    def _replaced(self, value: Any) -> Any:
        from pydicom.uid import UID

        def one(uid: str) -> str:
            return uid if UID(uid).name != uid else self.uid(uid)  # the standard's own have names

        if not value:
            return value
        return one(str(value)) if isinstance(value, str) else [one(str(uid)) for uid in value]

    def _mark(self, dataset: Dataset, pseudonym: str) -> None:
        from pydicom import Dataset as NewDataset

        dataset.PatientName = dataset.PatientID = pseudonym
        dataset.PatientBirthDate = dataset.PatientSex = ""
        dataset.PatientIdentityRemoved = "YES"
        dataset.LongitudinalTemporalInformationModified = "MODIFIED"
        dataset.DeidentificationMethod = f"cfcam {__version__}, Basic profile, dates shifted"[:64]
        items = []
        for value, meaning in _METHODS:
            item = NewDataset()
            item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
            items.append(item)
        dataset.DeidentificationMethodCodeSequence = items


def _shifted(value: Any, shift: timedelta, vr: str) -> Any:
    """Dates and moments some days earlier; a moment loses its time zone; what is no date becomes empty."""
    found = re.match(r"(\d{8})(\d{6})?", str(value or "")) if isinstance(value, str) or not value else None
    if found is None:
        return ""
    try:
        day = datetime.strptime(found[1], "%Y%m%d") + shift
    except (ValueError, OverflowError):
        return ""
    return day.strftime("%Y%m%d") + ((found[2] or "") if vr == "DT" else "")


def _is_of_a_site(item: Dataset) -> bool:
    coded = any(key in item for key in ("CodeValue", "LongCodeValue", "URNCodeValue"))
    return coded and str(item.get("CodingSchemeDesignator") or "").strip() not in PUBLIC_SCHEMES


def _identity_words(dataset: Dataset) -> frozenset[str]:
    """Names and numbers of this patient, which nothing that is kept may show."""
    names = (word for key in _NAMES for word in re.split(r"[\^=\s,\\]+", str(dataset.get(key) or "")))
    numbers = (str(dataset.get(key) or "").strip() for key in _NUMBERS)
    return frozenset(word.casefold() for word in (*names, *numbers) if len(word) > 3)


def _shows(element: Any, words: frozenset[str]) -> bool:
    """Whether an element that would be kept shows a name or number of the patient, or is a time that is none."""
    if element.VR == "TM":
        return re.fullmatch(r"[\d.:]*", str(element.value or "")) is None
    if element.VR not in ("CS", "LO", "SH") or element.keyword in ("SpecificCharacterSet", "Modality"):
        return False
    text = str(element.value).casefold()
    return any(word in text for word in words)


def _new_meta(dataset: Dataset) -> None:
    from pydicom.dataset import FileMetaDataset

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta = meta
    dataset.preamble = b"\0" * 128

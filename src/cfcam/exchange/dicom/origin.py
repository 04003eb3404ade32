"""What a DICOM header says of its study, cut down to words of the standard, shifted dates and pseudonyms of UIDs."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cfcam.clinical.origin import Origin
from cfcam.exchange.dicom.sources import pseudonym_of
from cfcam.imaging import Image, Volume
from cfcam.imaging.geometry import axis_codes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydicom import Dataset

# Defined terms of Body Part Examined (PS3.16 annex L) that are of people; what is none of them may be free text.
BODY_PARTS = frozenset({
    "ABDOMEN", "ABDOMENPELVIS", "ACJOINT", "ADRENAL", "ANKLE", "ANUS", "AORTA", "ARM", "AXILLA", "BACK",
    "BILEDUCT", "BLADDER", "BRAIN", "BREAST", "BRONCHUS", "BUTTOCK", "CALCANEUS", "CALF", "CAROTID", "CEREBELLUM",
    "CERVIX", "CHEEK", "CHEST", "CHESTABDOMEN", "CHESTABDPELVIS", "CIRCLEOFWILLIS", "CLAVICLE", "COCCYX", "COLON",
    "CORNEA", "CORONARYARTERY", "CSPINE", "CTSPINE", "DUODENUM", "EAR", "ELBOW", "ESOPHAGUS", "EXTREMITY", "EYE",
    "EYELID", "FACE", "FEMUR", "FINGER", "FOOT", "FOREARM", "GALLBLADDER", "HAND", "HEAD", "HEADNECK", "HEART",
    "HIP", "HUMERUS", "IAC", "ILEUM", "ILIUM", "JAW", "JEJUNUM", "KIDNEY", "KNEE", "LARYNX", "LEG", "LIVER",
    "LSPINE", "LSSPINE", "LUNG", "MAXILLA", "MEDIASTINUM", "MOUTH", "NECK", "NECKCHEST", "NECKCHESTABDOMEN",
    "NECKCHESTABDPELV", "NOSE", "ORBIT", "OVARY", "PANCREAS", "PAROTID", "PATELLA", "PELVIS", "PENIS", "PHARYNX",
    "PROSTATE", "RECTUM", "RIB", "SCALP", "SCAPULA", "SCLERA", "SCROTUM", "SHOULDER", "SKIN", "SKULL", "SPINE",
    "SPLEEN", "SSPINE", "STERNUM", "STOMACH", "SUBMANDIBULAR", "TESTIS", "THIGH", "THUMB", "THYMUS", "THYROID",
    "TLSPINE", "TMJOINT", "TOE", "TONGUE", "TRACHEA", "TSPINE", "URETER", "URETHRA", "UTERUS", "VAGINA", "VULVA",
    "WHOLEBODY", "WRIST", "ZYGOMA",
})  # fmt: skip
_SPELLED = {
    "CSPINE": "cervical spine", "TSPINE": "thoracic spine", "LSPINE": "lumbar spine", "SSPINE": "sacral spine",
    "CTSPINE": "cervicothoracic spine", "TLSPINE": "thoracolumbar spine", "LSSPINE": "lumbosacral spine",
    "WHOLEBODY": "whole body", "TMJOINT": "temporomandibular joint", "ACJOINT": "acromioclavicular joint",
    "ABDOMENPELVIS": "abdomen and pelvis", "CHESTABDOMEN": "chest and abdomen", "HEADNECK": "head and neck",
    "CHESTABDPELVIS": "chest, abdomen and pelvis", "NECKCHEST": "neck and chest", "IAC": "internal auditory canal",
    "NECKCHESTABDOMEN": "neck, chest and abdomen", "NECKCHESTABDPELV": "neck, chest, abdomen and pelvis",
    "BILEDUCT": "bile duct", "CORONARYARTERY": "coronary artery", "CIRCLEOFWILLIS": "circle of Willis",
}  # fmt: skip
VIEWS = {
    "AP": "AP (front to back)", "PA": "PA (back to front)", "LL": "left lateral", "RL": "right lateral",
    "LATERAL": "lateral", "LAT": "lateral", "RLD": "right lateral decubitus", "LLD": "left lateral decubitus",
    "RLO": "right lateral oblique", "LLO": "left lateral oblique", "LAO": "left anterior oblique",
    "RAO": "right anterior oblique", "LPO": "left posterior oblique", "RPO": "right posterior oblique",
    "CC": "cranio-caudal", "MLO": "medio-lateral oblique", "ML": "medio-lateral", "LM": "latero-medial",
    "XCCL": "exaggerated cranio-caudal, lateral",
}  # fmt: skip
"""Words of View Position (PS3.3 C.8.1.3, C.8.11.5) and of mammography, and what they mean."""
# SNOMED CT (PS3.16 CID 4010 and 4014), and the codes that stood for them before
_VIEW_CODES = {
    "399162004": "CC", "R-10242": "CC", "399368009": "MLO", "R-10226": "MLO", "399260004": "ML", "R-10224": "ML",
    "399352003": "LM", "R-10228": "LM", "399192008": "XCCL", "399348003": "AP", "R-10206": "AP", "272479007": "PA",
    "R-10214": "PA", "399173006": "LL", "399198007": "RL", "399067008": "LATERAL",
}  # fmt: skip
_LATERALITIES = {"L": "left", "R": "right", "B": "both"}
_UIDS = {"study": "StudyInstanceUID", "series": "SeriesInstanceUID", "object": "SOPInstanceUID"}
_PLANES = {frozenset("RL"): "sagittal slice", frozenset("AP"): "coronal slice", frozenset("SI"): "axial slice"}
_DIGITS = 16
_OURS = "2.25."  # what every UID that cfcam gives begins with

SHIFTED, STATED = "shifted by de-identification", "as the file states it"
HIDDEN = "not shown: the file was not de-identified by cfcam (--keep-dates shows it)"


def placed(image: Image | Volume) -> NDArray[np.float64] | None:
    """Returns the affine of an image in the patient; None also where that of a volume says nothing of a patient."""
    nowhere = isinstance(image, Volume) and not image.placed
    return None if image.affine is None or nowhere else np.array(image.affine, dtype=np.float64)


def origin_of(header: Dataset, *, affine: ArrayLike | None, volume: bool, keep_dates: bool) -> Origin:
    """Returns what a header says of its study; what is no word of the standard is left out.

    Args:
        header: of the picture, or of the first slice.
        affine: of the picture in the patient, if it has one.
        volume: there are several objects, and that of this header stands for none of them.
        keep_dates: give the study's date as it is stated.
    """
    ours = pseudonym_of(header) is not None
    date, note = _date(header, ours=ours, keep=keep_dates)
    given = {
        name: str(header.get(key) or "").strip() for name, key in _UIDS.items() if not (volume and name == "object")
    }
    return Origin(
        date=date,
        date_note=note,
        body_part=_body_part(header),
        view=_view(header, None if volume else affine),
        laterality=_laterality(header),
        uids={n: uid if ours and uid.startswith(_OURS) else uid_digest(uid) for n, uid in given.items() if uid},
        oblique=any(len(str(way)) > 1 for way in header.get("PatientOrientation") or []),
    )


def uid_digest(uid: str) -> str:
    """Returns what stands for a UID that has no pseudonym: the first 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(uid.encode()).hexdigest()[:_DIGITS]


def _date(header: Dataset, *, ours: bool, keep: bool) -> tuple[str, str]:
    try:
        day = datetime.strptime(str(header.get("StudyDate") or "").strip(), "%Y%m%d").date().isoformat()
    except ValueError:
        return "", ""
    if ours:
        return day, SHIFTED
    return (day, STATED) if keep else ("", HIDDEN)


def _body_part(header: Dataset) -> str:
    word = str(header.get("BodyPartExamined") or "").strip().upper().replace(" ", "").replace("_", "")
    return _SPELLED.get(word, word.lower()) if word in BODY_PARTS else ""


def term_of(body_part: str) -> str:
    """Returns the term of Body Part Examined that `Origin.body_part` spells out; "" for none.

    Example:
        >>> term_of("chest"), term_of("cervical spine"), term_of("")
        ('CHEST', 'CSPINE', '')
    """
    terms = {spelled: term for term, spelled in _SPELLED.items()}
    found = terms.get(body_part, body_part.upper())
    return found if found in BODY_PARTS else ""


def _view(header: Dataset, affine: ArrayLike | None) -> str:
    word = str(header.get("ViewPosition") or "").strip().upper()
    if word in VIEWS:
        return VIEWS[word]
    for item in header.get("ViewCodeSequence") or []:
        if (code := _VIEW_CODES.get(str(item.get("CodeValue") or ""))) is not None:
            return VIEWS[code]
    if affine is None:
        return ""
    across = set("RLAPSI")
    for letter in axis_codes(np.asarray(affine, dtype=np.float64))[:2]:
        across -= {letter, {"R": "L", "L": "R", "A": "P", "P": "A", "S": "I", "I": "S"}[letter]}
    return _PLANES[frozenset(across)]


def _laterality(header: Dataset) -> str:
    found = {_LATERALITIES[word] for word in _sides(header) if word in _LATERALITIES}
    return found.pop() if len(found) == 1 else ""


def _sides(header: Dataset) -> Iterator[str]:
    for key in ("ImageLaterality", "Laterality"):
        yield str(header.get(key) or "").strip().upper()
    for groups in header.get("SharedFunctionalGroupsSequence") or []:
        for anatomy in groups.get("FrameAnatomySequence") or []:
            yield str(anatomy.get("FrameLaterality") or "").strip().upper()

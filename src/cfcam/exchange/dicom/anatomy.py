"""What part of the body a source shows, and on which side, said as the modules of derived objects want it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom import Dataset

REGIONS = {
    "ABDOMEN": ("818981001", "Abdomen"), "ABDOMENPELVIS": ("818982008", "Abdomen and Pelvis"),
    "ABDOMINALAORTA": ("7832008", "Abdominal aorta"), "ACJOINT": ("85856004", "Acromioclavicular joint"),
    "ADRENAL": ("23451007", "Adrenal gland"), "ANKLE": ("70258002", "Ankle joint"), "AORTA": ("15825003", "Aorta"),
    "AORTICARCH": ("57034009", "Aortic arch"), "ARM": ("40983000", "Upper arm"), "AXILLA": ("91470000", "Axilla"),
    "BACK": ("77568009", "Back"), "BILEDUCT": ("28273000", "Bile duct"), "BLADDER": ("89837001", "Bladder"),
    "BRAIN": ("12738006", "Brain"), "BREAST": ("76752008", "Breast"), "BRONCHUS": ("955009", "Bronchus"),
    "BUTTOCK": ("46862004", "Buttock"), "CALCANEUS": ("80144004", "Calcaneus"),
    "CAROTID": ("69105007", "Carotid Artery"), "CEREBELLUM": ("113305005", "Cerebellum"),
    "CERVIX": ("71252005", "Cervix"), "CHEEK": ("60819002", "Cheek"), "CHEST": ("816094009", "Chest"),
    "CHESTABDOMEN": ("416550000", "Chest and Abdomen"), "CHESTABDPELVIS": ("416775004", "Chest, Abdomen and Pelvis"),
    "CIRCLEOFWILLIS": ("11279006", "Circle of Willis"), "CLAVICLE": ("51299004", "Clavicle"),
    "COCCYX": ("64688005", "Coccyx"), "COLON": ("71854001", "Colon"),
    "CORONARYARTERY": ("41801008", "Coronary artery"), "CSPINE": ("122494005", "Cervical spine"),
    "CTSPINE": ("1217257000", "Cervico-thoracic spine"), "DUODENUM": ("38848004", "Duodenum"),
    "EAR": ("117590005", "Ear"), "ELBOW": ("16953009", "Elbow joint"), "WHOLEBODY": ("38266002", "Entire body"),
    "ESOPHAGUS": ("32849002", "Esophagus"), "EXTREMITY": ("66019005", "Extremity"), "EYE": ("81745001", "Eye"),
    "EYELID": ("80243003", "Eyelid"), "FACE": ("89545001", "Face"), "FEMUR": ("71341001", "Femur"),
    "FIBULA": ("87342007", "Fibula"), "FINGER": ("7569003", "Finger"), "FLANK": ("58602004", "Flank"),
    "FOOT": ("56459004", "Foot"), "FOREARM": ("14975008", "Forearm"), "GALLBLADDER": ("28231008", "Gallbladder"),
    "HAND": ("85562004", "Hand"), "HEAD": ("69536005", "Head"), "HEADNECK": ("774007", "Head and Neck"),
    "HEART": ("80891009", "Heart"), "HIP": ("24136001", "Hip joint"), "HUMERUS": ("85050009", "Humerus"),
    "IAC": ("361078006", "Internal Auditory Canal"), "ILEUM": ("34516001", "Ileum"), "ILIUM": ("22356005", "Ilium"),
    "JAW": ("661005", "Jaw region"), "JEJUNUM": ("21306003", "Jejunum"), "KIDNEY": ("64033007", "Kidney"),
    "KNEE": ("72696002", "Knee"), "LARGEINTESTINE": ("14742008", "Large intestine"), "LARYNX": ("4596009", "Larynx"),
    "LEG": ("30021000", "Lower leg"), "LIVER": ("10200004", "Liver"), "LOWERLIMB": ("61685007", "Lower limb"),
    "LSPINE": ("122496007", "Lumbar spine"), "LSSPINE": ("1217253001", "Lumbo-sacral spine"),
    "LUNG": ("39607008", "Lung"), "MASTOID": ("59066005", "Mastoid bone"), "MAXILLA": ("70925003", "Maxilla"),
    "MEDIASTINUM": ("72410000", "Mediastinum"), "MOUTH": ("123851003", "Mouth"), "NECK": ("45048000", "Neck"),
    "NECKCHEST": ("417437006", "Neck and Chest"), "NECKCHESTABDOMEN": ("416152001", "Neck, Chest and Abdomen"),
    "NECKCHESTABDPELV": ("416319003", "Neck, Chest, Abdomen and Pelvis"), "NOSE": ("45206002", "Nose"),
    "ORBIT": ("363654007", "Orbital structure"), "OVARY": ("15497006", "Ovary"),
    "PANCREAS": ("15776009", "Pancreas"), "PARATHYROID": ("111002", "Parathyroid"),
    "PAROTID": ("45289007", "Parotid gland"), "PATELLA": ("64234005", "Patella"), "PELVIS": ("816092008", "Pelvis"),
    "PENIS": ("18911002", "Penis"), "PHARYNX": ("54066008", "Pharynx"), "PLACENTA": ("78067005", "Placenta"),
    "PROSTATE": ("41216001", "Prostate"), "PULMONARYA": ("81040000", "Pulmonary artery"),
    "RADIUS": ("131190003", "Radius"), "RADIUSULNA": ("110535000", "Radius and ulna"),
    "RECTUM": ("34402009", "Rectum"), "RENALA": ("2841007", "Renal artery"),
    "RETROPERITONEUM": ("82849001", "Retroperitoneum"), "RIB": ("113197003", "Rib"),
    "SCAPULA": ("79601000", "Scapula"), "SCJOINT": ("7844006", "Sternoclavicular joint"),
    "SELLA": ("42575006", "Sella turcica"), "SHOULDER": ("16982005", "Shoulder"),
    "SIJOINT": ("39723000", "Sacroiliac joint"), "SIGMOID": ("60184004", "Sigmoid colon"),
    "SKULL": ("89546000", "Skull"), "SMALLINTESTINE": ("30315005", "Small intestine"),
    "SPINALCORD": ("2748008", "Spinal cord"), "SPINE": ("421060004", "Spine"), "SPLEEN": ("78961009", "Spleen"),
    "SSPINE": ("54735007", "Sacrum"), "STERNUM": ("56873002", "Sternum"), "STOMACH": ("69695003", "Stomach"),
    "SUBMANDIBULAR": ("54019009", "Submandibular gland"), "TESTIS": ("40689003", "Testis"),
    "THIGH": ("68367000", "Thigh"), "THORACICAORTA": ("113262008", "Thoracic aorta"),
    "THORAX": ("816094009", "Thorax"), "THUMB": ("76505004", "Thumb"), "THYMUS": ("9875009", "Thymus"),
    "THYROID": ("69748006", "Thyroid"), "TIBIA": ("12611008", "Tibia"),
    "TIBIAFIBULA": ("110536004", "Tibia and fibula"), "TLSPINE": ("1217256009", "Thoraco-lumbar spine"),
    "TMJ": ("53620006", "Temporomandibular joint"), "TOE": ("29707007", "Toe"), "TRACHEA": ("44567001", "Trachea"),
    "TSPINE": ("122495006", "Thoracic spine"), "ULNA": ("23416004", "Ulna"), "UPPERLIMB": ("53120007", "Upper limb"),
    "URETER": ("87953007", "Ureter"), "URETHRA": ("13648007", "Urethra"), "UTERUS": ("35039007", "Uterus"),
    "VAGINA": ("76784001", "Vagina"), "WRIST": ("74670003", "Wrist joint"), "ZYGOMA": ("13881006", "Zygoma"),
    "HEPATICV": ("8993003", "Hepatic vein"), "PORTALV": ("32764006", "Portal vein"),
    "SVC": ("48345005", "Superior vena cava"), "INFVENACAVA": ("64131007", "Inferior vena cava"),
    "ILIACA": ("10293006", "Iliac artery"), "FEMORALA": ("7657000", "Femoral artery"),
    "SCROTUM": ("20233005", "Scrotum"), "SCALP": ("41695006", "Scalp"), "TONGUE": ("21974007", "Tongue"),
    "APPENDIX": ("66754008", "Appendix"), "PHARYNXLARYNX": ("312535008", "Pharynx and larynx"),
}  # fmt: skip
"""Terms of Body Part Examined with their SNOMED CT code and its meaning (PS3.16 table L-1)."""

UNPAIRED = frozenset({
    "ABDOMEN", "ABDOMENPELVIS", "AORTA", "BACK", "BLADDER", "BRAIN", "CEREBELLUM", "CERVIX", "CHEST", "CHESTABDOMEN",
    "CHESTABDPELVIS", "CIRCLEOFWILLIS", "COCCYX", "COLON", "CORONARYARTERY", "CSPINE", "CTSPINE", "DUODENUM",
    "ESOPHAGUS", "FACE", "GALLBLADDER", "HEAD", "HEADNECK", "HEART", "ILEUM", "ILIUM", "JAW", "JEJUNUM", "LARYNX",
    "LIVER", "LSPINE", "LSSPINE", "MAXILLA", "MEDIASTINUM", "MOUTH", "NECK", "NECKCHEST", "NECKCHESTABDOMEN",
    "NECKCHESTABDPELV", "NOSE", "PANCREAS", "PELVIS", "PENIS", "PHARYNX", "PROSTATE", "RECTUM", "SCALP", "SKULL",
    "SPINE", "SPLEEN", "SSPINE", "STERNUM", "STOMACH", "THYMUS", "THYROID", "TLSPINE", "TONGUE", "TRACHEA", "TSPINE",
    "URETER", "URETHRA", "UTERUS", "VAGINA", "VULVA", "WHOLEBODY",
})  # fmt: skip
"""Terms without a Laterality (PS3.3 C.7.3.1): dciodvfy of 2022 and of 2026 agree on these and no others."""

_PAIRED_ALL_THE_SAME = frozenset({"CEREBELLUM", "ILIUM", "MAXILLA", "URETER"})  # by PS3.16 table L-5: a side is kept
_SOMEWHERE = ("123037004", "Anatomical Structure")  # what is known where the source names no part, or no side of it
_SIDES = ("R", "L", "U", "B")
_TERM = re.compile(r"[A-Z0-9_ ]{1,16}")


def body_part(source: Any) -> str | None:
    """Return the term of Body Part Examined: the source's, or else that of its coded region; None without either."""
    given = str(source.get("BodyPartExamined") or "").strip().upper()
    if given:
        return given if _TERM.fullmatch(given) else None
    region = _region(source)
    terms = {code: term for term, (code, _) in reversed(REGIONS.items())}
    known = region is not None and region.CodingSchemeDesignator == "SCT"
    return terms.get(str(region.CodeValue)) if region is not None and known else None


def say_body_part(dataset: Dataset, source: Any, kind: str) -> None:
    """Writes the body part into an object, and its side only if it has one.

    Laterality is there where the part is paired or not known (empty where the side is not known), and is not there
    where the part is unpaired (PS3.3 C.7.3.1), whatever the source says.

    Args:
        dataset: the object.
        source: the first of the sources.
        kind: of object; pictures ("sc") say the side of the image where the source does, a Parametric Map says it in
            its frames, and a Segmentation has no element for it.
    """
    for key in ("Laterality", "ImageLaterality"):
        dataset.pop(key, None)
    if kind == "sr":
        return
    part = body_part(source)
    dataset.pop("BodyPartExamined", None)
    if part is not None:
        dataset.BodyPartExamined = part
    given = str(source.get("ImageLaterality") or "").strip()
    if kind == "sc" and given in _SIDES:
        dataset.ImageLaterality = given
        return
    known = _side(source)
    if kind == "pm" or kind.startswith("seg"):
        return
    if part not in UNPAIRED or (part in _PAIRED_ALL_THE_SAME and known is not None):
        dataset.Laterality = known or ""


def frame_anatomy(source: Any) -> Dataset:
    """Return the item of Frame Anatomy Sequence (PS3.3 C.7.6.16.2.8), which has to name a region and a side.

    It is the source's own where that has one for all frames. Where the source does not name the part, or not which one
    of a pair, the item says "Anatomical Structure", unpaired, and not more.
    """
    from pydicom import Dataset as NewDataset

    own = _own_frame_anatomy(source)
    if own is not None:
        return own
    region, part, known = _region(source), body_part(source), _side(source)
    item = NewDataset()
    if region is None and part in REGIONS:
        region = _code(*REGIONS[part])
    unpaired = part in UNPAIRED and not (part in _PAIRED_ALL_THE_SAME and known is not None)
    named = region is not None and (unpaired or known is not None)
    item.AnatomicRegionSequence = [region if named else _code(*_SOMEWHERE)]
    item.FrameLaterality = (known or "U") if named and not unpaired else "U"
    return item


def _side(source: Any) -> str | None:
    for key in ("Laterality", "ImageLaterality"):
        given = str(source.get(key) or "").strip()
        if given in ("R", "L"):
            return given
    return None


def _region(source: Any) -> Dataset | None:
    """The coded region of a source, as far as a code has to reach: value, scheme and meaning."""
    from pydicom import Dataset as NewDataset

    for item in source.get("AnatomicRegionSequence") or ():
        keys = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
        if all(str(item.get(key) or "").strip() for key in keys):
            found = NewDataset()
            for key in keys:
                setattr(found, key, str(item.get(key)).strip())
            return found
    return None


def _own_frame_anatomy(source: Any) -> Dataset | None:
    from pydicom import Dataset as NewDataset

    shared = source.get("SharedFunctionalGroupsSequence") or ()
    frames = source.get("PerFrameFunctionalGroupsSequence") or ()
    found = [group.FrameAnatomySequence[0] for group in (*shared[:1], *frames) if group.get("FrameAnatomySequence")]
    if not found or any(item != found[0] for item in found) or (len(found) < len(frames) and not shared):
        return None
    region, given = _region(found[0]), str(found[0].get("FrameLaterality") or "").strip()
    if region is None or given not in _SIDES:
        return None
    item = NewDataset()
    item.AnatomicRegionSequence, item.FrameLaterality = [region], given
    return item


def _code(value: str, meaning: str) -> Dataset:
    from pydicom import Dataset as NewDataset

    item = NewDataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return item

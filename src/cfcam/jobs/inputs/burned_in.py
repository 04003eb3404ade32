"""Names that stand in the pixels of a picture, and so would stand in every picture that is made of it."""

from __future__ import annotations

from pathlib import Path

from cfcam.errors import ImageError
from cfcam.exchange.deidentify.deidentifier import OFTEN_BURNED_IN
from cfcam.imaging import Image, Volume
from cfcam.imaging.reading.dicom_object import broken, quiet
from cfcam.imaging.reading.parsing import parse
from cfcam.jobs.inputs.find import Input


def check_burned_in(image: Image | Volume, given: Input) -> None:
    """Refuses a DICOM input that says of itself that a name stands in its pixels (PS3.3 C.7.6.1.1.1).

    Raises:
        ImageError: it says so, or its header cannot be read.
    """
    for path in _files(image, given):
        if _flag(path) == "YES":
            raise ImageError(
                "says that a name may stand in its pixels (BurnedInAnnotation), and overlays and reports would show it;"
                " look at it, then allow it (--allow-burned-in) or leave it out"
            )


def warning_of(modality: str, flag: str) -> str | None:
    """Returns a sentence on pictures whose pixels often show a name; None where that is not so, or denied.

    Args:
        modality: of the source.
        flag: its BurnedInAnnotation.
    """
    if flag != "NO" and (modality in OFTEN_BURNED_IN or flag == "YES"):
        return "The pixels of such pictures often show a name, and so would every picture made of them."
    return None


def _files(image: Image | Volume, given: Input) -> list[Path]:
    if isinstance(image, Volume):
        return list(dict.fromkeys(instance.path for instance in image.source.instances))
    return [given.path]


def _flag(path: Path) -> str:
    with quiet(), broken("the input", "its header is broken"):
        header = parse(path, stop_before_pixels=True, specific_tags=["BurnedInAnnotation"])
        return str(header.get("BurnedInAnnotation") or "").strip().upper()

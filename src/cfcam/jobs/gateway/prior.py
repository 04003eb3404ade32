"""The last study of the patient before this one: found in an archive, fetched, and compared by the same network.

That the archive does not let one ask is an error, and not "there is no prior": nobody should read the second where the
first is meant.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfcam.errors import CfcamError, describe_first
from cfcam.exchange.pacs.fetching import fetch
from cfcam.exchange.pacs.place import Place
from cfcam.exchange.pacs.querying import query
from cfcam.exchange.pacs.wanted import listing
from cfcam.jobs.gateway.access import access_of
from cfcam.jobs.gateway.places import Prior as PriorSettings
from cfcam.jobs.gateway.settings import Network

COMPARISON = "comparison"
"""What the files of a comparison are called."""

if TYPE_CHECKING:
    from cfcam.imaging import Preprocess, VolumePreprocess
    from cfcam.models import LoadedModel


def find_prior(settings: PriorSettings, current: Path, folder: Path, *, volume: bool) -> Path | None:
    """Looks for the last study of the same patient, modality and body part, and fetches it.

    Args:
        settings: whom to ask.
        current: an object of the current study.
        folder: for what is fetched.
        volume: whether the whole series is wanted, or one picture.

    Returns:
        The file, or the folder of slices; None: there is no prior, or the study does not say whose it is and when.

    Raises:
        NetworkError: the archive cannot be asked, or does not let one ask.
    """
    from pydicom import dcmread

    tags = ["PatientID", "StudyInstanceUID", "StudyDate", "StudyTime", "Modality", "BodyPartExamined", "ViewPosition"]
    now: Any = dcmread(current, stop_before_pixels=True, specific_tags=tags)
    patient, date = str(now.get("PatientID") or ""), str(now.get("StudyDate") or "")
    if not patient or not re.fullmatch(r"\d{8}", date):
        return None
    place, access = Place.parse(settings.place), access_of(settings)
    first = datetime.strptime(date, "%Y%m%d") - timedelta(days=settings.days)
    keys = {"PatientID": patient, "StudyDate": f"{first:%Y%m%d}-{date}"}
    earlier = [
        one
        for one in query(place, "study", keys, access)
        if str(one.StudyInstanceUID) != str(now.StudyInstanceUID) and _moment(one) < _moment(now)
    ]
    for study in sorted(earlier, key=_moment, reverse=True):
        uid = str(study.StudyInstanceUID)
        for series in query(place, "series", {"StudyInstanceUID": uid, "Modality": str(now.Modality)}, access):
            part, own = str(series.get("BodyPartExamined") or ""), str(now.get("BodyPartExamined") or "")
            if part and own and part != own:
                continue
            wanted = listing(place, [uid], access, series=[str(series.SeriesInstanceUID)])
            report = fetch(place, wanted if volume else wanted[:1], folder, access)
            files = [one.path for one in report.sent if one.path is not None]
            if files and not _ours(files):
                return files[0].parent if volume else files[0]
    return None


@dataclass(frozen=True)
class Compared:
    """What came of asking for the prior.

    Attributes:
        prior: its file or folder, where it was compared; None: it was not.
        trouble: what went wrong; "": nothing.
    """

    prior: Path | None = None
    trouble: str = ""


def compared(
    prior: Path,
    current: Path,
    out: Path,
    model: LoadedModel,
    network: Network,
    preprocess: Preprocess | VolumePreprocess | None,
) -> Compared:
    """Compares, and writes the files of the comparison.

    Args:
        prior: file or folder.
        current: likewise.
        out: folder for the files.
        model: the network.
        network: how it explains.
        preprocess: what is done to a study before.
    """
    from cfcam.jobs.compare.pairs import make_pair
    from cfcam.jobs.compare.run import ComparePairs
    from cfcam.jobs.compare.settings import CompareSettings

    how = CompareSettings(
        out, method=network.methods[0], layer=network.layer, preprocess=preprocess, window=network.window
    )
    try:
        (result,) = ComparePairs(model, how).run([make_pair(prior, current, COMPARISON)])
    except CfcamError as error:
        return Compared(trouble=f"the prior study is not compared: {describe_first(error)}")
    if result.reason is not None:
        return Compared(trouble=f"the prior study is not compared: {result.reason}")
    return Compared(prior)


def _moment(study: Any) -> tuple[str, str]:
    return str(study.get("StudyDate") or ""), str(study.get("StudyTime") or "")


def _ours(files: Sequence[Path]) -> bool:
    from cfcam.jobs.gateway.header import Header

    return any(Header.of_file(file, "the prior").ours for file in files[:1])

"""What is wanted of a place: its objects one by one, and where each is written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cfcam.errors import ImageError, JobError
from cfcam.exchange.pacs.objects import DicomObject
from cfcam.exchange.pacs.outcome import NetworkError, Outcome, Sent
from cfcam.exchange.pacs.place import Access, Place
from cfcam.exchange.pacs.querying import query
from cfcam.files import make_folder, whole, writing


@dataclass(frozen=True)
class Wanted:
    """One object that a place has.

    Attributes:
        number: its place among all of a listing, from 0.
        study: UID of its study.
        series: UID of its series.
        uid: its SOP Instance UID.
        sop_class: UID of its class; empty where the place does not say.
    """

    number: int
    study: str
    series: str
    uid: str
    sop_class: str

    @property
    def name(self) -> str:
        """Where it is written, below the folder: by hashes, for UIDs say where and when a picture was taken."""
        return f"study-{_short(self.study, 8)}/series-{_short(self.series, 8)}/{_short(self.uid, 16)}.dcm"

    def kept(self, folder: Path, write: Callable[[Path], int]) -> Sent:
        """Writes it whole or not at all, and looks whether it is what was asked for.

        Args:
            folder: the folder of all.
            write: writes the object to a path, and returns its bytes.

        Raises:
            JobError: it cannot be written.
        """
        path = folder / self.name
        try:
            with writing(path.name, JobError):
                make_folder(path.parent)
                with whole(path) as temporary:
                    size = write(temporary)
                    got = DicomObject.of(temporary, self.number, self.number + 1)
                    if got.uid != self.uid:
                        raise ImageError("is another object than was asked for")
        except ImageError as error:
            reason = f"what the place gave is not kept: {error}"
            return Sent(self.number, self.uid, Outcome.REFUSED, reason)
        return Sent(self.number, self.uid, Outcome.STORED, path=path, size=size)

    def there(self, folder: Path) -> bool:
        """Whether it was fetched before, whole."""
        path = folder / self.name
        try:
            return path.is_file() and DicomObject.of(path, 0, 1).uid == self.uid
        except ImageError:
            return False


def listing(
    place: Place,
    studies: Sequence[str],
    access: Access | None = None,
    *,
    series: Sequence[str] = (),
    modality: str | None = None,
) -> list[Wanted]:
    """List the objects of studies.

    Args:
        place: whom to ask.
        studies: their UIDs.
        access: who one is, and what opens the door.
        series: UIDs of the series that are wanted; none: all of them.
        modality: of the series that are wanted; None: any.

    Raises:
        NetworkError: the place cannot be asked, or does not have one of the studies or series.
    """
    found: list[Wanted] = []
    for study in studies:
        keys = {"StudyInstanceUID": study, "Modality": modality or ""}
        of_study = [str(one.SeriesInstanceUID) for one in query(place, "series", keys, access)]
        chosen = [uid for uid in dict.fromkeys(of_study) if not series or uid in series]
        if not chosen:
            what = "such series of this study" if of_study else "such study"
            raise NetworkError(f"{place}: has no {what}", again=False)
        for uid in chosen:
            images = query(place, "image", {"StudyInstanceUID": study, "SeriesInstanceUID": uid}, access)
            found += [
                Wanted(len(found) + n, study, uid, str(one.SOPInstanceUID), str(one.get("SOPClassUID") or ""))
                for n, one in enumerate({str(image.SOPInstanceUID): image for image in images}.values())
            ]
    return found


def not_fetched(waiting: Sequence[Wanted], error: NetworkError) -> Iterator[Sent]:
    """Yields for objects that there is no way to fetch what is to be done with them."""
    outcome = Outcome.TRY_AGAIN if error.again else Outcome.REFUSED
    for one in waiting:
        yield Sent(one.number, one.uid, outcome, str(error))


def _short(uid: str, digits: int) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()[:digits]

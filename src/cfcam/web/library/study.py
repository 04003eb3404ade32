"""A study: a picture or a volume that is read when it is looked at, with the maps that there are of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cfcam.clinical.review import study_id
from cfcam.errors import ImageError
from cfcam.imaging.image import Image
from cfcam.imaging.volume import Volume
from cfcam.jobs.inputs.find import Input
from cfcam.web.library import pictures
from cfcam.web.library.cache import Cache
from cfcam.web.library.facts import Facts, facts_of, in_file_order, sent, windows_for
from cfcam.web.library.maps import Heat, StudyMap, of_channel
from cfcam.web.library.nifti import Nifti, of_picture, of_volume
from cfcam.web.problems import NotFoundError
from cfcam.web.schemas import Brief, Detail, Kind, Known

MOST_LIVE = 60
"""Maps that are kept of a study beside those of its files; of more the oldest go."""

_IMAGE, _SENT, _LEVELS, _UNDER, _PICTURE, _THUMBNAIL = "image", "sent", "levels", "under", "picture", "thumbnail"
_BLOCK = 2**18

_whole_map = threading.Lock()  # a page asks for several maps at a time, and each takes 300 MB while it is made


@dataclass(frozen=True)
class Said:
    """What is known of a study without reading its values.

    Attributes:
        modality: of DICOM.
        edges: where the right and the lower edge of a picture lie, if its file says so.
        status: how its maps can be read, or that it failed.
        predicted: the most probable class.
        probability: of it.
        probabilities: of each class, by name.
        label: what it is, as far as that is known.
        notices: a line each.
    """

    modality: str | None = None
    edges: tuple[str, str] | None = None
    status: str | None = None
    predicted: str | None = None
    probability: float | None = None
    probabilities: dict[str, float] | None = None
    label: str | None = None
    notices: tuple[str, ...] = ()


class Study:
    """A picture or volume that was opened; may be used from several threads.

    Args:
        place: what its id is made of: where it lies in what was opened.
        name: what it is called wherever somebody may read it.
        kind: picture or volume.
        read: reads it; its errors name no file.
        cache: what is read is kept there.
        said: returns what is known without reading it.
        maps: returns the maps that its files hold, asked once.
        keep: whether what was read is kept as the network takes it, too.
        given: the file or folder that it is read from; None: it stands for one that is not there.

    Attributes:
        id: "s-" and 12 hexadecimal digits.
        name: as given.
        kind: as given.
        given: likewise. Its path is told to nobody.
    """

    def __init__(
        self,
        place: str,
        name: str,
        kind: Kind,
        read: Callable[[], Image | Volume],
        cache: Cache,
        *,
        said: Callable[[], Said] = Said,
        maps: Callable[[Study], Iterable[StudyMap]] = lambda _: (),
        count: int = 0,
        keep: bool = True,
        given: Input | None = None,
    ) -> None:
        self.id = study_id(place)
        self.name, self.kind, self.given = name, kind, given
        self._read, self._cache, self._keep = read, cache, keep
        self._find_said, self._find_maps, self._count = said, maps, count
        self._lock = threading.RLock()
        self._said: Said | None = None
        self._facts: Facts | None = None
        self._files: dict[str, StudyMap] | None = None
        self._live: dict[str, StudyMap] = {}

    def image(self) -> Image | Volume:
        """Returns the picture or volume, as `cfcam.imaging` reads it.

        Raises:
            ImageError: it cannot be read; the message names no file.
        """
        return self._cache.get((self.id, _IMAGE), self._read, _bytes_of)

    def grid(self) -> Volume:
        """Returns where the voxels of a volume lie, without them: see `Facts.grid`.

        Raises:
            ImageError: it cannot be read, or is a picture.
        """
        grid = self.facts().grid
        if grid is None:
            raise ImageError(f"{self.name}: is a picture, where a volume is needed")
        return grid

    def facts(self) -> Facts:
        """Returns what is told of it; it is read for that once.

        Raises:
            ImageError: it cannot be read.
        """
        if self._facts is None:
            self.original()
        assert self._facts is not None  # noqa: S101 (known as soon as the original is there)
        return self._facts

    def original(self, channel: int = 0) -> Nifti:
        """Returns the picture, or a channel of the volume, as the file that a page asks for.

        Raises:
            NotFoundError: there is no such channel.
            ImageError: it cannot be read.
        """
        if channel and channel >= len(self.facts().channels):
            raise NotFoundError(f"{self.name} has no channel {channel}: see its channels")
        return self._cache.get((self.id, _SENT, channel), lambda: self._to_send(channel), len)

    def _to_send(self, channel: int) -> Nifti:
        image = self.image()
        made = sent(image, channel)
        if self._facts is None:
            said = self.said()
            self._facts = facts_of(image, len(made), modality=said.modality, edges=said.edges)
        if not self._keep:
            self._cache.drop((self.id, _IMAGE))
        return made

    def said(self) -> Said:
        """Returns what is known of it without reading its values."""
        with self._lock:
            if self._said is None:
                self._said = self._find_said()
            return self._said

    def tell(self, said: Said) -> None:
        """Takes what is now known of it, as from the network."""
        with self._lock:
            self._said = said

    @property
    def maps(self) -> dict[str, StudyMap]:
        """Id -> map, of all that are known so far."""
        with self._lock:
            if self._files is None:
                self._files = {one.id: one for one in self._find_maps(self)}
            return {**self._files, **self._live}

    def add(self, found: StudyMap) -> None:
        """Takes a map that was made of it; of more than `MOST_LIVE` the oldest goes."""
        with self._lock:
            self._live.pop(found.id, None)
            self._live[found.id] = found
            while len(self._live) > MOST_LIVE:
                gone = next(iter(self._live))
                del self._live[gone]
                self._cache.drop((self.id, _LEVELS, gone))
                for channel in range(max(1, len(self.facts().channels))):
                    self._cache.drop((self.id, _UNDER, gone, channel))

    def map(self, map_id: str) -> StudyMap:
        """Returns a map.

        Raises:
            NotFoundError: there is none of this id.
        """
        found = self.maps.get(map_id)
        if found is None:
            raise NotFoundError(
                f"{self.name} has no map {map_id}: it was made by another viewer, or gone: ask for it again"
            )
        return found

    def levels(self, map_id: str) -> Nifti:
        """Returns a map in 255 steps on the source's grid, as the file that a page asks for."""
        found = self.map(map_id)
        return self._cache.get((self.id, _LEVELS, map_id), lambda: self._to_levels(found), len)

    def _to_levels(self, found: StudyMap) -> Nifti:
        with _whole_map:
            return self.as_file(found.heat(), levels=True)

    def under(self, map_id: str, channel: int = 0) -> Nifti:
        """Returns what a map lies on, or a channel of it, as the file that a page asks for.

        Raises:
            NotFoundError: there is no such map or channel, or it lies on the study itself.
        """
        found = self.map(map_id).under
        if found is None:
            raise NotFoundError(f"map {map_id} lies on {self.name} itself: ask for original.nii")
        if channel and channel >= len(found.channels):
            raise NotFoundError(f"what map {map_id} lies on has no channel {channel}: see its channels")
        return self._cache.get((self.id, _UNDER, map_id, channel), lambda: found.make(channel), len)

    def as_file(self, values: Heat, *, levels: bool = False) -> Nifti:
        """Returns values on the study's grid as a file.

        Args:
            values: float32 `(H, W)` or `(D, H, W)`.
            levels: they lie in [0, 1], and 255 steps of them are wanted.
        """
        facts = self.facts()
        if values.shape != facts.shape:
            raise ValueError(f"a map of shape {values.shape} for {facts.shape}")
        slope = 1 / 255 if levels else 1.0
        window = (0.0, 1.0) if levels else None
        if len(facts.shape) == 2:
            return of_picture(_levels(values) if levels else values, self._spacing(), slope=slope, window=window)
        turned, affine = in_file_order(values, self.grid())
        return of_volume(_levels(turned) if levels else turned, affine, slope=slope, window=window)

    def _spacing(self) -> tuple[float, float] | None:
        spacing = self.facts().spacing
        return None if spacing is None else (spacing[0], spacing[1])

    def picture(self) -> bytes:
        """Returns a PNG of it in its window: of a volume the middle slice, seen from below."""
        return self._cache.get(
            (self.id, _PICTURE), lambda: pictures.png(pictures.shown(self.original(), self.facts())), len
        )

    def thumbnail(self) -> bytes:
        """Returns a small PNG of it."""
        return self._cache.get((self.id, _THUMBNAIL), self._small, len)

    def _small(self) -> bytes:
        return pictures.png(pictures.small(pictures.shown(self.original(), self.facts())))

    def _known(self) -> Known:
        said, facts = self.said(), self._facts
        return Known(
            id=self.id,
            name=self.name,
            kind=self.kind,
            shape=None if facts is None else list(facts.shape),
            modality=said.modality,
            status=said.status,
            predicted=said.predicted,
            probability=said.probability,
            label=said.label,
            thumbnail=f"/api/studies/{self.id}/thumbnail.png",
        )

    def brief(self) -> Brief:
        """Returns what a list says of it; nothing is read for that."""
        with self._lock:
            count = (self._count if self._files is None else len(self._files)) + len(self._live)
        return Brief(**self._known().model_dump(), maps=count)

    def detail(self) -> Detail:
        """Returns all that is known of it; it is read for that.

        Raises:
            ImageError: it cannot be read.
        """
        facts, said = self.facts(), self.said()
        return Detail(
            **self._known().model_dump(),
            spacing=None if facts.spacing is None else list(facts.spacing),
            measured=facts.measured,
            affine=None if facts.affine is None else facts.affine.tolist(),
            edges=None if facts.edges is None else list(facts.edges),
            placed=facts.placed,
            window=facts.window,
            windows=windows_for(facts),
            values=facts.values,
            channels=[
                one.model_copy(update={"url": f"/api/studies/{self.id}/original.nii{of_channel(number)}"})
                for number, one in enumerate(facts.channels)
            ],
            probabilities=said.probabilities,
            maps=[one.described(self.id) for one in self.maps.values()],
            notices=[*facts.notices, *said.notices],
            sizes={"original": facts.bytes},
        )


def _bytes_of(image: Image | Volume) -> int:
    values = image.pixels if isinstance(image, Image) else image.voxels
    return int(values.nbytes)


def _levels(values: Heat) -> NDArray[np.uint8]:
    """Returns values in [0, 1] in 255 steps, block by block."""
    steps = np.empty(values.shape, np.uint8)
    rows = max(1, _BLOCK // max(1, values[0].size))
    for start in range(0, len(values), rows):
        part = np.clip(values[start : start + rows], 0, 1)
        part *= np.float32(255)
        np.rint(part, out=steps[start : start + rows], casting="unsafe")
    return steps

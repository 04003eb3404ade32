"""Folders that hold maps: what ``cfcam explain`` wrote, and saved explanations. Nothing in them is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from cfcam import json_text
from cfcam.errors import CfcamError, ImageError
from cfcam.imaging.image import Image
from cfcam.imaging.reading.files import is_nifti
from cfcam.imaging.volume import Source, Volume
from cfcam.jobs.inputs.find import Input, Kind
from cfcam.jobs.inputs.names import label_names, safe
from cfcam.jobs.inputs.privacy import labelled
from cfcam.jobs.runs.manifest import FILE_NAME, Explained, Manifest, Record, State
from cfcam.web.library.about import about_run
from cfcam.web.library.facts import Facts
from cfcam.web.library.maps import Heat, StudyMap
from cfcam.web.library.study import Said, Study

if TYPE_CHECKING:
    from cfcam.explanation import Explanation

EXPLANATION = "explanation.json"
_SETTINGS = "run.json"
_GONE = "the picture is not where it was when it was explained: open its folder too, to see it under its maps"
_NO_PICTURE = (
    "a saved explanation holds no picture: open it with its pictures, in their order, to see them under the maps"
)
_NONE_SAVED = "the run saved no maps of it that can be read: run cfcam explain again with --save overlay,sheet,maps"
_ASSUMED = "how the picture was brought to the network is not saved beside these maps: they are laid over all of it"
_ASSUMED_AXES = f"{_ASSUMED}, along the axes of its file; of a network that saw it turned they lie elsewhere"


def is_run(path: Path) -> bool:
    """Tells whether a folder is one that ``cfcam explain`` wrote into."""
    return (path / FILE_NAME).is_file()


def is_explanation(path: Path) -> bool:
    """Tells whether a folder is a saved explanation."""
    return (path / EXPLANATION).is_file()


@dataclass(frozen=True)
class Entry:
    """An input of a run, or an image of an explanation.

    Attributes:
        place: what its id is made of.
        name: what it is called.
        source: its picture or volume, if it is there.
        said: what is known of it without reading it.
        maps: returns its maps.
        count: how many there are, as far as is known.
        blank: returns what stands for a picture that is not there.
        volume: whether it is one, where its picture is not there.
    """

    place: str
    name: str
    source: Input | None
    said: Callable[[], Said]
    maps: Callable[[Study], Iterator[StudyMap]]
    count: int
    blank: Callable[[], Image | Volume]
    volume: bool = False


def entries_of_run(folder: Path, given: Mapping[str, Input]) -> Iterator[Entry]:
    """Yields what a run explained.

    Args:
        folder: that it wrote into.
        given: inputs that were opened beside it, by the key by which a manifest knows them.
    """
    settings = _runs(folder)
    for record in Manifest.read(folder):
        source = given.get(record.input) or _where_it_was(record.input)
        found = _Recorded(folder, record, settings.get(record.settings, {}), source)
        yield Entry(
            place=f"run/{record.name}",
            name=found.name,
            source=source,
            said=found.said,
            maps=found.maps,
            count=found.count,
            blank=found.blank,
            volume=found.volume,
        )


def _runs(folder: Path) -> dict[str, dict[str, Any]]:
    try:
        runs = json_text.read(folder / _SETTINGS, finite=False)["runs"]
        return {key: dict(run["settings"]) for key, run in runs.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _where_it_was(key: str) -> Input | None:
    """The input where the run found it, if it is there; one with a label alone is found by opening its folder too."""
    path = Path(key)
    if not path.is_absolute() or not path.exists():
        return None
    source = labelled(path)
    return Input(path, kind=Kind.VOLUME) if source.label is None and is_nifti(path) else source


@dataclass(frozen=True)
class _Recorded:
    """A line of a manifest, and its files."""

    folder: Path
    record: Record
    settings: Mapping[str, Any]
    source: Input | None

    @property
    def name(self) -> str:
        """That of its input, with the folder that it lay in."""
        if self.source is None:
            return self.record.name
        return self.source.label or (self._folder / self.source.path.name).as_posix()

    @property
    def _folder(self) -> PurePosixPath:
        return PurePosixPath(self.record.name).parent

    @property
    def saved(self) -> Path:
        return self.folder / f"{self.record.name}_maps"

    @property
    def volume(self) -> bool:
        if self.source is not None:
            return self.source.kind is Kind.VOLUME
        return any(is_nifti(name) for name in self.record.files)

    @property
    def count(self) -> int:
        return sum(len(target.maps) for target in self.record.targets)

    def said(self) -> Said:
        failed = self.record.status is State.FAILED
        probabilities = self.record.probabilities or {
            target.label: target.probability for target in self.record.targets if target.probability is not None
        }
        predicted = max(probabilities, key=lambda name: probabilities[name], default=None)
        statuses = [status for target in self.record.targets for status in target.maps.values()]
        return Said(
            status="failed" if failed else next((status for status in statuses if status != "ok"), "ok"),
            predicted=predicted,
            probability=None if predicted is None else probabilities[predicted],
            probabilities=probabilities or None,
            label=self._folder.name if self._folder.name in probabilities else None,  # folders called like classes
            notices=(
                *self.record.notices,
                *((f"it was not explained: {self.record.error}",) if failed and self.record.error else ()),
                *((_GONE,) if self.source is None else ()),
                *(() if failed or is_explanation(self.saved) or self._niftis() else (_NONE_SAVED,)),
            ),
        )

    def blank(self) -> Image | Volume:
        return _blank(self._size(), volume=self.volume)

    def _size(self) -> tuple[int, ...]:
        if is_explanation(self.saved):
            return _header(self.saved).size
        files = [path for path, _, _ in self._niftis()]
        if files:
            from cfcam.imaging.reading.volumes import read_volume

            return read_volume(files[0]).size
        return (224, 224)

    def maps(self, study: Study) -> Iterator[StudyMap]:
        for one in self._found(study):
            yield replace(one, about=about_run(self.settings, one))

    def _found(self, study: Study) -> Iterator[StudyMap]:
        if is_explanation(self.saved):
            whole = self.settings.get("preprocess") if self.source is not None else None
            yield from _maps_saved(self.saved, 0, study, whole)
            return
        yield from (_map_in(path, method, target, study, self.record.layer) for path, method, target in self._niftis())

    def _niftis(self) -> list[tuple[Path, str, Explained]]:
        targets = {t.index if t.index >= 0 else -1 - k: t for k, t in enumerate(self.record.targets)}
        names = label_names({key: target.label for key, target in targets.items()})
        found = []
        for key, target in targets.items():
            suffix = "" if len(targets) == 1 else f"_{names[key]}"
            for method in target.maps:
                name = f"{self.record.name}_{safe(method, 40)}{suffix}.nii.gz"
                if name in self.record.files and (self.folder / name).is_file():
                    found.append((self.folder / name, method, target))
        return found


def entries_of_explanation(folder: Path, given: list[Input]) -> Iterator[Entry]:
    """Yields the images of a saved explanation.

    Args:
        folder: of it.
        given: the inputs that were opened beside it; as many as it has images, in their order, are its pictures.
    """
    header = _header(folder)
    pictures: list[Input | None] = [*given] if len(given) == header.images else [None] * header.images
    for n, source in enumerate(pictures):
        yield Entry(
            place=f"explanation/{n}",
            name=source.label or source.path.name if source else f"image {n + 1}",
            source=source,
            said=lambda n=n, source=source: header.said(n, shown=source is not None),  # type: ignore[misc]
            maps=lambda study, n=n: _maps_saved(folder, n, study, None),  # type: ignore[misc]
            count=header.maps,
            blank=header.blank,
            volume=len(header.size) == 3,
        )


@dataclass(frozen=True)
class _Header:
    folder: Path
    images: int
    maps: int
    size: tuple[int, ...]

    def blank(self) -> Image | Volume:
        return _blank(self.size, volume=len(self.size) == 3)

    @cached_property
    def probabilities(self) -> tuple[dict[str, float], ...]:
        """Of each image the probability of each class; () where they cannot be read, as reading the maps will say."""
        from cfcam.explanation import Explanation, ExplanationError

        try:
            found = Explanation.load(self.folder)
        except ExplanationError:
            return ()
        return tuple(found.class_probabilities(image) for image in range(len(found.targets)))

    def said(self, image: int, *, shown: bool) -> Said:
        probabilities = self.probabilities[image] if image < len(self.probabilities) else {}
        predicted = max(probabilities, key=lambda name: probabilities[name], default=None)
        return Said(
            status=None if self.probabilities else "failed",
            predicted=predicted,
            probability=None if predicted is None else probabilities[predicted],
            probabilities=probabilities or None,
            notices=(_NO_PICTURE if not shown else _ASSUMED if len(self.size) == 2 else _ASSUMED_AXES,),
        )


def _header(folder: Path) -> _Header:
    """What a saved explanation holds, without its maps and without torch.

    Raises:
        ImageError: it is broken.
    """
    try:
        header = json_text.read(folder / EXPLANATION, finite=False)
        status = next(iter(header["status"].values()))
        size = tuple(int(n) for n in header["input_size"])
        if len(size) not in (2, 3):
            raise ImageError("a saved explanation is of no pictures and no volumes: nothing to look at")
        return _Header(folder, len(status), len(header["status"]) * len(status[0]), size)
    except (OSError, ValueError, KeyError, TypeError, IndexError, StopIteration) as error:
        if isinstance(error, CfcamError):
            raise
        raise ImageError("a saved explanation is broken: explain the images again") from error


def _maps_saved(folder: Path, image: int, study: Study, preprocess: Mapping[str, Any] | None) -> Iterator[StudyMap]:
    from cfcam.explanation import Explanation, ExplanationError
    from cfcam.web.library.explained import maps_of

    try:
        found = Explanation.load(folder).select(slice(image, image + 1))
    except ExplanationError as error:
        raise ImageError(f"{study.name}: its saved explanation is broken: explain it again") from error
    onto, box_of = _onto(found.input_size, study, preprocess), _boxes(found, study, preprocess)
    yield from maps_of(found, study.facts(), onto, key="file", box_of=box_of)


def _boxes(
    found: Explanation, study: Study, preprocess: Mapping[str, Any] | None
) -> Callable[[int], tuple[float, float, float, float] | None]:
    """Returns what tells the box of a detector that a column of a saved explanation is of, in pixels of the study."""
    from cfcam.imaging.preprocess import Preprocess
    from cfcam.jobs.runs.boxes import box_on

    if found.boxes is None:
        return lambda k: None
    plain, (height, width) = Preprocess(**(preprocess or {"size": found.input_size})), study.facts().shape[:2]
    return lambda k: box_on(found, k, plain, (height, width))


def _onto(size: tuple[int, ...], study: Study, preprocess: Mapping[str, Any] | None) -> Callable[[Any], Any]:
    """Returns what brings a map at the network's input size onto a study's grid."""
    if len(size) == 3:
        from cfcam.imaging.bundle_preprocess import prepared_by

        whole = prepared_by(preprocess or {"orientation": None, "size": size})

        def back(heat: Any) -> Any:
            image = study.image() if whole.by else study.grid()  # nnU-Net's and a bundle's ways go by the voxels
            return whole.to_original(heat, cast(Volume, image))

        return back
    from cfcam.imaging.preprocess import Preprocess

    plain = Preprocess(**(preprocess or {"size": size}))
    height, width = study.facts().shape[:2]
    return lambda heat: plain.to_original(heat, (height, width))


def _map_in(path: Path, method: str, target: Explained, study: Study, layer: str) -> StudyMap:
    """A map that was written as NIfTI, raw, on the volume's own grid."""
    import torch

    from cfcam.clinical.regions import threshold_value
    from cfcam.clinical.review import map_id
    from cfcam.web.library.explained import RULE, peak_of

    facts = study.facts()
    raw = _in_nifti(path, study, facts)
    most = float(raw.max())
    heat = _positive(raw, most) if most > 0 else None
    del raw

    def again() -> Heat:
        return _positive(_in_nifti(path, study, facts), most) if most > 0 else np.zeros(facts.shape, np.float32)

    return StudyMap(
        id=map_id(facts.sha256, "file", method, str(target.index), target.label, layer),
        method=method,
        class_index=target.index,
        class_name=target.label,
        heat=again,
        raw=lambda: _in_nifti(path, study, facts),
        probability=target.probability,
        status=target.maps[method],
        layer=layer,
        threshold=None if heat is None else threshold_value(torch.from_numpy(heat), RULE),
        rule=RULE,
        peak=None if heat is None else peak_of(heat, facts),
        scale_max=most if most > 0 else None,
    )


def _positive(raw: Heat, most: float) -> Heat:
    heat = np.clip(raw, 0, None)
    heat /= np.float32(most)
    return heat


def _in_nifti(path: Path, study: Study, facts: Facts) -> Heat:
    from cfcam.imaging.reading.nifti import read_nifti

    try:
        values: Heat = read_nifti(path).voxels
    except CfcamError as error:
        raise ImageError(f"{study.name}: a map of it cannot be read: explain it again") from error
    turned = values.transpose(2, 1, 0) if facts.grid is not None and facts.grid.source.kind == "dicom" else values
    if turned.shape != facts.shape:
        raise ImageError(f"{study.name}: a map of it lies on another grid: explain it again")
    return turned


def _blank(size: tuple[int, ...], *, volume: bool) -> Image | Volume:
    """What stands for a picture that is not there: black."""
    if not volume:
        return Image(np.zeros(size[-2:], np.uint8), None, "")
    shape = size if len(size) == 3 else (1, *size)
    return Volume(np.zeros(shape, np.float32), np.eye(4), Source(space=0), (0.5, 1.0))

"""The door for one study: a file, picture or volume in, its `StudyResult` out; nothing is written."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from cfcam.clinical.study_result import StudyResult
from cfcam.errors import CfcamError, ImageError, InputError, MissingExtraError, ModelError, without_name
from cfcam.files import settings_hash, sha256_of
from cfcam.imaging import Image, Preprocess, Volume, VolumePreprocess
from cfcam.imaging.windows import named_window
from cfcam.jobs.engine.inference import DEFAULT_METHODS, Engine
from cfcam.jobs.engine.meaning import meaning_of
from cfcam.jobs.inputs.find import Input, Kind, find_study
from cfcam.jobs.inputs.names import output_names
from cfcam.jobs.inputs.preparing import (
    VolumeSettings,
    assumption_notes,
    noise_shape,
    prepared_for,
    prepared_volumes_for,
)
from cfcam.jobs.inputs.privacy import neutral, with_labels, without_channel_names
from cfcam.jobs.inputs.reading import check_showable, load_picture, load_volume
from cfcam.jobs.study.explained import Made, Results
from cfcam.jobs.study.limits import NO_FILE
from cfcam.jobs.study.settings import StudySettings
from cfcam.methods.base import Method
from cfcam.models import LoadedModel
from cfcam.models.expects import takes_volumes

_WRITTEN = ("dicom", "report", "patient_page", "record")
_READ = ("time", "channel", "series", "irregular")
_UNNAMED = "study"


def explain_study(
    model: LoadedModel,
    study: str | os.PathLike[str] | Image | Volume,
    methods: str | Method | tuple[str | Method, ...] | Mapping[str, str | Method] = DEFAULT_METHODS,
    targets: int | str | tuple[int | str, ...] = ("predicted",),
    *,
    layer: str | None = None,
    preprocess: Preprocess | VolumePreprocess | None = None,
    window: str | tuple[float, float] | None = None,
    volumes: VolumeSettings | None = None,
    settings: StudySettings | None = None,
    name: str | None = None,
) -> StudyResult:
    """Explains one study, checks its maps, and returns all that is known of it; writes nothing.

    Of this result ``cfcam explain`` makes its report, tables and DICOM objects: for each method and class a map on the
    grid of the picture with the numbers of its region, the checks with your masks, the uncertainty, and in ``limits``
    what was not done or is not known. Give it to `cfcam.clinical.report.write_report`, or show it yourself.

    For several studies with one network make a `StudyExplainer`, which is set up once.

    Args:
        model: the network, from `cfcam.models.load`.
        study: a picture, DICOM or NIfTI file, a folder of DICOM slices; or what `cfcam.imaging.read_image` or
            `read_volume` made of one, whose file is then still needed for its header.
        methods: see `StudyExplainer`.
        targets: see there.
        layer: see there.
        preprocess: see there.
        window: see there.
        volumes: see there.
        settings: see there.
        name: what the result is called; None: of DICOM, whose files are often called after the patient, a neutral name,
            else the name of the file.

    Raises:
        ImageError: the file cannot be read, is no one study, or says that a name stands in its pixels.
        InputError: a mask does not fit, or what is asked for does not go together.
        CfcamError: the set-up does not fit the network, or a library is missing.
    """
    explainer = StudyExplainer(
        model,
        methods,
        targets,
        layer=layer,
        preprocess=preprocess,
        window=window,
        volumes=volumes,
        settings=settings,
    )
    return explainer(study, name=name)


class StudyExplainer:
    """Explains one study after the other by one set-up, and returns the `StudyResult` of each; see `explain_study`.

    It keeps nothing of a study, and writes nothing. Call it for one study at a time.

    Args:
        model: the network, from `cfcam.models.load`.
        methods: names, instances, one of them, or a mapping from your own names to these.
        targets: class indices, class names, "predicted", "all", "top-3"; or one of them.
        layer: dotted name of the layer to map; None: chosen automatically.
        preprocess: what is done to a picture (or volume) before the network sees it; None: what is known of the model.
        window: of DICOM pictures, and of what is shown of a volume: centre and width, or a name of
            `cfcam.imaging.WINDOWS`; None: their own.
        volumes: how volumes are read, and whether they are explained in windows.
        settings: threshold, masks and limits of the checks, uncertainty, and so on; nothing that would be written.
            Where ``peak_stability`` is None, it is measured as for a report: for maps that take no more than one pass.
        max_pixels: larger pictures are refused.

    Raises:
        CfcamError: the set-up does not fit the network, as far as that can be told without a study.
    """

    def __init__(
        self,
        model: LoadedModel,
        methods: str | Method | tuple[str | Method, ...] | Mapping[str, str | Method] = DEFAULT_METHODS,
        targets: int | str | tuple[int | str, ...] = ("predicted",),
        *,
        layer: str | None = None,
        preprocess: Preprocess | VolumePreprocess | None = None,
        window: str | tuple[float, float] | None = None,
        volumes: VolumeSettings | None = None,
        settings: StudySettings | None = None,
        max_pixels: int = 64_000_000,
    ) -> None:
        self._how = settings or StudySettings()
        if not isinstance(model, LoadedModel):
            raise ModelError(f"the network is a {type(model).__name__}: give what cfcam.models.load returns")
        self._volumes = (volumes or VolumeSettings()).of(model)
        targets = (targets,) if isinstance(targets, int | str) else targets
        _check(self._how, targets)
        named_window(window)
        self._model, self._window, self._max_pixels = model, window, max_pixels
        self._given = preprocess
        self._engine = Engine.of(model, methods, targets, layer=layer, batch_size=1)
        self._results: Results | None = None
        self._notices: tuple[str, ...] = ()
        volume = takes_volumes(model.module) if preprocess is None else isinstance(preprocess, VolumePreprocess)
        self._preprocess: Any = None if volume is None else self._preparation(volumes=volume)
        self._rehearse(None)

    @property
    def layer(self) -> str:
        """The layer that is mapped; "" until it is settled, with the first study at the latest."""
        return self._engine.layer

    @property
    def notes(self) -> list[str]:
        """What the user should know of the set-up, and of how the study explained last was read and prepared."""
        return [*self._model.notes, *self._engine.notes, *self._notices]

    def __call__(self, study: str | os.PathLike[str] | Image | Volume, *, name: str | None = None) -> StudyResult:
        """Explains a study; see `explain_study`.

        Args:
            study: a file, a folder of slices, or a picture or volume that was read from one.
            name: what the result is called.

        Raises:
            CfcamError: it cannot be read, or explained.
        """
        return self.made(study, name=name).study

    def made(
        self, study: str | os.PathLike[str] | Image | Volume, *, name: str | None = None, whole: bool = False
    ) -> Made:
        """Explains a study, and returns with its result the DICOM objects behind it, for whoever derives others.

        Args:
            study: see `__call__`.
            name: see there.
            whole: read all of these objects, with all their elements; else the first.

        Raises:
            CfcamError: it cannot be read, or explained.
        """
        given = self._input(study)
        called = name or (_UNNAMED if given is None else _name_of(given))
        with _told(given):
            image = self._read(study, given)
            x = self._preprocess(image)
        self._rehearse(image)
        assert self._results is not None  # noqa: S101 (the rehearsal has made it)
        (explanation,) = self._engine([x])
        if isinstance(explanation, str):
            raise ModelError(f"{called if given is None else given.shown}: {explanation}")
        with _told(given):
            made = self._results(image, explanation, x, called, given, whole=whole)
        self._notices = (*self._preprocess.notices(image), *made.notes)
        return (
            made
            if given is not None
            else replace(made, study=replace(made.study, limits=(NO_FILE, *made.study.limits)))
        )

    def _input(self, study: str | os.PathLike[str] | Image | Volume) -> Input | None:
        if isinstance(study, (Image, Volume)):
            self._check_nothing_is_read(study)
            given = _file_of(study)
        elif not isinstance(study, str | os.PathLike):
            raise InputError(f"the study is a {type(study).__name__}: give its path, or what cfcam.imaging read of it")
        else:
            given = find_study(study)
        if given is None:
            if self._how.masks:
                raise InputError("masks are found by the name of a study's file, and this one has none: give its path")
            return None
        return given if self._how.keep_names else with_labels([given])[0]

    def _read(self, study: str | os.PathLike[str] | Image | Volume, given: Input | None) -> Image | Volume:
        if self._preprocess is None:  # nothing in the network says what it takes: what it is given first
            volume = given.kind is Kind.VOLUME if given is not None else isinstance(study, Volume)
            self._preprocess = self._preparation(volumes=volume)
        volumes = isinstance(self._preprocess, VolumePreprocess)
        image: Image | Volume
        if isinstance(study, (Image, Volume)):
            image = study
            _check_taken(image, volumes=volumes)
        elif volumes:
            image = load_volume(_known(given), self._volumes)
            image = image if self._how.keep_names else without_channel_names(image)
        else:
            image = load_picture(_known(given), max_pixels=self._max_pixels, window=self._window)
        if given is not None:
            check_showable(image, given, allow_burned_in=self._how.allow_burned_in)
        return image

    def _preparation(self, *, volumes: bool) -> Preprocess | VolumePreprocess:
        found: Any = (prepared_volumes_for if volumes else prepared_for)(self._model, self._given)
        found = self._volumes.filled(found) if volumes else found
        self._engine.windows = self._volumes.windows if volumes else None
        self._engine.notes += assumption_notes(found)
        return found

    def _rehearse(self, image: Image | Volume | None) -> None:
        """Shows what is wrong with the set-up as soon as the shape of the network's input is known."""
        shape: Any = self._preprocess
        if self._results is not None or shape is None:
            return
        if isinstance(shape, VolumePreprocess):
            size = shape.input_size or (shape.grid(image)[0] if isinstance(image, Volume) else None)
            if size is None:
                return
            shape = noise_shape(shape, size, self._engine.windows)
        self._engine.rehearse(shape)
        asked = {
            "targets": self._engine.targets,
            **({} if self._window is None else {"window": self._window}),
            "study": self._how.drawn(),
        }
        meaning = meaning_of(
            asked,
            self._model,
            self._engine.provenance(),
            layer=self.layer,
            preprocess=self._preprocess.as_dict(),
            further={"volumes": self._volumes.drawn()},
        )
        self._results = Results(
            self._how,
            self._engine,
            self._preprocess,
            self._model,
            window=self._window,
            several=False,
            reported=True,
            settings=asked,
            settings_sha256=settings_hash(meaning),
        )

    def _check_nothing_is_read(self, study: Image | Volume) -> None:
        """Refuses what would have to be known before a picture is read, and so would be silently left out."""
        usual = VolumeSettings()
        asked = [name for name in _READ if getattr(self._volumes, name) != getattr(usual, name)]
        if isinstance(study, Image) and self._window is not None:
            asked.append("window")
        if asked:
            raise InputError(
                f"{asked[0]} says how a file is read, and this one is read already: give its path, or read it so"
            )


def _check(how: StudySettings, targets: tuple[int | str, ...]) -> None:
    how.check()
    if asked := [name for name in _WRITTEN if getattr(how, name)]:
        raise InputError(
            f"{asked[0]} asks for files, and here nothing is written: leave it out, and write from the result"
            " (cfcam.clinical.report.write_report), or explain with a folder run (cfcam.jobs.FolderRun)"
        )
    if not targets:
        raise InputError('there is no target: give a class, or "predicted"')


def _file_of(study: Image | Volume) -> Input | None:
    """The file of what is in memory, for what its header says; None if it has none.

    Raises:
        ImageError: it is gone, or another one by now.
    """
    path = study.path
    if path is None:
        return None
    if not path.exists():
        raise ImageError(
            f"{path}: is gone, and what a study says of itself is read from its file: give one that is there"
        )
    if isinstance(study, Image) and sha256_of(path) != study.sha256:
        raise ImageError(f"{path}: is not the file that the picture was read from: read it again")
    return Input(path, kind=Kind.VOLUME if isinstance(study, Volume) else Kind.PICTURE)


def _known(given: Input | None) -> Input:
    assert given is not None  # noqa: S101 (only what is in memory may have no file)
    return given


def _check_taken(image: Image | Volume, *, volumes: bool) -> None:
    if volumes and isinstance(image, Image):
        raise ImageError("this is a picture, and the network takes volumes: give a Volume")
    if not volumes and isinstance(image, Volume):
        raise ImageError("this is a volume, and the network takes pictures: give one that takes volumes")


def _name_of(given: Input) -> str:
    return given.label or Path(output_names([(given.absolute, given.folder)], {})[0]).name


@contextmanager
def _told(given: Input | None) -> Iterator[None]:
    """Errors begin with what the study is called; of one with a label they lose the names of its file and folder."""
    try:
        yield
    except MissingExtraError:
        raise
    except CfcamError as error:
        if given is None:
            raise
        line = without_name(neutral(" ".join(str(error).split()), given), given.shown)
        raise type(error)(f"{given.shown}: {line}") from None

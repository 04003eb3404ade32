"""One explained input becomes one `StudyResult`, and everything that leaves the run is made from it.

DICOM objects, table, report and record of a study show the same numbers because they are given the same object.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cfcam.clinical.origin import Origin
from cfcam.clinical.regions import measure
from cfcam.clinical.study_result import MapResult, ModelIdentity, StudyResult
from cfcam.clinical.where import steadiness, where
from cfcam.errors import CfcamError
from cfcam.exchange.dicom.origin import origin_of, placed
from cfcam.exchange.dicom.study import DicomSource, write_dicom
from cfcam.explanation import Explanation, unique_columns
from cfcam.files import write_whole
from cfcam.imaging import Image, Volume
from cfcam.imaging.drawing.planes import shown_window
from cfcam.jobs.engine.inference import Engine
from cfcam.jobs.inputs.burned_in import warning_of
from cfcam.jobs.inputs.find import Input
from cfcam.jobs.inputs.privacy import comes_from_dicom
from cfcam.jobs.runs.manifest import Explained
from cfcam.jobs.runs.settings import Settings
from cfcam.jobs.study.checks import Regions, check_map, read_regions, to_input
from cfcam.jobs.study.pages import regions_csv, write_pages
from cfcam.jobs.study.peaks import with_stability
from cfcam.jobs.study.record import enter, enter_failure
from cfcam.jobs.study.settings import StudySettings
from cfcam.jobs.study.uncertainty import check_ways, uncertainties
from cfcam.maps import Status
from cfcam.models import LoadedModel, model_name

if TYPE_CHECKING:
    from cfcam.clinical.audit.audit import Audit

UNVERSIONED = "unversioned"
_NO_DICOM = "inputs that are no DICOM get no DICOM objects; their maps are written as pictures, of volumes as NIfTI too"
_NO_CHECKS = "No checks of the map were made: no masks were given."
_AT_DETECTOR = frozenset({"CR", "DX", "MG", "RF", "XA", "PX", "IO"})


class Studies:
    """Makes what is asked for of one study after the other, each while it is in memory.

    Args:
        settings: of the run; its ``study`` is not None.
        engine: what explains.
        preprocess: the way from an input to the network, which the maps go back.
        model: the network.
        settings_sha256: identity of everything that changes the files.
        several: whether there is more than one input.

    Raises:
        CfcamError: the audit cannot be opened, or a library is missing.
    """

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        preprocess: Any,
        model: LoadedModel,
        settings_sha256: str,
        *,
        several: bool,
    ) -> None:
        assert settings.study is not None  # noqa: S101 (the caller has asked)
        self._settings, self._how = settings, settings.study
        self._engine, self._preprocess, self._model = engine, preprocess, model
        self._sha256, self._several = settings_sha256, several
        self.left_out: tuple[str, ...] = ()  # of the last study: which DICOM objects were not written, and why
        self._look: dict[str, Any] = {"palette": settings.palette, "opacity": settings.opacity}
        check_ways(self._how, engine)
        self._audit = _opened(self._how)
        self._places: dict[tuple[int, str], str] = {}

    def __call__(
        self, image: Image | Volume, explanation: Explanation, x: Tensor, name: str, given: Input
    ) -> list[Path]:
        """Writes the files of a study, and enters it in the audit.

        Args:
            image: picture or volume, as it was read.
            explanation: of this one.
            x: (C, *spatial), as the network saw it.
            name: what the names of its files begin with, with sub-folders.
            given: the input.

        Returns:
            The files.

        Raises:
            CfcamError: an object, the report or the record cannot be written.
        """
        stem = self._settings.output / name
        whole = bool(self._how.dicom)
        source = DicomSource.of(image, given.path, whole=whole) if comes_from_dicom(given) else None
        regions = read_regions(self._how, given, image, several=self._several)
        study = self._result(image, explanation, stem.name, source, regions)
        study = self._checked(study, image, x, regions)
        study = with_stability(study, self._how, self._engine, x, explanation, self._back(image))
        level = study.maps[0].regions.threshold
        found, missing = uncertainties(self._how, self._engine, x, explanation, level, self._back(image))
        for sentence in missing:
            self._note(sentence.rstrip("."))
        study = replace(study, uncertainty=found, limits=(*missing, *study.limits))
        self._places = _places(study)
        files = self._objects(study, source, stem)
        if self._audit is not None:
            masks = [file for region in regions.values() for file in region.files]
            record = enter(self._audit, study, files, masks, self._how, self._sha256)
            study = replace(study, record_id=record.id)
        tables = self._tables(study, stem)
        pages = write_pages(study, stem.parent, tables, self._how, **self._look)
        return [*files, *tables, *pages]

    def placed(self, targets: Sequence[Explained]) -> tuple[Explained, ...]:
        """Returns the classes of the study that was written last with the places of their maps' peaks, in words."""
        return tuple(replace(one, where=self._places.get((one.index, one.label), "")) for one in targets)

    def failed(self, data_sha256: str | None, cause: str) -> None:
        """Enters in the audit that a study failed; what cannot be entered becomes a note."""
        if self._audit is not None and cause != "AuditError":
            try:
                enter_failure(self._audit, data_sha256, self._engine, cause, self._sha256)
            except CfcamError as error:
                self._note(f"a failed study is not in the audit: {error}")

    def _checked(self, study: StudyResult, image: Image | Volume, x: Tensor, regions: Regions) -> StudyResult:
        """The study with the checks of its first map, and what its masks said."""
        if not regions:
            return replace(study, limits=(*study.limits, _NO_CHECKS))
        forth = to_input(self._preprocess, image)
        found, missing = check_map(
            self._how, self._engine, x, study.maps[0], regions, forth, image.spacing, image.affine
        )
        notices = [f"{notice[:1].upper()}{notice[1:]}." for region in regions.values() for notice in region.notices]
        return replace(study, checks=found, limits=(*study.limits, *missing, *notices))

    def _result(
        self,
        image: Image | Volume,
        explanation: Explanation,
        name: str,
        source: DicomSource | None,
        regions: Regions,
    ) -> StudyResult:
        affine = placed(image)
        masks: dict[str, Tensor] = {kind: region.mask for kind, region in regions.items()}
        maps = tuple(
            self._map(explanation, method, k, image, affine, masks)
            for k in unique_columns(explanation)
            for method in explanation.methods
        )
        picture, shown, function = _shown(image, self._settings.window)
        modality = "" if source is None else source.modality
        return StudyResult(
            name=name,
            picture=picture,
            window=shown,
            window_function=function,
            source_sha256=image.sha256,
            model=self._identity(explanation),
            probabilities=_probabilities(explanation),
            maps=maps,
            pseudonym=None if source is None else source.pseudonym,
            spacing=image.spacing,
            affine=affine,
            modality=modality,
            edges=None if source is None else source.edges,
            origin=self._origin(image, source, affine),
            limits=tuple(self._limits(image, modality, maps, "" if source is None else source.burned_in)),
            provenance=self._provenance(explanation),
        )

    def _origin(
        self, image: Image | Volume, source: DicomSource | None, affine: NDArray[np.float64] | None
    ) -> Origin | None:
        if source is None or not source.objects:
            return None
        volume = isinstance(image, Volume)
        return origin_of(source.objects[0], affine=affine, volume=volume, keep_dates=self._how.keep_dates)

    def _map(
        self,
        explanation: Explanation,
        method: str,
        k: int,
        image: Image | Volume,
        affine: NDArray[np.float64] | None,
        masks: Mapping[str, Tensor],
    ) -> MapResult:
        one = explanation.select(slice(0, 1), slice(k, k + 1), [method])
        heat = self._back(image)(one.heatmaps(method)[0, 0])
        return MapResult(
            method=method,
            class_index=int(explanation.targets[0, k]),
            class_name=explanation.label(0, k),
            probability=explanation.probability(0, k),
            status=str(explanation.status[method][0, k]),
            heatmap=heat.numpy(),
            regions=measure(
                heat,
                image.spacing,
                self._how.threshold,
                masks,
                affine=affine,
                missing=image.missing if isinstance(image, Volume) else None,
            ),
            parameters=explanation.provenance["methods"].get(method, {}),
        )

    def _back(self, image: Image | Volume) -> Callable[[Tensor], Tensor]:
        """The way of a map in [0, 1] from the network's input onto the grid of the source."""
        grid = image if isinstance(image, Volume) else image.size

        def back(heat: Tensor) -> Tensor:
            moved: Tensor = self._preprocess.to_original(heat.float().cpu(), grid).clamp(0, 1).contiguous()
            return moved

        return back

    def _identity(self, explanation: Explanation) -> ModelIdentity:
        return ModelIdentity(
            name=_coded_name(self._model.spec),
            version=UNVERSIONED,
            weights_sha256=explanation.provenance["model"]["sha256"],
            layer=explanation.layer,
            classes=self._model.classes or (),
        )

    def _provenance(self, explanation: Explanation) -> dict[str, Any]:
        windows = self._engine.windows
        return {
            **{key: value for key, value in explanation.provenance.items() if key != "methods"},
            "prepared": self._preprocess.told,
            "preprocess": self._preprocess.as_dict(),
            "windows": None if windows is None else vars(windows),
            "settings": self._settings.drawn(),
            "settings_sha256": self._sha256,
        }

    def _limits(self, image: Image | Volume, modality: str, maps: Sequence[MapResult], burned_in: str) -> list[str]:
        """What was not done or is not known, in sentences."""
        noticed = (*self._preprocess.assumptions, *image.notices)
        said = [f"{notice[:1].upper()}{notice[1:]}." for notice in noticed]
        if (warning := warning_of(modality, burned_in)) is not None:
            said.append(warning)
        if image.spacing is None:
            said.append("The size of a pixel in mm is not known: sizes are counted in pixels.")
        elif modality in _AT_DETECTOR and image.affine is None:
            said.append("Millimetres are those at the detector: in the patient distances are smaller.")
        if placed(image) is None:
            said.append("The place in the patient is not known: positions are counted from the first pixel.")
        said += [f"{line[:1].upper()}{line[1:]}." for line in (image.assumed if isinstance(image, Volume) else ())]
        said += [f"{line}." for line in dict.fromkeys(m.regions.left_out_line() for m in maps if m.regions.left_out)]
        if isinstance(image, Volume) and image.channels > 1:
            said.append(f"Of {image.channels} channels the first is shown.")
        if self._engine.windows is not None:
            said.append("The volume was explained in windows: the model saw no more than one of them at a time.")
        if maps and maps[0].probability is None:
            said.append("The model gives no probabilities.")
        empty = [f"{one.method} for {one.class_name} ({one.status})" for one in maps if one.status != Status.OK]
        if empty:
            said.append(f"Without a map: {', '.join(empty)}.")
        if not self._how.uncertainty:
            said.append("How much the map varies was not measured.")
        return said

    def _objects(self, study: StudyResult, source: DicomSource | None, stem: Path) -> list[Path]:
        self.left_out = ()
        if not self._how.dicom:
            return []
        if source is None:
            self._note(_NO_DICOM)
            return []
        files, notes = write_dicom(
            study,
            source,
            self._how.dicom,
            stem.with_name(f"{stem.name}_dicom"),
            self._preprocess.as_dict(),
            **self._look,
        )
        self.left_out = tuple(notes)
        for note in notes:
            self._note(note)
        return files

    def _tables(self, study: StudyResult, stem: Path) -> list[Path]:
        from cfcam.clinical.report.numbers import as_json

        files = {".csv": regions_csv(study).encode(), ".json": as_json(study)}
        written = []
        for suffix, data in files.items():
            file = stem.with_name(f"{stem.name}_regions{suffix}")
            write_whole(file, data)
            written.append(file)
        return written

    def _note(self, note: str) -> None:
        if note not in self._engine.notes:
            self._engine.notes.append(note)


def _coded_name(spec: str) -> str:
    """What a network is called where DICOM takes 64 characters (LO) of the default repertoire."""
    name = re.sub(r"[^\x20-\x7e]|\\", "-", model_name(spec)).strip()
    return name if len(name) <= 64 else f"{name[:61]}..."


def _probabilities(explanation: Explanation) -> dict[str, float]:
    """Of all classes by name; classes of one name are told apart by their number."""
    if explanation.probabilities is None:
        return {}
    values = explanation.probabilities[0].tolist()
    names = explanation.classes or tuple(f"class {index}" for index in range(len(values)))
    counts = Counter(names)
    unique = [name if counts[name] == 1 else f"{name} ({index})" for index, name in enumerate(names)]
    return dict(zip(unique, values, strict=True))


def _shown(
    image: Image | Volume, window: str | tuple[float, float] | None
) -> tuple[NDArray[Any], tuple[float, float] | None, str]:
    """A picture as it is; or the voxels of the first channel, and how they are shown: as on the run's own figures."""
    if not isinstance(image, Volume):
        return image.rgb(), None, "LINEAR_EXACT"
    (centre, width), function = shown_window(image, window)
    voxels = image.voxels if image.voxels.ndim == 3 else image.voxels[0]
    return voxels, (centre - width / 2, centre + width / 2), function


def _places(study: StudyResult) -> dict[tuple[int, str], str]:
    """For each class where the first map that can be read is hottest, and how steady that is."""
    found: dict[tuple[int, str], str] = {}
    for one in study.maps:
        if one.status == Status.OK:
            found.setdefault((one.class_index, one.class_name), f"{where(study, one)}, {steadiness(study, one)}")
    return found


def _opened(how: StudySettings) -> Audit | None:
    if how.record is None:
        return None
    from cfcam.clinical.audit.audit import Audit

    return Audit(how.record)

"""One explained study becomes one `StudyResult`, and everything that leaves is made from it: here nothing is written.

DICOM objects, table, report and record of a study show the same numbers because they are given the same object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cfcam.clinical.regions import measure
from cfcam.clinical.study_result import MapResult, ModelIdentity, StudyResult
from cfcam.exchange.dicom.origin import origin_of, placed
from cfcam.exchange.dicom.study import DicomSource
from cfcam.explanation import Explanation, unique_columns
from cfcam.imaging import Image, Volume
from cfcam.imaging.drawing.planes import shown_window
from cfcam.jobs.engine.inference import Engine
from cfcam.jobs.inputs.find import Input
from cfcam.jobs.inputs.privacy import comes_from_dicom
from cfcam.jobs.study.checks import Regions, check_map, read_regions, to_input
from cfcam.jobs.study.limits import NO_CHECKS, limits_of, sentence
from cfcam.jobs.study.peaks import with_stability
from cfcam.jobs.study.settings import StudySettings
from cfcam.jobs.study.uncertainty import check_ways, uncertainties
from cfcam.memory import give_back
from cfcam.models import LoadedModel
from cfcam.models.spec import coded_name

UNVERSIONED = "unversioned"


@dataclass(frozen=True, eq=False)
class Made:
    """A study's result, with what it was made from, for whoever writes something of it.

    Attributes:
        study: the result.
        source: the DICOM objects behind it; None if it is no DICOM.
        masks: the files of masks that were read.
        notes: what the user should know of the set-up, a line each.
    """

    study: StudyResult
    source: DicomSource | None
    masks: tuple[Path, ...]
    notes: tuple[str, ...]


class Results:
    """Makes the `StudyResult` of one explained study after the other; keeps none of them, and writes nothing.

    Args:
        how: what is asked for of each study.
        engine: what explains.
        preprocess: the way from an input to the network, which the maps go back.
        model: the network.
        window: of DICOM pictures and of what is shown of volumes, see `cfcam.imaging.read_image`; None: their own.
        several: whether there is more than one input, so that one mask cannot be that of all.
        reported: whether a report is made of each study, or may be; its maps' peaks are measured then.
        settings: everything else that was asked for, as plain values, for the provenance.
        settings_sha256: identity of all that changes the numbers.

    Raises:
        InputError: the ways of estimating uncertainty do not go with the methods.
    """

    def __init__(
        self,
        how: StudySettings,
        engine: Engine,
        preprocess: Any,
        model: LoadedModel,
        *,
        window: str | tuple[float, float] | None,
        several: bool,
        reported: bool,
        settings: Mapping[str, Any],
        settings_sha256: str,
    ) -> None:
        check_ways(how, engine)
        self.how, self.engine, self.preprocess = how, engine, preprocess
        self.settings_sha256 = settings_sha256
        self._model, self._window, self._settings = model, window, settings
        self._several, self._reported = several, reported

    def __call__(
        self,
        image: Image | Volume,
        explanation: Explanation,
        x: Tensor,
        name: str,
        given: Input | None,
        *,
        whole: bool = False,
    ) -> Made:
        """Returns the result of a study.

        Args:
            image: picture or volume, as it was read.
            explanation: of this one.
            x: (C, *spatial), as the network saw it.
            name: what the result is called.
            given: the input; None for one in memory that has no file.
            whole: whether all DICOM objects behind it are read, for what is to refer to them.

        Raises:
            CfcamError: a mask does not fit, the source is gone, or the network cannot be asked again.
        """
        how, back = self.how, way_back(self.preprocess, image)
        if isinstance(image, Volume):
            give_back()
        source = None
        if given is not None and comes_from_dicom(given):
            overlays = whole or "sc" in how.dicom
            source = DicomSource.of(image, given.path, whole=whole or bool(how.dicom), pixels=overlays)
        regions = {} if given is None else read_regions(how, given, image, several=self._several)
        study = self._measured(image, explanation, name, source, regions)
        study = self._checked(study, image, x, regions)
        study = with_stability(study, how, self.engine, x, explanation, back, reported=self._reported)
        level = study.maps[0].regions.threshold
        found, missing = uncertainties(how, self.engine, x, explanation, level, back)
        return Made(
            replace(study, uncertainty=found, limits=(*missing, *study.limits)),
            source,
            tuple(file for region in regions.values() for file in region.files),
            tuple(line.rstrip(".") for line in missing),
        )

    def _measured(
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
        picture, shown, function = shown_as(image, self._window)
        modality, header = ("", None) if source is None else (source.modality, next(iter(source.objects), None))
        volume = isinstance(image, Volume)
        limits = limits_of(
            image,
            self.preprocess,
            maps,
            modality=modality,
            burned_in="" if source is None else source.burned_in,
            in_windows=self.engine.windows is not None,
            uncertainty=bool(self.how.uncertainty),
        )
        return StudyResult(
            name=name,
            picture=picture,
            window=shown,
            window_function=function,
            source_sha256=image.sha256,
            model=self._identity(explanation),
            probabilities=explanation.class_probabilities(0),
            maps=maps,
            pseudonym=None if source is None else source.pseudonym,
            spacing=image.spacing,
            measured=image.measured,
            affine=affine,
            modality=modality,
            edges=None if source is None else source.edges,
            origin=None
            if header is None
            else origin_of(header, affine=affine, volume=volume, keep_dates=self.how.keep_dates),
            limits=tuple(limits),
            provenance=self._provenance(explanation, image),
        )

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
        heat = way_back(self.preprocess, image)(one.heatmaps(method)[0, 0])
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
                self.how.threshold,
                masks,
                affine=affine,
                missing=image.missing if isinstance(image, Volume) else None,
                measured=image.measured,
            ),
            parameters=explanation.provenance["methods"].get(method, {}),
            margin=explanation.margin(0, k),
        )

    def _checked(self, study: StudyResult, image: Image | Volume, x: Tensor, regions: Regions) -> StudyResult:
        """The study with the checks of its first map, and what its masks said."""
        if not regions:
            return replace(study, limits=(*study.limits, NO_CHECKS))
        forth = to_input(self.preprocess, image)
        where = image.spacing, image.affine, image.measured
        found, missing = check_map(self.how, self.engine, x, study.maps[0], regions, forth, *where)
        notices = [sentence(notice) for region in regions.values() for notice in region.notices]
        return replace(study, checks=found, limits=(*study.limits, *missing, *notices))

    def _identity(self, explanation: Explanation) -> ModelIdentity:
        return ModelIdentity(
            name=coded_name(self._model.spec),
            version=UNVERSIONED,
            weights_sha256=explanation.provenance["model"]["sha256"],
            layer=explanation.layer,
            classes=self._model.classes or (),
        )

    def _provenance(self, explanation: Explanation, image: Image | Volume) -> dict[str, Any]:
        windows = self.engine.windows
        return {
            **{key: value for key, value in explanation.provenance.items() if key != "methods"},
            "prepared": self.preprocess.told,
            "preprocess": self.preprocess.as_dict(),
            "windows": None if windows is None else vars(windows),
            **(
                {"channels": dict(image.source.channels)} if isinstance(image, Volume) and image.source.channels else {}
            ),
            "settings": self._settings,
            "settings_sha256": self.settings_sha256,
        }


@dataclass(frozen=True, eq=False)
class WayBack:
    """The way of a map in [0, 1] from the network's input onto the grid of the source.

    Attributes:
        preprocess: the way from the source to the network.
        grid: the source if it is a volume, else its height and width.
    """

    preprocess: Any
    grid: Any

    def __call__(self, heat: Tensor) -> Tensor:
        """Returns a map (*spatial) on the grid of the source."""
        # the map is clamped while it is small: on its way no value leaves its range
        moved: Tensor = self.preprocess.to_original(heat.float().cpu().clamp(0, 1), self.grid)
        return moved.contiguous()


class WayBackOfVolume(WayBack):
    """The same for a volume, of which a second map is no small matter."""

    def place(self, place: Sequence[int]) -> tuple[int, ...]:
        """Returns where a place of the network's input comes to lie; see `VolumePreprocess.place`."""
        found: tuple[int, ...] = self.preprocess.place(place, self.grid)
        return found


def way_back(preprocess: Any, image: Image | Volume) -> WayBack:
    """Returns the way of a map in [0, 1] from the network's input onto the grid of the source.

    Args:
        preprocess: the way from the source to the network.
        image: the source.
    """
    return WayBackOfVolume(preprocess, image) if isinstance(image, Volume) else WayBack(preprocess, image.size)


def shown_as(
    image: Image | Volume, window: str | tuple[float, float] | None
) -> tuple[NDArray[Any], tuple[float, float] | None, str]:
    """Returns a picture as it is; or the voxels of the first channel, and how they are shown: as on a run's figures.

    Args:
        image: a picture or volume.
        window: of a volume: centre and width, or a name of `cfcam.imaging.WINDOWS`; None: its own.

    Returns:
        `StudyResult.picture`, its window, and what that does with values.
    """
    if not isinstance(image, Volume):
        return image.rgb(), None, "LINEAR_EXACT"
    (centre, width), function = shown_window(image, window)
    return image.channel(), (centre - width / 2, centre + width / 2), function

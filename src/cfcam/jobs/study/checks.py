"""Masks of a study and the checks that are made with them: in the organ, off the artefacts, on every finding."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from cfcam.clinical import checks
from cfcam.clinical.checks.results import CheckResult
from cfcam.clinical.study_result import MapResult
from cfcam.errors import CfcamError, InputError
from cfcam.imaging import Image, Preprocess, Volume, VolumePreprocess
from cfcam.imaging.measured import Measured
from cfcam.jobs.check.region_checks import region_checks
from cfcam.jobs.engine.inference import Engine
from cfcam.jobs.inputs.find import Input
from cfcam.jobs.inputs.masks import MarkedRegion, RegionKind, RegionMasks
from cfcam.jobs.inputs.privacy import without_stem
from cfcam.jobs.study.settings import StudySettings

Regions = Mapping[RegionKind, MarkedRegion]


def read_regions(how: StudySettings, given: Input, image: Image | Volume, *, several: bool) -> Regions:
    """Reads the masks of an input, by the name of its file; of one with a label nothing of that name is passed on.

    Args:
        how: whose ``masks`` are read.
        given: the input.
        image: as it was read.
        several: whether the run has other inputs.

    Raises:
        InputError: a mask does not fit the image, or cannot be read.
    """
    found: dict[RegionKind, MarkedRegion] = {}
    for kind, where in how.masks:
        try:
            region = RegionMasks(kind, where).read(given.path, image, several=several)
        except CfcamError as error:
            raise InputError(without_stem(str(error), given)) from None
        notices = tuple(without_stem(notice, given) for notice in region.notices)
        found[kind] = MarkedRegion(region.mask, notices, without_stem(region.reason, given), region.files)
    return found


def check_map(
    how: StudySettings,
    engine: Engine,
    x: Tensor,
    one: MapResult,
    regions: Regions,
    forth: Callable[[Tensor], Tensor],
    spacing: tuple[float, ...] | None,
    affine: ArrayLike | None = None,
    measured: Measured | None = None,
) -> tuple[tuple[CheckResult, ...], tuple[str, ...]]:
    """Checks a map with the masks of its study, as ``cfcam check`` does.

    Args:
        how: the site's limits.
        engine: what explained it.
        x: (C, *spatial), as the network saw it.
        one: the map.
        regions: from `read_regions`.
        forth: brings a mask onto the grid of the network's input.
        spacing: mm along the axes of the map; None if unknown.
        affine: (4, 4), index to mm in the patient; None if unknown.
        measured: where the mm of a picture are measured (`cfcam.imaging.Image.measured`).

    Returns:
        The results, and a sentence for each check that was not made.
    """
    missing: list[str] = []

    def intervention(mask: Tensor) -> list[CheckResult]:
        if engine.windows is not None:
            missing.append("What becomes of the map without the artefact was not tried: it was made in windows.")
            return []
        return checks.artefact_intervention(
            engine.explainer, x[None], forth(mask), one.class_index, one.method, limits=how.limits
        )

    results = region_checks(
        regions,
        torch.from_numpy(one.heatmap),
        intervention,
        spacing=spacing,
        affine=affine,
        measured=measured,
        probability=one.probability,
        limits=how.limits,
    )
    return tuple(results), tuple(missing)


def to_input(preprocess: Preprocess | VolumePreprocess, image: Image | Volume) -> Callable[[Tensor], Tensor]:
    """Returns what brings a mask on the grid of an image onto that of the network's input."""
    if isinstance(preprocess, Preprocess):
        return preprocess.mask
    assert isinstance(image, Volume)  # noqa: S101 (a run over volumes prepares volumes)
    return lambda mask: preprocess.mask(mask, image)

"""What is on the screen as a `StudyResult`, so that every file says the numbers that the page shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cfcam._version import __version__
from cfcam.clinical.regions import measure
from cfcam.clinical.study_result import MapResult, ModelIdentity, StudyResult
from cfcam.exchange.dicom.origin import origin_of, placed
from cfcam.exchange.dicom.study import DicomSource
from cfcam.imaging import Image, Volume
from cfcam.imaging.windows import windowed
from cfcam.jobs.inputs.privacy import comes_from_dicom
from cfcam.jobs.study.explained import UNVERSIONED, shown_as
from cfcam.jobs.study.limits import NO_CHECKS, NO_FILE, limits_of
from cfcam.web.library.about import about
from cfcam.web.library.maps import StudyMap
from cfcam.web.library.study import Study

Window = tuple[float, float]

_UNNAMED = "not known"


def study_result(
    study: Study,
    maps: Sequence[StudyMap],
    source: DicomSource | None,
    *,
    window: Window | None = None,
    threshold: float | None = None,
    channel: int = 0,
    seen: Mapping[str, Any] | None = None,
) -> StudyResult:
    """Returns a study with some of its maps.

    Args:
        study: it is read for that.
        maps: of it, all of one network.
        source: the DICOM objects behind it; None if it is no DICOM.
        window: from where to where grey values are shown; None: as the study says.
        threshold: of the regions; None: of each map the rule by which its threshold was chosen.
        channel: of a volume with several, which is drawn.
        seen: how they were shown, for the provenance.

    Raises:
        CfcamError: the study cannot be read.
    """
    image = channel_of(study, channel)
    picture, shown, function = windowed_as(image, window)
    results = tuple(_result(image, one, threshold) for one in maps)
    known = about(maps[0])
    modality = study.said().modality or "" if source is None else source.modality
    header = None if source is None else next(iter(source.objects), None)
    affine = placed(image)
    said = [
        *known.limits,
        *limits_of(
            image,
            None,
            results,
            modality=modality,
            burned_in="" if source is None else source.burned_in,
            in_windows=False,
            uncertainty=False,
        ),
        NO_CHECKS,
    ]
    return StudyResult(
        name=neutral_name(study),
        picture=picture,
        window=shown,
        window_function=function,
        source_sha256=image.sha256,
        model=known.model or ModelIdentity(_UNNAMED, UNVERSIONED, "", maps[0].layer or "", ()),
        probabilities=study.said().probabilities or {},
        maps=results,
        pseudonym=None if source is None else source.pseudonym,
        spacing=image.spacing,
        measured=image.measured,
        affine=affine,
        modality=modality,
        edges=study.said().edges if source is None else source.edges,
        origin=None
        if header is None
        else origin_of(header, affine=affine, volume=isinstance(image, Volume), keep_dates=False),
        limits=tuple(dict.fromkeys(said if study.given is not None else [NO_FILE, *said])),
        provenance={"cfcam": __version__, **known.provenance, "viewer": dict(seen or {})},
    )


def channel_of(study: Study, channel: int) -> Image | Volume:
    """Returns a picture, or a volume with the one channel that is drawn; of several it says which that is.

    Raises:
        ImageError: the study cannot be read.
        InputError: there is no such channel.
    """
    image = study.image()
    return image.alone(channel) if isinstance(image, Volume) else image


def neutral_name(study: Study) -> str:
    """Returns what a study is called in what leaves the viewer: that of its DICOM, else its id, and no file's name."""
    return study.id if study.given is None or not comes_from_dicom(study.given) else study.name


def source_of(study: Study, *, whole: bool) -> DicomSource | None:
    """Returns the DICOM objects behind a study; None if it is no DICOM.

    Args:
        study: it is read for that.
        whole: all objects, for what is to refer to them; else the first, for what it says of itself.

    Raises:
        ImageError: a file is gone or broken.
    """
    if study.given is None or not comes_from_dicom(study.given):
        return None
    return DicomSource.of(study.image(), study.given.path, whole=whole)


def _result(image: Image | Volume, one: StudyMap, threshold: float | None) -> MapResult:
    heat = one.heat()
    known = about(one)
    regions = measure(
        torch.from_numpy(np.ascontiguousarray(heat)),
        image.spacing,
        threshold or one.rule or "otsu",
        affine=placed(image),
        missing=image.missing if isinstance(image, Volume) else None,
        measured=image.measured,
    )
    return MapResult(
        method=one.method,
        class_index=one.class_index,
        class_name=one.class_name,
        probability=one.probability,
        margin=one.margin,
        status=one.status,
        heatmap=heat,
        regions=replace(regions, stability=known.stability),
        parameters=known.parameters,
    )


def windowed_as(image: Image | Volume, window: Window | None) -> tuple[NDArray[Any], Window | None, str]:
    """Returns a study as it is shown (`shown_as`); a window counts for grey values alone, as in the page."""
    if window is None or (isinstance(image, Image) and image.pixels.ndim == 3):
        return shown_as(image, None)
    low, high = window
    centred = (low + high) / 2, max(high - low, 1e-6)
    if isinstance(image, Volume):
        return shown_as(image, centred)
    grey = np.rint(windowed(image.pixels, centred, "LINEAR_EXACT") * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2), None, "LINEAR_EXACT"

"""Contour and peak as a DICOM Grayscale Softcopy Presentation State (PS3.3 A.33.1), drawn over the source itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cfcam.errors import InputError
from cfcam.exchange.dicom.job import RESEARCH, Job, shortened
from cfcam.exchange.dicom.shown import pixel_aspect, shown_one_way
from cfcam.imaging.reading.dicom_object import photometric
from cfcam.shown import probability_text

if TYPE_CHECKING:
    from pydicom import Dataset

_MOST_POINTS = 4000  # a value of more than 65534 bytes does not fit into explicit VR: 8191 points


def presentation_state(job: Job) -> Dataset:
    """Return a presentation state with the contour at the threshold in each plane, and the peak with its value.

    Raises:
        InputError: the map does not lie in [0, 1], or the source is in colour or rescaled frame by frame.
    """
    from highdicom.pr import GraphicLayer, GrayscaleSoftcopyPresentationState

    job.check_unit_range("gsps")
    if (reason := why_no_state(job.sources[0])) is not None:
        raise InputError(f"gsps: {reason}; write sc")
    layer = GraphicLayer("CFCAM", order=1, description=RESEARCH[:64])
    dataset = GrayscaleSoftcopyPresentationState(
        referenced_images=[shown_one_way(source) for source in job.sources],
        content_label="CAM_CONTOUR",
        content_description=shortened(f"{job.result.method}: {job.result.class_name}, research use"),
        graphic_layers=[layer],
        graphic_annotations=_annotations(job, layer),
        **job.common("gsps"),
    )
    for area in dataset.DisplayedAreaSelectionSequence:  # which counts for more than what the picture says
        area.PresentationPixelAspectRatio = pixel_aspect(job.sources[0])  # highdicom 0.28 says squares of all
    return job.finish(dataset, "gsps")


def why_no_state(source: Dataset) -> str | None:
    """Return why no presentation state can be made for a source; None if one can."""
    if int(source.get("SamplesPerPixel", 1)) != 1 or photometric(source) == "PALETTE COLOR":
        return "the source is in colour, this presentation state is for grey pictures"
    frames = source.get("PerFrameFunctionalGroupsSequence") or ()
    if len({str(frame.get("PixelValueTransformationSequence") or "") for frame in frames}) > 1:
        return "the source is rescaled frame by frame, which this object cannot say"
    return None


def contours(plane: NDArray[np.float32], threshold: float) -> list[NDArray[np.float64]]:
    """Return the lines at which a map crosses a threshold.

    Args:
        plane: `(H, W)`.
        threshold: the value at the line.

    Returns:
        Arrays `(points, 2)` of (column, row) in DICOM's PIXEL units: the first pixel reaches from 0 to 1
        (PS3.3 C.10.5.1.2), its centre is 0.5. Regions that meet the border are closed along it.
    """
    from contourpy import contour_generator

    lowest = min(float(plane.min()), 0.0) - 1e-6
    framed = np.pad(plane.astype(np.float64), 1, constant_values=lowest)
    lines = contour_generator(z=framed).lines(threshold)
    size = np.array(plane.shape[::-1], dtype=np.float64)
    return [np.clip(np.asarray(line) - 0.5, 0, size) for line in lines]


def _annotations(job: Job, layer: Any) -> list[Any]:
    from highdicom.pr import GraphicAnnotation, GraphicObject

    peak = np.unravel_index(int(job.heatmap.argmax()), job.heatmap.shape)
    annotations = []
    for number in range(len(job.heatmap)):
        lines = contours(job.heatmap[number], job.threshold)
        graphics = [GraphicObject("POLYLINE", part, "PIXEL") for line in lines for part in _parts(line)]
        texts = []
        if number == peak[0]:
            graphics.append(_peak(int(peak[1]), int(peak[2])))
            texts.append(_label(job, int(peak[1]), int(peak[2])))
        if graphics:
            single = len(job.sources) == 1
            frame = number + 1 if single and len(job.heatmap) > 1 else None
            annotations.append(
                GraphicAnnotation(
                    referenced_images=[job.sources[0 if single else number]],
                    graphic_layer=layer,
                    referenced_frame_number=frame,
                    graphic_objects=graphics,
                    text_objects=texts or None,
                )
            )
    return annotations


def _parts(line: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    starts = range(0, max(1, len(line) - 1), _MOST_POINTS)
    return [line[start : start + _MOST_POINTS + 1] for start in starts]


def _peak(row: int, column: int) -> Any:
    from highdicom.pr import GraphicObject

    return GraphicObject("POINT", np.array([[column + 0.5, row + 0.5]]), "PIXEL")


def _label(job: Job, row: int, column: int) -> Any:
    from highdicom.pr import TextObject

    probability = job.result.probability
    known = "" if probability is None else f", probability {probability_text(probability, 3)}"
    peak = f"peak {float(job.heatmap.max()):.3f}, {job.steadiness}"
    text = f"{job.result.class_name}{known}; {peak} ({job.result.method}, research use)"
    return TextObject(text, units="PIXEL", anchor_point=(column + 0.5, row + 0.5))

"""Is the place to which a map points more than chance: does its peak stay when the image moves a little?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from cfcam.clinical.checks.interventions import Explain
from cfcam.clinical.checks.peak_stability import peak_stability
from cfcam.clinical.checks.results import CheckResult, Limits, at_least, not_assessed
from cfcam.clinical.where import is_spread, nowhere, part_of, with_parts
from cfcam.exchange.dicom.origin import origin_of, placed
from cfcam.imaging import Image, Volume
from cfcam.imaging.geometry import axis_codes
from cfcam.jobs.inputs.privacy import comes_from_dicom, labelled

NAME = "peak: stays"


def peak_check(
    explain: Explain,
    x: Tensor,
    target: int,
    method: str,
    heatmap: Tensor,
    image: Image | Volume,
    file: Path,
    back: Callable[[Tensor], Tensor],
    *,
    limits: Limits,
) -> tuple[list[CheckResult], dict[str, Any]]:
    """Checks whether the peak of an image's map stays under small motions; see `cfcam.clinical.checks.peak_stability`.

    Args:
        explain: an `Explainer`.
        x: (1, C, *spatial), as the network takes it.
        target: class index.
        method: one of the explainer's.
        heatmap: (*spatial) on the grid of the image.
        image: as it was read.
        file: where from, for what its header says of sides.
        back: brings a map from the network's input onto the grid of the image.
        limits: of the site.

    Returns:
        The result, and ``where`` and ``peak_stability`` as plain values.

    Raises:
        CfcamError: the moved image cannot be explained.
    """
    found = peak_stability(explain, x, target, method, back=back) if target >= 0 else None
    if found is None:
        why = "what is explained is no class" if target < 0 else "the map has no peak: no positive evidence"
        return not_assessed(NAME, why), {"where": "", "peak_stability": None}
    directions, side = _sides(image, file)
    shape = tuple(heatmap.shape)
    peak = [int(at) for at in np.unravel_index(int(heatmap.argmax()), shape)]
    spread = is_spread(heatmap.cpu().numpy())
    part = nowhere("volume" if len(shape) == 3 else "picture") if spread else part_of(peak, shape, directions, side)
    said = with_parts(found, part, lambda at: part_of(at, shape, directions, side))
    result = at_least(NAME, found.share, limits.peak_stays, f"{part}: {said}")
    return [result], {"where": part, "peak_stability": asdict(found)}


def _sides(image: Image | Volume, file: Path) -> tuple[tuple[str, ...], str]:
    """Where the axes point in the patient, and the side of a paired part, as far as the file states them."""
    from cfcam.exchange.dicom.study import DicomSource

    affine = placed(image)
    directions = () if affine is None else tuple(axis_codes(affine)[: 3 if isinstance(image, Volume) else 2])
    source = labelled(file)
    if not comes_from_dicom(source):
        return directions, ""
    header = DicomSource.of(image, source.path, whole=False)
    if not header.objects:
        return directions, ""
    if not directions and header.edges is not None:
        directions = header.edges[::-1]
    origin = origin_of(header.objects[0], affine=affine, volume=isinstance(image, Volume), keep_dates=False)
    return directions, origin.side

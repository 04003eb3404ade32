"""What came of one study: a picture or volume, its maps with their numbers, checks and uncertainty.

Everything that leaves for people or for other systems (report, page, DICOM, record) is made from this one object, so
that no two of them can show different numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfcam.clinical.checks.results import CheckResult
from cfcam.clinical.origin import Origin
from cfcam.clinical.regions import RegionTable
from cfcam.imaging.measured import Measured

Heat = NDArray[np.float32]


@dataclass(frozen=True)
class ModelIdentity:
    """The network that was explained.

    Attributes:
        name: as the user named it; holds no path.
        version: of the network, or "unversioned".
        weights_sha256: of all parameters and buffers, 64 lower case hexadecimal digits.
        layer: dotted name of the target layer.
        classes: class names.
    """

    name: str
    version: str
    weights_sha256: str
    layer: str
    classes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class MapResult:
    """One map: one method, one class.

    Attributes:
        method: name of the method.
        class_index: number of the explained class.
        class_name: its name.
        probability: of the class, in [0, 1]; None if the network gives none.
        status: "ok", or why the map cannot be read (`cfcam.Status`).
        heatmap: (H, W) or (D, H, W) float32 in [0, 1] on the grid of the source picture or volume; 0 everywhere unless
            the status is ok.
        regions: numbers of the thresholded region and of masks, on that grid.
        parameters: of the method.
        margin: of a contrast of two classes, how far the logit of the first lies above that of the second; else None.
    """

    method: str
    class_index: int
    class_name: str
    probability: float | None
    status: str
    heatmap: Heat
    regions: RegionTable
    parameters: Mapping[str, Any] = field(default_factory=dict)
    margin: float | None = None


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """How much a map and its prediction vary over samples.

    Attributes:
        source: "mc-dropout", "ensemble", "augmentation" or "methods" (of one layer: no certainty, never a probability).
        samples: how many.
        method: whose map varies; "several" if the samples are methods.
        class_index: the explained class.
        class_name: its name.
        mean: (*spatial) mean heat map, on the grid of the source.
        sd: (*spatial) standard deviation over the samples.
        inclusion: (*spatial) share of the samples whose map reaches ``threshold`` there.
        threshold: that value.
        agreement: mean pairwise soft IoU of the samples' maps; None with fewer than two maps that are ok.
        probability_mean: of the class; None where the samples share one prediction.
        probability_sd: of the class; None as above.
        entropy: predictive entropy in nats; None as above.
        mutual_information: part of it that the samples disagree on, in nats; None as above.
        note: in one line what this number means, or what was left out.
    """

    source: str
    samples: int
    method: str
    class_index: int
    class_name: str
    mean: Heat
    sd: Heat
    inclusion: Heat
    threshold: float
    agreement: float | None
    probability_mean: float | None = None
    probability_sd: float | None = None
    entropy: float | None = None
    mutual_information: float | None = None
    note: str = ""


@dataclass(frozen=True, eq=False)
class StudyResult:
    """Everything that is known of one explained study.

    Attributes:
        name: what its files are called; holds nothing of a patient.
        pseudonym: of the patient if the source carries one that cfcam gave; None else: a patient's own identity never
            gets here.
        picture: (H, W) or (H, W, 3) uint8 as shown, or (D, H, W) float32 voxels in source units.
        window: (low, high) of ``picture`` for display; None for uint8.
        spacing: mm along the axes of the map; None if unknown.
        affine: 4 x 4 index to patient mm, RAS+; None if unknown.
        modality: DICOM modality, "" if unknown.
        source_sha256: of the source's bytes.
        model: the network.
        probabilities: of all classes by name, in the network's order.
        maps: one for each method and class: all methods of the first class, then of the next.
        checks: of the first map.
        uncertainty: of the first map, by source.
        limits: sentences about what was not done or not known.
        provenance: versions and settings, plain values.
        record_id: of the audit record; None if none was written.
        edges: of a picture without an affine, where its right and its lower edge point: letters R, L, A, P, S, I, such
            as ("L", "I") for a chest seen from the front; None if unknown.
        window_function: what ``window`` does with values: LINEAR, LINEAR_EXACT or SIGMOID.
        origin: what the file says of the study, so that a report can be matched with it; None if it says nothing.
        measured: where the millimetres of a picture are measured, as of a radiograph at the detector; None: in the
            patient, or nothing is known of it.
    """

    name: str
    picture: NDArray[Any]
    source_sha256: str
    model: ModelIdentity
    probabilities: Mapping[str, float]
    maps: tuple[MapResult, ...]
    pseudonym: str | None = None
    window: tuple[float, float] | None = None
    spacing: tuple[float, ...] | None = None
    affine: NDArray[np.float64] | None = None
    modality: str = ""
    checks: tuple[CheckResult, ...] = ()
    uncertainty: tuple[Uncertainty, ...] = ()
    limits: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    record_id: str | None = None
    edges: tuple[str, str] | None = None
    window_function: str = "LINEAR_EXACT"
    origin: Origin | None = None
    measured: Measured | None = None

    @property
    def volumetric(self) -> bool:
        """Whether the maps are of a volume."""
        return bool(self.maps) and self.maps[0].heatmap.ndim == 3

"""What `cfcam.jobs.check.run` checks, and how."""

from __future__ import annotations

from dataclasses import dataclass, field

from cfcam.clinical.checks.results import Limits
from cfcam.jobs.check.zones import Zones
from cfcam.jobs.inputs.masks import RegionMasks


@dataclass(frozen=True)
class CheckSettings:
    """What is checked, and how.

    Attributes:
        method: whose maps are checked.
        target: the class that they explain, by index or name, or "predicted".
        layer: to map; None: chosen automatically.
        limits: of the site.
        masks: what is marked in the images.
        zones: parts of the organ, and what tells which of them a report names; None: not compared.
        retest: explain again under small changes.
        peak_stability: tell where each map points, and under how many small motions that stays.
        window: grey window of DICOM pictures; a volume's is its preparation's.
    """

    method: str = "grad-cam"
    target: int | str = "predicted"
    layer: str | None = None
    limits: Limits = field(default_factory=Limits)
    masks: tuple[RegionMasks, ...] = ()
    zones: Zones | None = None
    retest: bool = True
    peak_stability: bool = False
    window: str | tuple[float, float] | None = None

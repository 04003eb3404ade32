"""What is compared, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cfcam.clinical.comparison.changes import (
    THRESHOLD,
)
from cfcam.clinical.comparison.gate import Gate
from cfcam.clinical.comparison.quality import RegistrationKind
from cfcam.imaging import Preprocess, VolumePreprocess
from cfcam.imaging.drawing.look import OPACITY
from cfcam.imaging.drawing.palettes import EMBER
from cfcam.jobs.inputs.preparing import VolumeSettings


@dataclass(frozen=True)
class CompareSettings:
    """How pairs are compared.

    Attributes:
        output: folder for the files.
        method: one method.
        target: class index, name, or "predicted": what the network says of the current study.
        layer: layer to map; None: chosen.
        registration: "rigid", "affine" or "none".
        gate: what a registration must reach.
        threshold: from which share of the common scale on a position is hot.
        masks: name -> file of a mask on the prior image.
        retests: of each study; 0: none, and no verdicts.
        seed: of the retests.
        preprocess: a `Preprocess` or `VolumePreprocess`; None: the network's own.
        volumes: how volumes are read.
        window: grey values of DICOM pictures, and of figures of volumes.
        palette: of the maps.
        opacity: of the maps over the images, where they are 1.
        blend: what it follows.
    """

    output: Path
    method: str = "grad-cam"
    target: int | str = "predicted"
    layer: str | None = None
    registration: RegistrationKind = "rigid"
    gate: Gate = field(default_factory=Gate)
    threshold: float = THRESHOLD
    masks: Mapping[str, Path] = field(default_factory=dict)
    retests: int = 8
    seed: int = 0
    preprocess: Preprocess | VolumePreprocess | None = None
    volumes: VolumeSettings = field(default_factory=VolumeSettings)
    window: str | tuple[float, float] | None = None
    palette: str = EMBER
    opacity: float = OPACITY
    blend: str = "value"

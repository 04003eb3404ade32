"""A map of a study, wherever it came from: what is known of it, and the map itself when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cfcam.web.library.nifti import Nifti
from cfcam.web.schemas import Channel, Map, MapKind, Peak, Window
from cfcam.web.schemas import Under as UnderMap

Heat = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Under:
    """The picture or volume that a map is of, where it is shown with another: it lies on the other's grid.

    Attributes:
        make: returns a channel of it as a file; of what has one, channel 0.
        window: from where to where its values are shown.
        channels: of a volume with several; ``window`` is that of the first.
    """

    make: Callable[[int], Nifti] = field(repr=False)
    window: Window
    channels: tuple[Channel, ...] = ()

    def described(self, url: str) -> UnderMap:
        """Returns what is sent of it.

        Args:
            url: at which its file is.
        """
        channels = [
            one.model_copy(update={"url": url + of_channel(number)}) for number, one in enumerate(self.channels)
        ]
        return UnderMap(url=url, window=self.window, channels=channels)


def of_channel(number: int) -> str:
    """Returns what the address of a channel's file ends in; the first one's is that of the volume."""
    return f"?channel={number}" if number else ""


@dataclass(frozen=True, eq=False)
class StudyMap:
    """A map of a study; everything but ``heat`` is as in `cfcam.web.schemas.Map`.

    Attributes:
        id: "m-" and 12 hexadecimal digits, the same whenever the same map is made.
        heat: returns the map on the source's grid, float32 in [0, 1], `(H, W)` or `(D, H, W)`; 0 everywhere if the map
            cannot be read.
        raw: returns the raw map on the source's grid, signed, float32; None: ``heat`` times ``scale_max``.
        under: what it lies on; None: the study.
        box: corners of a detector's box, which it explains, in pixels of the picture; None: it is of none.
        about: whatever else a room wants to know of a map that it made; it is never sent.
    """

    id: str
    method: str
    class_index: int
    class_name: str
    heat: Callable[[], Heat] = field(repr=False)
    probability: float | None = None
    margin: float | None = None
    status: str = "ok"
    layer: str | None = None
    threshold: float | None = None
    rule: str | None = None
    peak: Peak | None = None
    scale_max: float | None = None
    scale_group: str | None = None
    kind: MapKind = "evidence"
    seconds: float | None = None
    source: Literal["file", "live"] = "file"
    raw: Callable[[], Heat] | None = field(default=None, repr=False)
    under: Under | None = None
    box: tuple[float, float, float, float] | None = None
    about: Any = field(default=None, repr=False)

    def described(self, study: str) -> Map:
        """Returns what is sent of it.

        Args:
            study: the study's id.
        """
        return Map(
            id=self.id,
            method=self.method,
            class_index=self.class_index,
            class_name=self.class_name,
            probability=self.probability,
            margin=self.margin,
            status=self.status,
            layer=self.layer,
            threshold=self.threshold,
            rule=self.rule,
            peak=self.peak,
            scale_max=self.scale_max,
            scale_group=self.scale_group,
            kind=self.kind,
            seconds=self.seconds,
            url=f"/api/studies/{study}/maps/{self.id}.nii",
            source=self.source,
            under=None
            if self.under is None
            else self.under.described(f"/api/studies/{study}/maps/{self.id}/under.nii"),
            box=None if self.box is None else list(self.box),
        )

    def raw_values(self) -> Heat:
        """Returns the raw map on the source's grid."""
        if self.raw is not None:
            return self.raw()
        return self.heat() if self.scale_max is None else self.heat() * np.float32(self.scale_max)

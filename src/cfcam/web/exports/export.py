"""One format of what is on the screen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cfcam.clinical.study_result import StudyResult
from cfcam.imaging import Volume
from cfcam.web.exports.files import Sent, together
from cfcam.web.exports.result import channel_of, neutral_name, source_of, study_result, windowed_as
from cfcam.web.library.about import about
from cfcam.web.library.maps import StudyMap
from cfcam.web.library.study import Study
from cfcam.web.problems import RefusedError

if TYPE_CHECKING:
    from pydicom import Dataset

Format = Literal["png", "pdf", "dicom", "json"]

MOST_MAPS = 24
"""Maps in one file, at most."""

NO_DICOM = "this study is no DICOM, so that there is nothing that a DICOM object could refer to: take PNG, PDF or JSON"

NO_WEIGHTS = "which weights made the map is not known, and a DICOM object says it: explain the study anew"


@dataclass(frozen=True)
class Look:
    """How the maps are shown.

    Attributes:
        palette: of the maps; None: the usual one.
        opacity: of them; None: the usual one.
        blend: what the opacity follows; None: the usual.
        threshold: of the regions and outlines; None: each map's own.
        window: from where to where grey values are shown; None: as the study says.
        scale: whether each map has its own scale or all have one.
        at: voxel of a volume that is shown; None: the peak.
        channel: of a volume with several, which lies under the maps.
        seen: all that the page says of its view, for the provenance.
    """

    palette: str | None = None
    opacity: float | None = None
    blend: str | None = None
    threshold: float | None = None
    window: tuple[float, float] | None = None
    scale: Literal["own", "common"] = "own"
    at: tuple[int, ...] | None = None
    channel: int = 0
    seen: Mapping[str, Any] | None = None

    def drawing(self) -> dict[str, Any]:
        """Returns what the code that draws takes; what is not chosen is left to it."""
        named = {"palette": self.palette, "opacity": self.opacity, "blend": self.blend}
        return {name: value for name, value in named.items() if value is not None}


def exported(
    study: Study,
    maps: Sequence[StudyMap],
    kind: Format,
    look: Look,
    *,
    objects: Sequence[str] = (),
    finish: Callable[[Dataset], None] = lambda _: None,
) -> Sent:
    """Returns a study with some of its maps as a file.

    Args:
        study: it is read for that.
        maps: of it.
        kind: of the file.
        look: how the maps are shown.
        objects: of "dicom" which (`cfcam.exchange.KINDS`); empty: all that the study's objects allow.
        finish: is given every DICOM object before it is encoded.

    Raises:
        RefusedError: the maps do not go together, or the study is no DICOM.
        CfcamError: a library is missing, or the study cannot be read.
    """
    if not maps or len(maps) > MOST_MAPS:
        raise RefusedError(422, f"{len(maps)} maps: choose 1 to {MOST_MAPS}")
    if any(one.kind in ("prior", "difference") for one in maps):
        raise RefusedError(
            409, "a prior or a difference lies on two studies, and a file here is of one: cfcam compare draws both"
        )
    maps = _by_class(maps)
    if kind != "png":
        _check_one_network(maps)
    if kind == "png":
        return Sent(f"{study.id}.png", "image/png", _png(study, maps, look))
    source = source_of(study, whole=kind == "dicom")
    if kind == "dicom" and source is None:
        raise RefusedError(409, NO_DICOM)
    channel = 0 if kind == "dicom" else look.channel  # DICOM objects refer to those of the first channel
    how: Any = {"window": look.window, "threshold": look.threshold, "channel": channel, "seen": look.seen}
    result = study_result(study, maps, source, **how)
    if kind == "json":
        from cfcam.clinical.report.numbers import as_json

        return Sent(f"{study.id}.json", "application/json", as_json(result))
    if kind == "pdf":
        from cfcam.clinical.report.numbers import as_json
        from cfcam.clinical.report.page import render
        from cfcam.clinical.report.pdf import as_pdf

        return Sent(f"{study.id}.pdf", "application/pdf", as_pdf(render(result, **look.drawing()), as_json(result)))
    assert source is not None  # noqa: S101 (told above)
    return _dicom(study.id, result, source, objects, look, finish)


def _by_class(maps: Sequence[StudyMap]) -> list[StudyMap]:
    """All maps of the first class, then those of the next: as a result has them."""
    classes = list(dict.fromkeys((one.class_index, one.class_name) for one in maps))
    return sorted(dict.fromkeys(maps), key=lambda one: classes.index((one.class_index, one.class_name)))


def _check_one_network(maps: Sequence[StudyMap]) -> None:
    other = next((one for one in maps if one.kind != "evidence"), None)
    if other is not None:
        raise RefusedError(
            409, f"{other.method}: a map of {other.kind} is no evidence for a class, and is in no report: take PNG"
        )
    networks = {(about(one).model, one.layer) for one in maps}
    if len(networks) > 1:
        raise RefusedError(409, "these maps are of several networks or layers: take one file for each")


def _png(study: Study, maps: Sequence[StudyMap], look: Look) -> bytes:
    """Nothing is measured for a picture: of a large volume that takes seconds."""
    from cfcam.imaging.drawing.sheet import Panel
    from cfcam.web.exports.drawing import drawn

    image = channel_of(study, look.channel)
    most = max((one.scale_max or 0.0) for one in maps)
    common = look.scale == "common" and most > 0
    panels = []
    for one in maps:
        heat = one.heat()
        if common:
            heat = heat * np.float32((one.scale_max or 0.0) / most)
        cut = look.threshold or one.threshold
        if common and cut is not None and look.threshold is None:
            cut = cut * (one.scale_max or 0.0) / most or None
        panels.append(
            Panel(heat, one.method, one.class_name, one.probability, one.status, threshold=cut, margin=one.margin)
        )
    picture, _, _ = windowed_as(image, look.window)
    window = look.window if isinstance(image, Volume) else None
    centred = None if window is None else ((window[0] + window[1]) / 2, max(window[1] - window[0], 1e-6))
    return drawn(
        image,
        picture,
        panels,
        look.drawing(),
        title=neutral_name(study),
        footer=_footer(study, maps, common=common),
        at=look.at,
        window=centred,
    )


def _footer(study: Study, maps: Sequence[StudyMap], *, common: bool) -> str:
    networks = {about(one).model for one in maps}
    model = networks.pop() if len(networks) == 1 else None
    layers = {one.layer for one in maps if one.layer}
    told = [
        "" if model is None else model.name,
        f"layer {', '.join(sorted(layers))}" if layers else "",
        "" if model is None or not model.weights_sha256 else f"weights {model.weights_sha256[:12]}",
        f"source {study.facts().sha256[:12]}" if study.facts().sha256 else "",
        "on one scale: 1 is the greatest maximum of these maps" if common else "",
        "research use only, not a medical device",
    ]
    return " · ".join(filter(None, told))


def _dicom(
    name: str,
    result: StudyResult,
    source: Any,
    objects: Sequence[str],
    look: Look,
    finish: Callable[[Dataset], None],
) -> Sent:
    from cfcam.exchange.dicom.study import dicom_of
    from cfcam.exchange.dicom.write import KINDS, encoded
    from cfcam.imaging.drawing.look import OPACITY
    from cfcam.imaging.drawing.palettes import EMBER

    if not result.model.weights_sha256:
        raise RefusedError(409, NO_WEIGHTS)
    notes: list[str] = []
    made = []
    usual: dict[str, Any] = {"palette": EMBER, "opacity": OPACITY, "blend": "value"}
    for kind, dataset in dicom_of(result, source, tuple(objects) or KINDS, notes, **usual | look.drawing()):
        finish(dataset)
        made.append(Sent(f"{kind}_{dataset.SOPInstanceUID}.dcm", "application/dicom", encoded(dataset)))
    if not made:
        raise RefusedError(409, "; ".join(notes) or "no DICOM object can be made of this study")
    return together(name, made)

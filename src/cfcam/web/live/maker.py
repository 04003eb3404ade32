"""What made a map of evidence, so that something more can be asked of the same network, method and layer."""

from __future__ import annotations

import json
from copy import copy
from typing import Any

from cfcam.errors import InputError
from cfcam.explainer import Explainer
from cfcam.imaging import Image, Volume
from cfcam.jobs.engine.inference import Engine
from cfcam.methods import named_methods
from cfcam.web.library.about import about
from cfcam.web.library.maps import StudyMap
from cfcam.web.live.engine import LiveEngine


def maker_of(engine: LiveEngine, image: Image | Volume, of: StudyMap, *, what: str) -> tuple[Engine, Explainer]:
    """Returns the engine, and an explainer with the method and layer of a map that this network made.

    Args:
        engine: explains.
        image: of the study.
        of: the map.
        what: is wanted of it, for the message, such as "uncertainty is measured of".

    Raises:
        InputError: the map is not one of evidence for a class, or not known to be this network's.
    """
    if of.kind != "evidence" or of.class_index < 0:
        given = f"a map of {of.kind}" if of.kind != "evidence" else f"the contrast {of.class_name!r}"
        raise InputError(f"{given}: {what} the map of a class; choose one")
    own = engine.engine(image)
    explainer = copy(own.explainer).but(named_methods(of.method), layer=of.layer)
    known, parameters = about(of), explainer.provenance()["methods"][of.method]
    weights = known.model.weights_sha256 if known.model else ""
    if weights != explainer.fingerprint() or _plain(known.parameters) != _plain(parameters):
        raise InputError(
            f"the viewer's network is not known to have made this map of {of.method}, and {what} maps of one network,"
            " method and layer only: ask for the map here first"
        )
    return own, explainer


def _plain(values: Any) -> str:
    return json.dumps(dict(values), sort_keys=True, default=str)

"""What changes the maps of a set-up, and all that is made of them; its hash tells two set-ups apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cfcam._version import __version__
from cfcam.models import LoadedModel


def meaning_of(
    drawn: Mapping[str, Any],
    model: LoadedModel,
    made_by: Mapping[str, Any],
    *,
    layer: str,
    preprocess: Mapping[str, Any],
    further: Mapping[str, Any],
) -> dict[str, Any]:
    """Returns what changes the pictures: two runs that agree in it need not both be made.

    Args:
        drawn: what was asked for.
        model: the network.
        made_by: what makes the maps, from `cfcam.Explainer.provenance`.
        layer: that is mapped.
        preprocess: what is done to each input.
        further: what else changes them for this kind of input.
    """
    return {
        **drawn,
        "cfcam": __version__,
        "model": {"spec": model.spec, **made_by["model"]},
        "classes": list(model.classes) if model.classes else None,
        "methods": made_by["methods"],
        "probability": made_by["probability"],
        **{key: made_by[key] for key in ("output",) if key in made_by},
        "layer": layer,
        "preprocess": preprocess,
        **further,
    }

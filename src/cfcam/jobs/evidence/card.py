"""The model card of an evidence pack: what the network itself says, and what only its makers can state."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from torch import nn

from cfcam.imaging import Preprocess
from cfcam.jobs.evidence.files import EvidenceError
from cfcam.models import model_name

NOT_STATED = "not stated"
FIELDS: Mapping[str, str] = {
    "name": "Name of the network",
    "version": "Version",
    "developers": "Who developed it",
    "contact": "Contact",
    "date": "Date of the network",
    "licence": "Licence",
    "intended_use": "Intended use",
    "intended_users": "Intended users",
    "intended_population": "Intended population",
    "out_of_scope": "Uses it is not meant for",
    "training_data": "Training data",
    "validation_data": "Validation data",
    "evaluation_data": "The data of this pack: origin, selection, period",
    "reference_standard": "Reference standard: who labelled, how, with what agreement",
    "inclusion_criteria": "Inclusion and exclusion",
    "ethics": "Ethics approval and consent",
    "performance_claims": "Performance claimed elsewhere",
    "known_limitations": "Known limitations",
    "risks": "Risks and mitigations",
    "human_oversight": "Human oversight",
    "monitoring": "Monitoring after deployment",
    "references": "References",
}
"""Fields that a user fills -> how they are called."""

_LONGEST = 4000
_MOST_KINDS = 12


def stated(values: Mapping[str, Any]) -> dict[str, str]:
    """Returns all fields of the card with what the user states; others say "not stated", nothing is made up.

    Raises:
        EvidenceError: a field is unknown, or holds no text.
    """
    unknown = sorted(set(values) - set(FIELDS))
    if unknown:
        raise EvidenceError(f"--card: {unknown[0]!r} is no field of the card; there are {', '.join(FIELDS)}")
    return {name: _text(name, values.get(name)) for name in FIELDS}


def _text(name: str, value: Any) -> str:
    if value is None:
        return NOT_STATED
    parts = value if isinstance(value, list) else [value]
    if not all(isinstance(part, (str, int, float)) or hasattr(part, "isoformat") for part in parts):
        raise EvidenceError(f"--card: {name} holds a {type(value).__name__}; give a text or a list of texts")
    text = "; ".join(str(part).strip() for part in parts if str(part).strip())
    if len(text) > _LONGEST:
        raise EvidenceError(f"--card: {name} has {len(text)} characters, more than {_LONGEST}; shorten it")
    return text or NOT_STATED


def described(
    module: nn.Module,
    *,
    spec: str,
    sha256: str,
    classes: list[str],
    layer: str,
    probability: str,
    preprocess: Preprocess,
) -> dict[str, Any]:
    """Returns what the network itself says: architecture, parameters, weights, classes, layer, preparation."""
    leaves = [type(m).__name__ for m in module.modules() if next(m.children(), None) is None]
    parameters = sum(p.numel() for p in module.parameters())
    return {
        "spec": model_name(spec),
        "architecture": type(module).__name__,
        "modules": dict(Counter(leaves).most_common(_MOST_KINDS)),
        "parameters": parameters,
        "buffers": sum(b.numel() for b in module.buffers()),
        "weights_sha256": sha256,
        "classes": classes,
        "probability": probability,
        "layer": layer,
        "prepared": preprocess.told,
        "preprocess": preprocess.as_dict(),
    }


def without_folders(note: str) -> str:
    """Returns a line without the folders of the paths in it, which may say who or where somebody is."""
    return re.sub(r"(?:\b[A-Za-z]:(?=[/\\]))?[^\s:@]*[/\\]", "", note)

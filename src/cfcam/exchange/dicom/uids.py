"""Unique identifiers that follow from what they identify, so that a second run gives the same ones."""

from __future__ import annotations

import json
from uuid import UUID, uuid5

_NAMESPACE = UUID("5d0f7a52-3c1e-5b0a-9b43-6f1b0c2d7e11")  # of cfcam's own; never to be changed


def derived_uid(*parts: object) -> str:
    """Return the UID that belongs to these parts: "2.25." and a name-based UUID (PS3.5 B.2, RFC 4122 section 4.3).

    Args:
        parts: texts, numbers, or lists and dictionaries of them; dictionaries in any order.
    """
    name = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"), default=str)
    return f"2.25.{uuid5(_NAMESPACE, name).int}"

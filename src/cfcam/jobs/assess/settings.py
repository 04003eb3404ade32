"""What is said, by whom, and of which map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cfcam import json_text
from cfcam.clinical.review import Verdict
from cfcam.errors import InputError


@dataclass(frozen=True)
class AssessSettings:
    """A reader's answer.

    Attributes:
        study: the numbers of the study, NAME_regions.json.
        verdict: what the reader makes of the map.
        reviewer: the reader's name, which is not checked.
        audit: a file or a database's URL; it may hold a password, and so is in no text.
        method: of the map; None: there is one only.
        target: number or name of its class; None: there is one only.
        comment: the reader's words; "" for none.
        amended: what the reader puts in the place of what the map says.
        source: the DICOM file, or the folder of its series, that was explained; None: as the run knows it.
    """

    study: Path
    verdict: Verdict
    reviewer: str
    audit: str = field(repr=False)
    method: str | None = None
    target: str | None = None
    comment: str = ""
    amended: Mapping[str, Any] = field(default_factory=dict)
    source: Path | None = None


def read_amended(texts: Sequence[str]) -> dict[str, Any]:
    """Returns what ``NAME=VALUE`` texts say, the values as JSON or else as text.

    Raises:
        InputError: a text is none, or a name is no field that can be amended.
    """
    from cfcam.clinical.audit.fields import AMENDED

    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or name not in AMENDED or name in found:
            raise InputError(f"--amend {text!r}: give NAME=VALUE, each once, with a name of {', '.join(AMENDED)}")
        try:
            found[name] = json_text.parse(value, f"--amend {name}")
        except ValueError:
            found[name] = value
        if not AMENDED[name](found[name]):
            raise InputError(f"--amend {name}: its value is of another kind, such as threshold=0.4 or peak=[120,80]")
    return found

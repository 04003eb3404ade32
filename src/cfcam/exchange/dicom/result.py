"""What a written object says of the result in it, apart from the map."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from cfcam.errors import InputError

Value = str | int | float | bool | None

_LONGEST_TEXT = 64  # characters of a Long String, PS3.5 table 6.2-1
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ResultInfo:
    """Model, method, layer and class of a map.

    Attributes:
        model_name: at most 64 characters; nothing of a patient, nor in any other text here.
        model_version: at most 64 characters.
        weights_sha256: of the weights, 64 lower case hexadecimal digits.
        method: of cfcam, such as "grad-cam".
        layer: name of the target layer.
        class_index: number of the explained class.
        class_name: its name, at most 64 characters.
        probability: of the class as the model gives it, in [0, 1]; None if it gives none.
        parameters: of the method and of what was done before it.
        created: when the map was computed; written as the date of every object. Without it that is the date of the
            source's content, so that a second run writes the same bytes.

    Raises:
        InputError: a value is out of its range, or a text empty, too long or of several values.
    """

    model_name: str
    model_version: str
    weights_sha256: str
    method: str
    layer: str
    class_index: int
    class_name: str
    probability: float | None = None
    parameters: Mapping[str, Value] = field(default_factory=dict)
    created: datetime | None = None

    def __post_init__(self) -> None:
        for name in ("model_name", "model_version", "method", "layer", "class_name"):
            text = getattr(self, name)
            if not text or len(text) > _LONGEST_TEXT or not text.isprintable() or "\\" in text:
                raise InputError(
                    f"{name} is {text!r}: DICOM takes 1 to {_LONGEST_TEXT} printable characters without a backslash;"
                    " shorten it"
                )
        if not _SHA256.fullmatch(self.weights_sha256):
            raise InputError(f"weights_sha256 is {self.weights_sha256!r}: give 64 lower case hexadecimal digits")
        probability = self.probability
        if probability is not None and not (math.isfinite(probability) and 0 <= probability <= 1):
            raise InputError(f"probability is {probability!r}: it must lie in [0, 1]")

    def identity(self) -> dict[str, object]:
        """Return what tells this result from others of the same picture, for deriving UIDs."""
        return {
            "model": [self.model_name, self.model_version, self.weights_sha256],
            "method": self.method,
            "layer": self.layer,
            "class": [self.class_index, self.class_name],
            "parameters": dict(self.parameters),
        }

    def settings(self) -> dict[str, str]:
        """Return everything a reader needs to compute the map again, as texts by name."""
        own = {
            "method": self.method,
            "layer": self.layer,
            "class": f"{self.class_index} {self.class_name}",
            "weights SHA-256": self.weights_sha256,
        }
        return own | {str(name): str(value) for name, value in self.parameters.items()}

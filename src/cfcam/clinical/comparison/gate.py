"""What a registration must reach, so that places of two studies may be compared. Nothing here imports numpy."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields

from cfcam.clinical.comparison.quality import Quality, Registration
from cfcam.errors import CfcamError, InputError

_WORSE = 0.05  # by how much, relative, mutual information may fall before the registration counts as a failure


class RegistrationError(CfcamError, ValueError):
    """Two images could not be registered, or not well enough.

    Attributes:
        registration: what was found, if anything.
    """

    def __init__(self, message: str, registration: Registration | None = None) -> None:
        super().__init__(message)
        self.registration = registration


@dataclass(frozen=True)
class Gate:
    """What a registration must reach; every default is an arbitrary starting point, to be set on the site's own cases.

    It tells a registration that went wrong from one that lies; it does not tell one patient from another.

    Attributes:
        correlation: least correlation of the grey values afterwards.
        overlap: least share of the prior image that the current one covers.
        shift: largest shift, as a share of the prior's longest side.
        rotation: largest angle in degrees.
        scale: largest factor along an axis, or its inverse.
    """

    correlation: float = 0.5
    overlap: float = 0.6
    shift: float = 0.3
    rotation: float = 25.0
    scale: float = 1.25

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise InputError(f"gate {name} is {value!r}: give a number")

    @classmethod
    def parse(cls, text: str) -> Gate:
        """Reads ``correlation=0.3,overlap=0.5``; what is left out keeps its default.

        Raises:
            InputError: another name, or no number.
        """
        known = [field.name for field in fields(cls)]
        values: dict[str, float] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, _, number = (piece.strip() for piece in part.partition("="))
            try:
                values[name] = float(number)
            except ValueError:
                values = {part: math.nan}
            if name not in known or part in values:
                raise InputError(f"gate {part!r}: give name=number, of {', '.join(known)}")
        return cls(**values)

    def problems(self, found: Quality) -> list[str]:
        """Returns in words what is not good enough; empty if all is."""
        gain = found.mutual_information / max(found.mutual_information_before, 1e-9)
        failed = {
            f"correlation {found.correlation:.2f} (before {found.correlation_before:.2f}), at least"
            f" {self.correlation:g} wanted": not found.correlation >= self.correlation,
            f"mutual information fell from {found.mutual_information_before:.3f} to {found.mutual_information:.3f}":
                gain < 1 - _WORSE,
            f"overlap {found.overlap:.0%}, at least {self.overlap:.0%} wanted": not found.overlap >= self.overlap,
            f"shift {found.shift_share:.0%} of the image, at most {self.shift:.0%} wanted":
                not found.shift_share <= self.shift,
            f"rotation {found.rotation:.1f} degrees, at most {self.rotation:g} wanted":
                not found.rotation <= self.rotation,
            f"scale {found.scale:.2f}, at most {self.scale:g} (or its inverse) wanted":
                not max(found.scale, 1 / found.scale) <= self.scale,
        }  # fmt: skip
        return [words for words, wrong in failed.items() if wrong]

    def check(self, registration: Registration) -> None:
        """Raises a `RegistrationError` that says what is not good enough, with its numbers and what can be done."""
        problems = self.problems(registration.quality)
        if problems:
            raise RegistrationError(
                f"registration not good enough: not compared ({'; '.join(problems)}): look at both images; if they lie"
                " over each other as they are give --no-registration, to accept less --gate correlation=0.3,...",
                registration,
            )

"""A further file of each input, which a floor above writes: this one need not know what it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from cfcam.explanation import Explanation
from cfcam.imaging import Image, Volume


@dataclass(frozen=True, eq=False)
class Seen:
    """An input that was explained.

    Attributes:
        image: as it was read.
        explanation: of this one.
        preprocess: the way from the input to the network, which the maps go back.
        name: what it may be called where others read it: of DICOM a neutral name.
        stem: what the paths of its files begin with.
        notices: of how it was read and prepared.
    """

    image: Image | Volume
    explanation: Explanation
    preprocess: Any
    name: str
    stem: Path
    notices: tuple[str, ...] = ()


class Written(NamedTuple):
    """What became of the further file.

    Attributes:
        files: that were written.
        left_out: what was not, and why, a line each.
    """

    files: tuple[Path, ...] = ()
    left_out: tuple[str, ...] = ()


class Further(Protocol):
    """Writes a further file of each input; it can be pickled, and be called from several threads."""

    def __call__(self, seen: Seen) -> Written:
        """Writes it.

        Raises:
            CfcamError: it cannot be written.
        """

    def described(self) -> dict[str, Any]:
        """Returns what changes the file."""

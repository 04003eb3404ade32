"""What pictures and volumes have of their own, as inputs of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from cfcam.explainer_windows import Windows
from cfcam.jobs.inputs.aside import Wanted
from cfcam.jobs.inputs.find import Input
from cfcam.jobs.runs.drawing import Artist


class InputKind(Protocol):
    """What pictures and volumes have of their own: `cfcam.jobs.runs.pictures.Pictures`, `...volumes.Volumes`."""

    @property
    def preprocess(self) -> Any:
        """What is done to each input before the network sees it."""

    @property
    def draw(self) -> Artist:
        """Writes the files of an input."""

    @property
    def windows(self) -> Windows | None:
        """How inputs are explained window by window; None: in one piece."""

    @property
    def most_ahead(self) -> int | None:
        """How many inputs are read before they are explained, at most; None: as many as the run likes."""

    def shape(self, inputs: Iterable[Input], read: Callable[[Input], Any]) -> Any:
        """Returns a preparation that gives noise the shape of the network's input; None if nothing tells it."""

    def read(self, source: Input) -> Any:
        """Reads an input."""

    def wanted(self, sources: Sequence[Input]) -> Wanted | None:
        """Returns what an `Aside` is asked for some inputs; None where they are not for it."""

    def note(self, notice: str, source: Input) -> tuple[str, str]:
        """Returns what a run says of a notice; and of all notices with the same first text it says so but once."""

    def digest(self, source: Input) -> str:
        """Returns the SHA-256 that an input would have, if it was read."""

    def pixels(self, image: Any) -> int:
        """Returns how many pixels or voxels an input has."""

    def memory(self, image: Any) -> int:
        """Returns how many bytes of memory an input takes."""

    def described(self) -> dict[str, Any]:
        """Returns what changes the files, beside the settings and the preparation."""

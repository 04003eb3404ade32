"""Pictures that are no files of their own: a path says where they lie, and its kind knows how they are read."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from pathlib import PosixPath
from typing import Final, Self

from cfcam.files import Stamp

LARGEST: Final = 512 * 2**20
"""Bytes that are taken of one of them: the system does not map them as it does files."""


class Elsewhere(PosixPath):
    """A path to what the system knows no file of; it has names and parents as any path has, and is only read."""

    @abstractmethod
    def content(self) -> bytes:
        """Returns its bytes, at most `LARGEST`.

        Raises:
            ImageError: they cannot be read, or are too many. The message does not say of what.
        """

    @abstractmethod
    def stamp(self) -> Stamp | None:
        """Returns what is known of it without reading it, see `cfcam.files.stamp_of`; None if that says too little.

        Raises:
            OSError: it is not there.
            ImageError: likewise, or nobody says.
        """

    @property
    def everywhere(self) -> Self:
        """The same, wherever a process is at work."""
        return self

    def sha256(self) -> str:
        """Returns the SHA-256 of its bytes, hexadecimal.

        Raises:
            ImageError: they cannot be read.
        """
        return hashlib.sha256(self.content()).hexdigest()

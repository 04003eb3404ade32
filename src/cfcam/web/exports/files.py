"""Files on their way out: neutral names, and several in one archive that has the same bytes every time."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first that the format knows; a time of writing would change the bytes


@dataclass(frozen=True)
class Sent:
    """A file that is sent.

    Attributes:
        name: what it is called; holds nothing of a patient, nor of where a study lies.
        media_type: of its content.
        data: its bytes.
    """

    name: str
    media_type: str
    data: bytes


def together(name: str, files: Sequence[Sent]) -> Sent:
    """Returns one file as it is, several as a ZIP archive, stored and not packed, in the order given."""
    if len(files) == 1:
        return files[0]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            entry = zipfile.ZipInfo(file.name, _EPOCH)
            entry.create_system, entry.external_attr = 3, 0o600 << 16
            archive.writestr(entry, file.data)
    return Sent(f"{name}.zip", "application/zip", stream.getvalue())

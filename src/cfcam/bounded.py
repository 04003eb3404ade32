"""Files from outside are read up to a limit: who takes a file whole says how large it may be."""

from __future__ import annotations

from pathlib import Path

from cfcam.errors import CfcamError, InputError, one_line


def read_bounded(path: Path, largest: int, error: type[CfcamError] = InputError, *, shown: str = "") -> bytes:
    """Returns the bytes of a file; of one that is too large one more than it may have, for the caller to say so.

    Args:
        path: the file.
        largest: the bytes that it may have.
        error: what is raised.
        shown: what the message calls the file; "" its name, for its folders may name a patient.

    Raises:
        CfcamError: of the kind ``error``: it is missing, or cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return stream.read(largest + 1)
    except (OSError, ValueError) as cause:  # ValueError: a name that no file can have
        reason = getattr(cause, "strerror", None) or one_line(cause, 80)
        raise error(f"{one_line(shown or path.name)}: cannot be read ({reason}); check the path") from cause

"""Files that their owner alone may read: whatever shows a patient, and keys.

The command line sets the process's umask, so that all that it makes is private: pictures, pages, manifests, DICOM
objects, what libraries write for it, and the folders that hold them. In a library that is not ours to do: there records
and keys are made private one by one, and all else as the user's umask has it.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

UMASK: Final = "CFCAM_UMASK"
"""Environment variable with another umask for the command line, octal: 027 lets the group read."""

PSEUDONYMS: Final = "find out who is behind a pseudonym"
"""What others can do with a key of pseudonyms that they may read."""

DOORS: Final = "enter in your name"
"""What they can do with a password, a token or the key of a certificate."""

_OWNER_ALONE: Final = 0o077


def keep_private() -> None:
    """Lets nobody but its owner read what this process makes from now on.

    A folder with a default access control list goes its own way: so do those who work together share it.
    """
    try:
        mask = int(os.environ.get(UMASK, "") or "077", 8)
    except ValueError:
        mask = _OWNER_ALONE
    os.umask(mask & 0o777)


def make_private(path: Path) -> None:
    """Makes an empty file for its owner alone, if there is none; one that cannot be made is told by who writes it."""
    with suppress(OSError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def opener(path: str, flags: int) -> int:
    """Opens a new file for its owner alone, as ``open`` takes it."""
    return os.open(path, flags, 0o600)


def exposed(path: Path, so: str) -> str:
    """Returns what is to be done about a secret file that others than its owner may read; "" where none may.

    Files that a container has as its secrets are often readable for all, and cannot be changed there: it is said, and
    not refused.

    Args:
        path: the file.
        so: what others can do with what is in it: `PSEUDONYMS` or `DOORS`.
    """
    if os.name != "posix" or not path.is_file() or not stat.S_IMODE(path.stat().st_mode) & 0o077:
        return ""
    return f"{path.name}: others than you may read it, and so {so}: chmod 600 {path.name}"

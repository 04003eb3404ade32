"""The secret key of pseudonyms, in a file."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from cfcam.errors import InputError

KEY_BYTES = 32


def new_key() -> bytes:
    """Returns a key that nobody has had before."""
    return secrets.token_bytes(KEY_BYTES)


def kept_key(path: Path) -> bytes:
    """Returns the key in a file; makes one, for its owner alone to read, if the file is missing.

    Raises:
        InputError: the file can be neither read nor made.
    """
    try:
        if not path.exists():
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_hex(KEY_BYTES))
        return path.read_bytes().strip()
    except OSError as problem:
        raise InputError(f"the key file cannot be read or made ({problem.strerror}); check its path") from None

"""Files written whole or not at all, their hashes, and JSON in one form; what a killed run leaves can be read."""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file under a temporary name and renames it, so that it is there whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def settings_hash(settings: dict[str, Any]) -> str:
    """Returns the SHA-256 of plain values, independent of the order of keys."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()


def canonical(values: Any) -> bytes:
    """Returns plain values as JSON with sorted keys and no white space, ASCII: equal values give equal bytes."""
    return json.dumps(without_nan(values), sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def digest(values: Any) -> str:
    """Returns the SHA-256 of plain values, hexadecimal."""
    return hashlib.sha256(canonical(values)).hexdigest()


def without_nan(values: Any) -> Any:
    """Returns plain values with None for numbers that are not finite."""
    if isinstance(values, dict):
        return {str(key): without_nan(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [without_nan(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values


def write_json(path: Path, values: Any) -> Path:
    """Writes plain values for people and programs, whole or not at all."""
    text = json.dumps(without_nan(values), indent=2, ensure_ascii=False, allow_nan=False)
    write_whole(path, f"{text}\n".encode())
    return path

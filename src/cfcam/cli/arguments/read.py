"""What is typed, read: sizes, numbers and words; the same functions refuse what is none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from cfcam.errors import InputError

# Known here without importing numpy; tests keep them equal to what the library takes.
_MOST_PIXELS, _MOST_VOXELS = 64_000_000, 2**29  # of what is read, and so of what a network is given
_MOST_DIGITS = 9
_VOXELS = f"is more than a volume may have: give {_MOST_VOXELS} voxels at most, as 96x96x64"
WINDOWS = ("brain", "soft-tissue", "mediastinum", "liver", "lung", "bone")


def read_size(text: str | None) -> int | tuple[int, int] | None:
    """Reads ``224`` or ``256x192`` (height x width)."""
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.strip().isdecimal() and part.strip().strip("0") for part in parts):
        raise InputError(f"--size {text!r}: give a number of pixels like 224, or height and width like 256x192")
    if any(len(part.strip()) > _MOST_DIGITS for part in parts) or int(parts[0]) * int(parts[-1]) > _MOST_PIXELS:
        raise InputError(f"--size {text[:30]!r}: is more than a picture may have: give 64 megapixels at most, as 224")
    numbers = [int(part) for part in parts]
    return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])


def read_volume_size(text: str | None) -> int | tuple[int, ...] | None:
    """Reads ``224``, ``256x192`` (height x width) or ``64x96x64`` (along the axes of the orientation)."""
    if text is not None and text.lower().count("x") == 2:
        if any(len(part.strip()) > _MOST_DIGITS for part in text.lower().split("x")):
            raise InputError(f"--size {text[:30]!r}: {_VOXELS}")
        sides = tuple(map(int, _numbers("--size", text, whole=True)))
        voxels_of(*sides)
        return sides[0], sides[1], sides[2]
    return read_size(text)


def voxels_of(*sides: int) -> int:
    """Returns how many voxels a network's input has.

    Raises:
        InputError: they are more than of any volume that is read.
    """
    if (found := math.prod(sides)) > _MOST_VOXELS:
        raise InputError(f"--size {'x'.join(map(str, sides))}: {_VOXELS}")
    return found


def read_numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    """Reads one number, or one for each channel, separated by commas."""
    if text is None:
        return None
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or not all(map(math.isfinite, numbers)):
        raise InputError(
            f"{option} {text!r}: give one number, or one for each channel with commas between, like 0.485,0.456,0.406"
        )
    return numbers


def read_target(text: str) -> int | str:
    """Reads an index, or leaves a name or a keyword: predicted, all, top-3, output-0, "a vs b"."""
    stripped = text.strip()
    return int(stripped) if stripped.removeprefix("-").isdecimal() else stripped


def read_words(option: str, text: str) -> tuple[str, ...]:
    """Reads names with commas between, each once."""
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not words:
        raise InputError(f"{option} {text!r}: give one or more names with commas between")
    return words


def check_words(option: str, text: str | None, known: Sequence[str]) -> tuple[str, ...]:
    """Reads words with commas between, each of which must be known; of None there are none."""
    if text is None:
        return ()
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not words or any(word not in known for word in words):
        raise InputError(f"{option} {text!r}: give one or more of {', '.join(known)}, with commas between")
    return words


def class_names(given: str) -> str | list[str]:
    """Returns the names that stand in an option with commas between; else what is given, a file of them."""
    return [name.strip() for name in given.split(",")] if "," in given and not Path(given).exists() else given


def read_window(text: str | None) -> str | tuple[float, float] | None:
    """Reads the name of a window, or centre and width."""
    if text is None or text in WINDOWS:
        return text
    try:
        centre, width = (float(part) for part in text.split(","))
    except ValueError:
        centre = width = math.nan
    if not (math.isfinite(centre) and math.isfinite(width) and width > 0):
        raise InputError(f"--window {text!r}: give one of {', '.join(WINDOWS)}, or centre and width like 40,400")
    return centre, width


def read_spacing(text: str | None) -> float | tuple[float, float, float] | None:
    """Reads ``1.5`` or ``1x1x2.5`` (mm)."""
    if text is None:
        return None
    mm = _numbers("--spacing", text)
    return (mm[0], mm[1], mm[2]) if len(mm) == 3 else mm[0]


def read_sliding(text: str) -> int | tuple[int, ...]:
    """Reads ``96`` or ``96x96x64`` (voxels)."""
    sides = tuple(int(side) for side in _numbers("--sliding", text, whole=True))
    return sides[0] if len(sides) == 1 else sides


def _numbers(option: str, text: str, *, whole: bool = False) -> tuple[float, ...]:
    """Reads one number or three with x between."""
    parts = text.lower().split("x")
    try:
        numbers = tuple(int(part) if whole else float(part) for part in parts)
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 3) or not all(math.isfinite(n) and n > 0 for n in numbers):
        example = "96 or 96x96x64" if whole else "1 or 1x1x2.5"
        raise InputError(f"{option} {text!r}: give one number above 0, or three like {example}")
    return numbers


def read_channels(text: str | None) -> tuple[Path, ...]:
    """Reads the files of one study's modalities, with commas between; () for None.

    Raises:
        InputError: there is none, one has no name, or one is not there.
    """
    if text is None:
        return ()
    names = [name.strip() for name in text.split(",")]
    if "" in names:
        which = f"channel {names.index('')} has no name: " if any(names) else ""
        raise InputError(f"--channels {text!r}: {which}give the file of each modality, with commas between")
    files = tuple(Path(name).expanduser() for name in names)
    for number, file in enumerate(files):
        if not file.exists():
            raise InputError(f"--channels: channel {number} is missing: there is no {file}; check the path")
    return files

"""Pictures in object stores, named by URLs: listed, read one by one through fsspec, and never written.

Who may read is for the environment, or fsspec's configuration, to say. A URL that holds a password or a token is
refused: it would stand in the shell's history, in the list of processes and in what a run writes of itself.
"""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import lru_cache
from glob import has_magic
from hashlib import sha256
from importlib.util import find_spec
from typing import Any, Final, Self

from cfcam.errors import CfcamError, ImageError, InputError, MissingExtraError, describe_first, one_line
from cfcam.files import Stamp
from cfcam.imaging.reading.elsewhere import LARGEST, Elsewhere
from cfcam.imaging.reading.listing import EXTENSIONS
from cfcam.jobs.inputs.marks import Lookup, hashes
from cfcam.jobs.inputs.tars import ENDING, OF_TARS
from cfcam.shown import DEEPER
from cfcam.urls import shown_url

EXTRA: Final = "object-store"
LIBRARIES: Final = {
    **dict.fromkeys(("s3", "s3a"), "s3fs"),
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("abfs", "abfss", "az", "adl"), "adlfs"),
}
"""Scheme -> the library that reads it, beside fsspec."""
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+")
_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://([^/]+)(?:/(.*))?", re.DOTALL)
_SECRETS: Final = re.compile(r"KEY|SECRET|TOKEN|PASSW|CREDENTIAL|CONNECTION_STRING")
_SHORTEST_SECRET: Final = 8
_ETAGS, _TIMES = ("ETag", "etag", "md5Hash"), ("LastModified", "last_modified", "updated", "mtime", "created")


class Address(Elsewhere):
    """An object, or the beginning of the names of several, in an object store; as a text it is its URL."""

    _listing: Listing | None = None

    def __str__(self) -> str:
        return _SCHEME.sub(r"\1://", super().__str__(), count=1)

    def __fspath__(self) -> str:
        return str(self)

    def __truediv__(self, key: str | os.PathLike[str]) -> Self:
        """Returns what lies below; it is known of it what a listing has told."""
        below = super().__truediv__(key)
        below._listing = self._listing
        return below

    @property
    def parent(self) -> Self:
        """What it lies in, with what a listing has told."""
        parent = super().parent
        parent._listing = self._listing
        return parent

    @property
    def scheme(self) -> str:
        """What the URL begins with."""
        return str(self).partition("://")[0].lower()

    @property
    def inner(self) -> str:
        """Bucket and key, as fsspec takes them."""
        return str(self).partition("://")[2]

    def content(self) -> bytes:
        """Returns its bytes, see `Elsewhere.content`: the size that is told is looked at first."""
        size = self._told()[0]
        if size > LARGEST:
            raise ImageError(f"has {size >> 20} MB, more than the {LARGEST >> 20} MB that are read of an object")
        if not size:
            raise ImageError("the object is empty (0 bytes); copy it again")
        data = _asked(self, "cat_file", start=0, end=LARGEST + 1)
        if len(data) > LARGEST:
            raise ImageError(f"has more than the {LARGEST >> 20} MB that are read of an object")
        return bytes(data)

    def stamp(self) -> Stamp | None:
        """Returns size, time and etag as the store tells them, of a listing if there was one."""
        stamp = self._told()
        return stamp if any(stamp[1:]) else None

    def _told(self) -> Stamp:
        known = None if self._listing is None else self._listing.stamp(self.inner)
        return _stamp(_asked(self, "info")) if known is None else known


class Listing:
    """What a store has told of many objects, in some forty bytes each."""

    def __init__(self, told: Mapping[str, Mapping[str, Any]]) -> None:
        stamps = [_stamp(info) for info in told.values()]
        self._places = Lookup(hashes(told))
        self._columns = [array("q", (stamp[n] for stamp in stamps)) for n in (0, 1, 3)]

    def stamp(self, inner: str) -> Stamp | None:
        """Returns the stamp of an object, by its bucket and key; None of one that it does not know."""
        number = next(self._places(inner), None)
        if number is None:
            return None
        size, time, tag = (column[number] for column in self._columns)
        return size, time, 0, tag


def address(text: str) -> Address | None:
    """Returns a URL of an object store; None for a text that is no URL at all.

    Raises:
        InputError: it is another URL, holds what may be a password, or a name that no path has.
        MissingExtraError: the library is not installed that reads it.
    """
    found = _URL.fullmatch(text)
    if found is None:
        if "://" not in text:
            return None
        raise InputError(f"{shown_url(text)}: is no address of an object: give SCHEME://BUCKET/KEY")
    scheme, bucket, key = found[1].lower(), found[2], found[3] or ""
    if scheme not in LIBRARIES:
        raise InputError(
            f"{shown_url(text)}: inputs are read from object stores ({', '.join(sorted(LIBRARIES))}), from folders and"
            " from tars; copy it here"
        )
    if ("@" in bucket and scheme not in ("abfs", "abfss")) or ":" in bucket or re.search(r"[?#]", text):
        raise InputError(
            f"{shown_url(text)}: a URL of inputs has no user, no password and no query: let the environment hold what"
            " opens the store"
        )
    if "\0" in key or any(part in ("", ".", "..") for part in (key.removesuffix("/").split("/") if key else ())):
        raise InputError(f"{shown_url(text)}: has an empty part, '.' or '..' in its key, which is not read; rename it")
    library = LIBRARIES[scheme]
    for needed in ("fsspec", library):
        if find_spec(needed) is None:
            raise MissingExtraError(needed, EXTRA if library == "s3fs" else "", f"{scheme}://")
    return Address(f"{scheme}://{bucket}", *([key] if key else []))


def objects_at(place: Address, *, recursive: bool, endings: Sequence[str] = EXTENSIONS) -> list[Address]:
    """Returns the pictures that an address stands for, by the order of their names.

    Of an object that is named, that alone, whatever it is; of a pattern (``s3://bucket/scans/*.png``) what it matches;
    of a prefix what lies directly below it, or anywhere.

    Args:
        place: as it was named.
        recursive: take the prefixes below a prefix too.
        endings: of names in small letters that are taken below a prefix.

    Raises:
        ImageError: the store cannot be asked, or there is no picture.
    """
    magic = has_magic(str(place))
    if place.name.lower().endswith(tuple(endings)) and not magic:
        return [place]
    if place.name.lower().endswith((ENDING, *OF_TARS)):
        raise ImageError(f"{place}: tars are read from a disk only: copy it to one, or name a prefix of pictures")
    pattern, start = "", place
    if magic and has_magic(place.parts[1]):
        raise InputError(f"{place}: the name of a bucket is no pattern: give one")
    if len(place.parts) > 2 and _is_object(place):
        return [place]
    if magic:
        parts = place.parts
        plain = next(n for n, part in enumerate(parts) if has_magic(part))
        start, pattern = type(place)(*parts[:plain]), place.inner
        recursive = recursive or plain < len(parts) - 1 or "**" in parts
    told = _told_below(start, recursive=recursive)
    found: dict[str, Mapping[str, Any]] = {}
    for inner, info in sorted(told.items()):
        name = inner.rpartition("/")[2]
        if name.startswith(".") or not name.lower().endswith(tuple(endings)) or not _is_below(start, inner):
            continue
        if pattern and not _matches(inner, pattern):
            continue
        found[inner] = info
    if not found:
        deeper = "" if recursive else f", or take what lies deeper too ({DEEPER})"
        what = "the pattern matches no picture; check it" if pattern else f"no picture lies there{deeper}"
        raise ImageError(f"{place}: {what}")
    start._listing = Listing(found)
    below = len(start.inner) + 1
    return [start / inner[below:] for inner in found]


def _matches(inner: str, pattern: str) -> bool:
    names, parts = inner.split("/"), pattern.split("/")
    if "**" in parts:
        return fnmatchcase(inner, pattern.replace("**/", "*"))
    return len(names) == len(parts) and all(map(fnmatchcase, names, parts))


def _is_below(start: Address, inner: str) -> bool:
    """Whether a key is below a prefix, and a path can hold it."""
    below = inner.removeprefix(f"{start.inner}/")
    return below != inner and all(part not in ("", ".", "..") for part in below.split("/"))


def _is_object(place: Address) -> bool:
    try:
        return bool(_asked(place, "info").get("type") == "file")
    except AbsentError:
        return False
    except ImageError as error:
        raise ImageError(f"{place}: {error}") from error


def _told_below(start: Address, *, recursive: bool) -> dict[str, Mapping[str, Any]]:
    try:
        if recursive:
            return dict(_asked(start, "find", detail=True))
        several: Iterable[Mapping[str, Any]] = _asked(start, "ls", detail=True)
    except ImageError as error:
        raise ImageError(f"{start}: {error}") from error
    return {str(info["name"]): info for info in several if info.get("type") == "file"}


class AbsentError(ImageError):
    """There is no such object, or nothing below the prefix."""


def _asked(place: Address, what: str, **how: Any) -> Any:
    """What fsspec answers; whatever a store's library raises is one line without what opens the store."""
    try:
        return getattr(_store(place.scheme), what)(place.inner, **how)
    except CfcamError:
        raise
    except FileNotFoundError:
        raise AbsentError("there is no such object; check the address") from None
    except PermissionError:
        raise ImageError(
            "the store lets nobody read it with what the environment holds; check key, region and endpoint"
        ) from None
    except Exception as error:  # noqa: BLE001 (of whichever library)
        raise ImageError(f"the store does not give it ({_without_secrets(describe_first(error, 10_000))})") from None


def _without_secrets(text: str) -> str:
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST_SECRET and _SECRETS.search(name.upper()):
            text = text.replace(value, "…")
    return one_line(shown_url(text))


@lru_cache(maxsize=8)
def _store(scheme: str) -> Any:
    import fsspec

    try:
        return fsspec.filesystem(scheme, use_listings_cache=False, skip_instance_cache=True)
    except ImportError as error:
        library = LIBRARIES[scheme]
        raise MissingExtraError(library, EXTRA if library == "s3fs" else "", f"{scheme}://") from error


def forget() -> None:
    """Asks the environment anew who may read, from now on."""
    _store.cache_clear()


def _stamp(info: Mapping[str, Any]) -> Stamp:
    """Size, time (whole seconds: a listing may tell more than an object does), nothing, and a number for the etag."""
    tag, when = (next((info[name] for name in names if info.get(name)), None) for names in (_ETAGS, _TIMES))
    if isinstance(when, str):
        try:
            when = datetime.fromisoformat(when)
        except ValueError:
            when = None
    if isinstance(when, datetime):
        when = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    time = int(when) * 1_000_000_000 if isinstance(when, (int, float)) else 0
    digest = 0 if tag is None else int.from_bytes(sha256(str(tag).strip('"').encode()).digest()[:7], "big")
    return int(info.get("size") or 0), time, 0, digest


def read_list(place: Address, largest: int) -> bytes:
    """Returns the bytes of a list in an object store.

    Raises:
        InputError: it cannot be read, or is too large.
    """
    try:
        data = place.content()
    except ImageError as error:
        raise InputError(f"{place}: {error}") from error
    if len(data) > largest:
        raise InputError(f"{place}: is larger than a list can be ({largest >> 20} MiB); give fewer lines")
    return data

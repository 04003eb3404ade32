"""Pictures in tars, such as WebDataset writes: found by their headers, read at their place; nothing is unpacked."""

from __future__ import annotations

import glob
import os
import re
import tarfile
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final, Self

from cfcam.errors import ImageError, one_line
from cfcam.files import Stamp, stamp_of, stays_inside
from cfcam.imaging.reading.elsewhere import LARGEST, Elsewhere
from cfcam.imaging.reading.listing import EXTENSIONS
from cfcam.jobs.inputs.marks import Lookup, hashes

ENDING: Final = ".tar"
NOT_THERE: Final = "is not in the tar; check the name"
_BLOCK: Final = 512
_MOST_OF_A_HEADER: Final = 1 << 20  # bytes of a long name, or of what POSIX.1-2001 adds to a header
_COMPRESSED: Final = re.compile(rb"\x1f\x8b|BZh|\xfd7zXZ\0|\x28\xb5\x2f\xfd")
_RANGE: Final = re.compile(r"(\d+)\.\.(\d+)")
_BRACES: Final = re.compile(r"\{([^{}]*)\}")
_MOST_SHARDS: Final = 100_000
_SPARSE: Final = tarfile.GNUTYPE_SPARSE
_WITHOUT_BYTES: Final = (
    *(tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE),
)


class Member(Elsewhere):
    """A picture in a tar: the tar's path, and behind it the member's name."""

    def content(self) -> bytes:
        """Returns its bytes, see `Elsewhere.content`."""
        tar, name = self.parted
        try:
            with tar.open("rb") as stream:
                index = _index(str(tar), _stamp(stream))
                offset, size = index.place(name)
                if size > LARGEST:
                    raise ImageError(f"has {size >> 20} MB, more than the {LARGEST >> 20} MB that are read from a tar")
                data = os.pread(stream.fileno(), size, offset)
        except OSError as error:
            raise ImageError(f"the tar cannot be read ({error.strerror}); check its path and permissions") from error
        if len(data) < size:
            raise ImageError("the tar ends in the middle of it: copy the tar again")
        if not data:
            raise ImageError("is empty (0 bytes) in the tar")
        return data

    def stamp(self) -> Stamp:
        """Returns the stamp of its tar: where nobody wrote to that, the name stands for the same bytes."""
        return stamp_of(self.parted[0])

    @property
    def everywhere(self) -> Self:
        """The same from the root."""
        return type(self)(os.path.abspath(self))  # noqa: PTH100 (Path.resolve would follow a link to the tar)

    @property
    def parted(self) -> tuple[Path, str]:
        """The tar, and the name in it."""
        parted = _parted(self)
        if parted is None:
            raise ImageError("the tar is not there; check the path")
        return parted


def _parted(path: Path) -> tuple[Path, str] | None:
    """A tar that is there, and the name behind it; None of a path that leads through none."""
    parts = path.parts
    for count, part in enumerate(parts[:-1], start=1):
        if part.lower().endswith(ENDING) and (tar := Path(*parts[:count])).is_file():
            return tar, "/".join(parts[count:])
    return None


def member(path: Path) -> Member | None:
    """Returns a path that leads into a tar as such; None for any other."""
    return Member(path) if ENDING in str(path).lower() and _parted(path) is not None else None


def tars(path: Path) -> list[Path]:
    """Returns the tars that a path stands for: one, those of a glob, or of braces (``train-{000..012}.tar``).

    There are none of any other path, and where none is there.

    Raises:
        ImageError: braces name a tar that is not there.
    """
    text = str(path)
    if not text.lower().endswith((ENDING, *OF_TARS)) or path.is_dir():
        return []
    if path.is_file():
        return [path]
    several = list(_without_braces(text))
    if len(several) > 1 and (
        missing := [one for one in several if not glob.has_magic(one) and not Path(one).is_file()]
    ):
        raise ImageError(f"{missing[0]}: no such file or folder; check the path")
    return [one for one in dict.fromkeys(Path(match) for one in several for match in _matching(one)) if one.is_file()]


OF_TARS: Final = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


def _matching(text: str) -> list[str]:
    return sorted(glob.glob(text, recursive=True)) if glob.has_magic(text) else [text]  # noqa: PTH207 (absolute)


def _without_braces(text: str) -> Iterator[str]:
    parts = _BRACES.split(text)
    choices = [_choices(part) if number % 2 else [part] for number, part in enumerate(parts)]
    count = 1
    for some in choices:
        count *= len(some)
    return map("".join, product(*choices)) if count <= _MOST_SHARDS else iter([text])


def _choices(within: str) -> list[str]:
    if (numbers := _RANGE.fullmatch(within)) is None:
        return within.split(",") if "," in within else [f"{{{within}}}"]
    first, last = int(numbers[1]), int(numbers[2])
    width = len(numbers[1]) if numbers[1].startswith("0") else 0
    return [f"{n:0{width}d}" for n in range(first, min(last, first + _MOST_SHARDS) + 1)] or [f"{{{within}}}"]


def pictures_in(tar: Path) -> list[Member]:
    """Returns the pictures of a tar, in its order; what cannot be read is among them, and says so when it is.

    Files that share their names up to the first dot are one sample, of which the picture is what is called like one
    behind that dot: of ``01.jpg``, ``01.cls`` and ``01.seg.png`` it is ``01.jpg``. Where a sample has none so called,
    all its pictures are taken.

    Raises:
        ImageError: it is no tar, is compressed, or holds no picture.
    """
    try:
        with tar.open("rb") as stream:
            head = stream.read(_BLOCK)
            if _COMPRESSED.match(head):
                raise ImageError(
                    f"{tar}: is compressed, and its pictures can only be read one after the other: unpack it"
                )
            stream.seek(0)
            found = list(_headers(stream))
    except OSError as error:
        raise ImageError(f"{tar}: cannot be read ({error.strerror}); check its permissions") from error
    if found and found[0].torn and found[0].at == 0:
        raise ImageError(f"{tar}: is no tar, or its beginning is damaged")
    names = _pictures(one for one in found if not one.torn)
    names += [one.name for one in found if one.torn]
    if not names:
        raise ImageError(f"{tar}: the tar holds no picture; name one whose members end in .png, .jpg, .tif or .dcm")
    return [Member(tar, name) for name in names]


def beside(picture: Member, ending: str) -> Member | None:
    """Returns what a sample holds beside its picture, by its ending (``.cls``, ``.CLS``); None if it holds none."""
    tar, name = picture.parted
    folder, slash, own = name.rpartition("/")
    index = _index(str(tar), stamp_of(tar))
    named = (f"{folder}{slash}{own.partition('.')[0]}{one}" for one in (ending, ending.upper()))
    return next((Member(tar, other) for other in named if other in index), None)


def missing(paths: Iterable[Path]) -> set[Path]:
    """Returns which of some paths lead to nothing in their tar; the headers of each tar are read once.

    Those of a tar that cannot be read are not among them: each says so when it is.
    """
    members: dict[Path, list[tuple[Path, str]]] = {}
    for path in paths:
        if isinstance(path, Member):
            tar, name = path.parted
            members.setdefault(tar, []).append((path, name))
    found: set[Path] = set()
    for tar, named in members.items():
        try:
            index = _index(str(tar), stamp_of(tar))
        except (OSError, ImageError):
            continue
        found.update(path for path, name in named if name not in index)
    return found


def _pictures(found: Iterable[_Header]) -> list[str]:
    samples: dict[str, list[tuple[str, bool]]] = {}
    for one in dict.fromkeys(header.name for header in found):
        folder, _, name = one.rpartition("/")
        if name.startswith(".") or not name.lower().endswith(EXTENSIONS):
            continue
        key, dot, ending = name.partition(".")
        samples.setdefault(f"{folder}/{key}", []).append((one, f"{dot}{ending}".lower() in EXTENSIONS))
    return [
        name
        for several in samples.values()
        for name, so_called in several
        if so_called or not any(called for _, called in several)
    ]


@dataclass(frozen=True)
class _Header:
    """What a header says of a member.

    Attributes:
        name: of the member, as it is shown.
        at: where the header begins, in bytes.
        offset: where its bytes begin.
        size: how many they are.
        wrong: why it is not read; "" if it is.
        torn: it stands for all that follows, of which nothing is known.
    """

    name: str
    at: int
    offset: int = 0
    size: int = 0
    wrong: str = ""
    torn: bool = False


class _Index:
    """Where each member of a tar lies, in some thirty bytes each."""

    def __init__(self, headers: Iterable[_Header]) -> None:
        self._offsets, self._sizes = array("Q"), array("Q")
        self._wrong: dict[str, str] = {}
        names = []
        for one in headers:
            if one.wrong:
                self._wrong[one.name] = one.wrong
            names.append(one.name)
            self._offsets.append(one.offset)
            self._sizes.append(one.size)
        for name, count in Counter(names).items():
            if count > 1:
                self._wrong[name] = f"stands in the tar {count} times, and which is meant is not known"
        self._places = Lookup(hashes(names))

    def __contains__(self, name: str) -> bool:
        """Tells whether a member is so called."""
        return next(self._places(name), None) is not None

    def place(self, name: str) -> tuple[int, int]:
        """Returns offset and size of a member.

        Raises:
            ImageError: there is none of this name, or it is not read.
        """
        if (wrong := self._wrong.get(name)) is not None:
            raise ImageError(wrong)
        number = next(self._places(name), None)
        if number is None:
            raise ImageError(NOT_THERE)
        return self._offsets[number], self._sizes[number]


@lru_cache(maxsize=16)
def _index(tar: str, stamp: Stamp) -> _Index:
    with Path(tar).open("rb") as stream:
        if _stamp(stream) != stamp:
            raise ImageError("the tar was replaced while it was read: run again")
        return _Index(_headers(stream))


def _stamp(stream: BinaryIO) -> Stamp:
    found = os.fstat(stream.fileno())
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _headers(stream: BinaryIO) -> Iterator[_Header]:
    """Yields the files in a tar (POSIX.1-1988 and -2001, GNU), and what is wrong with it, once, at the end.

    Python's own reader takes a damaged header for the end, and makes room for what a header claims.
    """
    at, long_name, more = 0, None, dict[str, str]()
    while True:
        stream.seek(at)
        block = stream.read(_BLOCK)
        if len(block) == _BLOCK and not any(block):
            return
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            size = int(more.get("size", header.size))
            offset, end = at + _BLOCK, at + _BLOCK + -(-size // _BLOCK) * _BLOCK
            if size < 0:
                raise ValueError("size")
        except (tarfile.HeaderError, ValueError):
            what = "ends without its last block, and may be cut off" if not block else "is damaged"
            yield _Header(
                f"behind byte {at}", at, wrong=f"the tar {what} at byte {at}: what follows is not read", torn=True
            )
            return
        kind = header.type
        if kind in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            if size > _MOST_OF_A_HEADER:
                wrong = f"the tar has a header of {size} bytes at byte {at}: what follows is not read"
                yield _Header(f"behind byte {at}", at, wrong=wrong, torn=True)
                return
            stream.seek(offset)
            data = stream.read(size)
            if kind == tarfile.GNUTYPE_LONGNAME:
                long_name = data.partition(b"\0")[0].decode("utf-8", "surrogateescape")
            elif kind in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
                more = _records(data)
            at = end
            continue
        name, sparse = more.get("path", long_name or header.name), any(key.startswith("GNU.sparse") for key in more)
        long_name, more = None, {}
        if kind not in (tarfile.DIRTYPE, tarfile.XGLTYPE) and not (header.isfile() and name.endswith("/")):
            wrong = _wrong(header, name, sparse)
            shown = f"byte {at} {one_line(PurePosixPath(name).name, 80)}" if wrong else str(PurePosixPath(name))
            yield _Header(shown, at, offset, size, wrong)
        at = offset if kind in _WITHOUT_BYTES else end + (_extended(stream, offset) if kind == _SPARSE else 0)


def _wrong(header: tarfile.TarInfo, name: str, sparse: bool) -> str:
    if header.issym() or header.islnk():
        return "is a link, and links are not followed"
    if sparse or header.type == _SPARSE or not header.isfile():
        return "is no plain file"
    if not stays_inside(name) or name.startswith("/"):
        return f"its name leads out of the tar ({one_line(name, 80)!r})"
    return ""


def _extended(stream: BinaryIO, offset: int) -> int:
    """How many bytes more the header of an old sparse file takes, of which its size knows nothing."""
    stream.seek(offset - _BLOCK)
    more, block = 0, stream.read(_BLOCK)
    flag = 482
    while len(block) == _BLOCK and block[flag]:
        block, flag = stream.read(_BLOCK), 504
        more += _BLOCK
    return more


def _records(data: bytes) -> dict[str, str]:
    """What POSIX.1-2001 adds to a header: lines of ``length key=value``."""
    found: dict[str, str] = {}
    while data:
        length, space, rest = data.partition(b" ")
        if not space or not length.isdigit() or not len(length) + 1 < int(length) <= len(data):
            break
        key, _, value = rest[: int(length) - len(length) - 2].partition(b"=")
        found[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        data = data[int(length) :]
    return found

"""What a checkpoint claims to hold, held against what the file can hold, before PyTorch makes room for it.

``torch.load(weights_only=True)`` runs no code, but believes numbers: it asks for the memory of tensors before it reads
them (in files of before PyTorch 1.6), makes a tensor or a ``bytearray`` of any size that a pickle names, and views of a
few bytes that are repeated a billion times. Here the pickle is followed with the same few instructions that it knows,
and nothing is made: a storage is its size, a name is a text.
"""

from __future__ import annotations

import io
import math
import pickletools
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, cast

import torch

_ROOM: Final = 2**30
"""Bytes that a compressed archive may become more than it has; PyTorch itself never compresses."""
_REPEATED: Final = 2**26
"""Elements, over all tensors, that are repeated ones (strides of 0) and lie nowhere in the file."""
_WRITTEN_OUT: Final = 2**20
"""Values of a tuple with everything in it written out."""

_LONGEST_NAME: Final = 1000

_PICKLES: Final = 5  # of a file of before 1.6: a magic number, a version, the system, the content, the storages' keys
_ITEM_BYTES: Final = {
    "Double": 8, "Float": 4, "Half": 2, "BFloat16": 2, "Long": 8, "Int": 4, "Short": 2, "Char": 1, "Byte": 1, "Bool": 1,
    "ComplexFloat": 8, "ComplexDouble": 16, "QInt8": 1, "QUInt8": 1, "QInt32": 4, "QUInt4x2": 1, "QUInt2x4": 1,
    "Untyped": 1, "Typed": 16,
}  # fmt: skip
_PACKED: Final = 4  # elements in a byte, of those with several
_DENSE: Final = frozenset({"_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_qtensor"})
_WITHOUT_VALUES: Final = frozenset(
    {"_rebuild_meta_tensor_no_storage", "_rebuild_wrapper_subclass", "_rebuild_nested_tensor"}
)
_CONSTANTS: Final = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_VALUES: Final = frozenset({"BININT", "BININT1", "BININT2", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING", "LONG1"})
_OBJECTS: Final = frozenset({"EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET"})
_TAKEN: Final = {"APPEND": 1, "SETITEM": 2}


class ClaimError(ValueError):
    """A checkpoint claims what it cannot hold; the message says what."""


class _Object:
    """Something that PyTorch would make, of no interest here."""


class _Name(str):
    """What a pickle names, without its module: of no two that PyTorch makes anything of is it the same."""

    __slots__ = ()


class _Tuple(tuple[Any, ...]):
    written_out: int


@dataclass(frozen=True)
class _Storage:
    elements: int
    item_bytes: int
    packed: bool = False


_OBJECT: Final = _Object()
_AS_TEXT: Final = ((), ("latin1",), ("latin-1",))  # how pickle writes bytes; other codecs make more of them


def check_claims(path: Path) -> None:
    """Follows the pickles of a file that ``torch.save`` wrote, in either form.

    Raises:
        ClaimError: a tensor or a storage is larger than the file, or than the archive's record of it, or asks for
            memory by a number.
        ValueError: the file is damaged. What else is wrong with it is left to ``torch.load``.
        OSError: it cannot be read.
        zipfile.BadZipFile: it begins as an archive, and is none.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
        file.seek(0)
        if zipped:
            _check_archive(file, size)
            return
        reading, bounded = _Reading(size), _Bounded(file, size)
        for _ in range(_PICKLES):
            if not reading.follow(bounded):
                return


def _check_archive(file: BinaryIO, size: int) -> None:
    with zipfile.ZipFile(file) as archive:
        records = {info.filename: info.file_size for info in archive.infolist()}
        if (claimed := sum(info.file_size for info in archive.infolist())) > size + _ROOM:
            raise ClaimError(f"its records claim {_bytes(claimed)}, the file has {_bytes(size)}")
        for name in records:
            if name.endswith("/data.pkl"):
                folder = name.removesuffix("data.pkl") + "data/"
                inside = {key.removeprefix(folder): held for key, held in records.items() if key.startswith(folder)}
                _Reading(size, inside).follow(io.BytesIO(archive.read(name)))


@dataclass(frozen=True)
class _Bounded:
    """A file that is never asked for more than it has: for that Python makes room at once."""

    file: BinaryIO
    size: int

    def read(self, count: int) -> bytes:
        return self.file.read(min(count, self.size - self.file.tell()))

    def readline(self) -> bytes:
        return self.file.readline()


@dataclass
class _Reading:
    """The state of PyTorch's unpickler, with sizes in place of what has them.

    Attributes:
        size: bytes of the file.
        records: of an archive: bytes of each storage by its key; None for a file of before 1.6.
    """

    size: int
    records: Mapping[str, int] | None = None
    _stack: list[Any] = field(default_factory=list)
    _below: list[list[Any]] = field(default_factory=list)
    _memo: dict[int, Any] = field(default_factory=dict)
    _known: set[str | int] = field(default_factory=set)
    _claimed: int = 0
    _repeated: int = 0

    def follow(self, file: _Bounded | io.BytesIO) -> bool:
        """Follows one pickle to its end; False at an instruction that PyTorch knows as little."""
        self._stack, self._below, self._memo = [], [], {}
        try:
            for code, argument, _ in pickletools.genops(cast("IO[bytes]", file)):
                if code.name == "STOP":
                    return True
                if not self._step(code.name, argument):
                    return False
        except (IndexError, KeyError, TypeError) as error:
            raise ValueError(f"its pickle is broken: {type(error).__name__} {error}") from error
        return False

    def _step(self, name: str, argument: Any) -> bool:
        stack = self._stack
        if name in _VALUES:
            stack.append(argument)
        elif name in _OBJECTS:
            stack.append(_OBJECT)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in ("BINPUT", "LONG_BINPUT"):
            self._memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif name == "GLOBAL":
            if len(argument) > _LONGEST_NAME:
                raise ValueError("its pickle names something with thousands of letters")
            stack.append(_Name(argument.rpartition(" ")[2]))
        elif name == "MARK":
            self._below.append(stack)
            self._stack = []
        elif name == "TUPLE":
            items = self._to_mark()
            self._stack.append(_tuple(items))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            items = [stack.pop() for _ in range(int(name[-1]))]
            stack.append(_tuple(items[::-1]))
        elif name in ("APPENDS", "SETITEMS"):
            self._to_mark()
        elif name in _TAKEN:
            for _ in range(_TAKEN[name]):
                stack.pop()
        elif name in ("REDUCE", "NEWOBJ"):
            given = stack.pop()
            stack[-1] = self._called(stack[-1], given)
        elif name == "BUILD":
            state = stack.pop()
            if isinstance(state, tuple) and len(state) >= 4 and isinstance(state[0], _Storage):
                self._placed(state)
        elif name == "BINPERSID":
            stack[-1] = self._stored(stack[-1])
        else:
            return name == "PROTO"
        return True

    def _to_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._below.pop()
        return items

    def _called(self, what: Any, given: Any) -> Any:
        if not isinstance(what, _Name) or not isinstance(given, tuple):
            # PyTorch refuses it too, but may take minutes over that.
            raise TypeError("it calls what cannot be called")
        if what == "_rebuild_from_type_v2":
            return self._called(given[0], given[2])
        if what in _DENSE:
            self._placed(given, of_bytes=given[6] if what == "_rebuild_tensor_v3" else None)
        elif what in _WITHOUT_VALUES:
            raise ClaimError(f"it holds a tensor without values of its own ({what})")
        elif what == "Size" and given and isinstance(given[0], tuple):
            return given[0]
        elif what.endswith(("Tensor", "Storage")) and given:
            raise ClaimError(f"it asks for a {what} by a number or a list")
        elif what in ("bytearray", "encode"):
            if not given or not isinstance(given[0], str | bytes) or given[1:] not in _AS_TEXT:
                raise ClaimError(f"it asks for bytes by a number, a list or a codec ({what})")
            return given[0]
        return _OBJECT

    def _stored(self, said: Any) -> _Storage:
        kind, key, _, elements, *view = said[1:]
        if not isinstance(kind, _Name) or not isinstance(key, str | int) or not _whole(elements):
            raise ValueError("its pickle names a storage that is none")
        name = kind.removesuffix("Storage")
        item_bytes = _ITEM_BYTES.get(name, max(_ITEM_BYTES.values()))
        claimed = elements * item_bytes
        if self.records is not None:
            held = self.records.get(str(key), 0)
            if claimed > held:
                raise ClaimError(f"a tensor claims {_bytes(claimed)}, its record has {_bytes(held)}")
        elif key not in self._known:
            self._known.add(key)
            self._claimed += claimed
            if self._claimed > self.size:
                raise ClaimError(f"its tensors claim {_bytes(self._claimed)}, the file has {_bytes(self.size)}")
        if view and view[0] is not None:
            _, offset, length = view[0]
            if not _whole(offset) or not _whole(length) or offset + length > elements:
                raise ClaimError("a tensor claims more than its storage has")
            elements = length
        return _Storage(elements, item_bytes, packed="x" in name)

    def _placed(self, said: tuple[Any, ...], of_bytes: Any = None) -> None:
        """A tensor in a storage: where it begins, its shape, its strides."""
        storage, offset, shape, strides = said[:4]
        if not (
            isinstance(storage, _Storage)
            and _whole(offset)
            and all(isinstance(one, tuple) and all(map(_whole, one)) for one in (shape, strides))
            and len(shape) == len(strides)
        ):
            raise ValueError("its pickle names a tensor that is none")
        held = storage.elements * (_PACKED if storage.packed else 1)
        if of_bytes is not None:
            dtype = getattr(torch, str(of_bytes), None)
            held = storage.elements * storage.item_bytes // (dtype.itemsize if isinstance(dtype, torch.dtype) else 1)
        elements = math.prod(shape)
        end = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) + 1 if elements else 0
        if end > held:
            raise ClaimError(f"a tensor claims {end} values, its storage has {held}")
        self._repeated += max(elements - held, 0)
        if self._repeated > _REPEATED:
            raise ClaimError(f"a tensor claims {elements} values, which are {held} repeated")


def _tuple(items: list[Any]) -> _Tuple:
    made = _Tuple(items)
    made.written_out = 1 + sum(one.written_out if isinstance(one, _Tuple) else 1 for one in items)
    if made.written_out > _WRITTEN_OUT:
        raise ClaimError(f"its tuples have {made.written_out} values when they are written out")
    return made


def _whole(number: Any) -> bool:
    return type(number) is int and number >= 0


def _bytes(count: int) -> str:
    return f"{count / 2**20:.4g} MiB" if count >= 2**20 else f"{count} bytes"

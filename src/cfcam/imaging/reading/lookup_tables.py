"""Lookup tables of DICOM objects: of the modality, of the window (VOI), and palettes, as files really hold them.

PS3.3 C.11.1.1 (modality), C.11.2.1.1 (VOI), C.7.6.3.1.5 and C.7.6.3.1.6 (palettes), C.7.9.2 (segmented palettes).
Tables of 8 bits lie in bytes or, written by some, in words of 16; what a descriptor says and what the data are need not
agree. The number of entries is believed to the descriptor, their depth to the data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfcam.errors import ImageError

Tell = Callable[[str], None]
"""Takes a line that a user should know; it may come several times."""

Span = tuple[float, float]
"""Smallest and greatest value that a table could be asked for."""

_MOST = 1 << 16
_COLOURS = ("Red", "Green", "Blue")
_DISCRETE, _LINEAR, _INDIRECT = range(3)  # PS3.3 C.7.9.2


@dataclass(frozen=True)
class LookupTable:
    """A table as it is applied.

    Attributes:
        first: the value that the first entry belongs to; lower ones get the first entry, higher ones the last.
        entries: uint16.
        bits: depth of the entries: white is 2 ** bits - 1.
        missing: how many entries of those declared are not there.
    """

    first: int
    entries: NDArray[np.uint16]
    bits: int
    missing: int = 0

    def __call__(self, values: NDArray[Any]) -> NDArray[np.uint16]:
        """Return the entries for values of any shape; fractions are rounded."""
        whole = values if values.dtype.kind in "iu" else np.rint(values)
        index = np.clip(whole, self.first, self.first + len(self.entries) - 1).astype(np.int64) - self.first
        return self.entries[index]

    def lacks(self, values: NDArray[Any]) -> bool:
        """Whether values ask for entries that are declared and not there."""
        return self.missing > 0 and values.size > 0 and float(np.nanmax(values)) >= self.first + len(self.entries)

    @property
    def held(self) -> str:
        """How many entries are there, in words."""
        return f"{len(self.entries)} of {len(self.entries) + self.missing} entries"


def table_of(item: Any, little: bool, span: Span, name: str, tell: Tell) -> LookupTable | None:
    """Return the table of an item of a modality or VOI LUT sequence.

    Args:
        item: with LUTDescriptor and LUTData.
        little: whether the file's words are little endian.
        span: of the values that could come; it decides whether the first value is signed.
        name: of the table, for notices.
        tell: takes notices.

    Returns:
        The table; None if the item is empty, as exports of some workstations have it.
    """
    held = _words(item.get("LUTData", None), _vr(item, "LUTData"), little)
    declared = _descriptor(item.get("LUTDescriptor"), little)
    if held is None or declared is None:
        return None
    count, first, bits = declared
    entries, packed = _entries(held, count, bits)
    depth = _depth(entries, packed, bits)
    most = int(entries.max())
    if depth > 8 and most < 256:  # less than a shade of grey above black: of 8 bits, in words
        depth = 8
    if depth != bits:
        tell(f"its {name} says {bits} bits for each entry and holds {depth}: it is taken as of {depth}")
    elif most.bit_length() < depth - 1:
        tell(f"its {name} says {bits} bits for each entry and ends at {most}: it is shown as dark as it says")
    return LookupTable(_first(first, len(entries), span), entries, depth, count - len(entries))


def palette_of(dataset: Any, little: bool, span: Span, where: str, tell: Tell) -> tuple[LookupTable, ...]:
    """Return the tables of red, green and blue, of one depth (8 or 16 bits).

    Args:
        dataset: with the palettes, plain or segmented.
        little: whether the file's words are little endian.
        span: of the stored values.
        where: the file, for messages.
        tell: takes notices.

    Raises:
        ImageError: a palette is missing, cut off or broken.
    """
    tables = [_colour_table(dataset, colour, little, span, where) for colour in _COLOURS]
    depth = max(8 if table.bits <= 8 else 16 for table in tables)
    if depth == 16 and max(int(table.entries.max()) for table in tables) <= 255:
        # Scaled across the full range, says C.7.6.3.1.6: what ends at 255 of 65535 is of 8 bits, in words.
        tell("its palette says 16 bits for each entry and holds 8: it is taken as of 8")
        depth = 8
    return tuple(LookupTable(table.first, table.entries, depth, table.missing) for table in tables)


def coloured(
    stored: NDArray[Any], tables: tuple[LookupTable, ...], where: str
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return stored values (H, W) in the colours of a palette, (H, W, 3) of uint8 or uint16.

    Raises:
        ImageError: the values ask for entries that are declared and not there.
    """
    for table in tables:
        if table.lacks(stored):
            raise ImageError(f"{where}: its palette holds {table.held}, and its pixels need more; export it again")
    colours = np.stack([table(stored) for table in tables], axis=-1)
    return colours.astype(np.uint8) if tables[0].bits == 8 else colours


def _colour_table(dataset: Any, colour: str, little: bool, span: Span, where: str) -> LookupTable:
    plain, segmented = f"{colour}PaletteColorLookupTableData", f"Segmented{colour}PaletteColorLookupTableData"
    declared = _descriptor(dataset.get(f"{colour}PaletteColorLookupTableDescriptor"), little)
    held = _words(dataset.get(plain), _vr(dataset, plain), little)
    if declared is not None and held is not None:
        count, first, bits = declared
        entries, packed = _entries(held, count, bits)
    else:
        held = _words(dataset.get(segmented), _vr(dataset, segmented), little)
        if declared is None or held is None:
            raise ImageError(
                f"{where}: is in the colours of a palette, and has none for {colour.lower()}; export it again"
            )
        count, first, bits = declared
        packed = bits <= 8
        entries = _expanded(_bytes(held) if packed else held, 1 if packed else 2, where)[:count]
    return LookupTable(_first(first, len(entries), span), entries, _depth(entries, packed, bits), count - len(entries))


def _vr(dataset: Any, keyword: str) -> str:
    return str(dataset[keyword].VR) if keyword in dataset else ""


def _descriptor(value: Any, little: bool) -> tuple[int, int, int] | None:
    """Number of entries, first value, bits; the first two as unsigned words, whatever VR they were written in."""
    if isinstance(value, bytes) and len(value) == 6:
        value = np.frombuffer(value, "<u2" if little else ">u2").tolist()
    if isinstance(value, (bytes, str)) or not hasattr(value, "__len__") or len(value) != 3:
        return None
    count, first, bits = (int(v) for v in value)
    return (count & 0xFFFF) or _MOST, first & 0xFFFF, bits & 0xFFFF


def _first(word: int, entries: int, span: Span) -> int:
    """The first value that is mapped: signed where values may be negative (C.11.2.1.1), or where only that fits.

    Explicit files are written with either VR; the bits are the same.
    """
    signed = word - _MOST if word >= _MOST // 2 else word
    likely, other = (signed, word) if span[0] < 0 else (word, signed)

    def fits(first: int) -> bool:
        return first <= span[1] and first + entries > span[0]

    return likely if fits(likely) or not fits(other) else other


def _words(value: Any, vr: str, little: bool) -> NDArray[np.uint16] | None:
    """The data as words, in the order of the machine; None if there are none."""
    if value is None or (hasattr(value, "__len__") and len(value) == 0):
        return None
    if isinstance(value, (bytes, bytearray)):
        data = bytes(value) + b"\0" * (len(value) % 2)
        # bytes (OB) have no order of words: only a file of big endian words has another one
        order = "<" if little or vr == "OB" else ">"
        return np.frombuffer(data, f"{order}u2").astype(np.uint16)
    return (np.atleast_1d(np.asarray(value, dtype=np.int64)) & 0xFFFF).astype(np.uint16)


def _bytes(words: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """The bytes of words, low ones first (PS3.5 8.1.2), each in a word of its own."""
    return words.astype("<u2").view(np.uint8).astype(np.uint16)


def _entries(words: NDArray[np.uint16], count: int, bits: int) -> tuple[NDArray[np.uint16], bool]:
    """The entries, at most as many as declared, and whether they lay in bytes.

    The length tells (C.7.6.3.1.6, note): as many bytes as entries, or twice as many. Where it is neither, tables of 8
    bits lie in bytes if their words hold more than a byte.
    """
    if len(words) >= count:
        return words[:count], False
    packed = len(words) == (count + 1) // 2 or (bits <= 8 and int(words.max()) > 255)
    return (_bytes(words)[:count], True) if packed else (words, False)


def _depth(entries: NDArray[np.uint16], packed: bool, bits: int) -> int:
    """Bits for each entry: as declared, unless the data are wider, or lie in bytes."""
    if packed:
        return 8
    needed = max(1, int(entries.max()).bit_length())
    return bits if needed <= bits <= 16 else max(8, needed)


def _expanded(data: NDArray[np.uint16], width: int, where: str) -> NDArray[np.uint16]:
    """The entries of a segmented palette (PS3.3 C.7.9.2).

    Args:
        data: operation codes, lengths and values.
        width: bytes for each of them: offsets of indirect segments count bytes.
        where: the file, for messages.
    """
    entries: list[int] = []

    def copy(at: int, most: int, nested: bool) -> None:
        done = 0
        while at + 1 < len(data) and done < most and len(entries) < _MOST:
            code, length = int(data[at]), int(data[at + 1])
            at, done = at + 2, done + 1
            if code == _DISCRETE:
                entries.extend(data[at : at + length].tolist())
                at += length
            elif code == _LINEAR and entries and at < len(data) and length:
                start, end = entries[-1], int(data[at])
                entries.extend(np.rint(start + (end - start) * np.arange(1, length + 1) / length).astype(int).tolist())
                at += 1
            elif code == _INDIRECT and entries and not nested:
                parts = data[at : at + 4 // width].tolist()
                offset = sum(part << (8 * width * n) for n, part in enumerate(parts))
                at += 4 // width
                copy(offset // width, length, True)
            else:
                raise ImageError(f"{where}: its segmented palette is broken; export it again")

    copy(0, len(data), False)
    if not entries:
        raise ImageError(f"{where}: its segmented palette is empty; export it again")
    return np.array(entries[:_MOST], dtype=np.uint16)

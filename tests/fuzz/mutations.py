"""Changes to the bytes of a valid file, of the kinds that break readers; each is described by three plain numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

KINDS = 13
SPREAD = 2**16
"""A place in a file is a whole number below this: its share of the file's length."""

Change = tuple[int, int, int]
"""Which kind, where, and with what: below `KINDS`, below `SPREAD`, below 2**32."""

_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x10000, 0xFFFFFFFE)
_TEXTS = (
    b"-1", b"0", b"1e999", b"NaN", b"Infinity", b"9" * 400, b"4294967296", b"\\ud800", b"null", b"true", b"[]", b"{}",
    b'"', b"\\", b"\n", b"\0", b"=1+1", b"../../x", b"/etc/x", b"*a", b"&a [*a, *a]", b"\xff\xfe", b"!!python/none x",
    b"2147483648", b"-9223372036854775809", b",,,,", b"\t", b"\xf0\x9f\x98\x80", b"%s%n", b'{"a":{"a":1}}',
)  # fmt: skip
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")
_LONGEST = 2**16


def changed(data: bytes, changes: Sequence[Change], other: bytes = b"") -> bytes:
    """Returns a file with changes made one after the other; ``other`` is a second file that parts are taken from."""
    for kind, place, value in changes:
        data = _changed(data, kind % KINDS, place * (len(data) + 1) // SPREAD, value, other)
    return data


def drawn(random: Random) -> list[Change]:
    """Returns a few changes: mostly one or two, for a file that is broken everywhere is refused at its first byte."""
    count = random.choices((1, 2, 3, 8), (4, 3, 2, 1))[0]
    near = random.random() < 0.4  # headers stand at the beginning
    most = SPREAD // 16 if near else SPREAD
    return [(random.randrange(KINDS), random.randrange(most), random.getrandbits(32)) for _ in range(count)]


def _changed(data: bytes, kind: int, at: int, value: int, other: bytes) -> bytes:
    length = 1 + value % 64
    extreme = _EXTREMES[value % len(_EXTREMES)]
    width = (1, 2, 4, 8)[value // 64 % 4]
    word = (extreme & (2 ** (8 * width) - 1)).to_bytes(width, ("little", "big")[value >> 31])
    text = _TEXTS[value % len(_TEXTS)]
    match kind:
        case 0:  # one bit
            return data[:at] + bytes([data[at] ^ 1 << value % 8]) + data[at + 1 :] if at < len(data) else data
        case 1:  # one byte
            return data[:at] + bytes([value % 256]) + data[at + 1 :]
        case 2:  # a number that lies at an edge
            return data[:at] + word + data[at + width :]
        case 3:  # cut off
            return data[:at]
        case 4:  # something is missing
            return data[:at] + data[at + length :]
        case 5:  # something is twice
            return data[:at] + data[at : at + length] + data[at:]
        case 6:  # something is there often
            return data[:at] + data[at : at + length] * (_LONGEST // length // (1 + value % 16)) + data[at:]
        case 7:  # something of another file
            start = value % (len(other) + 1)
            return data[:at] + other[start : start + 16 * length] + data[at + length :]
        case 8:  # words that parsers know
            return data[:at] + text + data[at:]
        case 9:  # the next number of a text
            found = _NUMBER.search(data, at)
            return data if found is None else data[: found.start()] + text + data[found.end() :]
        case 10:  # deep
            deep, shut = ((b"[", b"]"), (b'{"a":', b"}"), (b"- ", b""), (b"(", b")"))[value % 4]
            many = (70, 500, 20_000)[value // 4 % 3]
            return data[:at] + deep * many + shut * many + data[at:]
        case 11:  # a floating point number that is none, or too large
            number = (b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\0\0\0\x4f", b"\0\0\xf8\x7f", b"\xff\xff\x7f\x7f")[value % 5]
            return data[:at] + number + data[at + 4 :]
        case _:  # two places change places
            return (
                data[at:] + data[:at]
                if value % 8 == 0
                else data[:at] + data[at : at + length][::-1] + data[at + length :]
            )

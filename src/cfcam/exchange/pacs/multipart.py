"""The one part of a multipart message (RFC 2387), as it comes: never more than a piece of it is held."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

_LONGEST_HEAD = 16384


def only_part(pieces: Iterable[bytes], boundary: bytes) -> Iterator[bytes]:
    """Yields the content of the first part of a message.

    Args:
        pieces: the message, cut anywhere.
        boundary: of it.

    Raises:
        ValueError: there is no part, its head has no end, or the message ends before the part does.
    """
    source, end = iter(pieces), b"\r\n--" + boundary
    held = b"\r\n"  # so that the first boundary looks as the others do
    while (start := _after_head(held, end)) < 0:
        piece = next(source, None)
        if piece is None or len(held) > _LONGEST_HEAD:
            raise ValueError("the message has no part")
        held += piece
    held = held[start:]
    while (found := held.find(end)) < 0:
        piece = next(source, None)
        if piece is None:
            raise ValueError("the message is cut off")
        safe = max(0, len(held) - len(end))  # what follows may be the beginning of the boundary
        if safe:
            yield held[:safe]
        held = held[safe:] + piece
    if found:
        yield held[:found]
    for _ in source:  # to its end, so that the connection can be used again
        pass


def _after_head(held: bytes, end: bytes) -> int:
    """Where the content of the first part begins; -1 if that has not come yet."""
    first = held.find(end)
    if first < 0:
        return -1
    line = held.find(b"\r\n", first + len(end))
    if line < 0:
        return -1
    if held[line : line + 4] == b"\r\n\r\n":  # a part without a head
        return line + 4
    blank = held.find(b"\r\n\r\n", line)
    return -1 if blank < 0 else blank + 4

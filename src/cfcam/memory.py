"""Memory: what was freed goes back to the system; what stays is not looked through again and again."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def give_back() -> None:
    """Gives freed memory back to the system, where the C library can.

    It keeps what many slices were decoded in: 150 MB of a CT of 200 slices, beside which its maps would need as much
    again; and pieces of what each batch of a long run took, until they are a hundredth of the process and more.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def one_heap() -> None:
    """Has all threads of this process take memory from one heap, where the C library can.

    It gives each thread that has to wait for another a heap of its own, and keeps in each what was freed there. For a
    process whose threads seldom allocate at the same time that is memory for nothing: of a run over 100 000 tiny
    pictures by workers 10 MB, which grew with the run. It cannot be taken back.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


_M_ARENA_MAX = -8  # of glibc's malloc.h; other C libraries have no such option, and say so
_SELDOM = 10_000


@contextmanager
def settled(*, seldom: bool = False) -> Iterator[None]:
    """While active, Python's search for circular garbage passes over what was there before.

    Half a million objects of PyTorch and others stay anyway; over 100 000 tiny pictures to look through them is a tenth
    of the processor's time.

    Args:
        seldom: search only among so many new objects that those which wait to be written are no reason for it: of tiny
            pictures that is a tenth of the time again. Garbage of large ones would be too much memory by then.
    """
    first, *further = gc.get_threshold()
    gc.freeze()
    if seldom:
        gc.set_threshold(max(first, _SELDOM) if first else 0, *further)  # 0: somebody has turned it off
    try:
        yield
    finally:
        gc.set_threshold(first, *further)
        gc.unfreeze()

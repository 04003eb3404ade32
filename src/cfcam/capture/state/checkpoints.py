"""Activation checkpoints switched off within a pass: what they save is memory, and what they break is this library."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch.utils.checkpoint as _torch

_lock = threading.Lock()
_here = threading.local()
_passes = 0
_originals: dict[str, Any] = {}


@contextmanager
def without_checkpoints() -> Iterator[None]:
    """Runs what is wrapped in ``torch.utils.checkpoint`` as if it were not, in this thread, within the body.

    The numbers are the same. A reentrant checkpoint refuses gradients to anything but leaves of `backward`; one that
    is not runs the network again when gradients are asked for, which is after its flags and its state were put back,
    so that it would compute in training mode. Checkpoints of other libraries stay as they are.
    """
    _here.depth = getattr(_here, "depth", 0) + 1
    _switch(+1)
    try:
        yield
    finally:
        _switch(-1)
        _here.depth -= 1


def _switch(step: int) -> None:
    global _passes
    with _lock:
        if step > 0 and _passes == 0:
            for name, make in (
                ("CheckpointFunction", _Function),
                ("_checkpoint_without_reentrant_generator", _generator),
            ):
                if hasattr(_torch, name):
                    _originals[name] = getattr(_torch, name)
                    setattr(_torch, name, make(_originals[name]))
        _passes += step
        if _passes == 0:
            for name, original in _originals.items():
                setattr(_torch, name, original)
            _originals.clear()


class _Function:
    def __init__(self, original: Any) -> None:
        self._original = original

    def apply(self, run: Callable[..., Any], preserve: bool, *args: Any) -> Any:
        return run(*args) if getattr(_here, "depth", 0) else self._original.apply(run, preserve, *args)


def _generator(original: Any) -> Any:
    def direct(*args: Any, **kwargs: Any) -> Any:
        return _once() if getattr(_here, "depth", 0) else original(*args, **kwargs)

    return direct


def _once() -> Iterator[None]:
    yield

"""What a pass may change of the process around it: random state, torch's own settings, the working folder."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import torch
from torch.backends import cudnn, mkldnn

from cfcam.capture.state.randomness import Setting, generators_around, same_state


def _folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 (asked for around each pass)
    except OSError:  # it is gone
        return ""


def _work_in(folder: str) -> None:
    with suppress(OSError):
        os.chdir(folder)


def _alone() -> bool:
    """Tells whether what is set for the whole process is this thread's to put back.

    Of a pass in another thread, as of a viewer, it may well be the main thread that has set it since.
    """
    return threading.current_thread() is threading.main_thread()


_OF_THREAD: tuple[Setting, ...] = (
    (torch.is_grad_enabled, torch._C._set_grad_enabled),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled),
)
_OF_PROCESS: tuple[Setting, ...] = (
    (_folder, _work_in),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    *(
        (partial(getattr, backend, name), partial(setattr, backend, name))
        for backend, names in ((cudnn, ("enabled", "benchmark", "deterministic", "allow_tf32")), (mkldnn, ("enabled",)))
        for name in names
    ),
)


class Process:
    """The random state and the settings at one moment; those of the whole process in its main thread alone.

    Args:
        device: whose random state and autocast are meant, besides the CPU's.

    Attributes:
        sets: whether a setting was another one at the end.
    """

    def __init__(self, device: torch.device) -> None:
        self.sets = False
        of_process = _OF_PROCESS if _alone() else ()
        of_device = (one for kind in {"cpu", device.type} for one in _autocast(kind))
        self._settings = [*of_process, *_OF_THREAD, *of_device]
        self._values = [get() for get, _ in self._settings]
        self._random: list[tuple[Callable[[], Any], Callable[[Any], Any], Any]] = [
            (get, put, get()) for get, put in generators_around(device)
        ]

    def restore(self) -> bool:
        """Puts all of it back; returns whether random numbers had been drawn."""
        for (get, put), value in zip(self._settings, self._values, strict=True):
            if get() != value:
                put(value)
                self.sets = True
        drew = False
        for get, put, state in self._random:
            if not same_state(get(), state):
                put(state)
                drew = True
        return drew


@contextmanager
def same_folder() -> Iterator[None]:
    """Has relative paths begin where they did, whatever somebody else's code does in the context; see `_alone`."""
    before = _folder()
    try:
        yield
    finally:
        if _alone():
            _work_in(before)


def _autocast(kind: str) -> tuple[Setting, Setting]:
    return (
        (partial(torch.is_autocast_enabled, kind), partial(torch.set_autocast_enabled, kind)),
        (partial(torch.get_autocast_dtype, kind), partial(torch.set_autocast_dtype, kind)),
    )

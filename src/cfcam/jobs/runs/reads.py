"""Which files a network was made from: its own code, and whatever was opened while it was loaded."""

from __future__ import annotations

import importlib.util
import os
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NATIVE = ("safetensors", "h5py", "tables", "lmdb", "onnx", "tensorstore")  # read files that Python does not open
_UNTOLD = 1 << 17  # bytes that loading reads beside: the heads of libraries, what the system says of itself
_SYSTEM = ("/proc/", "/dev/", "/sys/")

_taken: list[str] | None = None
_hooked = False


class Reads:
    """Files that were read while something was loaded.

    Attributes:
        complete: whether these are all, as far as can be told: what the system has read is what Python has opened, and
            no library was loaded that reads files by itself.
    """

    def __init__(self) -> None:
        self.complete = False
        self._files: set[str] = set()

    def files(self) -> set[str]:
        """Returns the files, and those of all code that is loaded; of an installed library the first alone."""
        found = set(filter(None, map(_source, self._files)))
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if isinstance(file, str) and ("." not in name or not _is_installed(file)):
                found.add(os.path.abspath(file))  # noqa: PTH100 (links are to be followed when it is looked at)
        return {file for file in found if Path(file).is_file()}


@contextmanager
def reads() -> Iterator[Reads]:
    """Takes down which files are opened meanwhile, in this process."""
    global _taken, _hooked
    found, before, native = Reads(), _read_so_far(), set(sys.modules)
    if not _hooked:
        sys.addaudithook(_hook)  # for good: Python takes none away again
        _hooked = True
    _taken = []
    try:
        yield found
    finally:
        opened, _taken = _taken, None
        read = _read_so_far()
        found._files = set(opened)
        sizes = 0
        for path in opened:
            with suppress(OSError, ValueError):
                sizes += os.stat(path).st_size  # noqa: PTH116 (there are many)
        alone = any(name in sys.modules and name not in native for name in _NATIVE)
        found.complete = before is not None and read is not None and read - before <= sizes + _UNTOLD and not alone


def _hook(event: str, args: tuple[object, ...]) -> None:
    if _taken is not None and event == "open" and isinstance(args[0], (str, bytes)):
        _taken.append(os.path.abspath(os.fsdecode(args[0])))  # noqa: PTH100 (as above)


def _read_so_far() -> int | None:
    """Bytes that this process has read, whoever asked for them; None where the system does not say."""
    try:
        lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("rchar:")), None)


def _source(path: str) -> str | None:
    """What may change what was loaded: of a compiled module its source; None for what libraries and the system have."""
    if path.startswith(_SYSTEM) or _is_installed(path):
        return None
    if path.endswith(".pyc"):
        with suppress(ValueError, NotImplementedError):
            return importlib.util.source_from_cache(path)
    return path


def _is_installed(path: str) -> bool:
    return path.startswith(_LIBRARIES)


_LIBRARIES = tuple(
    os.path.join(os.path.abspath(path), "")  # noqa: PTH100, PTH118 (as above)
    for path in {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    if path
)

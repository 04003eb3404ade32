"""A network on its way to another process or machine: as a module, pickled with its weights.

Its classes are found there by their names, as pickle finds them; another process has another ``__main__``, so those of
that are refused. The classes of a user's own ``FILE.py`` have no name that another process knows: that file is imported
again there, from the same path, where it must be the same.
"""

import io
import pickle
from pathlib import Path
from types import FunctionType
from typing import Any

from cfcam.errors import ModelError, describe
from cfcam.files import sha256_of
from cfcam.models.factory import file_of, from_file_again


def packed(value: Any, name: str) -> bytes:
    """Returns a value that holds networks as bytes; `unpacked` makes it again.

    Args:
        value: what is to be sent.
        name: what to call the network in a message.

    Raises:
        ModelError: something in it cannot be sent.
    """
    stream = io.BytesIO()
    _pack(value, name, stream)
    return stream.getvalue()


def check_packable(value: Any, name: str) -> None:
    """Raises what `packed` would, and keeps nothing: to be asked before anything is begun.

    Args:
        value: as there.
        name: as there.

    Raises:
        ModelError: something in it cannot be sent.
    """
    _pack(value, name, _Nowhere())


def _pack(value: Any, name: str, stream: Any) -> None:
    try:
        _Packer(stream, pickle.HIGHEST_PROTOCOL).dump(value)
    except Exception as error:
        raise ModelError(
            f"{name} cannot be sent to another process ({describe(error)}): it must hold nothing that is open, and be"
            " of classes at the top of FILE.py, or of a module that is installed or on PYTHONPATH"
        ) from error


class _Nowhere:
    def write(self, data: Any) -> int:
        return len(data)


def unpacked(data: bytes) -> Any:
    """Returns a value from `packed`. As with every pickle, whoever made the bytes can run code here.

    Raises:
        ModelError: something that it is made of is not on this machine.
    """
    try:
        return pickle.loads(data)  # noqa: S301 (from `packed`, in a process of the same run)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"the network cannot be made in this process ({describe(error)}): install here what it is made of"
        ) from error


class _Packer(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, type | FunctionType) and value.__module__ == "__main__":
            raise pickle.PicklingError(f"{value.__qualname__} is of __main__, and another process has another one")
        path = file_of(value)
        if path is None:
            return NotImplemented
        return from_file_again, (path, sha256_of(Path(path)), value.__qualname__)

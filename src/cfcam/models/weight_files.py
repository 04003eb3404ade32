"""What a file of weights holds, without running code that is in it.

A file is read with safetensors or with ``torch.load(weights_only=True)``. Where that refuses, the file would
have to be unpickled, which runs whatever its author wrote into it; cfcam never does.
"""

import re
import tarfile
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Final

import torch

from cfcam import json_text
from cfcam.errors import ModelError, describe, few, one_line
from cfcam.files import stays_inside
from cfcam.models.claims import ClaimError, check_claims
from cfcam.models.spec import WEIGHT_SUFFIXES

INDEX: Final = ".index.json"
"""How the name of a file ends that tells in which of several files each tensor lies."""
_REFUSED: Final = (
    "which cfcam refuses to run: load it once where you trust it and save the weights alone, "
    "torch.save(model.state_dict(), 'weights.pt') or safetensors"
)


def read_file(path: Path) -> object:
    """Reads whatever a file of weights holds; of an index the tensors in all the files that it names.

    Raises:
        ModelError: it is missing, empty, damaged, of another format, or would have to be unpickled.
    """
    try:
        size = path.stat().st_size
        start = _first_bytes(path)
    except FileNotFoundError as error:
        raise ModelError(f"the weights file {path} does not exist: check the path") from error
    except (OSError, ValueError) as error:
        raise ModelError(
            f"cannot read the weights file {one_line(path)} ({describe(error, 60)}): give a readable file"
        ) from error
    if path.is_dir():
        names = sorted(file.name for file in path.iterdir())
        if any(name.endswith(".distcp") for name in names):
            raise ModelError(
                f"the weights {path} are a distributed checkpoint: bring them into one file first, with"
                " torch.distributed.checkpoint.format_utils.dcp_to_torch_save"
            )
        files = [name for name in names if name.endswith(INDEX)]
        files += [name for name in names if Path(name).suffix in WEIGHT_SUFFIXES]
        which = f"one of its files: {few(files)}" if files else "a file"
        raise ModelError(f"the weights {path} are a folder: give {which}")
    if size == 0:
        raise ModelError(f"the weights file {path} is empty: copy or download it again")
    if path.name.endswith(INDEX):
        return _read_parts(path)
    if path.suffix == ".safetensors" or (start[8:9] == b"{" and int.from_bytes(start[:8], "little") < size):
        return _read_safetensors(path)
    _require_torch_file(path, start)
    _require_room(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content: object = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        names = re.findall(r"GLOBAL ([\w.]+)", str(error))
        what = f" ({few(names)})" if names else ""
        raise ModelError(f"{path} holds arbitrary Python objects{what}, {_REFUSED}") from error
    except Exception as error:
        raise ModelError(
            f"{path} is damaged or cut short ({describe(error, 90)}): copy or download it again"
        ) from error
    return content


def _first_bytes(path: Path) -> bytes:
    if path.is_dir():
        return b""
    with path.open("rb") as file:
        return file.read(64)


def _read_parts(index: Path) -> dict[str, object]:
    """Reads the weights in several files that an index beside them names: "weight_map", name of a tensor -> file."""
    content = json_text.read(index, ModelError, shown=str(index), then="copy or download it again")
    where = content.get("weight_map") if isinstance(content, Mapping) else None
    if not isinstance(where, Mapping) or not where:
        raise ModelError(f"{index} names no files of weights (weight_map): give the file that holds them")
    if odd := [name for name in where.values() if not (stays_inside(name) and Path(name).suffix in WEIGHT_SUFFIXES)]:
        raise ModelError(
            f"{index} names {one_line(odd[0], 80)!r}, which is no file of weights beside it: download it anew"
        )
    state: dict[str, object] = {}
    for file in sorted(set(where.values())):
        part = read_file(index.parent / file)
        state |= {name: part[name] for name in part if where.get(name) == file} if isinstance(part, Mapping) else {}
    if lacking := [str(name) for name in where if name not in state]:
        raise ModelError(f"the files that {index} names lack {few(lacking)}: copy or download them again")
    return state


def _read_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path, device="cpu")
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{path} is not a valid safetensors file ({describe(error, 90)}): copy or download it again"
        ) from error


def metadata(path: Path) -> Mapping[str, str] | None:
    """Returns what a safetensors file says beside its tensors; None if nothing."""
    if path.suffix != ".safetensors":
        return None
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        found: Mapping[str, str] | None = file.metadata()
    return found


def _require_torch_file(path: Path, start: bytes) -> None:
    """Refuse what ``torch.load`` should not even be asked to open, by the file's first bytes.

    Up to torch 2.5 it passed TorchScript archives and tar files by the check of ``weights_only``
    (CVE-2025-32434).
    """
    if start.startswith(b"PK"):
        try:
            with zipfile.ZipFile(path) as archive:
                names = {name.partition("/")[2] for name in archive.namelist()}
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise ModelError(
                f"{path} is damaged or cut short ({one_line(error)}): copy or download it again"
            ) from error
        if "constants.pkl" in names:
            raise ModelError(
                f"{path} is a TorchScript archive, which holds code: load it where you trust it and save its "
                "state_dict() for a network that you name"
            )
        if path.suffix == ".pt2" or "archive_format" in names:
            raise ModelError(f"{path} is an exported program (torch.export): give it as the network, or a state_dict()")
        if "data.pkl" not in names:
            raise ModelError(f"{path} is a zip archive, but not one of PyTorch's: give the weights inside it")
    elif start.startswith(b"version https://git-lfs"):
        raise ModelError(f"{path} is a Git LFS pointer, not the weights themselves: run 'git lfs pull' for it")
    elif start.startswith(b"\x89HDF"):
        raise ModelError(f"{path} is an HDF5 file (Keras): convert it to a PyTorch state dict or safetensors")
    elif path.suffix == ".onnx":
        raise ModelError(f"{path} is an ONNX file, a network by itself: give the PyTorch weights that it was made from")
    elif tarfile.is_tarfile(path):
        raise ModelError(f"{path} is a tar archive: unpack it, or save its weights anew with a present PyTorch")
    elif not start.startswith(b"\x80"):
        raise ModelError(
            f"{path} is neither a PyTorch nor a safetensors file (it begins with {start[:12]!r}): "
            "copy or download it again"
        )


def _require_room(path: Path) -> None:
    """Refuse a file that claims more than it can hold, before ``torch.load`` asks for the memory."""
    try:
        check_claims(path)
    except ClaimError as error:
        raise ModelError(
            f"{path} claims more than it can hold ({error}): copy or download it again, or save its weights anew"
        ) from error
    except Exception as error:  # as whatever torch.load makes of it
        raise ModelError(
            f"{path} is damaged or cut short ({describe(error, 90)}): copy or download it again"
        ) from error

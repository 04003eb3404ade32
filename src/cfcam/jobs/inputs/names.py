"""Names of the files that a run writes: readable, safe on every file system, and never two times the same."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from cfcam.imaging.reading.files import NIFTI_EXTENSIONS
from cfcam.jobs.inputs.marks import Marks, alone, hashes
from cfcam.models import model_name

_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"/\\|?*\s\ud800-\udfff]+')
_STEM_BYTES, _LABEL_BYTES = 120, 48  # file systems allow 255 for the whole name


def safe(text: str, limit: int = _LABEL_BYTES) -> str:
    """Returns a text as a part of a file name; letters of every alphabet are kept.

    Separators, white space, control and reserved characters become ``-``. A text of more than ``limit`` bytes
    (UTF-8) is cut, and told apart by eight digits of its SHA-256.
    """
    composed = text if text.isascii() else unicodedata.normalize("NFC", text)
    name = (_UNSAFE.sub("-", composed) if _UNSAFE.search(composed) else composed).strip("-. ")
    if len(name.encode()) <= limit:
        return name
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
    return name.encode()[: limit - 9].decode(errors="ignore").rstrip("-. ") + "-" + digest


def label_names(labels: Mapping[int, str]) -> dict[int, str]:
    """Returns a safe name for each class index, unique without regard to case."""
    names = {index: safe(label) or f"class-{index}" for index, label in labels.items()}
    counts = Counter(map(folded, names.values()))
    return {i: name if counts[folded(name)] == 1 else f"{name}-{i}" for i, name in names.items()}


def output_names(
    inputs: Sequence[tuple[Path, PurePosixPath]],
    known: Mapping[str, str],
    *,
    taken: Collection[str] = (),
) -> list[str]:
    """Returns for each input the name that all files made from it begin with, such as ``ward-3/scan``.

    It is the sub-folder and the stem. Inputs of one name are told apart by their extensions (``scan-jpg``),
    else by the folder they are in (``scan-jpg-monday``), else by a number. Uniqueness disregards case.

    Args:
        inputs: absolute path, and the sub-folder of the output folder in which its files are put.
        known: absolute path -> name from an earlier run; such an input keeps its name.
        taken: further names that belong to other inputs.
    """
    kept = {n: known[str(path)] for n, (path, _) in enumerate(inputs) if str(path) in known} if known else {}
    placed = [(path.parent, path.name, folder) for path, folder in inputs]
    odd = odd_names(placed, kept, taken=taken)
    return [odd.get(number) or plain_name(*one) for number, one in enumerate(placed)]


def odd_names(
    inputs: Sequence[tuple[Path, str, PurePosixPath]], known: Mapping[int, str], *, taken: Collection[str] = ()
) -> dict[int, str]:
    """Returns the names of those inputs, by number, whose name is not `plain_name`, and known ones; see `output_names`.

    Of very many inputs these are few, and of the others eight bytes each are held meanwhile. Of each input the absolute
    path of its folder is given, its own name, and the sub-folder of the output folder.
    """
    names = dict(known)
    used = Marks(map(folded, (*taken, *names.values())))
    todo: Sequence[int] = [n for n in range(len(inputs)) if n not in names] if names else range(len(inputs))
    for form in _FORMS:
        proposed = hashes(folded(form(*inputs[n])) for n in todo)
        free = alone(proposed) & ~used.among(proposed)
        if form is not plain_name:
            names |= {n: form(*inputs[n]) for n, good in zip(todo, free, strict=True) if good}
        used.take(proposed[free])
        todo = [] if free.all() else [n for n, good in zip(todo, free, strict=True) if not good]
    numbers = Counter[str]()
    for n in todo:
        name = _FORMS[-1](*inputs[n])
        number = numbers[name] or 2
        while folded(f"{name}-{number}") in used:
            number += 1
        names[n] = f"{name}-{number}"
        used.update([folded(f"{name}-{number}")])
        numbers[name] = number + 1
    return names


def plain_name(parent: Path, name: str, folder: PurePosixPath) -> str:
    """Returns the name that an input has unless another would have the same: its sub-folder and its stem."""
    stem, suffix = _parted(name)
    if suffix.lower() == ".gz":
        stem = stem.removesuffix(".nii")
    plain = safe(stem, _STEM_BYTES) or "picture"
    return f"{folder}/{plain}" if folder.parts else plain


def _with_extension(parent: Path, name: str, folder: PurePosixPath) -> str:
    plain, extension = plain_name(parent, name, folder), safe(_parted(name)[1].lower().lstrip("."), 16)
    return f"{plain}-{extension}" if extension else plain


def _with_parent(parent: Path, name: str, folder: PurePosixPath) -> str:
    longer, above = _with_extension(parent, name, folder), safe(parent.name)
    return f"{longer}-{above}" if above else longer


def _parted(name: str) -> tuple[str, str]:
    """Stem and suffix, as those of a path: to make a path of each of very many names takes long."""
    place = name.rfind(".")
    return (name[:place], name[place:]) if 0 < place < len(name) - 1 else (name, "")


_FORMS: tuple[Callable[[Path, str, PurePosixPath], str], ...] = (plain_name, _with_extension, _with_parent)


def folded(name: str) -> str:
    """Returns a name as a file system compares it that knows no case, and an accent only with its letter."""
    return unicodedata.normalize("NFC", name).casefold()


def without_folders(argument: str) -> str:
    """Returns a word of a command line as it may stand on a page: of a path from the root, its last name alone.

    The folders above would say where, and often who, somebody is. Paths from the folder one stood in are kept.
    """
    option, equals, value = argument.partition("=")
    if argument.startswith("-") and equals:
        return f"{option}={without_folders(value)}"
    if ".py:" in argument or argument.startswith("hf:"):
        return model_name(argument)
    absolute = argument.startswith(("/", "~")) or PureWindowsPath(argument).is_absolute()
    return PureWindowsPath(argument).name or argument if absolute else argument


def stem_of(path: Path) -> str:
    """Returns a file's name without its ending, which may be ".nii.gz"."""
    name = path.name
    return next((name[: -len(e)] for e in NIFTI_EXTENSIONS[::-1] if name.lower().endswith(e)), path.stem)

"""Class names from a text or JSON file."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from cfcam import json_text
from cfcam.errors import ModelError, check_whole, one_line
from cfcam.shown import counted

_EXPECTED = (
    'a list ["cat", "dog"], or an object {"0": "cat", "1": "dog"} or {"cat": 0, "dog": 1} '
    'or {"0": ["n02123045", "cat"]}'
)


def read_classes(source: str | Path | Sequence[str]) -> tuple[str, ...]:
    """Read the names of a network's classes, in the order of its outputs.

    A ``.json`` file holds a list of names, an object from index to name or from name to index, or ImageNet's
    ``[synset, name]`` in place of a name. Any other file is text in UTF-8, one name per line; blank lines at
    its end are ignored. ImageNet gives two of its classes the same name twice (crane, maillot); where
    synsets are known, such a name is told apart by its synset.

    Args:
        source: A file, or the names themselves.

    Returns:
        The names, at least one, each once.

    Raises:
        ModelError: If the file cannot be read, holds no names, or one name twice.
    """
    if not isinstance(source, str | Path):
        names, where = tuple(source), "the given class names"
        if not all(isinstance(name, str) for name in names):
            wrong = next(name for name in names if not isinstance(name, str))
            raise ModelError(f"a class name is text, not {one_line(repr(wrong), 60)}: give strings")
        return _checked(names, where)
    path = Path(source).expanduser()
    text = _text(path)
    names = _from_json(text, path) if path.suffix.lower() == ".json" else _from_lines(text, path)
    return _checked(names, str(path))


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise ModelError(f"the file of class names {path} does not exist: check the path") from error
    except OSError as error:
        raise ModelError(
            f"cannot read the class names in {one_line(path)} ({error.strerror}): give a readable file"
        ) from error
    except UnicodeDecodeError as error:
        raise ModelError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8") from error
    except ValueError as error:
        raise ModelError(f"{str(path)!r} is no path ({error}): give the file of class names") from error


def _from_lines(text: str, path: Path) -> tuple[str, ...]:
    lines = [line.strip() for line in text.rstrip().splitlines()]
    for number, line in enumerate(lines, 1):
        if not line:
            raise ModelError(f"{path} has a blank line {number} between its class names: name that class")
    return tuple(lines)


def _from_json(text: str, path: Path) -> tuple[str, ...]:
    content = json_text.parse(text, str(path), ModelError, then=f"give each class once; it holds {_EXPECTED}")
    if isinstance(content, list):
        return _names(content, path)
    if isinstance(content, dict) and content:
        if all(type(value) is int for value in content.values()):
            by_index = {value: name for name, value in content.items()}
            if len(by_index) < len(content):
                twice = next(v for v in by_index if list(content.values()).count(v) > 1)
                raise ModelError(f"{path} gives the index {twice} to two classes: give each class its own")
        elif all(key.isdecimal() for key in content):
            by_index = {int(key): name for key, name in content.items()}
        else:
            raise ModelError(f"{path} does not say which class has which index: it holds {_EXPECTED}")
        gap = next((index for index in range(len(content)) if index not in by_index), None)
        if gap is not None:
            raise ModelError(
                f"{path} names {counted(len(content), 'class', 'classes')} but none has index {gap}: count"
                " from 0 without gaps"
            )
        return _names([by_index[index] for index in range(len(content))], path)
    if content in ([], {}):
        return ()
    raise ModelError(f"{path} holds a JSON {type(content).__name__}: it should hold {_EXPECTED}")


def _names(entries: Sequence[object], path: Path) -> tuple[str, ...]:
    names: list[str] = []
    synsets: list[str | None] = []
    for entry in entries:
        match entry:
            case str():
                names.append(entry.strip())
                synsets.append(None)
            case [str(synset), str(name)]:
                names.append(name.strip())
                synsets.append(synset)
            case _:
                raise ModelError(f"{path}: {one_line(json.dumps(entry), 60)} is not a class name: it holds {_EXPECTED}")
    twice = _repeated(names)
    return tuple(
        f"{name} ({synset})" if name in twice and synset else name for name, synset in zip(names, synsets, strict=True)
    )


def _repeated(names: Iterable[str]) -> set[str]:
    seen: set[str] = set()
    return {name for name in names if name in seen or seen.add(name)}  # type: ignore[func-returns-value]


def _checked(names: tuple[str, ...], where: str) -> tuple[str, ...]:
    if not names:
        raise ModelError(f"{where} hold no class names: give one per output of the network")
    first: dict[str, int] = {}
    for index, name in enumerate(names):
        if not name.strip():
            raise ModelError(f"{where}: the class with index {index} has an empty name: name it")
        check_whole(name, f"{where}: the name at index {index}", ModelError)
        if first.setdefault(name, index) < index:
            raise ModelError(
                f"{where}: the name {one_line(name, 60)!r} stands at index {first[name]} and {index}: "
                "give each class a name of its own"
            )
    return names

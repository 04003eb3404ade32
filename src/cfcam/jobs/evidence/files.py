"""Files of an evidence pack: canonical JSON, what a user states as YAML or JSON, and the hashes that seal it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cfcam import json_text
from cfcam.errors import CfcamError, MissingExtraError, describe_first
from cfcam.files import digest, sha256_of, stays_inside, write_whole
from cfcam.locks import is_lock

MANIFEST = "MANIFEST.sha256"
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
_LONGEST = 200_000  # characters of a file of fields
_MOST_VALUES = 100_000


class EvidenceError(CfcamError, ValueError):
    """An evidence pack cannot be made or read."""


@dataclass(frozen=True)
class Verified:
    """What became of the files of a pack since it was sealed.

    Attributes:
        files: how many the list names.
        manifest_sha256: of the list itself; only this, kept elsewhere, shows a list that was written anew.
        changed: files with other bytes.
        missing: files that are gone.
        added: files that the list does not name.
        wrong: what does not hold together beside that, in words.
    """

    files: int
    manifest_sha256: str
    changed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether everything is as it was."""
        return not (self.changed or self.missing or self.added or self.wrong)


def read_fields(path: Path, what: str) -> dict[str, Any]:
    """Reads an object of fields from a JSON or YAML file.

    Args:
        path: the file; .yaml and .yml are YAML.
        what: the option that names it, for messages.

    Raises:
        EvidenceError: it cannot be read, or holds no object.
        MissingExtraError: it is YAML, and PyYAML is not installed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EvidenceError(f"{what} {path.name}: cannot be read ({type(error).__name__}); check the path") from error
    if len(text) > _LONGEST:
        raise EvidenceError(f"{what} {path.name}: has {len(text)} characters, more than {_LONGEST}; give fields only")
    if path.suffix.lower() in (".yaml", ".yml"):
        values = _yaml(text, path, what)
    else:
        values = json_text.parse(text, f"{what} {path.name}", EvidenceError, then="correct it, or name it .yaml")
    if not isinstance(values, dict):
        raise EvidenceError(f"{what} {path.name}: holds no fields; give name: value lines (YAML) or a JSON object")
    return {str(name): value for name, value in values.items()}


def _yaml(text: str, path: Path, what: str) -> Any:
    try:
        import yaml  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        raise MissingExtraError("PyYAML", "evidence", "fields in YAML (JSON needs none)") from error
    try:
        depth, deepest = 0, 0
        for event in yaml.parse(text, yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            deepest = max(deepest, depth)
            if deepest > json_text.DEEPEST:
                raise EvidenceError(f"{what} {path.name}: is nested deeper than {json_text.DEEPEST}; correct it")
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        if isinstance(error, EvidenceError):
            raise
        raise EvidenceError(f"{what} {path.name}: is no YAML ({describe_first(error, 80)}); correct it") from error
    if _values_in(values) > _MOST_VALUES:
        raise EvidenceError(f"{what} {path.name}: its aliases make more than {_MOST_VALUES} values; write them out")
    return values


def _values_in(values: Any) -> int:
    """How many values these are with each alias written out; no more are counted than may be there."""
    count, rest = 0, [values]
    while rest and count <= _MOST_VALUES:
        one = rest.pop()
        count += 1
        rest += one.values() if isinstance(one, dict) else one if isinstance(one, (list, tuple)) else ()
    return count


def seal(folder: Path) -> str:
    """Writes `MANIFEST` with the SHA-256 of every file below a folder, as ``sha256sum -c`` reads it.

    Returns:
        The SHA-256 of the list.
    """
    lines = [f"{sha256_of(folder / name)}  {name}\n" for name in _names(folder)]
    write_whole(folder / MANIFEST, "".join(lines).encode())
    return sha256_of(folder / MANIFEST)


def verify(folder: Path, against: str | None = None) -> Verified:
    """Compares a pack with the list of its files.

    Args:
        folder: the pack.
        against: the SHA-256 of the list, as it was when the pack was made.

    Raises:
        EvidenceError: there is no such list, or it cannot be read.
    """
    listed = _listed(folder)
    present = set(_names(folder))
    wrong = []
    own = sha256_of(folder / MANIFEST)
    if against is not None and against.lower() != own:
        wrong.append(f"{MANIFEST} is not the one that was given: it was written anew")
    wrong += _rules_wrong(folder)
    changed = [name for name in listed if name in present and sha256_of(folder / name) != listed[name]]
    return Verified(
        len(listed),
        own,
        tuple(changed),
        tuple(sorted(set(listed) - present)),
        tuple(sorted(present - set(listed))),
        tuple(wrong),
    )


def _listed(folder: Path) -> dict[str, str]:
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EvidenceError(
            f"{folder.name}: has no {MANIFEST} that can be read; give a folder made by cfcam evidence that was finished"
        ) from error
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        matched = _LINE.fullmatch(line)
        if matched is None or not stays_inside(matched[2]):
            raise EvidenceError(f"{MANIFEST}: line {number} is no SHA-256 with a name; it was changed or cut")
        found[matched[2]] = matched[1]
    return found


def _names(folder: Path) -> list[str]:
    files = [path for path in folder.rglob("*") if path.is_file() or path.is_symlink()]
    return sorted(
        path.relative_to(folder).as_posix() for path in files if path != folder / MANIFEST and not is_lock(path.name)
    )


def _rules_wrong(folder: Path) -> list[str]:
    """Whether the results were judged by the protocol that lies beside them."""
    try:
        fixed = json_text.read(folder / "protocol.json")
        judged = json_text.read(folder / "results.json")
        held, named, own = judged["protocol_sha256"], fixed["sha256"], digest(fixed["protocol"])
    except (OSError, ValueError, KeyError, TypeError):
        return ["protocol.json or results.json is missing or broken"]
    if own != named:
        return ["protocol.json does not have the SHA-256 that it names: it was changed after it was fixed"]
    return [] if held == named else ["results.json was judged by another protocol than protocol.json"]

"""Compares what is locked with published advisories, without asking anybody.

    python -m supply.advisories all.zip              (``make audit ADVISORIES=all.zip``)

``all.zip`` is OSV's export of the ecosystem PyPI: one JSON file an advisory (OSV schema 1.x). It is fetched on a
machine that may, and carried over; how old it is stands in the answer. Exit 1 if a locked version is affected, and not
accepted in ``accepted.toml`` (advisory -> reason); 2 if the file cannot be read.
"""

from __future__ import annotations

import sys
import tomllib
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

from cfcam.json_text import parse_line
from supply.lock import HERE, LOCKS, normalised
from supply.sbom import locked

_LARGEST = 4 * 2**20  # bytes an advisory
_OLD = 30  # days


@dataclass(frozen=True)
class Finding:
    """A locked release that an advisory is about."""

    name: str
    version: str
    advisory: str
    aliases: tuple[str, ...]
    fixed: str
    summary: str


@dataclass(frozen=True)
class Audit:
    """What an export says of a lock.

    Attributes:
        findings: locked releases that are affected, by name.
        count: advisories looked at; those withdrawn are none.
        newest: when the newest of them was modified; None without any.
        unread: members that are no advisory, or too large.
    """

    findings: tuple[Finding, ...]
    count: int
    newest: datetime | None
    unread: tuple[str, ...]


def affected(version: str, entry: Mapping[str, Any]) -> bool:
    """Returns whether an ``affected`` entry covers a version (OSV schema, "Evaluation").

    Listed versions count, and ranges of the type ECOSYSTEM: affected from ``introduced`` on, until before ``fixed``, or
    up to and with ``last_affected``; versions are compared as PEP 440 says.
    """
    at = Version(version)
    if any(_version(one) == at for one in entry.get("versions", ())):
        return True
    return any(_in_range(at, one["events"]) for one in entry.get("ranges", ()) if one.get("type") == "ECOSYSTEM")


def _in_range(at: Version, events: Iterable[Mapping[str, str]]) -> bool:
    inside = False
    for version, kind in sorted(_ordered(events)):
        if kind == _INTRODUCED and at >= version:
            inside = True
        elif (kind == _FIXED and at >= version) or (kind == _LAST and at > version):
            inside = False
    return inside


# At the same version: what ends a range comes before what begins the next; the last affected one ends after it.
_FIXED, _INTRODUCED, _LAST = range(3)


def _ordered(events: Iterable[Mapping[str, str]]) -> Iterator[tuple[Version, int]]:
    kinds = {"fixed": _FIXED, "introduced": _INTRODUCED, "last_affected": _LAST}
    for event in events:
        for key, text in event.items():
            version = _version(text)
            if key in kinds and version is not None:
                yield version, kinds[key]


def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:  # some old releases are named freely; none of them is locked
        return None


def audit(export: Path, releases: Mapping[str, str]) -> Audit:
    """Returns what an export says of releases (normalised name -> version).

    Raises:
        OSError: the file cannot be read.
        zipfile.BadZipFile: it is no ZIP archive.
    """
    findings, unread, count, newest = [], [], 0, None
    with zipfile.ZipFile(export) as archive:
        for member in archive.infolist():
            advisory = _advisory(archive, member)
            if advisory is None:
                unread.append(member.filename)
                continue
            if "withdrawn" in advisory:
                continue
            count += 1
            modified = datetime.fromisoformat(advisory["modified"])
            newest = modified if newest is None else max(newest, modified)
            findings += list(_of(advisory, releases))
    return Audit(tuple(sorted(set(findings), key=lambda one: (one.name, one.advisory))), count, newest, tuple(unread))


def _advisory(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> dict[str, Any] | None:
    if member.file_size > _LARGEST or not member.filename.endswith(".json"):
        return None
    read = parse_line(archive.read(member))
    return read if read is not None and {"id", "modified", "affected"} <= set(read) else None


def _of(advisory: Mapping[str, Any], releases: Mapping[str, str]) -> Iterator[Finding]:
    for entry in advisory["affected"]:
        package = entry.get("package", {})
        name = normalised(package.get("name", ""))
        if package.get("ecosystem") == "PyPI" and name in releases and affected(releases[name], entry):
            events = [event for one in entry.get("ranges", ()) for event in one["events"] if "fixed" in event]
            fixed = sorted({event["fixed"] for event in events if _version(event["fixed"]) is not None}, key=Version)
            later = [one for one in fixed if Version(one) > Version(releases[name])]
            yield Finding(
                name,
                releases[name],
                advisory["id"],
                tuple(advisory.get("aliases", ())),
                later[0] if later else "",
                " ".join(advisory.get("summary", "").split()),
            )


def main(arguments: list[str], now: datetime) -> int:
    """Prints what is affected; returns the exit status."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print(__doc__)
        return 2
    accepted = tomllib.loads((HERE / "accepted.toml").read_text())
    releases = {name: version for name, (version, _) in locked(*LOCKS).items()}
    try:
        said = audit(Path(arguments[0]), releases)
    except (OSError, zipfile.BadZipFile) as error:
        print(f"{Path(arguments[0]).name}: {error.__class__.__name__}: no export of advisories can be read there")
        return 2
    if said.newest is None:
        print(f"{Path(arguments[0]).name}: holds no advisory; OSV's export of PyPI is one JSON file an advisory")
        return 2
    age = (now - said.newest).days
    print(f"{len(releases)} releases, {said.count} advisories, the newest of {said.newest:%Y-%m-%d} ({age} days old)")
    if age > _OLD:
        print(f"Older than {_OLD} days: what was found since is not in it.")
    if said.unread:
        print(f"{len(said.unread)} members are no advisory, the first of them {said.unread[0]!r}")
    open_ones = [one for one in said.findings if not {one.advisory, *one.aliases} & set(accepted)]
    for one in said.findings:
        names = " = ".join((one.advisory, *one.aliases))
        reason = next((accepted[key] for key in (one.advisory, *one.aliases) if key in accepted), "")
        remedy = f"accepted: {reason}" if reason else f"fixed in {one.fixed}" if one.fixed else "no fixed release"
        print(f"{one.name} {one.version}: {names}: {one.summary or 'no summary'}; {remedy}")
    print(f"{len(open_ones)} open" if said.findings else "None of them is about these releases.")
    return 1 if open_ones else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], datetime.now(UTC)))

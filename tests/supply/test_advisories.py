"""Advisories against the lock: ranges as OSV's schema says, an answer that states its age, nothing asked of anybody."""

from __future__ import annotations

import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from supply.advisories import affected, audit
from supply.sbom import locked

from supply import advisories

NOW = datetime(2026, 11, 29, tzinfo=UTC)


def ranged(*events: dict[str, str]) -> dict[str, Any]:
    return {"ranges": [{"type": "ECOSYSTEM", "events": list(events)}]}


@pytest.mark.parametrize(
    ("version", "entry", "wanted"),
    [
        ("1.0", ranged({"introduced": "0"}, {"fixed": "1.1"}), True),
        ("1.1", ranged({"introduced": "0"}, {"fixed": "1.1"}), False),
        ("1.1", ranged({"introduced": "0"}, {"last_affected": "1.1"}), True),
        ("1.2", ranged({"introduced": "0"}, {"last_affected": "1.1"}), False),
        ("0.9", ranged({"introduced": "1.0"}), False),
        ("1.10", ranged({"introduced": "1.9"}), True),  # not as text
        ("1.0rc1", ranged({"introduced": "1.0"}), False),  # PEP 440: before the release
        ("2.0", ranged({"introduced": "2.0"}, {"fixed": "1.5"}, {"introduced": "1.0"}), True),  # in any order
        ("1.7", ranged({"introduced": "2.0"}, {"fixed": "1.5"}, {"introduced": "1.0"}), False),
        ("1.5", ranged({"introduced": "1.0"}, {"fixed": "1.5"}, {"introduced": "1.5"}), True),
        ("1.0", {"ranges": [{"type": "GIT", "events": [{"introduced": "0"}]}]}, False),
        ("1.0", {"versions": ["1.0.0", "odd name"]}, True),  # 1.0 and 1.0.0 are equal
        ("1.0", {"versions": ["1.1"]}, False),
    ],
)
def test_ranges_and_lists(version: str, entry: dict[str, Any], wanted: bool) -> None:
    assert affected(version, entry) is wanted


def export(place: Path, *entries: object) -> Path:
    with zipfile.ZipFile(place, "w") as archive:
        for number, entry in enumerate(entries):
            archive.writestr(f"{number}.json", entry if isinstance(entry, str) else json.dumps(entry))
    return place


def advisory(name: str, version: str, **more: object) -> dict[str, object]:
    entry = {"package": {"ecosystem": "PyPI", "name": name}, **ranged({"introduced": "0"}, {"fixed": f"{version}.1"})}
    return {"id": "PYSEC-1", "modified": "2026-11-20T10:00:00Z", "affected": [entry], "aliases": ["CVE-1"], **more}


def test_an_export_is_read_once_and_what_is_no_advisory_is_named(tmp_path: Path) -> None:
    place = export(
        tmp_path / "all.zip",
        advisory("Some_Thing", "1.0", summary="a\nfault"),
        advisory("other", "9"),
        advisory("some-thing", "1.0", withdrawn="2026-01-01T00:00:00Z", id="PYSEC-2"),
        "{",
        "[" * 100_000,
    )
    said = audit(place, {"some-thing": "1.0"})
    (found,) = said.findings
    assert (found.name, found.advisory, found.fixed, found.summary) == ("some-thing", "PYSEC-1", "1.0.1", "a fault")
    assert (said.count, said.unread) == (2, ("3.json", "4.json"))


def test_the_command_says_what_is_open_how_old_it_is_and_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    version, _ = locked("runtime")["numpy"]
    place = export(tmp_path / "all.zip", advisory("numpy", version))
    assert advisories.main([str(place)], NOW) == 1
    said = capsys.readouterr().out
    assert "1 advisories, the newest of 2026-11-20 (8 days old)" in said
    assert f"numpy {version}: PYSEC-1 = CVE-1: no summary; fixed in {version}.1" in said
    assert "Older than" not in said
    monkeypatch.setattr(advisories, "HERE", tmp_path)
    (tmp_path / "accepted.toml").write_text('CVE-1 = "not called"\n')
    assert advisories.main([str(place)], datetime(2027, 1, 1, tzinfo=UTC)) == 0
    said = capsys.readouterr().out
    assert "accepted: not called" in said
    assert "Older than 30 days" in said


def test_a_file_that_is_no_export_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "all.zip").write_text("text")
    assert advisories.main([str(tmp_path / "all.zip")], NOW) == 2
    assert "all.zip: BadZipFile: no export" in capsys.readouterr().out
    assert advisories.main([str(export(tmp_path / "none.zip"))], NOW) == 2
    assert "holds no advisory" in capsys.readouterr().out
    assert advisories.main([], NOW) == 2

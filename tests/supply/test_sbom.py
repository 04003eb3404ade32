"""The release's bill of materials: what the lock holds, with licences, needs and hashes, the same bytes each time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from supply.sbom import locked, release_bill

from supply import sbom

PART = {"name": "a", "version": "1.0+cpu", "type": "library", "bom-ref": "a@1.0+cpu", "purl": "pkg:pypi/a@1.0"}
OTHER = {"name": "b", "version": "2", "type": "library", "bom-ref": "b@2", "purl": "pkg:pypi/b@2"}
INSTALLED = {
    "$schema": "s",
    "bomFormat": "CycloneDX",
    "specVersion": "1.6",
    "metadata": {"timestamp": "t", "component": {"name": "cfcam", "bom-ref": "cfcam@0"}},
    "components": [PART, OTHER, {"name": "none", "bom-ref": "network"}],
    "dependencies": [
        {"ref": "cfcam@0", "dependsOn": ["a@1.0+cpu", "b@2"]},
        {"ref": "a@1.0+cpu"},
        {"ref": "b@2"},
    ],
}


def test_only_what_is_locked_is_in_the_bill_with_the_hashes_of_its_files() -> None:
    bill = release_bill(INSTALLED, {"a": ("1.0", ["11" * 32, "22" * 32])})
    (part,) = bill["components"]
    assert part["name"] == "a"
    assert [one["content"] for one in part["externalReferences"][0]["hashes"]] == ["11" * 32, "22" * 32]
    assert bill["dependencies"] == [
        {"ref": "cfcam@0", "dependsOn": ["a@1.0+cpu"]},
        {"ref": "a@1.0+cpu", "dependsOn": []},
    ]
    assert "timestamp" not in bill["metadata"]


def test_another_version_than_the_lock_s_is_no_bill() -> None:
    with pytest.raises(SystemExit, match=r"a: 1.0 here, 1.1 in the lock"):
        release_bill(INSTALLED, {"a": ("1.1", [])})
    with pytest.raises(SystemExit, match=r"c: missing here, 3 in the lock"):
        release_bill(INSTALLED, {"c": ("3", [])})


def test_the_command_writes_valid_cyclonedx_and_repeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cyclonedx")
    texts = []
    for name in ("one", "two"):
        monkeypatch.setattr("sys.argv", ["sbom", str(tmp_path / name / "sbom.cdx.json")])
        sbom.main()
        texts.append((tmp_path / name / "sbom.cdx.json").read_text())
    assert texts[0] == texts[1]
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(texts[0]) is None
    bill = json.loads(texts[0])
    found = {part["name"]: part for part in bill["components"]}
    assert set(found) == set(locked("runtime", "all"))
    assert found["pydicom"]["licenses"]
    assert len(found["torch"]["externalReferences"][0]["hashes"]) > 1
    needs = {one["ref"]: one["dependsOn"] for one in bill["dependencies"]}
    torch = found["torch"]["bom-ref"]
    assert torch in needs[bill["metadata"]["component"]["bom-ref"]]
    assert str(tmp_path) not in texts[0]

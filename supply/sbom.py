"""Writes the bill of materials of cfcam with all its extras: what ``all.txt`` locks, with licences, needs and hashes.

    python -m supply.sbom dist/sbom.cdx.json        (``make sbom``)

CycloneDX 1.6. The same lock and environment give the same bytes: no time, and a serial number that follows from the
content. Versions must be those of the lock, or nothing is written.
"""

from __future__ import annotations

import hashlib
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from cfcam.jobs.evidence.software import bill_of_materials
from supply.lock import HERE, blocks, pins


def locked(*locks: str) -> dict[str, tuple[str, list[str]]]:
    """Returns what locks hold: normalised name -> version, SHA-256 of each file of the release."""
    text = "".join((HERE / f"{lock}.txt").read_text() for lock in locks)
    hashes = {
        name: [word.partition("sha256:")[2] for word in lines.split() if word.startswith("--hash=sha256:")]
        for name, lines in blocks(text).items()
    }
    return {name: (version, hashes[name]) for name, version in pins(text).items()}


def release_bill(installed: dict[str, Any], lock: dict[str, tuple[str, list[str]]]) -> dict[str, Any]:
    """Returns an environment's bill, reduced to what the lock holds, each part with the hashes of its files.

    Args:
        installed: CycloneDX 1.6, as an evidence pack has it.
        lock: from `locked`.

    Raises:
        SystemExit: a part is not installed, or in another version than the lock's.
    """
    parts = {part["name"]: part for part in installed["components"] if part["bom-ref"] != "network"}
    for name, (version, _) in lock.items():
        found = parts[name]["version"].partition("+")[0] if name in parts else "missing"
        if found != version:
            raise SystemExit(f"{name}: {found} here, {version} in the lock; install supply/all.txt, or run `make lock`")
    kept = [_with_hashes(parts[name], lock[name][1]) for name in sorted(lock)]
    own = installed["metadata"]["component"]
    refs = {part["bom-ref"] for part in kept} | {own["bom-ref"]}
    needs = [
        {"ref": one["ref"], "dependsOn": [other for other in one.get("dependsOn", ()) if other in refs]}
        for one in installed["dependencies"]
        if one["ref"] in refs
    ]
    digest = hashlib.sha256(json.dumps([own, kept, needs], sort_keys=True).encode()).hexdigest()
    return {
        **{key: installed[key] for key in ("$schema", "bomFormat", "specVersion")},
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, f'cfcam release {digest}')}",
        "version": 1,
        "metadata": {"component": own},
        "components": kept,
        "dependencies": needs,
    }


def _with_hashes(part: dict[str, Any], hashes: list[str]) -> dict[str, Any]:
    files = [{"alg": "SHA-256", "content": one} for one in hashes]
    return {**part, "externalReferences": [{"type": "distribution", "url": part["purl"], "hashes": files}]}


def main() -> None:
    """Writes the bill to the file that is named."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        raise SystemExit(__doc__)
    installed = json.loads(bill_of_materials({"name": "none", "sha256": "0" * 64}, datetime(1970, 1, 1, tzinfo=UTC)))
    bill = release_bill(installed, locked("runtime", "all"))
    place = Path(sys.argv[1])
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(bill, indent=1) + "\n")
    print(f"{place}: {len(bill['components'])} parts")


if __name__ == "__main__":
    main()

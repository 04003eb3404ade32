"""The software of a pack: its bill of materials, and the environment that it was made in."""

from __future__ import annotations

import json

import numpy as np
import torch

from cfcam.jobs.evidence.software import bill_of_materials, environment, lock


def test_the_bill_of_materials_is_valid_cyclonedx_and_repeats():
    from datetime import UTC, datetime

    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    moment = datetime(2026, 1, 2, tzinfo=UTC)
    text = bill_of_materials({"name": "net", "sha256": "ab" * 32}, moment)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert text == bill_of_materials({"name": "net", "sha256": "ab" * 32}, moment)
    bill = json.loads(text)
    components = {one["name"]: one for one in bill["components"]}
    assert components["torch"]["version"] == torch.__version__
    assert components["net"]["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]
    needs = {one["ref"]: one.get("dependsOn", []) for one in bill["dependencies"]}
    assert any(ref.startswith("numpy@") for ref in needs[f"scipy@{components['scipy']['version']}"])


def test_the_environment_is_locked_without_a_host_or_a_user():
    import getpass
    import platform

    described = environment()
    assert described["libraries"]["numpy"] == np.__version__
    assert f"numpy=={np.__version__}\n" in lock(described)
    assert platform.node() not in set(map(str, described.values()))
    assert getpass.getuser() not in set(map(str, described.values()))

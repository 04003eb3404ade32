"""The API against its own description: schemathesis draws requests from it, and none is answered with a 5xx."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from tests.web.server import HEADERS, HOST, client_of, settings_of

schemathesis = pytest.importorskip("schemathesis")
hypothesis = pytest.importorskip("hypothesis")

from cfcam.web.app import create_app  # noqa: E402
from cfcam.web.library.library import Library  # noqa: E402

EXAMPLES = 12


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studies")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "scan.png")
    settings = settings_of(folder, max_upload=2**16, max_pixels=10**6, max_voxels=10**6)
    return create_app(settings, Library.open(settings))


@pytest.fixture(scope="module")
def schema(app):
    return schemathesis.openapi.from_asgi("/api/openapi.json", app, headers={**HEADERS, "Host": HOST})


def operations(schema):
    return [found.ok() for found in schema.get_all_operations()]


def test_no_request_that_the_description_allows_or_forbids_is_answered_with_a_5xx(schema):
    asked = 0
    for operation in operations(schema):
        for mode in schemathesis.GenerationMode:
            strategy = operation.as_strategy(generation_mode=mode)

            @hypothesis.settings(
                max_examples=EXAMPLES,
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=list(hypothesis.HealthCheck),
            )
            @hypothesis.given(case=strategy)
            def tried(case):
                nonlocal asked
                asked += 1
                answer = case.call(base_url=f"http://{HOST}", headers=HEADERS)
                assert answer.status_code < 500, f"{case.method} {case.path}: {answer.status_code} {answer.text[:200]}"

            with suppress(hypothesis.errors.Unsatisfiable):  # an address without parameters has no wrong ones
                tried()
    assert asked >= 5 * len(operations(schema))


def test_every_address_of_the_api_is_described_and_describes_its_errors():
    with client_of(settings_of()) as client:
        described = client.get("/api/openapi.json").json()
    assert "/api/studies/{study_id}/original.nii" in described["paths"]
    for path, methods in described["paths"].items():
        for method, about in methods.items():
            assert about["responses"]["422"]["content"]["application/json"]["schema"]["$ref"].endswith("/Problem"), (
                f"{method} {path}"
            )

"""What is said of a request's fields: which, what they are, what is expected; nothing that was sent is repeated."""

import pytest

pytest.importorskip("fastapi", reason="the viewer needs FastAPI: pip install 'cfcam[view]'")

from tests.web.server import client_of, settings_of

STUDY, MAP = "s-" + "0" * 12, "m-" + "0" * 12


@pytest.fixture(scope="module")
def client():
    with client_of(settings_of("testimgs/nodule.png")) as found:
        yield found


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ({"threshold": True}, "threshold: is true; expected a number or a text"),
        ({"threshold": []}, "threshold: is a list of 0; expected a number or a text"),
        ({"slice": False}, "slice: is false; expected a whole number"),
        ({"slice": 1.5}, "slice: is another number; expected a whole number"),
        ({"polygon": [[0, 0], [True, 1], [2, 2]]}, "polygon[1][0]: is true; expected a number"),
        ({"polygon": [[0, 0]]}, "polygon: is a list of 1; expected 3 entries or more"),
        ({"polygon": [[0, 0], [1], [2, 2]]}, "polygon[1][1]: is missing; see /api/openapi.json for what is expected"),
        ({"plane": "Mueller"}, "plane: is another text; expected 'axial', 'coronal' or 'sagittal'"),
        ({"study": None}, "study: is null; expected a text"),
        ({"Mueller": 1}, "is no field of this request; see /api/openapi.json for those that are"),
    ],
)
def test_a_wrong_field_is_told_in_one_line(client, sent, told):
    answer = client.post("/api/roi", json={"study": STUDY, "map": MAP} | sent)
    assert answer.status_code == 422
    assert answer.json()["error"].removeprefix("Mueller: ") == told


def test_what_is_missing_or_no_json_is_told_too(client):
    assert client.post("/api/roi", json={"study": STUDY}).json()["error"].startswith("map: is missing; ")
    broken = client.post("/api/roi", content=b'{"study": ', headers={"content-type": "application/json"})
    assert (broken.status_code, broken.json()["error"]) == (
        422, "body: is no JSON; expected an object as /api/openapi.json describes it",
    )  # fmt: skip
    assert client.get("/api/studies?limit=no").json()["error"] == "limit: is another text; expected a whole number"
    assert client.post("/api/explain", json={"study": STUDY, "methods": ["a"], "targets": [True]}).json()["error"] == (
        "targets[0]: is true; expected a whole number or a text"
    )

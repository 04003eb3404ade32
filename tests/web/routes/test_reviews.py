"""Answers of readers through the API: recorded once and whole, listed, handed on."""

import io
import json
import socket
import sqlite3
import threading
import zipfile

import pytest

pytest.importorskip("fastapi", reason="the viewer needs FastAPI: pip install 'cfcam[view]'")
pytest.importorskip("sqlalchemy", reason="the audit needs SQLAlchemy: pip install 'cfcam[audit]'")
pytest.importorskip("alembic", reason="the audit needs Alembic: pip install 'cfcam[audit]'")
pydicom = pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

from cfcam.clinical.audit import Audit  # noqa: E402
from cfcam.clinical.review import values_sha256  # noqa: E402
from tests.exchange.dicom.test_write import content  # noqa: E402
from tests.exchange.phantoms import errors_of  # noqa: E402
from tests.web.answered import NAME, PATIENT, heat_of, opened  # noqa: E402
from tests.web.server import TOKEN, served, settings_of  # noqa: E402

VIEW = {"opacity": 0.4, "threshold": 0.5, "palette": "inferno", "blend": "value", "window": [0, 4000], "scale": "own",
        "original": True}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("answered")


@pytest.fixture
def where(tmp_path):
    return tmp_path / "audit.sqlite"


@pytest.fixture
def viewer(folder, where):
    with opened(folder, audit=str(where)) as found:
        yield found


def records(where):
    return [one for one in Audit(where).records() if one.action == "review"]


def test_the_record_says_who_answered_what_was_shown_and_how(viewer, where):
    given = {"comment": "at the border\r\nnot the nodule ", "amended": {"class_index": 0, "peak": [3, 4]}, "view": VIEW}
    answer = viewer.answer("CR", "amend", **given)
    assert answer.status_code == 200, answer.text
    (record,) = records(where)
    study = viewer.client.app.state.library.find(viewer.ids["CR"])
    assert record.details == {
        "decision": "amend",
        "study": viewer.ids["CR"],
        "map": viewer.map("CR"),
        "data_sha256": study.image().sha256,
        "map_sha256": values_sha256(heat_of((24, 20), 0)),
        "model_sha256": "ab" * 32,
        "method": "grad-cam",
        "layer": "layer4",
        "target": 1,
        "probability": 0.75,
        "reviewer": "Ána Müller",
        "comment": "at the border\nnot the nodule",
        "amended": {"class_index": 0, "peak": [3, 4]},
        "view": VIEW,
    }
    told = answer.json()
    assert (told["record_id"], told["hash"], told["supersedes"]) == (record.id, record.hash, None)
    assert told["time"].endswith("Z")
    assert Audit(where).verify().ok


def test_a_later_answer_counts_and_the_earlier_stays(viewer, where):
    first = viewer.answer(verdict="reject", comment="no").json()
    other = viewer.answer(number=1).json()
    second = viewer.answer(reviewer="Béla").json()
    assert second["supersedes"] == first["record_id"]
    assert other["supersedes"] is None
    found = viewer.client.get("/api/reviews", params={"study": viewer.ids["CR"]}).json()["reviews"]
    assert [(one["map"], one["verdict"], one["reviewer"]) for one in found] == [
        (viewer.map("CR"), "accept", "Béla"), (viewer.map("CR", 1), "accept", "Ána Müller"),
    ]  # fmt: skip
    assert found[0]["contested"]
    assert [(one["verdict"], one["comment"], one["record_id"]) for one in found[0]["history"]] == [
        ("reject", "no", first["record_id"])
    ]
    assert [one.details["decision"] for one in records(where)] == ["reject", "accept", "accept"]
    assert viewer.client.get("/api/reviews", params={"study": viewer.ids["CT"]}).json() == {"reviews": []}


def test_another_viewer_of_the_same_audit_sees_the_answers_and_is_seen(viewer, where, folder):
    viewer.answer()
    with opened(folder, audit=str(where)) as another:
        assert another.answer(verdict="reject", reviewer="Béla").json()["supersedes"].startswith("1-")
    (one,) = viewer.client.get("/api/reviews", params={"study": viewer.ids["CR"]}).json()["reviews"]
    assert (one["reviewer"], one["verdict"], len(one["history"])) == ("Béla", "reject", 1)


def test_two_readers_at_once_leave_one_whole_chain_in_which_each_refers_to_the_one_before(viewer, where):
    answers = []
    threads = [
        threading.Thread(target=lambda n=n: answers.append(viewer.answer(reviewer=f"Reader {n % 2}").status_code))
        for n in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 12
    found = records(where)
    assert Audit(where).verify().ok
    assert [one.details.get("refers_to") for one in found] == [None, *(one.id for one in found[:-1])]


def test_a_request_that_is_cut_off_leaves_nothing(folder, where):
    with opened(folder, audit=str(where)) as viewer:
        body = json.dumps({"study": viewer.ids["CR"], "map": viewer.map("CR"), "verdict": "accept", "reviewer": "R"})
    with served(settings_of(folder / "scan.png", audit=str(where))) as server:
        host, port = server.base.removeprefix("http://").split(":")
        head = f"POST /api/reviews HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {TOKEN}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        for part in (body[: len(body) // 2], body[:-1], ""):
            with socket.create_connection((host, int(port))) as connection:
                connection.sendall((head + part).encode())
        assert server.client.get("/api/info").status_code == 200
    assert not where.exists() or records(where) == []


def test_without_an_audit_it_says_how_to_have_one(folder):
    with opened(folder) as viewer:
        for answer in (viewer.answer(), viewer.client.get("/api/reviews", params={"study": viewer.ids["CR"]})):
            assert answer.status_code == 409
            assert "--record" in answer.json()["error"]


@pytest.mark.parametrize(
    ("more", "status", "word"),
    [
        ({"reviewer": None}, 422, "--reviewer"),
        ({"reviewer": "  "}, 422, "--reviewer"),
        ({"reviewer": "a\x00b"}, 422, "reviewer"),
        ({"reviewer": "a^b"}, 422, "reviewer"),
        ({"comment": "a\x07b"}, 422, "comment"),
        ({"comment": "\u202eabc"}, 422, "comment"),
        ({"comment": "\ud800"}, 422, ""),
        ({"comment": "x" * 2001}, 422, "comment"),
        ({"comment": "x" * 4001}, 422, "comment"),
        ({"verdict": "amend"}, 422, "amend"),
        ({"amended": {"class_index": 1}}, 422, "amend"),
        ({"verdict": "maybe"}, 422, "verdict"),
        ({"view": {"patient": "x"}}, 422, "patient"),
        ({"view": {"opacity": 7}}, 422, "opacity"),
        ({"map": "m-ffffffffffff"}, 404, "no map"),
        ({"study": "s-ffffffffffff"}, 404, "no study"),
        ({"more": 1}, 422, "more"),
    ],
)
def test_what_may_not_be_recorded_is_refused_in_one_line_and_nothing_is_recorded(viewer, where, more, status, word):
    body = {"study": viewer.ids["CR"], "map": viewer.map("CR"), "verdict": "accept", "reviewer": "R"} | more
    answer = viewer.client.post("/api/reviews", content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert word in answer.json()["error"]
    assert "\n" not in answer.json()["error"]
    assert not where.exists() or records(where) == []


@pytest.mark.parametrize(
    "said", ["Zyxwv", "for mr. PLANTED", "id planted-4711", "born 1943-02-17", "17.02.1943", "zýxwv"]
)
@pytest.mark.parametrize("kind", ["CR", "CT"])
def test_the_patient_gets_into_no_comment(viewer, where, said, kind):
    answer = viewer.answer(kind, comment=said)
    assert answer.status_code == 422
    assert said not in answer.json()["error"]
    assert not where.exists() or records(where) == []
    assert viewer.answer("PNG", comment=said).status_code == 200  # which names nobody


def test_a_reader_may_share_a_name_with_a_patient_and_is_not_the_patient(viewer, where):
    for own in ("Planted Zyxwv", "zyxwv, planted", "PLANTED-4711", "ZyxwvPlanted"):
        assert viewer.answer("CT", reviewer=own).status_code == 422
    assert not where.exists() or records(where) == []
    assert viewer.answer("CT", reviewer="Dr. Zyxwv").status_code == 200


def test_a_viewer_that_was_started_for_somebody_takes_no_other_name(folder, where):
    with opened(folder, audit=str(where), reviewer="Dr. Own") as viewer:
        assert viewer.client.get("/api/info").json()["reviewer"] == "Dr. Own"
        assert viewer.answer(reviewer=None).status_code == 200
        assert viewer.answer(reviewer="Other").status_code == 409
    assert [one.details["reviewer"] for one in records(where)] == ["Dr. Own"]


def test_the_answers_are_handed_on_as_json_with_the_elements_of_fhir(viewer, where):
    viewer.answer(verdict="reject", comment="no", view=VIEW)
    viewer.answer()
    viewer.answer(number=1)
    answer = viewer.client.get("/api/reviews/export", params={"study": viewer.ids["CR"]})
    assert answer.headers["content-disposition"] == 'attachment; filename="reviews.json"'
    found = answer.json()
    assert found["audit"]["head"] == Audit(where).verify().head
    assert len(found["observation"]) == len(found["provenance"]) == 3
    assert found["diagnosticReport"]["result"] == [{"reference": "review-2"}, {"reference": "review-3"}]
    again = viewer.client.get("/api/reviews/export", params={"study": viewer.ids["CR"], "format": "json"})
    assert again.content == answer.content
    one = viewer.client.get(
        "/api/reviews/export", params={"study": viewer.ids["CR"], "map": viewer.map("CR", 1)}
    ).json()
    assert [each["id"] for each in one["observation"]] == ["review-3"]


@pytest.mark.parametrize("kind", ["CR", "CT"])
def test_the_answers_are_handed_on_as_documents_that_validators_take(viewer, tmp_path, kind):
    first = viewer.answer(kind, "reject", comment="nicht hier: 心臓", view=VIEW).json()
    alone = viewer.client.get("/api/reviews/export", params={"study": viewer.ids[kind], "format": "sr"})
    assert alone.headers["content-type"] == "application/dicom"
    viewer.answer(kind, reviewer="Béla")
    answer = viewer.client.get("/api/reviews/export", params={"study": viewer.ids[kind], "format": "sr"})
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    assert next(iter(files.values())) == alone.content  # the same record, the same document
    assert answer.content == viewer.client.get(
        "/api/reviews/export", params={"study": viewer.ids[kind], "format": "sr"}
    ).content  # fmt: skip
    earlier, later = (pydicom.dcmread(io.BytesIO(data)) for data in files.values())
    assert content(earlier, "Comment")[0].TextValue == "nicht hier: 心臓"
    assert content(earlier, "Record of the audit")[0].TextValue == first["record_id"]
    assert (
        content(earlier, "Probability of the class, as the model gives it")[0].MeasuredValueSequence[0].NumericValue
        == 0.75
    )
    (series,) = later.PredecessorDocumentsSequence[0].ReferencedSeriesSequence
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == earlier.SOPInstanceUID
    assert (str(later.PatientName), str(later.PatientID)) == (NAME, PATIENT)  # of the study that it belongs to
    for number, data in enumerate(files.values()):
        (tmp_path / f"{number}.dcm").write_bytes(data)
        assert errors_of("dciodvfy", tmp_path / f"{number}.dcm") == []
    assert all("Zyxwv" not in name and "PLANTED" not in name for name in files)


def test_no_document_where_there_is_nothing_to_refer_to(viewer):
    assert viewer.answer("PNG").status_code == 200
    answer = viewer.client.get("/api/reviews/export", params={"study": viewer.ids["PNG"], "format": "sr"})
    assert answer.status_code == 409
    assert "no DICOM" in answer.json()["error"]
    nothing = viewer.client.get("/api/reviews/export", params={"study": viewer.ids["CR"], "format": "sr"})
    assert (nothing.status_code, "nothing was answered" in nothing.json()["error"]) == (409, True)


def test_no_document_of_a_map_that_is_another_one_now(viewer):
    viewer.answer()
    study = viewer.client.app.state.library.find(viewer.ids["CR"])
    one = study.map(viewer.map("CR"))
    from dataclasses import replace

    study.add(replace(one, heat=lambda: heat_of((24, 20), 5)))
    answer = viewer.client.get("/api/reviews/export", params={"study": viewer.ids["CR"], "format": "sr"})
    assert (answer.status_code, "other values" in answer.json()["error"]) == (409, True)


def test_nothing_is_handed_on_from_a_record_that_was_changed(viewer, where):
    viewer.answer(verdict="reject")
    viewer.answer()
    with sqlite3.connect(where) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("UPDATE audit_record SET body = replace(body, 'reject', 'accept') WHERE sequence = 1")
    for form in ("json", "sr"):
        answer = viewer.client.get("/api/reviews/export", params={"study": viewer.ids["CR"], "format": form})
        assert answer.status_code == 409
        assert "record 1" in answer.json()["error"]


def test_an_audit_that_cannot_be_used_is_said_without_its_place(folder, tmp_path):
    bad = tmp_path / "secret-place.sqlite"
    bad.write_bytes(b"no database" * 100)
    with opened(folder, audit=str(bad)) as viewer:
        answer = viewer.answer()
    assert answer.status_code == 503
    assert "secret" not in answer.text
    assert "audit" in answer.json()["error"]

"""A Bundle is posted: to a FHIR server that is not ours, and what is said where none takes it."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from cfcam.errors import InputError
from cfcam.exchange.fhir import as_bytes, bundle, post
from cfcam.exchange.fhir.server import TOKEN_VARIABLE, ServerError, check_url, token_of
from tests.exchange.fhir.studies import AMENDED, EVERYTHING, MOMENT, OBJECT, PDF, STUDY, code_of, component, of_kind
from tests.exchange.fhir.tools import all_of, server
from tests.waiting import free_port

SECRET = "s3cret"  # noqa: S105 (of no server)
KINDS = ("Device", "ImagingStudy", "DiagnosticReport", "Observation", "DocumentReference", "Provenance", "AuditEvent")


@pytest.fixture(scope="module")
def base():
    with server() as url:
        yield url


def test_posted_twice_nothing_is_there_twice_and_references_lead_to_what_is_there(base):
    made = bundle(STUDY, **EVERYTHING)
    first = post(as_bytes(made), base)
    assert (first.created, first.kept) == (len(made["entry"]), 0)
    again = post(as_bytes(made), base)
    assert (again.created, again.kept) == (0, len(made["entry"]))
    assert again.locations == first.locations
    held = {kind: all_of(base, kind) for kind in KINDS}
    assert {kind: len(held[kind]) for kind in KINDS} == {kind: len(of_kind(made, kind)) for kind in KINDS}
    there = {f"{kind}/{one['id']}" for kind in KINDS for one in held[kind]}
    (report,) = held["DiagnosticReport"]
    assert {one["reference"] for one in report["result"]} <= there
    assert report["presentedForm"][0]["hash"] == of_kind(made, "DiagnosticReport")[0]["presentedForm"][0]["hash"]
    assert "urn:uuid:" not in json.dumps([one for kind in KINDS for one in held[kind]])

    # what came out are the numbers that went in, though a server may write 2400.0 as 2400
    def numbers(observations):
        return sorted(
            (code_of(one), one["method"]["text"], component(one, "class"), str(component(one, "region")),
             one["valueQuantity"]["value"], one["valueQuantity"]["code"])
            for one in observations if "valueQuantity" in one and "method" in one
        )  # fmt: skip

    assert numbers(held["Observation"]) == numbers(of_kind(made, "Observation"))


def test_an_answer_more_changes_the_report_and_adds_what_belongs_to_it():
    with server() as base:
        before = bundle(STUDY, recorded=MOMENT, report=PDF, objects=[OBJECT])
        post(as_bytes(before), base)
        later = post(as_bytes(bundle(STUDY, **EVERYTHING)), base)
        assert later.created == 6  # of each of two answers: the Observation, its Provenance, its AuditEvent
        (report,) = all_of(base, "DiagnosticReport")
        assert report["resultsInterpreter"] == [{"display": "Béla"}]
        assert report["issued"] == "2026-01-04T00:00:00.000Z"


def test_an_imaging_study_that_the_server_has_stays_its_own():
    with server() as base:
        theirs = bundle(replace(STUDY, modality="MG"), recorded=MOMENT)
        post(as_bytes(theirs), base)
        post(as_bytes(bundle(STUDY, recorded=MOMENT)), base)
        (study,) = all_of(base, "ImagingStudy")
        assert study["modality"][0]["code"] == "MG"


def test_a_bundle_that_is_not_valid_is_refused_and_nothing_of_its_words_is_repeated(base):
    with pytest.raises(ServerError) as told:
        post(as_bytes({"resourceType": "Observation", "note": [{"text": "PLANTED"}]}), base)
    assert "refuses the Bundle with 400" in str(told.value)
    assert "PLANTED" not in str(told.value)


@contextmanager
def answering(status, body, headers=(), metadata=None):
    """A socket that answers everything with the same, to see what is made of it; it is no FHIR server."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(404 if metadata is None else 200)
            self.send_header("Content-Length", str(len(metadata or b"")))
            self.end_headers()
            self.wfile.write(metadata or b"")

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            seen.append(self.headers)
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    web = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=web.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{web.server_port}", seen
    finally:
        web.shutdown()
        thread.join()
        web.server_close()


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (401, b"", f"refuses the Bundle with 401: give a token in {TOKEN_VARIABLE}, or --token-file"),
        (503, b"<html>", "refuses the Bundle with 503: post again later"),
        (422, json.dumps({"resourceType": "OperationOutcome", "issue": [
            {"code": "value", "diagnostics": "PLANTED", "expression": ["Bundle.entry[3]"]}]}).encode(),
         "refuses the Bundle with 422 (value, Bundle.entry[3]): see its log"),
        (302, b"", "refuses the Bundle with 302"),
        (200, b"<html>", "answers with no transaction-response"),
        (200, b'{"resourceType": "Bundle", "type": "searchset"}', "answers with no transaction-response"),
        (200, json.dumps({"type": "transaction-response", "entry": [
            {"response": {"status": "201"}}, {"response": {"status": "400 Bad"}}]}).encode(), "says 400 of an entry"),
        (200, b'{"type": "transaction-response", "entry": [{}]}', "says nothing of an entry"),
    ],
)  # fmt: skip
def test_an_answer_that_is_none_is_told_in_one_line_without_the_token(status, body, told):
    with answering(status, body, [("Location", "http://127.0.0.1:9/")]) as (url, seen):
        with pytest.raises(ServerError) as error:
            post(b"{}", url, token=SECRET)
        assert seen[0]["Authorization"] == f"Bearer {SECRET}"
        assert seen[0]["Content-Type"].startswith("application/fhir+json")
    assert told in str(error.value)
    assert SECRET not in str(error.value)
    assert "PLANTED" not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_server_that_is_not_there_is_told():
    with pytest.raises(ServerError, match=r"cannot be reached .* then post again"):
        post(b"{}", f"http://127.0.0.1:{free_port()}")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("fhir.example", "takes the base URL"),
        ("ftp://fhir.example", "takes the base URL"),
        ("https://me:secret@fhir.example/r4", "without user, password or query"),
        ("https://fhir.example/r4?token=secret", "without user, password or query"),
        ("http://fhir.example/r4", "http is not encrypted"),
    ],
)
def test_urls_that_would_tell_something_are_refused(url, told):
    with pytest.raises(InputError, match=told) as error:
        check_url(url)
    assert "secret" not in str(error.value)


def test_http_is_for_this_machine():
    assert check_url("http://localhost:8080/fhir/") == "http://localhost:8080/fhir"
    assert check_url("https://fhir.example/r4/") == "https://fhir.example/r4"


def test_a_token_comes_from_a_file_or_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    assert token_of(None) is None
    monkeypatch.setenv(TOKEN_VARIABLE, " abc\n")
    assert token_of(None) == "abc"
    file = tmp_path / "token"
    file.write_text("def\n")
    assert token_of(file) == "def"
    file.write_text("de f")
    with pytest.raises(InputError, match="no HTTP header takes"):
        token_of(file)
    file.write_text("")
    with pytest.raises(InputError, match="holds no token"):
        token_of(file)
    with pytest.raises(InputError, match="cannot be read"):
        token_of(tmp_path / "none")


def test_a_reader_is_told_by_the_name_that_was_typed_in():
    made = bundle(STUDY, **EVERYTHING)
    assert {one["agent"][0]["who"].get("display") for one in of_kind(made, "AuditEvent")[1:]} == {
        "Ána",
        AMENDED.reviewer,
    }


TAKEN = b'{"type": "transaction-response", "entry": [{"response": {"status": "201"}}]}'


@pytest.mark.parametrize("version", ["5.0.0", "3.0.2", "6.0.0-ballot2"])
def test_a_server_of_another_version_gets_nothing(version):
    """It may leave out what it does not have, such as R4's link from a report to its pictures, without a word."""
    metadata = json.dumps({"resourceType": "CapabilityStatement", "fhirVersion": version}).encode()
    with answering(200, TAKEN, metadata=metadata) as (base, seen):
        with pytest.raises(
            ServerError, match=f"speaks FHIR {version}, and the Bundle is R4: give the base URL of an R4"
        ):
            post(b"{}", base)
        assert seen == []


@pytest.mark.parametrize(
    "metadata", [b'{"fhirVersion": "4.0.1"}', b'{"fhirVersion": "4.3.0"}', b"{}", b"[]", b"<x/>", None]
)
def test_a_server_of_r4_or_one_that_does_not_say_gets_the_bundle(metadata):
    with answering(200, TAKEN, metadata=metadata) as (base, seen):
        assert post(b"{}", base).created == 1
        assert len(seen) == 1

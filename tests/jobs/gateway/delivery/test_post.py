"""Bundles go to a FHIR server: after the objects, once, again where it is down, aside where it refuses."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

pytest.importorskip("pynetdicom")
pytest.importorskip("prometheus_client")

from cfcam.errors import JobError
from cfcam.exchange.fhir import post
from cfcam.jobs.gateway.delivery.post import Poster
from cfcam.jobs.gateway.index import Index
from cfcam.jobs.gateway.places import Fhir, Spool
from cfcam.jobs.gateway.records import BUNDLE, Result, Task
from cfcam.jobs.gateway.run import Gateway
from cfcam.jobs.gateway.settings import read_settings
from cfcam.jobs.gateway.spool import Spool as Folder
from cfcam.log import Log
from tests.exchange.fhir.tools import all_of, server
from tests.imaging import dicoms
from tests.jobs.gateway.senders import radiographs, storescu
from tests.jobs.gateway.whole import Archive, config, until
from tests.waiting import free_port

TASK = Task("study-1", "unit", False, "net", "rule")
FINE = {"resourceType": "Bundle", "type": "transaction-response", "entry": [{"response": {"status": "201 Created"}}]}


def test_a_bundle_is_on_the_server_once_the_archive_has_the_objects_and_not_before(tmp_path):
    archive = Archive(tmp_path / "archive")  # down so far
    port = free_port()
    with server() as base, (tmp_path / "log").open("w") as log:
        path = config(tmp_path, archive, port=port, more=f'[fhir]\nurl = "{base}"\nwait_s = 0.2\n')
        with Gateway(read_settings(path), Log(log)) as gateway:
            storescu(port, *radiographs(tmp_path / "films", 1))
            until(lambda: gateway.deliverer.down)
            assert gateway.index.counts()["results"]["held"] == 1
            assert gateway.index.to_post(9) == []
            assert all_of(base, "DiagnosticReport") == []
            archive.up()
            until(lambda: gateway.index.counts()["tasks"] == {"delivered": 1})
            assert gateway.poster.counts == {"posted": 1}
            (bundle,) = gateway.spool.results.rglob("*_fhir.json")
            made = json.loads(bundle.read_bytes())
            again = post(bundle.read_bytes(), base)
            metrics = {one.name: one for one in gateway.numbers()}
        assert (again.created, again.kept) == (0, len(made["entry"]))  # it is all there
        (report,) = all_of(base, "DiagnosticReport")
        documents = all_of(base, "DocumentReference")
        told = {name["value"] for one in documents for name in one["identifier"]}
        root = {one.SOPInstanceUID for one in archive.objects() if one.Modality == "KO"}  # it is of no network
        assert {f"urn:oid:{uid}" for uid in archive.came.keys() - root} <= told
        assert not [word for word in dicoms.PLANTED if word in json.dumps([report, *documents])]
    archive.down()
    assert [sample.value for sample in metrics["cfcam_posted"].samples] == [1]


class Place:
    """A FHIR server that answers as it is told; what it was sent, and with which token."""

    def __init__(self, *answers):
        self.answers, self.came, self.tokens = list(answers), [], []


@contextmanager
def answering(*answers):
    place = Place(*answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            place.came.append(self.rfile.read(int(self.headers["Content-Length"])))
            place.tokens.append(self.headers["Authorization"])
            status = place.answers.pop(0) if len(place.answers) > 1 else place.answers[0]
            body = json.dumps(FINE).encode() if status == 200 else b"{}"
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    web = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    try:
        place.url = f"http://127.0.0.1:{web.server_port}"
        yield place
    finally:
        web.shutdown()
        web.server_close()


@pytest.fixture
def parts(tmp_path):
    """A spool with one study, whose object is delivered and whose Bundle is not."""
    spool = Folder(Spool(tmp_path / "spool", least_free_mb=0))
    index = Index(spool.folder / "index.sqlite")
    (spool.results / "study-1-0").mkdir()
    (spool.results / "study-1-0" / "a_fhir.json").write_bytes(b'{"a": "Bundle"}')
    index._base.execute("INSERT INTO tasks VALUES ('study-1', 'unit', 0, 'net', 'rule', 'working', 0, 1, '', 0, 0)")
    object_ = Result("study-1-0/sr_1.2.dcm", TASK.id, "1.2", "sr")
    bundle = Result("study-1-0/a_fhir.json", TASK.id, "", BUNDLE)
    index.finish(TASK, [object_, bundle], sent=True, posted=True)
    index.delivered([object_.file])
    assert index.counts()["tasks"] == {"results": 1}  # the Bundle is not there yet
    assert index.old(1e12) == ([], [])  # and it is not swept away
    yield spool, index
    index.close()
    spool.close()


def poster(parts, url, log, **more):
    spool, index = parts
    return Poster(Fhir(url=url, **{"wait_s": 0.01, "longest_wait_s": 0.05} | more), spool, index, log)


def test_a_server_that_is_down_gets_it_later_and_the_token_is_shown_to_it_alone(parts, tmp_path, monkeypatch):
    monkeypatch.setenv("TOKEN_OF_A_TEST", "s3cret")
    with answering(503, 503, 200) as place, (tmp_path / "log").open("w") as log:
        posting = poster(parts, place.url, Log(log), token_env="TOKEN_OF_A_TEST")  # noqa: S106 (its variable)
        posting.start()
        until(lambda: parts[1].counts()["tasks"] == {"delivered": 1})
        posting.close()
        assert place.came == [b'{"a": "Bundle"}'] * 3
        assert place.tokens == ["Bearer s3cret"] * 3
    told = (tmp_path / "log").read_text()
    assert "Bundles do not get through" in told
    assert "Bundles get through again" in told
    assert "s3cret" not in told


@pytest.mark.parametrize(("status", "reason"), [(422, "refuses the Bundle with 422"), (401, "asks for a token")])
def test_what_a_server_refuses_is_put_aside_with_the_reason_and_posted_when_asked(parts, tmp_path, status, reason):
    _, index = parts
    with answering(status, 200) as place, (tmp_path / "log").open("w") as log:
        posting = poster(parts, place.url, Log(log))
        posting.once()
        (aside,) = index.put_aside()
        assert reason in aside.reason
        assert not posting.once()  # it is not asked again by itself
        assert len(place.came) == 1
        assert index.retry() == [TASK.id]
        posting.once()
        assert index.counts()["tasks"] == {"delivered": 1}


def test_a_server_that_stays_down_is_given_up_on_after_so_many_tries(parts, tmp_path):
    _, index = parts
    with (tmp_path / "log").open("w") as log:
        posting = poster(parts, f"http://127.0.0.1:{free_port()}", Log(log), most_tries=2)
        posting.once()
        assert index.counts()["results"] == {"delivered": 1, "held": 1}
        posting.once()
        (aside,) = index.put_aside()
        assert aside.reason.startswith("tried 2 times: ")
        assert "cannot be reached" in aside.reason


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('url = "http://fhir.example/r4"', "http is not encrypted"),
        ('url = "https://me:secret@fhir.example/r4"', "url takes a URL without user, password or query"),
        ("", "url is missing"),
        ('url = "https://fhir.example"\nmost_tries = 0', "most_tries is 0"),
    ],
)
def test_settings_that_would_tell_a_secret_are_refused(tmp_path, line, told):
    path = config(tmp_path, None, port=1, more=f"[fhir]\n{line}\n")
    with pytest.raises(JobError, match=told) as error:
        read_settings(path)
    assert "secret" not in str(error.value)

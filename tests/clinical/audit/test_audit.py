import hashlib
import itertools
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="the audit needs SQLAlchemy: pip install 'cfcam[audit]'")
pytest.importorskip("alembic", reason="the audit needs Alembic: pip install 'cfcam[audit]'")

from cfcam.clinical.audit import EVENTS, FIELDS, GENESIS, OUTCOMES, Action, Audit, AuditError
from cfcam.clinical.audit import audit as module
from cfcam.clinical.audit.export import exported_head, verify_export
from cfcam.errors import MissingExtraError

PSEUDONYM = "P-9f86d081884c7d65"
WRITER = """
import sys
from cfcam.clinical.audit.audit import Audit
where, seed, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
audit = Audit(where)
for number in range(count):
    record = audit.append("explain", {"seed": seed, "count": number})
    print(record.sequence, record.hash, flush=True)
"""
KILLED_BEFORE_COMMIT = """
import os, signal, sys
from sqlalchemy import event
from cfcam.clinical.audit.audit import Audit
audit = Audit(sys.argv[1])
for number in range(3):
    audit.append("write", {"count": number})
event.listen(audit._engine, "commit", lambda connection: os.kill(os.getpid(), signal.SIGKILL))
audit.append("write", {"count": 3})
"""
FORKED = """
import os, sys
from cfcam.clinical.audit.audit import Audit
audit = Audit(sys.argv[1])
audit.append("start")
children = []
for seed in range(4):
    child = os.fork()
    if not child:
        for number in range(10):
            audit.append("explain", {"seed": seed, "count": number})
        os._exit(0)
    children.append(child)
assert all(os.waitpid(child, 0)[1] == 0 for child in children)
"""


def start(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def check_concurrent_writers(where, processes=8, each=200):
    """Nothing exists yet: the processes also race for making the table."""
    running = [start(WRITER, where, seed, each) for seed in range(processes)]
    ended = [(process.communicate(timeout=300), process.returncode) for process in running]
    assert [code for _, code in ended] == [0] * processes, [streams[1] for streams, _ in ended]
    verified = Audit(where, create=False).verify()
    assert verified.ok, verified.reason
    assert verified.count == processes * each
    records = list(Audit(where, create=False).records())
    assert [record.sequence for record in records] == list(range(1, processes * each + 1))
    for seed in range(processes):
        mine = [record for record in records if record.details["seed"] == seed]
        assert [record.details["count"] for record in mine] == list(range(each))
        told = [line.split() for line in ended[seed][0][0].splitlines()]
        assert told == [[str(record.sequence), record.hash] for record in mine]


def check_kill_before_commit(where):
    process = start(KILLED_BEFORE_COMMIT, where)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, stderr
    audit = Audit(where, create=False)
    assert audit.verify().ok
    assert [record.details["count"] for record in audit.records()] == [0, 1, 2]
    assert audit.append("write", {"count": 4}).sequence == 4
    assert audit.verify().count == 4


def check_kills_at_any_time(where, times=8):
    generator = random.Random(0)  # noqa: S311
    Audit(where)
    acknowledged = []
    for seed in range(times):
        process = start(WRITER, where, seed, 100_000)
        first = process.stdout.readline()
        time.sleep(generator.uniform(0, 0.1))
        process.kill()
        rest, stderr = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL, stderr
        acknowledged += [line.split() for line in (first + rest).splitlines() if line.count(" ") == 1]
    audit = Audit(where, create=False)
    verified = audit.verify()
    assert verified.ok, verified.reason
    # A line may be cut by the kill, and a record may be written that nobody could be told of any more.
    assert len(acknowledged) - times <= verified.count <= len(acknowledged) + times
    written = {str(record.sequence): record.hash for record in audit.records()}
    told = [(sequence, digest) for sequence, digest in acknowledged if len(digest) == 64]
    assert len(told) >= times
    assert all(written[sequence] == digest for sequence, digest in told)
    assert audit.append("stop").sequence == verified.count + 1


def check_fork(where):
    process = start(FORKED, where)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    verified = Audit(where, create=False).verify()
    assert (verified.ok, verified.count) == (True, 41)


def filled(where, count=20):
    audit = Audit(where)
    for number in range(count):
        audit.append("explain", {"count": number, "pseudonym": PSEUDONYM})
    return audit


@pytest.fixture
def where(tmp_path):
    return tmp_path / "audit.sqlite"


def tamper(where, *statements):
    """Changes the table as somebody would who owns the file."""
    with sqlite3.connect(where) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(*statement if isinstance(statement, tuple) else (statement,))
    connection.close()


def rows(where):
    with sqlite3.connect(where) as connection:
        found = connection.execute("SELECT sequence, body, hash FROM audit_record ORDER BY sequence").fetchall()
    connection.close()
    return found


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_record_is_the_sha256_of_its_written_out_json_chained_to_the_one_before(where):
    audit = Audit(where)
    before = datetime.now(UTC)
    first = audit.append("start", {"version": "1.0"})
    second = audit.append(Action.RELEASE, {"pseudonym": PSEUDONYM, "probability": 0.5, "formats": ["pdf", "sr"]})
    assert before <= first.time <= second.time <= datetime.now(UTC)
    time_1, time_2 = (record.time.strftime("%Y-%m-%dT%H:%M:%S.%fZ") for record in (first, second))
    event_1 = '{"action_code":"E","id":["110100","Application Activity"],"type":["110120","Application Start"]}'
    body_1 = (
        f'{{"action":"start","details":{{"version":"1.0"}},"event":{event_1},"format":1,'
        f'"previous":"{"0" * 64}","sequence":1,"time":"{time_1}"}}'
    )
    body_2 = (
        '{"action":"release","details":{"formats":["pdf","sr"],"probability":0.5,"pseudonym":"P-9f86d081884c7d65"},'
        '"event":{"action_code":"R","id":["110106","Export"],"type":null},"format":1,'
        f'"previous":"{sha256(body_1)}","sequence":2,"time":"{time_2}"}}'
    )
    assert rows(where) == [(1, body_1, sha256(body_1)), (2, body_2, sha256(body_2))]
    assert list(audit.records()) == [first, second]
    assert first.id == f"1-{sha256(body_1)[:12]}"
    verified = audit.verify()
    assert (verified.ok, verified.count, verified.head, verified.first_bad) == (True, 2, sha256(body_2), None)


def test_an_empty_audit_is_whole_and_its_head_is_the_beginning(where):
    verified = Audit(where).verify(GENESIS)
    assert (verified.ok, verified.count, verified.head) == (True, 0, GENESIS)


def test_eight_processes_keep_one_unbroken_chain(tmp_path):
    # In memory where there is such a folder: 1600 commits to a disk take a minute, and are no other test of the lock.
    memory = Path("/dev/shm")  # noqa: S108
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as folder:
        check_concurrent_writers(Path(folder) / "audit.sqlite")


def test_killed_between_insert_and_commit_nothing_is_half_written(where):
    check_kill_before_commit(where)


def test_killed_at_any_time_nothing_that_was_acknowledged_is_lost(where):
    check_kills_at_any_time(where)


def test_an_audit_survives_a_fork(where):
    check_fork(where)


@pytest.mark.parametrize("number", [1, 13, 20])
def test_one_changed_character_is_found_and_located(where, number):
    audit = filled(where)
    heads = [row[2] for row in rows(where)]
    before = f'"count":{number - 1}'
    change = "UPDATE audit_record SET body = replace(body, ?, '\"count\":7777') WHERE sequence = ?"
    tamper(where, (change, (before, number)))
    verified = audit.verify()
    assert (verified.ok, verified.first_bad, verified.count) == (False, number, number - 1)
    assert verified.head == (heads[number - 2] if number > 1 else GENESIS)
    assert f"record {number} was changed" in verified.reason


@pytest.mark.parametrize(
    "value",
    [
        "UPDATE audit_record SET hash = '{zeros}' WHERE sequence = 9",
        "UPDATE audit_record SET body = x'ff00' WHERE sequence = 9",
    ],
)
def test_a_changed_hash_and_bytes_that_are_no_text_are_located(where, value):
    audit = filled(where)
    tamper(where, value.format(zeros=GENESIS))
    assert audit.verify().first_bad == 9


def test_a_record_rewritten_with_its_hash_is_found_by_the_next_and_the_last_by_the_exported_head(where, tmp_path):
    audit = filled(where)
    head = audit.export(tmp_path / "export.jsonl").head
    for number, bad in ((20, None), (13, 13), (1, 1)):
        body = rows(where)[number - 1][1].replace(PSEUDONYM, "P-0000000000000000")
        tamper(where, ("UPDATE audit_record SET body = ?, hash = ? WHERE sequence = ?", (body, sha256(body), number)))
        verified = audit.verify()
        assert (verified.ok, verified.first_bad) == (bad is None, bad)
        assert verified.count == (20 if bad is None else bad - 1)
        assert not audit.verify(head).ok


def test_a_deleted_record_is_located_and_a_deleted_last_one_only_against_an_exported_head(where, tmp_path):
    audit = filled(where)
    head = audit.export(tmp_path / "export.jsonl").head
    assert audit.verify(head).ok
    tamper(where, "DELETE FROM audit_record WHERE sequence = 20")
    assert audit.verify().ok
    verified = audit.verify(exported_head(tmp_path / "export.jsonl"))
    assert (verified.ok, verified.first_bad, verified.count) == (False, 20, 19)
    assert "deleted" in verified.reason
    audit.append("explain", {"count": 19})
    assert audit.verify().ok
    assert not audit.verify(head).ok
    tamper(where, "DELETE FROM audit_record WHERE sequence = 7")
    verified = audit.verify()
    assert (verified.ok, verified.first_bad, verified.count) == (False, 7, 6)
    assert "missing" in verified.reason


def test_moved_records_and_one_put_before_the_first_are_found(where):
    audit = filled(where)
    tamper(
        where,
        "UPDATE audit_record SET sequence = 99 WHERE sequence = 4",
        "UPDATE audit_record SET sequence = 4 WHERE sequence = 5",
        "UPDATE audit_record SET sequence = 5 WHERE sequence = 99",
    )
    verified = audit.verify()
    assert (verified.first_bad, verified.count) == (4, 3)
    assert "moved" in verified.reason
    tamper(where, ("INSERT INTO audit_record VALUES (-3, '{}', ?)", (sha256("{}"),)))
    assert audit.verify().first_bad == 1


def test_a_byte_changed_in_the_file_is_located(where):
    filled(where)
    content = where.read_bytes()
    wanted = b'"count":12,'
    assert content.count(wanted) == 1
    place = content.index(wanted) + 8
    for byte in (b"3", b"\xff", b"\x00"):
        where.write_bytes(content[:place] + byte + content[place + 1 :])
        verified = Audit(where, create=False).verify()
        assert (verified.ok, verified.first_bad) == (False, 13)


def test_no_byte_of_the_file_can_be_changed_so_that_other_records_pass(where):
    filled(where)
    original, content = rows(where), where.read_bytes()
    generator = random.Random(0)  # noqa: S311
    found = 0
    for _ in range(150):
        place = generator.randrange(len(content))
        where.write_bytes(
            content[:place] + bytes([content[place] ^ 1 << generator.randrange(8)]) + content[place + 1 :]
        )
        try:
            verified = Audit(where, create=False).verify(original[-1][2])
        except AuditError:
            found += 1
            continue
        if verified.ok:
            assert rows(where) == original
        else:
            found += 1
            assert 1 <= verified.first_bad <= 21
    assert found > 20


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_record SET body = '' WHERE sequence = 2",
        "DELETE FROM audit_record WHERE sequence = 3",
        "DELETE FROM audit_record",
        "INSERT OR REPLACE INTO audit_record VALUES (2, '', '')",
        "REPLACE INTO audit_record SELECT sequence, body, 'x' FROM audit_record",
        "INSERT INTO audit_record VALUES (1, '', '') ON CONFLICT DO UPDATE SET body = ''",
        "INSERT INTO audit_record VALUES (7, '', '')",
        "INSERT INTO audit_record VALUES (NULL, '', '')",
    ],
)
def test_the_table_refuses_every_change_but_the_next_record(where, statement):
    audit = filled(where, 3)
    connection = sqlite3.connect(where)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(statement)
    connection.close()
    assert audit.verify().count == 3


@pytest.mark.parametrize(
    "details",
    [
        {"patient_name": "Zyxwv^Planted"},
        {"Zyxwv Planted": 1},
        {"pseudonym": "Zyxwv^Planted"},
        {"pseudonym": "4711-0815"},
        {"reason": "asked by Zyxwv Planted"},
        {"data_sha256": ["1.2.840.113619.2.4711"]},
        {"object_uids": ["1.2.840.113619.2.4711"]},
        {"measures": {"Zyxwv Planted": 1.0}},
        {"measures": {"area": float("nan")}},
        {"count": True},
        {"probability": 1.5},
        {"target": "Zyxwv Planted"},
        {"method": ["grad-cam", "Zyxwv Planted"]},
        {"error": "FileNotFoundError: Zyxwv^Planted.dcm"},
        {"method": "grad-cam\n"},
    ],
)
def test_what_might_be_an_identity_is_neither_recorded_nor_repeated(where, details):
    audit = filled(where, 1)
    with pytest.raises(AuditError) as caught:
        audit.append("explain", details)
    for planted in ("Zyxwv", "4711"):
        assert planted not in str(caught.value)
        assert planted.encode() not in where.read_bytes()
    assert "\n" not in str(caught.value)
    assert audit.verify().count == 1


def test_every_field_takes_what_it_says(where):
    digest = sha256("x")
    details = {name: digest for name in FIELDS if name.endswith("_sha256")} | {
        "pseudonym": PSEUDONYM,
        "object_uids": ["2.25.1", "2.25.340282366920938463463374607431768211455"],
        "modality": "CT",
        "method": ["grad-cam++", "cf-cam"],
        "layer": "features.3.conv",
        "target": [0, 2],
        "probability": [0.25, 1],
        "measures": {"area_mm2": 12.5},
        "checks": {"artefact": "flag"},
        "formats": "pm",
        "count": 0,
        "seed": -1,
        "version": "0.3.1",
        "versions": {"torch": "2.9.0+cpu"},
        "device": "cuda:0",
        "outcome": "success",
        "error": "ImageError",
        "reason": "another-model",
        "decision": "accept",
        "user": "reader1@example.org",
        "station": "CFCAM",
        "destination": "ORTHANC",
        "refers_to": "1-9f86d081884c",
    }
    assert set(details) == set(FIELDS)
    audit = Audit(where)
    audit.append("report", details)
    (record,) = audit.records()
    assert record.details == details


@pytest.mark.parametrize("pseudonym", ["P-ABCDEFGHIJ234567", "9f86d081884c7d65", "P-" + "0a" * 32])
def test_keyed_pseudonyms_are_recorded(where, pseudonym):
    assert Audit(where).append("report", {"pseudonym": pseudonym}).details == {"pseudonym": pseudonym}


def test_the_events_are_dicoms(where):
    codes = pytest.importorskip("pydicom.sr.codedict").codes
    known = {getattr(codes.DCM, name).value: getattr(codes.DCM, name).meaning for name in codes.DCM.dir()}
    assert set(EVENTS) == set(Action)
    for event in EVENTS.values():
        assert known[event.id.value] == event.id.meaning
        assert 110100 <= int(event.id.value) <= 110114  # CID 400
        assert event.action_code in "CRUDE"
        if event.type is not None:
            assert known[event.type.value] == event.type.meaning
    assert OUTCOMES == {"success": 0, "minor-failure": 4, "serious-failure": 8, "major-failure": 12}
    record = Audit(where).append("report", {})
    assert (record.event.id.value, record.event.action_code) == ("110103", "C")


def test_records_are_chosen_by_time_and_action(where):
    audit = Audit(where)
    told = [audit.append(action) for action in ("start", "explain", "report", "explain")]
    assert list(audit.records(action="explain")) == [told[1], told[3]]
    assert list(audit.records(since=told[2].time)) == told[2:]
    assert list(audit.records(since=told[2].time.replace(tzinfo=None), action="explain")) == told[3:]
    assert list(audit.records(since=told[3].time + timedelta(microseconds=1))) == []
    with pytest.raises(AuditError, match="'expalin' is unknown: one of start"):
        audit.append("expalin")


def test_an_export_can_be_checked_without_cfcam(where, tmp_path):
    audit = filled(where, 5)
    certificate = audit.export(tmp_path / "export.jsonl")
    *lines, last = (tmp_path / "export.jsonl").read_text().splitlines()
    assert len(lines) == 5
    for line, following in itertools.pairwise(lines):
        assert json.loads(following)["previous"] == sha256(line)
    assert json.loads(last)["certificate"]["head"] == sha256(lines[-1]) == certificate.head == audit.verify().head
    assert json.loads(last)["certificate"]["text"] == certificate.text
    assert "Records: 5," in certificate.text
    assert certificate.head in certificate.text
    assert exported_head(tmp_path / "export.jsonl") == certificate.head
    assert verify_export(tmp_path / "export.jsonl").ok
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audit.sqlite", "export.jsonl"]


def test_a_changed_export_is_found(where, tmp_path):
    export = tmp_path / "export.jsonl"
    filled(where, 5).export(export)
    text = export.read_text()
    export.write_text(text.replace('"count":2', '"count":9'))
    assert verify_export(export).first_bad == 3
    lines = text.splitlines(keepends=True)
    export.write_text("".join(lines[:4] + lines[5:]))
    assert verify_export(export).first_bad == 5
    export.write_text("".join(lines[:4]))
    with pytest.raises(AuditError, match="no certificate"):
        verify_export(export)


def test_an_export_overwrites_nothing_and_certifies_no_broken_chain(where, tmp_path):
    audit = filled(where, 5)
    audit.export(tmp_path / "export.jsonl")
    before = (tmp_path / "export.jsonl").read_bytes()
    with pytest.raises(AuditError, match="exists"):
        audit.export(tmp_path / "export.jsonl")
    assert (tmp_path / "export.jsonl").read_bytes() == before
    tamper(where, "DELETE FROM audit_record WHERE sequence = 2")
    with pytest.raises(AuditError, match="record 2 is missing"):
        audit.export(tmp_path / "second.jsonl")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audit.sqlite", "export.jsonl"]


def test_an_empty_audit_can_be_exported(where, tmp_path):
    certificate = Audit(where).export(tmp_path / "export.jsonl")
    assert (certificate.count, certificate.head, certificate.first) == (0, GENESIS, None)
    assert verify_export(tmp_path / "export.jsonl").ok


def test_opening_again_keeps_the_records(where):
    filled(where, 2)
    before = where.read_bytes()
    assert Audit(where).verify().count == 2
    assert Audit(f"sqlite:///{where}", create=False).verify().count == 2
    assert where.read_bytes() == before


def test_the_newest_migration_is_the_version_that_is_asked_for(where):
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(module.__file__).parent / "migrations"))
    script = ScriptDirectory.from_config(config)
    assert tuple(reversed([revision.revision for revision in script.walk_revisions()])) == module._SCHEMAS
    Audit(where)
    connection = sqlite3.connect(where)
    assert connection.execute("SELECT version_num FROM audit_migration").fetchall() == [(module._SCHEMAS[-1],)]
    connection.execute("UPDATE audit_migration SET version_num = '9999'")
    connection.commit()
    connection.close()
    with pytest.raises(AuditError, match="newer cfcam"):
        Audit(where)


def test_reading_makes_no_audit(tmp_path):
    with pytest.raises(AuditError, match="cfcam audit init"):
        Audit(tmp_path / "typo.sqlite", create=False)
    (tmp_path / "empty.sqlite").touch()
    with pytest.raises(AuditError, match="cfcam audit init"):
        Audit(tmp_path / "empty.sqlite", create=False)
    with pytest.raises(AuditError, match="no folder"):
        Audit(tmp_path / "no" / "audit.sqlite")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG" + bytes(5000))
    with pytest.raises(AuditError, match="not a database"):
        Audit(tmp_path / "picture.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.sqlite", "picture.png"]


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("sqlite://", "in memory"),
        (":memory:", "in memory"),
        ("mysql://reader:secret@host/db", "'mysql'"),
        ("postgresql://reader:secret@host:port/db", "cannot be read"),
    ],
)
def test_what_cannot_hold_an_audit_is_refused_without_its_password(where, why):
    with pytest.raises(AuditError, match=why) as caught:
        Audit(where)
    assert "secret" not in str(caught.value)


def test_a_missing_library_is_named_with_what_to_install(where, monkeypatch):
    monkeypatch.setitem(sys.modules, "alembic", None)
    with pytest.raises(MissingExtraError, match=r"cfcam\[audit\]"):
        Audit(where)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r"psycopg.*cfcam\[audit\]"):
        Audit("postgresql://reader@localhost/db")
    monkeypatch.setitem(sys.modules, "sqlalchemy.engine", None)
    with pytest.raises(MissingExtraError, match=r"SQLAlchemy.*cfcam\[audit\]"):
        Audit(where)

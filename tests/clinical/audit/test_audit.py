import hashlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="the audit needs SQLAlchemy: pip install 'cfcam[audit]'")
pytest.importorskip("alembic", reason="the audit needs Alembic: pip install 'cfcam[audit]'")

from cfcam.clinical.audit import GENESIS, Action, Audit, AuditError, MovedError
from cfcam.clinical.audit.export import exported_head
from tests.waiting import PATIENCE, until

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
    ended = [(process.communicate(timeout=PATIENCE), process.returncode) for process in running]
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
    _, stderr = process.communicate(timeout=PATIENCE)
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
        with process:  # communicate() would lose what was read ahead with the first line
            rest, stderr = process.stdout.read(), process.stderr.read()
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


def check_killed_writers(where, processes, each, kills):
    """Writers side by side, some of which are killed and go on behind what was acknowledged: that is never lost."""
    generator = random.Random(0)  # noqa: S311
    Audit(where)
    told: list[list[tuple[str, str]]] = [[] for _ in range(processes)]
    with tempfile.TemporaryDirectory() as folder:
        running = {seed: _writing(Path(folder, f"{seed}-0"), where, seed, each) for seed in range(processes)}
        for number in range(1, kills + 1):
            seed = generator.choice(sorted(running))
            process, told_to = running[seed]
            until(lambda told_to=told_to: told_to.stat().st_size)
            time.sleep(generator.uniform(0, 0.3))
            process.kill()
            process.wait()
            told[seed] += _told(told_to.read_text())
            left = max(1, each - len(told[seed]))
            running[seed] = _writing(Path(folder, f"{seed}-{number}"), where, seed, left)
        for seed, (process, told_to) in running.items():
            assert process.wait() == 0
            told[seed] += _told(told_to.read_text())
    audit = Audit(where, create=False)
    verified = audit.verify()
    assert verified.ok, verified.reason
    acknowledged = [pair for pairs in told for pair in pairs]
    assert len(acknowledged) >= processes * each
    assert len(acknowledged) <= verified.count <= len(acknowledged) + kills  # one each that nobody could be told of
    written = {str(record.sequence): record.hash for record in audit.records()}
    assert all(written[sequence] == digest for sequence, digest in acknowledged)


def _writing(told_to, where, seed, count):
    """A writer that tells a file of each record: of a pipe what was read ahead would be lost to the test."""
    with told_to.open("w") as file:
        return subprocess.Popen([sys.executable, "-c", WRITER, *map(str, (where, seed, count))], stdout=file), told_to


def _told(text):
    """The acknowledged records; the last line may be cut by a kill."""
    pairs = [tuple(line.split()) for line in text.splitlines()]
    return [pair for pair in pairs if len(pair) == 2 and len(pair[1]) == 64]


def check_fork(where):
    process = start(FORKED, where)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, stderr
    verified = Audit(where, create=False).verify()
    assert (verified.ok, verified.count) == (True, 41)


def filled(where, count=20):
    audit = Audit(where)
    for number in range(count):
        audit.append("explain", {"count": number, "pseudonym": PSEUDONYM})
    return audit


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


def test_writers_that_are_killed_lose_nothing_that_was_acknowledged(where):
    check_killed_writers(where, *((8, 1000, 10) if os.environ.get("CFCAM_SOAK") else (3, 10, 2)))


def test_an_audit_that_another_holds_is_waited_for(where):
    Audit(where)
    holder = sqlite3.connect(where, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    release = threading.Timer(60 if os.environ.get("CFCAM_SOAK") else 1, lambda: holder.execute("COMMIT"))
    release.start()
    assert Audit(where).append("start").sequence == 1
    release.join()
    holder.close()


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


def test_records_are_chosen_by_time_and_action(where):
    audit = Audit(where)
    told = [audit.append(action) for action in ("start", "explain", "report", "explain")]
    assert list(audit.records(action="explain")) == [told[1], told[3]]
    assert list(audit.records(since=told[2].time)) == told[2:]
    assert list(audit.records(since=told[2].time.replace(tzinfo=None), action="explain")) == told[3:]
    assert list(audit.records(since=told[3].time + timedelta(microseconds=1))) == []
    with pytest.raises(AuditError, match="'expalin' is unknown: one of start"):
        audit.append("expalin")


def test_a_record_that_speaks_of_those_before_it_is_written_behind_them_or_not_at_all(where):
    audit, other = Audit(where), Audit(where)
    first = audit.append("review", {"count": 1}, head=GENESIS)
    with pytest.raises(MovedError):
        other.append("review", {"count": 2}, head=GENESIS)
    second = other.append("review", {"count": 2}, head=first.hash)
    with pytest.raises(MovedError, match="record 2"):
        audit.append("review", {"count": 3}, head=first.hash)
    assert [one.hash for one in audit.records()] == [first.hash, second.hash]


@pytest.mark.parametrize("by", [-3600, 400 * 24 * 3600])
def test_a_clock_that_jumps_breaks_no_chain(where, tmp_path, monkeypatch, by):
    """The order is that of the numbers; each record has the time that the clock showed."""
    moments = iter([datetime(2026, 11, 29, tzinfo=UTC) + timedelta(seconds=n * by) for n in range(5)])
    clock = type("Clock", (datetime,), {"now": classmethod(lambda cls, zone: next(moments))})
    monkeypatch.setattr("cfcam.clinical.audit.audit.datetime", clock)
    audit = Audit(where)
    told = [audit.append("explain", {"count": n}) for n in range(4)]
    assert [record.time.timestamp() - told[0].time.timestamp() for record in told] == [n * by for n in range(4)]
    assert list(audit.records()) == told
    assert list(audit.records(since=told[1].time)) == ([told[0], told[1]] if by < 0 else told[1:])
    assert (audit.verify().ok, audit.verify().count) == (True, 4)
    head = audit.export(tmp_path / "export.jsonl").head
    assert exported_head(tmp_path / "export.jsonl") == head
    assert audit.verify(head).ok

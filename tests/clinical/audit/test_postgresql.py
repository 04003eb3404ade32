"""The audit in a real PostgreSQL, a private one that is started for these tests and thrown away."""

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="the audit needs SQLAlchemy: pip install 'cfcam[audit]'")
pytest.importorskip("alembic", reason="the audit needs Alembic: pip install 'cfcam[audit]'")
pytest.importorskip("psycopg", reason="an audit in PostgreSQL needs psycopg: pip install 'cfcam[audit]'")

import psycopg

from cfcam.clinical.audit import Audit, AuditError
from cfcam.clinical.audit.export import verify_export
from tests.clinical.audit.test_audit import (
    check_concurrent_writers,
    check_fork,
    check_kill_before_commit,
    check_kills_at_any_time,
    filled,
    sha256,
)
from tests.waiting import until

SOAK = bool(os.environ.get("CFCAM_SOAK"))

_NUMBERS = itertools.count(1)


@dataclass
class Server:
    """A private cluster that listens on a socket in its own folder only."""

    binaries: Path
    folder: Path
    prefix: list[str]

    def run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [*self.prefix, str(self.binaries / program), *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self.folder,
            timeout=120,
        )

    def make(self) -> None:
        self.run("initdb", "-D", str(self.folder / "data"), "-A", "trust", "-U", "cfcam", "-E", "UTF8", "--locale=C")
        self.start()

    def start(self) -> None:
        # The delay: what a commit does not flush itself stays unwritten for the length of a test.
        options = f"-k {self.folder} -c listen_addresses='' -c wal_writer_delay=10s"
        log = str(self.folder / "log")
        self.run("pg_ctl", "start", "-w", "-D", str(self.folder / "data"), "-l", log, "-o", options)

    def stop(self) -> None:
        self.run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", str(self.folder / "data"))

    def url(self, database: str, user: str = "cfcam") -> str:
        return f"postgresql://{user}@/{database}?host={self.folder}"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    prefix = []
    # A socket's path may have 107 characters, and the folders of pytest are closed to other accounts.
    folder = Path(tempfile.mkdtemp(prefix="cfcam-pg-", dir="/tmp"))
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        prefix = ["runuser", "-u", "postgres", "--"]
        account = pwd.getpwnam("postgres")
        os.chown(folder, account.pw_uid, account.pw_gid)
    made = Server(found[-1].parent, folder, prefix)
    try:
        made.make()
        yield made
        made.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def where(server: Server) -> str:
    name = f"audit{next(_NUMBERS)}"
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server.url(name)


def database(where: str) -> str:
    return where.split("/")[3].split("?")[0]


def tamper(where: str, statement: str, values: tuple[object, ...] = ()) -> None:
    """Changes the table as its owner can."""
    with psycopg.connect(where) as connection:
        connection.execute("DROP TRIGGER IF EXISTS audit_record_no_change ON audit_record")
        connection.execute(statement, values)


def test_eight_processes_keep_one_unbroken_chain(where):
    check_concurrent_writers(where)


def test_killed_between_insert_and_commit_nothing_is_half_written(where):
    check_kill_before_commit(where)


def test_killed_at_any_time_nothing_that_was_acknowledged_is_lost(where):
    check_kills_at_any_time(where)


def test_an_audit_survives_a_fork(where):
    check_fork(where)


def test_a_server_that_stops_at_once_loses_nothing_though_it_may_answer_before_it_writes(server, where, monkeypatch):
    with psycopg.connect(where, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {database(where)} SET synchronous_commit = off")
    audit = filled(where, 5)
    head = audit.verify().head
    server.stop()
    monkeypatch.setattr("cfcam.clinical.audit.audit.PATIENCE", 0.3)  # it does not come back
    with pytest.raises(AuditError, match="cannot be used"):
        audit.append("stop")
    with pytest.raises(AuditError, match="cannot be used"):  # who begins with it is told at once
        Audit(where, create=False)
    server.start()
    verified = audit.verify(head)
    assert (verified.ok, verified.count) == (True, 5)


def test_writers_whose_server_is_lost_for_a_while_go_on_when_it_is_there_again(server, where):
    """Each record is there once, in order, and each is one that its writer was told of."""
    audit, each = Audit(where), 2000 if SOAK else 60
    told: list[list[tuple[int, str]]] = [[], []]

    def write(seed: int) -> None:
        for number in range(each):
            record = audit.append("explain", {"seed": seed, "count": number})
            told[seed].append((record.sequence, record.hash))

    writers = [threading.Thread(target=write, args=(seed,)) for seed in range(2)]
    for writer in writers:
        writer.start()
    for lost in range(1, (3 if SOAK else 1) + 1):
        until(lambda lost=lost: min(map(len, told)) >= 10 * lost)
        server.stop()
        time.sleep(60 if SOAK else 0.2)
        server.start()
    for writer in writers:
        writer.join()
    records = list(audit.records())
    assert audit.verify().ok
    for seed in range(2):
        mine = [record for record in records if record.details["seed"] == seed]
        assert [record.details["count"] for record in mine] == list(range(each))
        assert told[seed] == [(record.sequence, record.hash) for record in mine]


def test_a_record_that_was_committed_when_the_server_was_lost_is_not_written_twice(server, where, monkeypatch):
    audit, lost = filled(where, 2), []

    def commit(connection):
        """The commit is on disk; its answer never comes."""
        connection.commit()
        if not lost:
            lost.append(True)
            server.stop()
            server.start()
            connection.execute("SELECT 1")

    monkeypatch.setattr(audit._engine.dialect, "do_commit", commit)
    assert audit.append("explain", {"count": 2}).sequence == 3
    verified = audit.verify()
    assert (bool(lost), verified.ok, verified.count) == (True, True, 3)


def test_a_role_that_is_refused_is_told_at_once(where):
    with pytest.raises(AuditError, match="does not exist"):
        Audit(where.replace("//cfcam@", "//nobody@"))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_record SET body = '' WHERE sequence = 2",
        "UPDATE audit_record SET body = '' WHERE false",
        "DELETE FROM audit_record WHERE sequence = 3",
        "TRUNCATE audit_record",
        "TRUNCATE audit_record CASCADE",
        "INSERT INTO audit_record VALUES (4, '', '') ON CONFLICT (sequence) DO UPDATE SET body = ''",
        "INSERT INTO audit_record VALUES (7, '', '')",
        "SET session_replication_role = replica; DELETE FROM audit_record",
    ],
)
def test_the_table_refuses_every_change_but_the_next_record(where, statement):
    audit = filled(where, 3)
    with psycopg.connect(where) as connection, pytest.raises(psycopg.errors.RaiseException, match="append-only"):
        connection.execute(statement)
    assert audit.verify().count == 3


def test_an_account_that_may_only_read_and_insert_can_append(server, where):
    filled(where, 2)
    with psycopg.connect(where) as connection:
        connection.execute("DROP ROLE IF EXISTS writer")
        connection.execute("CREATE ROLE writer LOGIN")
        connection.execute("GRANT SELECT, INSERT ON audit_record TO writer")
        connection.execute("GRANT SELECT ON audit_migration TO writer")
    audit = Audit(where.replace("//cfcam@", "//writer@"), create=False)
    assert audit.append("explain").sequence == 3
    assert audit.verify().ok
    with psycopg.connect(where.replace("//cfcam@", "//writer@")) as connection:
        for statement in ("DELETE FROM audit_record", "ALTER TABLE audit_record DISABLE TRIGGER ALL"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                connection.execute(statement)
    with psycopg.connect(where) as connection:
        connection.execute("DROP OWNED BY writer")
        connection.execute("DROP ROLE writer")


def test_a_changed_character_is_located(where):
    audit = filled(where)
    tamper(
        where, "UPDATE audit_record SET body = replace(body, %s, %s) WHERE sequence = 13", ('"count":12', '"count":7')
    )
    verified = audit.verify()
    assert (verified.ok, verified.first_bad, verified.count) == (False, 13, 12)


def test_a_record_rewritten_with_its_hash_is_located(where):
    audit = filled(where)
    body = list(audit._rows())[12].body.replace('"count":12', '"count":7')
    tamper(where, "UPDATE audit_record SET body = %s, hash = %s WHERE sequence = 13", (body, sha256(body)))
    verified = audit.verify()
    assert (verified.ok, verified.first_bad, verified.count) == (False, 13, 12)


def test_a_deleted_last_record_is_found_against_an_exported_head(where, tmp_path):
    audit = filled(where)
    head = audit.export(tmp_path / "export.jsonl").head
    assert verify_export(tmp_path / "export.jsonl").ok
    tamper(where, "DELETE FROM audit_record WHERE sequence = 20")
    assert audit.verify().ok
    verified = audit.verify(head)
    assert (verified.ok, verified.first_bad, verified.count) == (False, 20, 19)


def test_reading_makes_no_audit(where):
    with pytest.raises(AuditError, match="cfcam audit init"):
        Audit(where, create=False)


def test_a_server_that_isolates_transactions_more_strictly_does_not_break_the_chain(where):
    with psycopg.connect(where, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {database(where)} SET default_transaction_isolation = 'serializable'")
    check_concurrent_writers(where, processes=4, each=20)

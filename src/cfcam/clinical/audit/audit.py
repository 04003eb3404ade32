"""The audit: an append-only table of what was done, each record chained to the one before by SHA-256.

A changed, moved or missing record is found by reading the chain. Whoever may write to the database as its owner can
write the whole chain anew, or cut off its end: only a head hash that was exported and is kept elsewhere shows that.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from cfcam.clinical.audit.chain import (
    GENESIS,
    Record,
    Row,
    Verification,
    canonical,
    check,
    digest,
    make_row,
    read_row,
    timestamp,
    verify_rows,
)
from cfcam.clinical.audit.fields import (
    EVENTS,
    FIELDS,
    OUTCOMES,
    Action,
    AuditError,
    Code,
    DamagedError,
    Event,
    checked_action,
    checked_details,
    is_digest,
)
from cfcam.errors import MissingExtraError

if TYPE_CHECKING:
    from sqlalchemy.engine import URL, Connection, Engine
    from sqlalchemy.exc import SQLAlchemyError

__all__ = [
    "EVENTS",
    "FIELDS",
    "GENESIS",
    "OUTCOMES",
    "Action",
    "Audit",
    "AuditError",
    "Certificate",
    "Code",
    "DamagedError",
    "Event",
    "Record",
    "Verification",
    "exported_head",
    "is_digest",
    "verify_export",
]

_SCHEMAS = ("0001",)  # of migrations, oldest first
_VERSION_TABLE = "audit_migration"
_LOCK = 0x63666361_61756469  # "cfcaaudi": the number of PostgreSQL's advisory lock
_PATIENCE = 120  # seconds to wait for another writer
_PAGE = 1000


@dataclass(frozen=True)
class Certificate:
    """What an export certifies.

    Attributes:
        count: number of records.
        head: hash of the last of them.
        first: time of the first record, None without records.
        last: time of the last record.
        exported: when it was exported, in UTC.
    """

    count: int
    head: str
    first: datetime | None
    last: datetime | None
    exported: datetime

    @property
    def text(self) -> str:
        """The certificate in words, to be printed, signed or sent to somebody who keeps it."""
        period = (
            "" if self.first is None or self.last is None else f", {timestamp(self.first)} to {timestamp(self.last)}"
        )
        return (
            f"Certificate of an audit of cfcam, exported {timestamp(self.exported)}.\n"
            f"Records: {self.count}{period}\n"
            f"Head (SHA-256): {self.head}\n"
            "Each record holds the SHA-256 of the one before; the head is that of the last. The chain was whole\n"
            "when it was exported. Keep the head where nobody who writes to the audit can change it: with it a\n"
            "later check finds records that were changed, deleted or replaced up to here. The times are those of\n"
            "the machines that wrote. This supports documentation; it is not a statement of compliance.\n"
            "Research use only; not a medical device."
        )


class Audit:
    """An append-only, hash-chained record in SQLite or PostgreSQL.

    It may be opened by many processes at a time and survives ``fork``. Nothing is kept open between calls.

    Attributes:
        where: the file, or the URL without its password.

    Args:
        where: a file, or the URL of a database: ``sqlite:///audit.sqlite``, ``postgresql://user@host/database``.
        create: make the table, and the file, where there is none yet.

    Raises:
        AuditError: there is no audit, it cannot be opened, or it was made by a newer cfcam.
        MissingExtraError: SQLAlchemy, Alembic or PostgreSQL's driver is not installed.
    """

    def __init__(self, where: str | os.PathLike[str], *, create: bool = True) -> None:
        url = check_place(where, create=create)
        self.where = url.render_as_string(hide_password=True)
        if url.get_backend_name() == "sqlite":
            self.where = str(Path(str(url.database)))
        self._engine = _engine(url)
        self._open(create)

    def append(self, action: Action | str, details: Mapping[str, Any] | None = None) -> Record:
        """Writes a record; when this returns, the record is on disk.

        Args:
            action: what was done.
            details: fields of the allow-list ``FIELDS``.

        Raises:
            AuditError: the action is unknown, a field may not be recorded, or the database refuses.
        """
        chosen, fields = checked_action(action), checked_details(details or {})
        with self._connection(write=True) as connection:
            last = connection.exec_driver_sql(
                "SELECT sequence, hash FROM audit_record ORDER BY sequence DESC LIMIT 1"
            ).first()
            sequence, previous = (0, GENESIS) if last is None else (last[0], last[1])
            row = make_row(sequence + 1, datetime.now(UTC), chosen, fields, previous)
            from sqlalchemy import text

            statement = text("INSERT INTO audit_record (sequence, body, hash) VALUES (:sequence, :body, :hash)")
            connection.execute(statement, row._asdict())
        return read_row(row)

    def records(self, since: datetime | None = None, action: Action | str | None = None) -> Iterator[Record]:
        """Yields the records from the first to the last, without verifying them.

        Args:
            since: only those written then or later; a time without zone is one in UTC.
            action: only those of this action.

        Raises:
            AuditError: the action is unknown, or a record cannot be read.
        """
        wanted = None if action is None else checked_action(action)
        if since is not None and since.tzinfo is None:
            since = since.replace(tzinfo=UTC)
        for row in self._rows():
            try:
                record = read_row(row)
            except ValueError as problem:
                raise AuditError(f"record {row.sequence} cannot be read: see cfcam audit verify") from problem
            if (since is None or record.time >= since) and wanted in (None, record.action):
                yield record

    def verify(self, head: str | None = None) -> Verification:
        """Reads the whole chain.

        Args:
            head: the head hash of an earlier export. Without it records cut off at the end go unnoticed.
        """
        return verify_rows(self._rows(), head)

    def export(self, path: str | os.PathLike[str]) -> Certificate:
        """Writes the records, one JSON text a line as they were hashed, and a last line with the certificate.

        The SHA-256 of each line without its newline is the ``previous`` of the next, so that the file can be checked
        without cfcam.

        Raises:
            AuditError: the chain is not whole, or the file exists.
        """
        target = Path(path)
        if target.exists():
            raise AuditError(f"{str(target)!r} exists, and an export is never overwritten: give another name")
        if not target.parent.is_dir():
            raise AuditError(f"there is no folder {str(target.parent)!r} for the export: make it first")
        partial = target.with_name(f"{target.name}.{uuid4().hex}.partial")
        try:
            certificate = self._export(partial)
            partial.rename(target)
        finally:
            partial.unlink(missing_ok=True)
        return certificate

    def _export(self, path: Path) -> Certificate:
        count, head, first, last = 0, GENESIS, None, None
        with path.open("x", encoding="ascii", newline="\n") as file:
            for row in self._rows():
                bad = check(row, count + 1, head)
                if bad is not None:
                    raise AuditError(f"nothing exported, the chain is not whole: {bad[1]}")
                count, head, last = row.sequence, row.hash, read_row(row).time
                first = first or last
                file.write(row.body + "\n")
            certificate = Certificate(count, head, first, last, datetime.now(UTC))
            summary = {"count": count, "head": head, "exported": timestamp(certificate.exported)}
            file.write(canonical({"certificate": summary | {"text": certificate.text}}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        return certificate

    def _rows(self) -> Iterator[Row]:
        # In pages, each its own transaction: a long reading must not make the writers wait.
        last, size = -(2**62), _PAGE
        while True:
            try:
                page = self._page(last, size)
            except DamagedError:
                if size == 1:
                    raise
                size = 1  # the records before the damage can still be read
                continue
            yield from page
            if len(page) < size:
                return
            last = page[-1].sequence

    def _page(self, after: int, size: int) -> list[Row]:
        query = f"SELECT sequence, body, hash FROM audit_record WHERE sequence > {after} ORDER BY sequence LIMIT {size}"  # noqa: S608
        with self._connection() as connection:
            # str: a value whose type was changed in the database is to be found by its hash.
            return [Row(row[0], str(row[1]), str(row[2])) for row in connection.exec_driver_sql(query)]

    def _open(self, create: bool) -> None:
        with self._connection() as connection:
            version = _version(connection)
        if version is None and not create:
            raise AuditError(f"there is no audit in {self.where}: make one with cfcam audit init")
        if version not in (None, *_SCHEMAS):
            raise AuditError(f"the audit in {self.where} has a table of version {version!r}: install a newer cfcam")
        if version != _SCHEMAS[-1]:
            with self._connection(write=True) as connection:
                _upgrade(connection)

    @contextmanager
    def _connection(self, write: bool = False) -> Iterator[Connection]:
        """A transaction; with ``write`` the only one that writes, until it ends."""
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with self._engine.connect().execution_options(audit_write=write) as connection, connection.begin():
                if write and connection.dialect.name == "postgresql":
                    # A server may be set up to answer before a commit is on disk.
                    connection.exec_driver_sql("SET LOCAL synchronous_commit = on")
                    # Not LOCK TABLE, which wants rights that a role that may only append does not have.
                    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_PATIENCE}s'")
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
                yield connection
        except SQLAlchemyError as problem:
            raise _error(problem, self.where) from problem
        except UnicodeDecodeError as problem:  # from SQLite's own message about a damaged table
            raise DamagedError(f"the audit in {self.where} cannot be used (its file is damaged)") from problem


def verify_export(path: str | os.PathLike[str]) -> Verification:
    """Reads the chain of an exported file up to its certificate.

    Raises:
        AuditError: the file is not an export.
    """
    *lines, _ = _lines(path)
    rows = (Row(number, line, digest(line)) for number, line in enumerate(lines, start=1))
    return verify_rows(rows, exported_head(path))


def exported_head(path: str | os.PathLike[str]) -> str:
    """Returns the head hash that an exported file certifies.

    Raises:
        AuditError: the file is not an export.
    """
    import json

    last = _lines(path)[-1]
    try:
        head = json.loads(last)["certificate"]["head"]
    except (ValueError, KeyError, TypeError) as problem:
        raise AuditError(f"{str(path)!r} has no certificate in its last line: it is not a whole export") from problem
    return str(head)


def _lines(path: str | os.PathLike[str]) -> list[str]:
    try:
        text = Path(path).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as problem:
        raise AuditError(f"{str(path)!r} cannot be read ({problem.strerror}): give the file of an export") from problem
    return text.removesuffix("\n").split("\n")


def check_place(where: str | os.PathLike[str], *, create: bool = True, folder: bool = True) -> URL:
    """Checks that an audit can be somewhere, without opening it; returns the place as a URL.

    Args:
        where: a file or a URL.
        create: whether one that is not there is made.
        folder: whether its folder must be there already; a run that makes its output folder may have it in that.

    Raises:
        AuditError: no such kind of database, or no such file or folder.
        MissingExtraError: SQLAlchemy is not installed.
    """
    url = _url(where)
    if url.get_backend_name() == "sqlite":
        path = Path(str(url.database))
        if path.is_dir():
            raise AuditError(f"audit {str(path)!r}: is a folder; give a file in it")
        if not create and not path.is_file():
            raise AuditError(f"there is no audit {str(path)!r}: make one with cfcam audit init")
        if create and folder and not path.parent.is_dir():
            raise AuditError(f"audit {str(path)!r}: there is no folder {str(path.parent)!r}; make it first")
    return url


def _url(where: str | os.PathLike[str]) -> URL:
    try:
        from sqlalchemy.engine import URL, make_url
        from sqlalchemy.exc import ArgumentError
    except ModuleNotFoundError as problem:
        raise MissingExtraError("SQLAlchemy", "audit", "the audit") from problem
    if not isinstance(where, str) or "://" not in where:
        url = URL.create("sqlite", database=os.fspath(where))
    else:
        try:
            url = make_url(where)
        except (ArgumentError, ValueError) as problem:
            raise AuditError(
                "the audit's URL cannot be read: give one like postgresql://user@host/database"
            ) from problem
    backend = url.get_backend_name()
    if backend not in ("sqlite", "postgresql"):
        raise AuditError(f"an audit cannot be kept in {backend!r}: give a file, or a URL sqlite:// or postgresql://")
    if backend == "sqlite" and url.database in (None, "", ":memory:"):
        raise AuditError("an audit in memory would be lost: give a file")
    # psycopg 3 by name: which driver a bare postgresql:// means depends on SQLAlchemy's version.
    return url.set(drivername="postgresql+psycopg" if backend == "postgresql" else "sqlite+pysqlite")


def _engine(url: URL) -> Engine:
    from sqlalchemy import create_engine, event
    from sqlalchemy.pool import NullPool

    # No pool: a connection that lives on in a forked child breaks both processes, and records are rare.
    # hide_parameters: an error of the database must not print a record.
    options: dict[str, Any] = {"poolclass": NullPool, "hide_parameters": True}
    if url.get_backend_name() == "postgresql":
        # Under a stricter level the head would be that of the transaction's begin, read before the lock.
        options["isolation_level"] = "READ COMMITTED"
        try:
            return create_engine(url, **options)
        except ModuleNotFoundError as problem:
            raise MissingExtraError("psycopg", "audit", "an audit in PostgreSQL") from problem
    engine = create_engine(url, connect_args={"timeout": _PATIENCE}, **options)
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # the driver begins no transactions of its own
    # A byte that is no UTF-8 is to be found by its hash, not to stop the reading.
    connection.text_factory = lambda value: value.decode("utf-8", "surrogateescape")
    # EXTRA: the folder is on disk too before a commit returns. The journal stays a rollback journal: of a database in
    # WAL mode the last records may lie in a second file, which a copy of the first leaves behind.
    connection.execute("PRAGMA synchronous = EXTRA")


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get("audit_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _error(problem: SQLAlchemyError, where: str) -> AuditError:
    import sqlite3

    from sqlalchemy.exc import DBAPIError

    cause = problem.orig if isinstance(problem, DBAPIError) else problem
    line = next((part.strip() for part in str(cause).splitlines() if part.strip()), type(cause).__name__)
    # What SQLite says of a damaged file is of this class itself; busy, full and read-only are of its subclasses.
    kind = DamagedError if type(cause) is sqlite3.DatabaseError else AuditError
    return kind(f"the audit in {where} cannot be used ({line}): check the database")


def _version(connection: Connection) -> str | None:
    from sqlalchemy import inspect

    if not inspect(connection).has_table(_VERSION_TABLE):
        return None
    return connection.exec_driver_sql(f"SELECT version_num FROM {_VERSION_TABLE}").scalar()  # noqa: S608


def _upgrade(connection: Connection) -> None:
    """Runs the migrations that are missing; does nothing where another process was first."""
    try:
        from alembic import command
        from alembic.config import Config
    except ModuleNotFoundError as problem:
        raise MissingExtraError("Alembic", "audit", "making an audit") from problem
    config = Config()
    folder = Path(__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.attributes["connection"] = connection
    config.attributes["version_table"] = _VERSION_TABLE
    command.upgrade(config, "head")

"""The audit: an append-only table of what was done, each record chained to the one before by SHA-256.

A changed, moved or missing record is found by reading the chain. Whoever may write to the database as its owner can
write the whole chain anew, or cut off its end: only a head hash that was exported and is kept elsewhere shows that.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from cfcam.clinical.audit.chain import (
    GENESIS,
    ChainRow,
    Record,
    Verification,
    canonical,
    check,
    make_row,
    read_row,
    timestamp,
    verify_rows,
)
from cfcam.clinical.audit.fields import (
    Action,
    AuditError,
    AwayError,
    DamagedError,
    MovedError,
    checked_action,
    checked_details,
)
from cfcam.private import make_private, opener

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection
from cfcam.clinical.audit.database import PATIENCE, check_place, open_engine, problem_of, shown, table_version, upgrade
from cfcam.clinical.audit.export import Certificate

_SCHEMAS = ("0001",)  # of migrations, oldest first
_LOCK = 0x63666361_61756469  # "cfcaaudi": the number of PostgreSQL's advisory lock
_PAGE = 1000
_WAIT, _LONGEST_WAIT = 0.1, 2.0  # seconds between two tries


class Audit:
    """An append-only, hash-chained record in SQLite or PostgreSQL.

    It may be opened by many processes at a time and survives ``fork``. Nothing is kept open between calls.

    Attributes:
        where: the file, or the URL without its user, its password and its query.

    Args:
        where: a file, or the URL of a database: ``sqlite:///audit.sqlite``, ``postgresql://user@host/database``.
        create: make the table, and the file, where there is none yet.

    Raises:
        AuditError: there is no audit, it cannot be opened, or it was made by a newer cfcam.
        MissingExtraError: SQLAlchemy, Alembic or PostgreSQL's driver is not installed.
    """

    def __init__(self, where: str | os.PathLike[str], *, create: bool = True) -> None:
        url = check_place(where, create=create)
        self.where = shown(url)
        if create and url.get_backend_name() == "sqlite":
            make_private(Path(str(url.database)))
        self._engine = open_engine(url)
        self._open(create)

    def append(
        self, action: Action | str, details: Mapping[str, Any] | None = None, *, head: str | None = None
    ) -> Record:
        """Writes a record; when this returns, the record is on disk.

        Another writer is waited for, and so is a server that was there before and is lost: two minutes at most.

        Args:
            action: what was done.
            details: fields of the allow-list ``FIELDS``.
            head: hash of the record that has to be the last (`GENESIS`: there is none), for one that says something of
                those before it; None: whichever it is.

        Raises:
            MovedError: another was written since.
            AuditError: the action is unknown, a field may not be recorded, or the database refuses.
        """
        chosen, fields = checked_action(action), checked_details(details or {})
        tried: list[ChainRow] = []

        def enter() -> ChainRow:
            with self._connection(write=True) as connection:
                if tried and (kept := _kept(connection, tried)) is not None:
                    return kept
                last = connection.exec_driver_sql(
                    "SELECT sequence, hash FROM audit_record ORDER BY sequence DESC LIMIT 1"
                ).first()
                sequence, previous = (0, GENESIS) if last is None else (last[0], last[1])
                if head not in (None, previous):
                    raise MovedError(f"record {sequence} was written meanwhile: read it, then write")
                row = make_row(sequence + 1, datetime.now(UTC), chosen, fields, previous)
                tried.append(row)
                from sqlalchemy import text

                statement = text("INSERT INTO audit_record (sequence, body, hash) VALUES (:sequence, :body, :hash)")
                connection.execute(statement, row._asdict())
                return row

        return read_row(_patiently(enter))

    def records(
        self, since: datetime | None = None, action: Action | str | None = None, *, after: int = 0
    ) -> Iterator[Record]:
        """Yields the records from the first to the last, without verifying them.

        Args:
            since: only those written then or later; a time without zone is one in UTC.
            action: only those of this action.
            after: only those with a greater number, so that what was read before need not be read again.

        Raises:
            AuditError: the action is unknown, or a record cannot be read.
        """
        wanted = None if action is None else checked_action(action)
        if since is not None and since.tzinfo is None:
            since = since.replace(tzinfo=UTC)
        for row in self._rows(after):
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
        with open(path, "x", encoding="ascii", newline="\n", opener=opener) as file:
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

    def _rows(self, after: int = 0) -> Iterator[ChainRow]:
        # In pages, each its own transaction: a long reading must not make the writers wait.
        last, size = after or -(2**62), _PAGE
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

    def _page(self, after: int, size: int) -> list[ChainRow]:
        query = f"SELECT sequence, body, hash FROM audit_record WHERE sequence > {after} ORDER BY sequence LIMIT {size}"  # noqa: S608
        with self._connection() as connection:
            # str: a value whose type was changed in the database is to be found by its hash.
            return [ChainRow(row[0], str(row[1]), str(row[2])) for row in connection.exec_driver_sql(query)]

    def _open(self, create: bool) -> None:
        with self._connection() as connection:
            version = table_version(connection)
        if version is None and not create:
            raise AuditError(f"there is no audit in {self.where}: make one with cfcam audit init")
        if version not in (None, *_SCHEMAS):
            raise AuditError(f"the audit in {self.where} has a table of version {version!r}: install a newer cfcam")
        if version != _SCHEMAS[-1]:
            with self._connection(write=True) as connection:
                upgrade(connection)

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
                    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{PATIENCE}s'")
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
                yield connection
        except SQLAlchemyError as problem:
            raise problem_of(problem, self.where) from problem
        except UnicodeDecodeError as problem:  # from SQLite's own message about a damaged table
            raise DamagedError(f"the audit in {self.where} cannot be used (its file is damaged)") from problem


def _patiently(enter: Callable[[], ChainRow]) -> ChainRow:
    """Enters a record, again and again where the server is away."""
    until, wait = time.monotonic() + PATIENCE, _WAIT
    while True:
        try:
            return enter()
        except AwayError:
            left = until - time.monotonic()
            if left <= 0:
                raise
            time.sleep(min(wait, left))
            wait = min(2 * wait, _LONGEST_WAIT)


def _kept(connection: Connection, tried: list[ChainRow]) -> ChainRow | None:
    """The one of the rows that is in the table: a server may be lost when it has written, and not yet answered."""
    from sqlalchemy import text

    query = text("SELECT hash FROM audit_record WHERE sequence = :sequence")
    return next(
        (row for row in tried if connection.execute(query, {"sequence": row.sequence}).scalar() == row.hash), None
    )

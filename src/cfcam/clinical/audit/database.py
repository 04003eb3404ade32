"""Where an audit is kept: SQLite or PostgreSQL, how it is opened, and its table's version."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfcam.clinical.audit.fields import (
    AuditError,
    AwayError,
    DamagedError,
)
from cfcam.errors import MissingExtraError, one_line
from cfcam.urls import shown_url

if TYPE_CHECKING:
    from sqlalchemy.engine import URL, Connection, Engine
    from sqlalchemy.exc import SQLAlchemyError

_VERSION_TABLE = "audit_migration"
PATIENCE = 120  # seconds to wait for another writer, or for a server that comes back
# PostgreSQL's classes of errors (Appendix A): of the connection; it stops, has crashed, or does not take any yet
_AWAY = ("08", "57P01", "57P02", "57P03")


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
        told = shown_url(str(path))
        if path.is_dir():
            raise AuditError(f"audit {told!r}: is a folder; give a file in it")
        if not create and not path.is_file():
            raise AuditError(f"there is no audit {told!r}: make one with cfcam audit init")
        if create and folder and not path.parent.is_dir():
            raise AuditError(f"audit {told!r}: there is no folder {shown_url(str(path.parent))!r}; make it first")
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


def shown(url: URL) -> str:
    """Returns a place as messages show it: the file, or the URL without its user, its password and its query."""
    if url.get_backend_name() == "sqlite":
        return str(Path(str(url.database)))
    return shown_url(url.render_as_string(hide_password=True))


def open_engine(url: URL) -> Engine:
    """Returns the engine of a place that was checked; nothing is opened yet.

    Raises:
        MissingExtraError: PostgreSQL's driver is not installed.
    """
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
    engine = create_engine(url, connect_args={"timeout": PATIENCE}, **options)
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


def problem_of(problem: SQLAlchemyError, where: str) -> AuditError:
    """Returns what a database said as an error of ours, in one line."""
    import sqlite3

    from sqlalchemy.exc import DBAPIError

    cause = problem.orig if isinstance(problem, DBAPIError) else problem
    line = next((part.strip() for part in str(cause).splitlines() if part.strip()), type(cause).__name__)
    # What SQLite says of a damaged file is of this class itself; busy, full and read-only are of its subclasses.
    kind = DamagedError if type(cause) is sqlite3.DatabaseError else AwayError if _is_away(problem) else AuditError
    return kind(f"the audit in {where} cannot be used ({one_line(shown_url(line), 400)}): check the database")


def _is_away(problem: SQLAlchemyError) -> bool:
    """Whether a server's connection is what failed: one that it never made has no code at all."""
    from sqlalchemy.exc import DBAPIError, OperationalError

    if not isinstance(problem, DBAPIError) or type(problem.orig).__module__.partition(".")[0] != "psycopg":
        return False
    code = getattr(problem.orig, "sqlstate", None)
    lost = problem.connection_invalidated or isinstance(problem, OperationalError)
    return lost if code is None else str(code).startswith(_AWAY)


def table_version(connection: Connection) -> str | None:
    """Returns the migration that the audit's table was made by; None where there is no audit."""
    from sqlalchemy import inspect

    if not inspect(connection).has_table(_VERSION_TABLE):
        return None
    return connection.exec_driver_sql(f"SELECT version_num FROM {_VERSION_TABLE}").scalar()  # noqa: S608


def upgrade(connection: Connection) -> None:
    """Runs the migrations that are missing; does nothing where another process was first.

    Raises:
        MissingExtraError: Alembic is not installed.
    """
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

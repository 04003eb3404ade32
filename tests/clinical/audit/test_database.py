"""Where an audit is kept: it is opened again, made when asked for, and refused in one line."""

import sqlite3
import sys
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="the audit needs SQLAlchemy: pip install 'cfcam[audit]'")
pytest.importorskip("alembic", reason="the audit needs Alembic: pip install 'cfcam[audit]'")
from cfcam.clinical.audit import Audit, AuditError
from cfcam.clinical.audit import audit as module
from cfcam.errors import MissingExtraError
from tests.clinical.audit.test_audit import filled


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

"""The table of records, and the triggers that keep it append-only."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# In SQLite, INSERT OR REPLACE deletes a row without its DELETE trigger: hence the check before each INSERT. The hash
# is not UNIQUE for the same reason.
_SQLITE = (
    """
    CREATE TRIGGER audit_record_no_update BEFORE UPDATE ON audit_record
    BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END
    """,
    """
    CREATE TRIGGER audit_record_no_delete BEFORE DELETE ON audit_record
    BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END
    """,
    """
    CREATE TRIGGER audit_record_next BEFORE INSERT ON audit_record
    WHEN NEW.sequence IS NOT (SELECT coalesce(max(sequence), 0) + 1 FROM audit_record)
    BEGIN SELECT RAISE(ABORT, 'the audit is append-only: this is not the next record'); END
    """,
)

# ALWAYS: they fire in a session that replays a replication too, where ordinary triggers are off.
_POSTGRESQL = (
    """
    CREATE FUNCTION audit_record_refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'the audit is append-only'; END $$
    """,
    """
    CREATE FUNCTION audit_record_is_next() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN
        IF NEW.sequence <> (SELECT coalesce(max(sequence), 0) + 1 FROM audit_record) THEN
            RAISE EXCEPTION 'the audit is append-only: this is not the next record';
        END IF;
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER audit_record_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_record
    FOR EACH STATEMENT EXECUTE FUNCTION audit_record_refuse()
    """,
    """
    CREATE TRIGGER audit_record_next BEFORE INSERT ON audit_record
    FOR EACH ROW EXECUTE FUNCTION audit_record_is_next()
    """,
    "ALTER TABLE audit_record ENABLE ALWAYS TRIGGER audit_record_no_change",
    "ALTER TABLE audit_record ENABLE ALWAYS TRIGGER audit_record_next",
)


def upgrade() -> None:
    """Makes the table and its triggers."""
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "audit_record",
        sa.Column("sequence", big, primary_key=True, autoincrement=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )
    for statement in _SQLITE if op.get_bind().dialect.name == "sqlite" else _POSTGRESQL:
        op.execute(statement)

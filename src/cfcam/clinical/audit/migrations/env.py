"""Runs the migrations on the connection that ``cfcam.clinical.audit.audit`` hands over, inside its transaction."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table=context.config.attributes["version_table"],
    # SQLite rolls back DDL too, once Python's driver is kept from committing on its own.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()

"""Alembic migrations of the audit's table."""

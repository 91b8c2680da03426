"""The history of the tables: Alembic revisions, the same on SQLite and PostgreSQL."""

__all__: list[str] = []

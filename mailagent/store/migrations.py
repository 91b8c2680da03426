"""Is the database at this version's tables, and how does it get there?"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from sqlalchemy import Connection, create_engine, text

from mailagent.store.engine import driver_url

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = ["is_current", "upgrade"]

_LOCK = (
    0x6D61696C  # one number for PostgreSQL's advisory lock: two nodes migrate one after the other
)


def upgrade(url: str) -> None:
    """Bring the tables of the database at `url` to this version; nothing happens when they are."""
    from alembic import command

    engine = create_engine(driver_url(url))
    try:
        with engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_lock(:n)").bindparams(n=_LOCK))
                connection.commit()
            else:
                # Of use on a new file only, and before its first table.
                connection.exec_driver_sql("PRAGMA page_size=8192")
            command.upgrade(_config(connection), "head")
            connection.commit()
    finally:
        engine.dispose()


def is_current(url: str) -> bool:
    """Whether the database at `url` has exactly this version's tables."""
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    engine = create_engine(driver_url(url))
    try:
        with engine.connect() as connection:
            heads = ScriptDirectory.from_config(_config(connection)).get_heads()
            return MigrationContext.configure(connection).get_current_heads() == tuple(heads)
    finally:
        engine.dispose()


def _config(connection: Connection) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(files("migrations")))
    config.attributes["connection"] = connection
    return config

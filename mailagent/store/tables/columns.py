"""What do our tables share: the columns of a claim, of a tenant, of content that was removed?"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, ForeignKey, Index, Integer, MetaData, String, text

from mailagent.store.types import Moment

__all__ = ["claim", "its_workspace", "metadata", "own_id", "removal", "where"]

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def own_id() -> Column[Any]:
    """The key of a row that has a name of its own (`tokens.new_id`)."""
    return Column("id", String(48), primary_key=True)


def its_workspace() -> Column[Any]:
    """Whose a row is; with it a table belongs to a tenant."""
    return Column("workspace_id", String(48), ForeignKey("workspaces.id"), nullable=False)


def claim() -> list[Column[Any]]:
    """What `work` needs of a row that is its own queue entry."""
    return [
        Column("not_before", Moment, nullable=False),
        Column("claimed_by", String(48)),
        Column("lease_until", Moment),
        Column("attempts", Integer, nullable=False, server_default="0"),
        Column("deaths", Integer, nullable=False, server_default="0"),
    ]


def removal() -> list[Column[Any]]:
    """When and by what (`retention`, `purge`) the content was removed; NULL while it stands."""
    return [Column("content_removed_at", Moment), Column("content_removed_by", String(16))]


def where(name: str, columns: str, condition: str, *, unique: bool = False) -> Index:
    """A partial index: only the rows of a condition, so it stays small as the table grows."""
    return Index(
        name,
        *columns.split(", "),
        unique=unique,
        sqlite_where=text(condition),
        postgresql_where=text(condition),
    )

"""Alembic's entry: runs revisions on the connection that `store.migrations` hands over."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext

from mailagent.store.tables import metadata


def _render(kind: str, item: Any, autogenerate: AutogenContext) -> str | Literal[False]:
    if kind == "type" and type(item).__module__ == "mailagent.store.types":
        autogenerate.imports.add(f"from mailagent.store.types import {type(item).__name__}")
        return f"{type(item).__name__}()"
    if kind == "type" and type(item).__name__ == "JSON":
        autogenerate.imports.add("from mailagent.store.types import Json")
        return "Json"
    return False


_FULL_TEXT = ("passages_", "message_words_index")


def _ours(_object: Any, name: str | None, kind: str, _reflected: bool, _to: Any) -> bool:
    return not (kind == "table" and name is not None and name.startswith(_FULL_TEXT))


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    render_item=_render,
    include_object=_ours,
)
with context.begin_transaction():
    context.run_migrations()

"""What does a command work with? Settings, the store, a workspace, and one way to print.

A command prints its result and nothing else on standard output: text for people, with `--json` the
same form as the API's. Everything else goes to standard error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec, TypeVar

import typer
from pydantic import TypeAdapter

from backend.paging import EVERYTHING, Window
from backend.workspaces import service as workspaces
from backend.workspaces.service import Workspace
from mailagent.errors import Malformed, Misconfigured, NotFound
from mailagent.settings import Settings, load
from mailagent.store.engine import Store
from mailagent.store.transaction import Transaction

__all__ = ["InWorkspace", "Shell", "table"]

P = ParamSpec("P")
T = TypeVar("T")

InWorkspace = Annotated[
    str | None, typer.Option("--workspace", "-w", help="Slug or id; needed when there are several.")
]
"""The option by which a command is told its workspace."""


class Shell:
    """One command line, from its environment to its output; every command's `context.obj`."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.json = False
        self._opened: Store | None = None

    @cached_property
    def settings(self) -> Settings:
        """The installation's settings. Raises Misconfigured."""
        return load(self.environ)

    @property
    def store(self) -> Store:
        """The installation's database. Raises Misconfigured when it is not there."""
        if self._opened is None:
            url = self.settings.database
            file = url.removeprefix("sqlite:///")
            if file != url and not Path(file).is_file():
                raise Misconfigured("DATABASE_URL", f"there is no {file}: run mailagent migrate")
            self._opened = Store(url)
        return self._opened

    def close(self) -> None:
        """Give back what was opened."""
        if self._opened is not None:
            self._opened.close()

    # --- the database ---

    def read(
        self,
        workspace_id: str | None,
        work: Callable[Concatenate[Transaction, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `work(transaction, *args)` on a snapshot of one workspace, or (None) of all."""
        return self.store.read_now(workspace_id, work, *args, **kwargs)

    def write(
        self,
        workspace_id: str | None,
        work: Callable[Concatenate[Transaction, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `work(transaction, *args)` in one workspace, or (None) across all, and commit."""
        return self.store.write_now(workspace_id, work, *args, **kwargs)

    def workspace(self, reference: str | None) -> Workspace:
        """The workspace of `--workspace`, or the only one there is. Raises NotFound, Malformed."""
        if reference is not None:
            return self.read(None, workspaces.find, reference)
        found = self.read(None, workspaces.list_workspaces, Window(limit=2)).items
        if not found:
            raise NotFound("there is no workspace yet: mailagent workspace create SLUG")
        if len(found) > 1:
            raise Malformed("--workspace", "is missing, and there are several: name one")
        return found[0]

    def workspaces(self, reference: str | None) -> Sequence[str]:
        """The ids of the workspace of `--workspace`, or of all. Raises NotFound."""
        if reference is not None:
            return [self.workspace(reference).id]
        return [one.id for one in self.read(None, workspaces.list_workspaces, EVERYTHING).items]

    def operators(self) -> Workspace:
        """The operator's workspace. Raises NotFound."""
        found = self.read(None, workspaces.operator_id)
        if found is None:
            raise NotFound("there is no workspace yet: mailagent workspace create SLUG")
        return self.read(None, workspaces.find, found)

    # --- the output ---

    def show(self, text: str, value: Any, schema: Any = Any) -> None:
        """Print the result: `text` for people, or `value` as JSON in the form of `schema`."""
        if not self.json:
            print(text)
            return
        adapter: TypeAdapter[Any] = TypeAdapter(schema)
        shaped = adapter.validate_python(value, from_attributes=True)
        plain = adapter.dump_python(shaped, mode="json")
        print(json.dumps(plain, indent=2, ensure_ascii=False))

    def tell(self, text: str) -> None:
        """Say something beside the result."""
        print(text, file=sys.stderr)


def table(rows: Sequence[Sequence[object]], *, empty: str) -> str:
    """Rows in columns, a line each; `empty` stands for none."""
    if not rows:
        return empty
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )

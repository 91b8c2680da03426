"""`mailagent document`: what the agents answer from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backend.cli.shell import InWorkspace, Shell, table
from backend.documents import service
from backend.documents.schemas import DocumentOut, DocumentTextOut
from backend.documents.service import Document
from backend.paging import EVERYTHING
from mailagent.errors import Malformed
from mailagent.store.transaction import Transaction

__all__ = ["commands"]

commands = typer.Typer(help="Documents that agents answer from: text and Markdown.")

Named = Annotated[str, typer.Argument(metavar="DOCUMENT", help="Name or id.")]
_SUFFIXES = frozenset({".md", ".markdown", ".txt", ".text"})


@commands.command()
def add(context: typer.Context, files: list[Path], workspace: InWorkspace = None) -> None:
    """Keep files of text or Markdown by their names; all of them, or none."""
    shell: Shell = context.obj
    texts = [(file.name, _text(file)) for file in files]
    added = shell.write(shell.workspace(workspace).id, _add, texts)
    lines = [f"added {one.name} ({one.size_bytes:,} bytes)" for one in added]
    shell.show("\n".join(lines), added, list[DocumentOut])


def _add(tx: Transaction, texts: list[tuple[str, str]]) -> list[Document]:
    return [service.add(tx, name, text) for name, text in texts]


def _text(file: Path) -> str:
    if file.suffix.lower() not in _SUFFIXES:
        kinds = ", ".join(sorted(_SUFFIXES))
        raise Malformed(
            str(file), f"is not text or Markdown ({kinds}): convert it, or copy its text into one"
        )
    try:
        if file.stat().st_size > service.MOST_BYTES:
            raise Malformed(str(file), f"has more than {service.MOST_BYTES:,} bytes: split it")
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise Malformed(str(file), f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Malformed(str(file), "is not UTF-8: save it so") from error


@commands.command("list")
def list_(context: typer.Context, workspace: InWorkspace = None) -> None:
    """List the documents of a workspace."""
    shell: Shell = context.obj
    found = shell.read(shell.workspace(workspace).id, service.list_documents, EVERYTHING).items
    rows = [(one.name, f"{one.size_bytes:,} bytes", one.id) for one in found]
    shell.show(table(rows, empty="no documents"), found, list[DocumentOut])


@commands.command()
def show(context: typer.Context, document: Named, workspace: InWorkspace = None) -> None:
    """Print a document's text."""
    shell: Shell = context.obj
    found = shell.read(shell.workspace(workspace).id, service.get, document)
    shell.show(found.text, found, DocumentTextOut)


@commands.command()
def remove(context: typer.Context, document: Named, workspace: InWorkspace = None) -> None:
    """Remove a document: no agent finds it any more."""
    shell: Shell = context.obj
    shell.write(shell.workspace(workspace).id, service.remove, document)
    shell.show(f"removed {document}", {"removed": document})

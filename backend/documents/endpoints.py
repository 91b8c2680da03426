"""API: the documents that a workspace's agents answer from."""

from __future__ import annotations

from fastapi import APIRouter

from backend.access.dependencies import Access, require
from backend.documents import service
from backend.documents.schemas import DocumentIn, DocumentOut, DocumentTextOut
from backend.documents.service import Document
from backend.idempotency import Answer, Once
from backend.listing import PageOf, Windowed
from backend.paging import Page

__all__ = ["router"]

router = APIRouter(prefix="/workspaces/{ws}/documents", tags=["documents"])


@router.get("", response_model=PageOf[DocumentOut])
async def list_documents(
    window: Windowed, access: Access = require("document.read")
) -> Page[Document]:
    """The workspace's documents, without their texts."""
    return await access.read(service.list_documents, window)


@router.post("", response_model=DocumentOut, status_code=201)
async def add_document(
    body: DocumentIn, once: Once, access: Access = require("document.manage")
) -> Answer[Document]:
    """Keep a document of at most 1 MiB, in place of one of the same name."""
    return await once.write(access, service.add, body.name, body.text)


@router.get("/{document}", response_model=DocumentTextOut)
async def get_document(document: str, access: Access = require("document.read")) -> Document:
    """One document with its text, by id or name."""
    return await access.read(service.get, document)


@router.delete("/{document}", status_code=204)
async def remove_document(document: str, access: Access = require("document.manage")) -> None:
    """Remove a document: no agent finds it any more."""
    await access.write(service.remove, document)

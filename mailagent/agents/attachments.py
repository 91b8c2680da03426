"""Which attachments can a model look at itself, and what of the others is text?

Images and PDF are given as they are when their first octets say that they are what they claim, and
within caps; of all others the text that the sandbox could read. Source: platform.claude.com
"Vision", "PDF support" (read November 2026).
"""

from __future__ import annotations

import base64
from typing import Any

from mailagent.agents.tools import data_block
from mailagent.agents.turn import JsonValue, Turn
from mailagent.mail import Attachment, Mail

__all__ = ["Budget", "shown", "sniffed"]

_TEXT_CHARACTERS = 40_000
_IMAGE_BYTES = 5 * 1024 * 1024
_PDF_BYTES = 10 * 1024 * 1024
_LOOKS = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".pdf")


class Budget:
    """What one turn may still show: caps, so that it has a bounded price."""

    def __init__(self) -> None:
        self.characters = 160_000
        self.octets = 20 * 1024 * 1024
        self.files = 20


def sniffed(octets: bytes) -> str | None:
    """The media type of an image or a PDF, by its first octets; None for anything else."""
    if octets.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if octets.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if octets.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if octets[:4] == b"RIFF" and octets[8:12] == b"WEBP":
        return "image/webp"
    if octets.startswith(b"%PDF-"):
        return "application/pdf"
    return None


async def shown(
    turn: Turn, mail: Mail, budget: Budget
) -> tuple[list[JsonValue], list[dict[str, Any]]]:
    """What is said of a mail's attachments, and the blocks of those that are shown as they are."""
    said: list[JsonValue] = []
    blocks: list[dict[str, Any]] = []
    for attachment in mail.content.attachments:
        block = await _block(turn, mail, attachment, budget)
        text = cut = None
        if block is None:
            text = await turn.tools.attachment_text(mail.delivery_id, attachment.part)
            whole = text
            text = text[: min(budget.characters, _TEXT_CHARACTERS)] if text is not None else None
            budget.characters -= len(text or "")
            cut = text != whole
        said.append(
            {
                "filename": attachment.filename,
                "content_type": attachment.content_type,
                "size_bytes": attachment.size_bytes,
                "text": text,
                "cut": bool(cut),
                "shown_below": block is not None,
            }
        )
        if block is not None:
            title: JsonValue = {"filename": attachment.filename, "from": "the sender of the mail"}
            blocks += [{"type": "text", "text": data_block("attachment", title)}, block]
    return said, blocks


async def _block(
    turn: Turn, mail: Mail, attachment: Attachment, budget: Budget
) -> dict[str, Any] | None:
    looks = attachment.content_type.startswith("image/") or "pdf" in attachment.content_type
    if not (looks or attachment.filename.lower().endswith(_LOOKS)):
        return None
    most = min(_PDF_BYTES, budget.octets)
    if budget.files <= 0 or not 0 < attachment.size_bytes <= most:
        return None
    octets = await turn.tools.attachment_octets(mail.delivery_id, attachment.part)
    kind = sniffed(octets) if octets else None
    if octets is None or kind is None:
        return None
    if len(octets) > (_PDF_BYTES if kind == "application/pdf" else _IMAGE_BYTES):
        return None
    budget.octets -= len(octets)
    budget.files -= 1
    source = {
        "type": "base64",
        "media_type": kind,
        "data": base64.b64encode(octets).decode(),
    }
    return {"type": "document" if kind == "application/pdf" else "image", "source": source}

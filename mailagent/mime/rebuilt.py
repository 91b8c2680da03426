"""How does a mail that came as a provider's form fields become MIME again?

One module a provider, `rebuilt_<kind>.py`, each with `rebuild(body, content_type)`: pure, and the
same octets every time, because what the mail says is read from them again for each file of it.
"""

from __future__ import annotations

from importlib import import_module

from mailagent.errors import Malformed

__all__ = ["PROVIDERS", "rebuild"]

PROVIDERS = ("mailgun", "postmark", "sendgrid")


def rebuild(body: bytes, content_type: str, *, parsed_by: str) -> bytes:
    """The MIME message (RFC 5322) that a request body stands for. Raises Malformed."""
    if parsed_by not in PROVIDERS:
        raise Malformed("parsed_by", f"{parsed_by!r} is no provider whose forms are known")
    # Imported when one comes: a sandbox worker of an installation without them needs none.
    module = import_module(f"mailagent.mime.rebuilt_{parsed_by}")
    mime: bytes = module.rebuild(body, content_type)
    return mime

"""A mail that a provider took apart says the same when it is put together again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mailagent.mail import Content
from mailagent.mime import automatic, parse
from mailagent.mime.rebuilt import rebuild
from tests.parsed_forms import FORMS, MAILS

MAIL_FROM, RCPT_TO = "bounces+7@customer.example", "support+t.8f3a@acme.example"


def said(content: Content) -> Content:
    """What must not differ: all but the octets, the paths of parts and the spelling of headers."""
    files = tuple(replace(file, part="") for file in content.attachments)
    return replace(content, attachments=files, headers=(), content_sha256="", defects=())


@pytest.mark.parametrize("provider", FORMS)
@pytest.mark.parametrize("path", MAILS, ids=lambda path: path.stem)
def test_a_rebuilt_mail_says_the_same(path: Path, provider: str) -> None:
    eml = path.read_bytes()
    body, content_type = FORMS[provider](eml, mail_from=MAIL_FROM, rcpt_to=RCPT_TO)
    mime = rebuild(body, content_type, parsed_by=provider)
    original, again = parse.read(eml), parse.read(mime)
    assert said(again) == said(original)
    assert automatic.classify(again, mail_from=MAIL_FROM) == automatic.classify(
        original, mail_from=MAIL_FROM
    )
    assert rebuild(body, content_type, parsed_by=provider) == mime


def test_there_are_twenty_mails() -> None:
    assert len(MAILS) == 20

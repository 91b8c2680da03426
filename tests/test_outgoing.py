"""What an approval is bound to: the digest of a frozen mail, which rows keep for years."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from mailagent.mail import Address
from mailagent.outgoing import Outgoing, OutgoingAttachment

_ANN = Address("ann@customer.example", "Ann Ü")
_WHOLE = Outgoing(
    message_id="<1@demo.test>",
    date=datetime(2026, 11, 30, 12, tzinfo=UTC),
    from_=Address("hello@demo.test"),
    to=(_ANN,),
    subject="Ünïcode",
    text="text",
    cc=(_ANN,),
    bcc=(_ANN,),
    reply_to=(_ANN,),
    html="<p>x</p>",
    attachments=(OutgoingAttachment("a.txt", "text/plain", b"abc", "cid"),),
    in_reply_to="<0@x>",
    references=("<0@x>", "<y@x>"),
    auto_submitted="auto-replied",
    headers=(("X-A", "b"),),
    raw=b"raw",
)


def test_the_digest_of_a_mail_is_the_same_in_every_version() -> None:
    # Of rows that are there: another value would make every approval that waits void.
    with_raw = "e842c07d991b718df9b2ac2ec9155333fece14f9de457fdb2fbdd52ac4c8d390"
    without = "0e1c88eb0484a6e0fd2f58f7d9edad04584abd49b6690a6f4b709faa4e5cc3c0"
    assert _WHOLE.digest() == with_raw
    assert replace(_WHOLE, raw=None).digest() == without


@pytest.mark.parametrize("name", [one.name for one in fields(Outgoing)])
def test_no_field_changes_without_the_digest(name: str) -> None:
    one = getattr(_WHOLE, name)
    other: Any = {
        Address: Address("eve@evil.example"),
        datetime: datetime(2026, 12, 1, tzinfo=UTC),
        tuple: (),
        bytes: b"other",
    }.get(type(one), "auto-generated")
    assert replace(_WHOLE, **{name: other}).digest() != _WHOLE.digest()

"""How the tests make a mail, answer its DNS questions from a dict, and judge it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from mailagent.authentication import Needs, judge
from mailagent.dns_answers import Absent, Answer, Found, Question, Unknown
from mailagent.mail import Address, Authentication, Content
from mailagent.resolver import Resolver

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
CLIENT = "192.0.2.10"

Zone = Mapping[str, Mapping[str, Sequence[str]]]


def raw_mail(from_: str = "ann@example.com", body: bytes = b"Hello,\r\n\r\nworld.\r\n") -> bytes:
    """A plain mail with CRLF line ends."""
    return (
        b"From: Ann <" + from_.encode() + b">\r\n"
        b"To: agent@acme.example\r\n"
        b"Subject: A question\r\n"
        b"Date: Sat, 21 Nov 2026 11:59:00 +0000\r\n"
        b"Message-ID: <1@example.com>\r\n"
        b"\r\n" + body
    )


def content(*from_: str) -> Content:
    """What `mime` would read; authentication looks at `from_` only."""
    return Content(
        message_id=None,
        in_reply_to=(),
        references=(),
        date=None,
        subject="",
        from_=tuple(Address(address) for address in from_),
        sender=(),
        reply_to=(),
        to=(),
        cc=(),
        text="",
        written="",
        html=None,
        hidden_text=False,
        is_forward=False,
        attachments=(),
        headers=(),
        content_sha256="",
    )


def answered(question: Question, zone: Zone, failing: Sequence[str] = ()) -> Answer:
    """What a DNS with just this zone says."""
    if question.name in failing:
        return Unknown("SERVFAIL")
    types = zone.get(question.name)
    if types is None:
        below = any(name.endswith(f".{question.name}") for name in zone)
        return Absent(nxdomain=not below)
    records = tuple(types.get(question.type, ()))
    return Found(records) if records else Absent(nxdomain=False)


def judged(
    zone: Zone,
    *,
    raw: bytes | None = None,
    from_: str | Sequence[str] = "ann@example.com",
    mail_from: str | None = "ann@example.com",
    client_ip: str | None = CLIENT,
    helo: str | None = "mx.example.com",
    failing: Sequence[str] = (),
    now: datetime = NOW,
    sealers: Sequence[str] = (),
) -> Authentication:
    """Judge a mail, answering from `zone` until nothing is missing (at most twenty rounds)."""
    authors = (from_,) if isinstance(from_, str) else tuple(from_)
    if raw is None:
        raw = raw_mail(authors[0] if authors else "ann@example.com")
    answers: dict[Question, Answer] = {}
    for _ in range(20):
        outcome = judge.judge(
            raw,
            content(*authors),
            mail_from=mail_from,
            client_ip=client_ip,
            helo=helo,
            answers=answers,
            now=now,
            arc_sealers=sealers,
        )
        if isinstance(outcome, Authentication):
            return outcome
        assert outcome.questions.isdisjoint(answers), "a question is not asked twice"
        answers |= {question: answered(question, zone, failing) for question in outcome.questions}
    raise AssertionError("more than twenty rounds")


async def settle(
    resolver: Resolver,
    raw: bytes,
    *,
    from_: str,
    mail_from: str | None,
    client_ip: str = CLIENT,
) -> Authentication:
    """Judge a mail with a real resolver, as the flow does."""
    answers: dict[Question, Answer] = {}
    for _ in range(20):
        outcome = judge.judge(
            raw,
            content(from_),
            mail_from=mail_from,
            client_ip=client_ip,
            helo="mx.example.com",
            answers=answers,
            now=NOW,
        )
        if not isinstance(outcome, Needs):
            return outcome
        answers |= await resolver.ask_all(outcome.questions)
    raise AssertionError("more than twenty rounds")

"""What does a foreign mail say, and who vouches for it? The job that runs inside the sandbox.

One function over bytes: parse, class, read bounces, judge the sender. DNS answers come in with the
arguments; a missing one is named in `needs`, is resolved outside, and the job runs again. The
result crosses back as JSON and is validated there (`Reading`): a taken-over worker can lie about
this one mail, and do nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from mailagent.authentication import Needs
from mailagent.authentication.judge import from_provider, judge, spf_of_provider, unjudged
from mailagent.dns_answers import Absent, Answer, Found, Question, Unknown
from mailagent.mail import Authentication, Complaint, Content, Kind, NonDelivery
from mailagent.mime import automatic, bounce, parse, rebuilt
from mailagent.mime.submitted import prepare

__all__ = [
    "Reading",
    "answers_from_json",
    "answers_to_json",
    "attachment",
    "attachment_text",
    "busy",
    "read",
    "rehearse",
    "submitted",
]


@dataclass(frozen=True, slots=True)
class Reading:
    """All that the bytes of one mail say."""

    content: Content
    kind: Kind
    why_kind: str
    hops: int
    """How often the mail has passed this installation already."""
    report: NonDelivery | None
    complaint: Complaint | None
    authentication: Authentication | None
    """None while `needs` names DNS answers that are missing."""
    needs: tuple[Question, ...] = ()


def read(raw: bytes, arguments: Mapping[str, Any]) -> bytes:
    """Read one mail; the result is the JSON of a `Reading`.

    Arguments: `mail_from` (None for `<>`), `client_ip`, `helo`, `hostname` (ours, for the loop
    count), `now` (ISO), `judged_by` (`nobody`: the demo's local mail; `provider` with `verdicts`;
    else computed), `answers`, `arc_sealers` (domains whose ARC seals count); `parsed_by` and
    `body_type` when `raw` is a provider's form and no MIME. Raises Malformed over a cap.
    """
    mime = _mime(raw, arguments)
    content = parse.read(mime)
    mail_from = arguments["mail_from"]
    kind, why = automatic.classify(content, mail_from=mail_from)
    found = bounce.read(mime, automatic=mail_from is None)
    report = found if isinstance(found, NonDelivery) else None
    complaint = found if isinstance(found, Complaint) else None
    if report is not None:
        kind, why = Kind.BOUNCE, "it reports what became of a mail (RFC 3464 or like it)"
    elif complaint is not None:
        kind, why = Kind.COMPLAINT, f"feedback report, type {complaint.feedback_type} (RFC 5965)"
    # The signatures of a rebuilt mail are gone with its octets.
    judged = _judge(mime if mime is raw else None, content, arguments)
    reading = Reading(
        content=content,
        kind=kind,
        why_kind=why,
        hops=automatic.loop_hops(content, host=arguments["hostname"]),
        report=report,
        complaint=complaint,
        authentication=judged if isinstance(judged, Authentication) else None,
        needs=() if isinstance(judged, Authentication) else tuple(sorted_questions(judged)),
    )
    return json.dumps(asdict(reading), default=_jsonable).encode()


_REHEARSAL = b"""From: a@example.org\r
To: b@example.org\r
Subject: rehearsal\r
DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=s; h=from; bh=; b=\r
Content-Type: text/html\r
\r
<p>On Monday we wrote:</p>\r
"""


def rehearse(_: bytes, __: Mapping[str, Any]) -> bytes:
    """Read a mail of our own, so that the first one of others does not wait for our imports."""
    return read(
        _REHEARSAL,
        {
            "mail_from": "a@example.org",
            "client_ip": "192.0.2.1",
            "helo": "example.org",
            "hostname": "example.org",
            "now": "2026-01-01T00:00:00+00:00",
            "judged_by": "mailagent",
            "verdicts": {},
            "answers": [],
            "arc_sealers": [],
        },
    )


def attachment(raw: bytes, arguments: Mapping[str, Any]) -> bytes:
    """The decoded octets of one part. Raises NotFound."""
    return parse.attachment(_mime(raw, arguments), arguments["part"])


def attachment_text(raw: bytes, arguments: Mapping[str, Any]) -> bytes:
    """The text of one part in UTF-8, empty when it has none. Raises NotFound."""
    # Imported here: few mails have documents, and their libraries are not small.
    from mailagent.mime import attached_text

    mime = _mime(raw, arguments)
    part = arguments["part"]
    octets = parse.attachment(mime, part)
    named = next((one for one in parse.read(mime).attachments if one.part == part), None)
    kind, filename = (named.content_type, named.filename) if named else ("", "")
    return (attached_text.text_of(octets, kind, filename) or "").encode("utf-8", "replace")


def busy(feed: bytes, arguments: Mapping[str, Any]) -> bytes:
    """When a calendar's owner is busy, between `earliest` and `latest` (ISO): JSON pairs of ISO
    times. Raises Malformed.
    """
    import zoneinfo

    from mailagent.mime import calendar

    # The system's files of time zones are out of reach here; those of the package are not.
    zoneinfo.reset_tzpath(())
    window = (datetime.fromisoformat(arguments[name]) for name in ("earliest", "latest"))
    spans = calendar.busy(feed, *window)
    return json.dumps([[begin.isoformat(), end.isoformat()] for begin, end in spans]).encode()


def report(raw: bytes, arguments: Mapping[str, Any]) -> bytes:
    """The JSON of the `FoundReport` that a mail carries. Raises Malformed when it carries none."""
    # Imported here: few mails are reports, and the library is not small.
    from mailagent.mime import domain_report

    found = domain_report.read(_mime(raw, arguments))
    return json.dumps(asdict(found), default=_jsonable).encode()


def submitted(raw: bytes, arguments: Mapping[str, Any]) -> bytes:
    """Prepare a mail that was handed in; see `mime.submitted.prepare`.

    Arguments: `message_id`, `now` (ISO). The result is a line of JSON, the fields of a `HandedIn`
    and `sha256` (of what was given, without Bcc), and then the mail. Raises Malformed.
    """
    now = datetime.fromisoformat(arguments["now"])
    handed_in, mail, given = prepare(raw, message_id=arguments["message_id"], now=now)
    facts = {"handed_in": asdict(handed_in), "sha256": hashlib.sha256(given).hexdigest()}
    return json.dumps(facts, default=_jsonable).encode() + b"\n" + mail


def _mime(raw: bytes, arguments: Mapping[str, Any]) -> bytes:
    parsed_by = arguments.get("parsed_by")
    if not parsed_by:
        return raw
    return rebuilt.rebuild(raw, arguments["body_type"], parsed_by=parsed_by)


def _judge(
    raw: bytes | None, content: Content, arguments: Mapping[str, Any]
) -> Authentication | Needs:
    if arguments["judged_by"] == "nobody":
        return unjudged()
    provider, verdicts, mail_from = (
        arguments["judged_by"],
        arguments["verdicts"],
        arguments["mail_from"],
    )
    vouched = None
    if provider != "mailagent":
        if "dmarc" in verdicts and (by_provider := from_provider(verdicts, provider, content)):
            return by_provider
        # Who tells no DMARC verdict may still tell of the client that only it has seen.
        vouched = spf_of_provider(verdicts, provider, mail_from)
    return judge(
        raw,
        content,
        mail_from=arguments["mail_from"],
        client_ip=arguments["client_ip"],
        helo=arguments["helo"],
        answers=answers_from_json(arguments["answers"]),
        now=datetime.fromisoformat(arguments["now"]),
        arc_sealers=arguments["arc_sealers"],
        vouched=vouched,
    )


def sorted_questions(needs: Needs) -> list[Question]:
    """The missing questions in a stable order."""
    return sorted(needs.questions, key=lambda one: (one.name, one.type))


def answers_to_json(answers: Mapping[Question, Answer]) -> list[list[Any]]:
    """DNS answers as JSON: `[name, type, "found"|"absent"|"unknown", detail]`."""
    rows: list[list[Any]] = []
    for question, answer in answers.items():
        match answer:
            case Found():
                rows.append([question.name, question.type, "found", list(answer.records)])
            case Absent():
                rows.append([question.name, question.type, "absent", answer.nxdomain])
            case Unknown():
                rows.append([question.name, question.type, "unknown", answer.reason])
    return rows


def answers_from_json(rows: list[list[Any]]) -> dict[Question, Answer]:
    """The inverse of `answers_to_json`."""
    made: dict[Question, Answer] = {}
    for name, type_, word, detail in rows:
        match word:
            case "found":
                made[Question(name, type_)] = Found(tuple(detail))
            case "absent":
                made[Question(name, type_)] = Absent(bool(detail))
            case _:
                made[Question(name, type_)] = Unknown(str(detail))
    return made


def _jsonable(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form")

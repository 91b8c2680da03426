"""Which mail does Postmark's inbound webhook bring?

With "Include raw email content" the octets stand in `RawEmail`; without it the request is the mail
and `mime.rebuilt_postmark` makes MIME of it. Source: Postmark "Inbound webhook", read 2026-11-21.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mailagent.errors import Misconfigured
from mailagent.inbound import Envelope, Inbound, Origin
from mailagent.mime import json_body, rebuilt_postmark
from mailagent.providers.postmark_access import Access, answer
from mailagent.webhook import Answered, WebhookRequest, WebhookSettings

__all__ = ["PostmarkInbound"]

_LONGEST_ADDRESS = 320


class PostmarkInbound:
    """`/webhook/postmark`."""

    def __init__(self, settings: WebhookSettings) -> None:
        self._access = Access(settings)

    @property
    def missing(self) -> Misconfigured | None:
        return self._access.missing

    async def inbound(self, request: WebhookRequest) -> Sequence[Inbound]:
        """The one mail of a request."""
        self._access.check(request)
        mail = json_body.read(request.body)
        if mail.members.get("RecordType", "Inbound") != "Inbound":
            raise Misconfigured(
                "webhook",
                "Postmark sends events here: set that webhook's URL to /webhooks/email/postmark",
            )
        if "Headers" not in mail:
            raise mail.wrong("Headers", "is missing")
        recipient = mail.filled("OriginalRecipient", at_most=_LONGEST_ADDRESS)
        if "@" not in recipient:
            raise mail.wrong("OriginalRecipient", "is no address")
        trace = _Trace.of(list(rebuilt_postmark.fields(mail)))
        raw = _octets(mail.raw("RawEmail")) if "RawEmail" in mail else b""
        if "RawEmail" in mail and not raw.strip():
            raise mail.wrong("RawEmail", "is empty")
        if not raw:
            rebuilt_postmark.check(mail)
        origin = Origin(
            received_at=request.received_at,
            client_ip=trace.client_ip,
            helo=trace.helo,
            provider_verdicts=trace.verdicts,
            body_format="raw" if raw else "parsed",
            body_type="" if raw else request.header("content-type"),
            parsed_by="" if raw else "postmark",
        )
        return [
            Inbound(
                envelope=Envelope(trace.mail_from, (recipient,)),
                raw=raw or request.body,
                source="postmark",
                source_id=mail.filled("MessageID", at_most=255),
                origin=origin,
            )
        ]

    def answer(self, answered: Answered) -> int:
        return answer(answered)


def _octets(raw: str) -> bytes:
    """JSON is UTF-8; an octet that is not came through as a lone surrogate (`json_body`)."""
    try:
        return raw.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return raw.encode("utf-8", "replace")


_IP = re.compile(r"\bclient-ip=\"?([0-9A-Fa-f.:]{2,45})\"?(?=[;\s]|$)")
_HELO = re.compile(r"\bhelo=\"?([A-Za-z0-9._:\[\]-]{1,255})\"?(?=[;\s]|$)")
_SENDER = re.compile(r"\benvelope-from=\"?<?([^\s;\"<>]{1,320})>?\"?(?=[;\s]|$)")


@dataclass(frozen=True, slots=True)
class _Trace:
    """What Postmark itself wrote on top of a mail's header.

    Its fields stand before all others, so the first one of a name counts and the first field that
    Postmark does not write ends them: what comes after, the sender may have forged.
    """

    mail_from: str | None
    client_ip: str | None
    helo: str | None
    verdicts: Mapping[str, str]

    @classmethod
    def of(cls, header: Sequence[tuple[str, str]]) -> _Trace:
        own = _postmarks_own(header)
        spf = own.get("received-spf", "")
        return_path = own.get("return-path")
        if return_path is None:
            # Dashboards' test and older servers: only Received-SPF names the envelope sender.
            sender = _first(_SENDER, spf)
        else:
            sender = return_path.strip().removeprefix("<").removesuffix(">").strip() or None
        if sender is not None and ("@" not in sender or len(sender) > _LONGEST_ADDRESS):
            sender = None
        return cls(sender, _first(_IP, spf), _first(_HELO, spf), _verdicts(own, spf))


def _postmarks_own(header: Sequence[tuple[str, str]]) -> dict[str, str]:
    own: dict[str, str] = {}
    for place, (name, value) in enumerate(header):
        word = name.lower()
        is_trace = word in ("received", "received-spf") or word.startswith("x-spam-")
        if not (is_trace or (word == "return-path" and place == 0)):
            break
        if word == "received" and word in own:
            break
        own.setdefault(word, value)
    return own


def _verdicts(own: Mapping[str, str], spf: str) -> dict[str, str]:
    """Postmark's SpamAssassin tells of SPF and DKIM, of DMARC nothing."""
    tests = frozenset(re.split(r"[,\s]+", own.get("x-spam-tests", "").upper()))
    said = {
        "spf": (spf.split() or [""])[0].lower() or _spf_of(tests),
        "dkim": _dkim_of(tests),
        "spam": {"yes": "FAIL", "no": "PASS"}.get(
            re.split(r"[,\s]", own.get("x-spam-status", "").strip().lower())[0], ""
        ),
    }
    return {name: word for name, word in said.items() if word}


def _spf_of(tests: frozenset[str]) -> str:
    words = ("pass", "fail", "softfail", "neutral", "none")
    return next((word for word in words if f"SPF_{word.upper()}" in tests), "")


def _dkim_of(tests: frozenset[str]) -> str:
    if "DKIM_VALID" in tests:
        return "pass"
    if "DKIM_INVALID" in tests:
        return "fail"
    return "neutral" if "DKIM_SIGNED" in tests else ""


def _first(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.search(text)
    return found[1] if found else None

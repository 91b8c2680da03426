"""How did others' TLS sessions to a domain's MX end? The JSON of RFC 8460 §4, plain or gzip."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mailagent.errors import Malformed

__all__ = ["TlsFailure", "TlsPolicy", "TlsReport", "read", "unpacked"]

_PACKED_BYTES, _UNPACKED_BYTES = 10 * 1024 * 1024, 16 * 1024 * 1024
_POLICIES, _FAILURES = 50, 500
_TEXT = 253
_MOST_SESSIONS = 10**12
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class TlsFailure:
    """Sessions that failed for one reason."""

    reason: str
    """RFC 8460 §4.3, e.g. `certificate-expired`."""
    sessions: int
    mx: str
    """The receiving host; empty where the report does not say."""
    source: str
    """The sending address; empty where the report does not say."""


@dataclass(frozen=True, slots=True)
class TlsPolicy:
    """What happened under one policy."""

    domain: str
    type: str
    """`sts`, `tlsa` or `no-policy-found`."""
    sessions: int
    failed: int
    failures: tuple[TlsFailure, ...]


@dataclass(frozen=True, slots=True)
class TlsReport:
    """One report of one sender."""

    reporter: str
    report_id: str
    begins_at: datetime
    ends_at: datetime
    policies: tuple[TlsPolicy, ...]


def unpacked(octets: bytes, *, at_most: int = _UNPACKED_BYTES) -> bytes:
    """The octets, out of a gzip if they are in one. Raises Malformed over a bound."""
    if not octets.startswith(_GZIP):
        if len(octets) > at_most:
            raise Malformed("TLS report", f"has more than {at_most:,} octets")
        return octets
    if len(octets) > _PACKED_BYTES:
        raise Malformed("TLS report", f"has more than {_PACKED_BYTES:,} octets")
    stream = zlib.decompressobj(wbits=31)
    try:
        made = stream.decompress(octets, at_most + 1)
    except zlib.error as error:
        raise Malformed("TLS report", "its gzip is corrupt") from error
    if len(made) > at_most:
        raise Malformed("TLS report", f"has more than {at_most:,} octets when it is unpacked")
    if not stream.eof:
        raise Malformed("TLS report", "its gzip ends too early")
    return made


def read(octets: bytes) -> TlsReport:
    """Read a report as it was attached. Raises Malformed, also for one beyond the bounds."""
    try:
        found = json.loads(unpacked(octets))
    except (ValueError, RecursionError) as error:
        raise Malformed("TLS report", "is no JSON") from error
    report = _object(found, "the report")
    period = _object(report.get("date-range"), "date-range")
    policies = report.get("policies")
    if not isinstance(policies, list) or not 0 < len(policies) <= _POLICIES:
        raise Malformed("policies", f"must be a list of 1 to {_POLICIES}")
    return TlsReport(
        reporter=_text(report, "organization-name") or _text(report, "contact-info"),
        report_id=_text(report, "report-id", needed=True),
        begins_at=_moment(period, "start-datetime"),
        ends_at=_moment(period, "end-datetime"),
        policies=tuple(_policy(_object(one, "policies")) for one in policies),
    )


def _policy(given: Mapping[str, Any]) -> TlsPolicy:
    policy = _object(given.get("policy"), "policy")
    summary = _object(given.get("summary"), "summary")
    failures = given.get("failure-details") or []
    if not isinstance(failures, list):
        raise Malformed("failure-details", "must be a list")
    good = _count(summary, "total-successful-session-count")
    bad = _count(summary, "total-failure-session-count")
    return TlsPolicy(
        domain=_text(policy, "policy-domain", needed=True).rstrip(".").lower(),
        type=_text(policy, "policy-type"),
        sessions=min(good + bad, _MOST_SESSIONS),
        failed=bad,
        failures=tuple(
            TlsFailure(
                reason=_text(one, "result-type"),
                sessions=_count(one, "failed-session-count"),
                mx=_text(one, "receiving-mx-hostname").rstrip(".").lower(),
                source=_text(one, "sending-mta-ip"),
            )
            for one in (_object(failure, "failure-details") for failure in failures[:_FAILURES])
        ),
    )


def _object(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Malformed(name, "must be an object")
    return value


def _text(given: Mapping[str, Any], name: str, *, needed: bool = False) -> str:
    value = given.get(name, "")
    if not isinstance(value, str) or (needed and not value.strip()):
        raise Malformed(name, "must be a text")
    # Neither database keeps a NUL, nor UTF-8 half a character.
    plain = value.strip().replace("\0", "").encode("utf-8", "replace").decode()
    return plain[:_TEXT]


def _count(given: Mapping[str, Any], name: str) -> int:
    value = given.get(name, 0)
    if isinstance(value, str) and value.isdecimal() and len(value) < 20:  # some senders quote them
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise Malformed(name, "must be a number of sessions")
    return min(value, _MOST_SESSIONS)


def _moment(given: Mapping[str, Any], name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(_text(given, name, needed=True))
    except ValueError as error:
        raise Malformed(name, "must be a time (RFC 3339)") from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)

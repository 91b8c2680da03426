"""How do the sums of others' reports look in the API?"""

from __future__ import annotations

from pydantic import BaseModel

__all__ = ["DomainReportsOut"]


class SourceOut(BaseModel):
    """An address that sent mail with the domain in From."""

    address: str
    messages: int
    aligned: int
    signed_by: list[str]
    sent_as: list[str]
    advice: str


class TlsFailuresOut(BaseModel):
    """TLS sessions that failed for one reason of RFC 8460 §4.3."""

    reason: str
    mx: str
    sessions: int
    advice: str


class DomainReportsOut(BaseModel):
    """What others report of one domain: DMARC (RFC 9990) and TLS (RFC 8460)."""

    domain: str
    reports: int
    reporters: list[str]
    policy: str
    messages: int
    aligned: int
    sources: list[SourceOut]
    tls_sessions: int
    tls_failed: int
    tls_failures: list[TlsFailuresOut]
    advice: str

"""How is a judgement written for people and other programs? Authentication-Results (RFC 8601)"""

from __future__ import annotations

from mailagent.mail import Authentication

__all__ = ["authentication_results"]

_MAX_VALUE = 200


def authentication_results(auth: Authentication, *, authserv_id: str) -> str:
    """The value of an Authentication-Results field: one line of printable ASCII, not folded.

    Methods that were not judged are left out; with none left it says `none` (§2.2).
    """
    methods: list[str] = []
    if auth.spf.result != "not_judged":
        name = "mailfrom" if auth.spf.identity == "mailfrom" else "helo"
        methods.append(
            _method("spf", auth.spf.result, auth.spf.reason, (f"smtp.{name}", auth.spf.domain))
        )
    methods.extend(
        _method(
            "dkim",
            verdict.result,
            verdict.reason,
            ("header.d", verdict.domain),
            ("header.s", verdict.selector),
            ("header.a", verdict.algorithm),
        )
        for verdict in auth.dkim
    )
    if auth.arc is not None:
        methods.append(_method("arc", auth.arc.result, auth.arc.reason))
    if auth.dmarc.result != "not_judged":
        methods.append(
            _method(
                "dmarc",
                auth.dmarc.result,
                auth.dmarc.reason,
                ("header.from", auth.dmarc.domain),
                ("policy.dmarc", auth.dmarc.policy),
            )
        )
    return "; ".join([_plain(authserv_id), *(methods or ["none"])])


def _method(name: str, result: str, reason: str, *properties: tuple[str, str | None]) -> str:
    parts = [f"{name}={result}"]
    if reason:
        parts.append(f'reason="{_quotable(reason)}"')
    parts.extend(f"{key}={_plain(value)}" for key, value in properties if value)
    return " ".join(parts)


def _quotable(text: str) -> str:
    """The inside of a quoted-string (RFC 5322 §3.2.4); a sender may have chosen the words."""
    shown = "".join(c if " " <= c <= "~" else "?" for c in text[:_MAX_VALUE])
    return shown.replace("\\", "\\\\").replace('"', '\\"')


def _plain(text: str) -> str:
    """A value that needs no quotes: what could end it or begin another is replaced."""
    return "".join(c if c.isascii() and (c.isalnum() or c in ".-_@+") else "?" for c in text[:253])

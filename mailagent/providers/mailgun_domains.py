"""Which domains does a Mailgun account have, and what must they publish?

Source: Mailgun "Domains", "Domain keys" (API v1 and v4), read 2026-11.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mailagent.errors import PermanentFailure
from mailagent.identity import DnsRecord, Identity, IdentityState, OwnKey, Wish
from mailagent.providers.control import Control

__all__ = ["MailgunDomains", "mx_records"]

_STATES: Mapping[str, IdentityState] = {
    "active": "verified",
    "unverified": "pending",
    "disabled": "failed",
}
_TAKEN = ("400", "409")
"""Of a domain that is there already: which of both is not documented, so it is looked for."""


class MailgunDomains:
    """The domains of one account in one region. Mailgun's reverse-path is its own."""

    def __init__(self, control: Control, *, wildcard: bool = False) -> None:
        """With `wildcard` a domain that is made takes mail for all below it too."""
        self._control, self._wildcard = control, wildcard

    async def identity(self, domain: str) -> Identity | None:
        """See `identity.Identifies`. The CNAME of Mailgun's tracking is left out: nothing is
        tracked."""
        told = await self.told(domain)
        return None if told is None else _identity(domain, told)

    async def told(self, domain: str) -> Mapping[str, Any] | None:
        """All that Mailgun says of a domain; None where it has none of this name."""
        told: Mapping[str, Any] | None = await self._control.get(f"/v4/domains/{domain}")
        return told

    async def identify(self, domain: str, wish: Wish) -> Identity:
        """See `identity.Identifies`. The length of a key is chosen when the domain is made."""
        told = await self.told(domain)
        if told is None:
            form = [
                ("name", domain),
                ("dkim_key_size", str(wish.dkim_bits)),
                ("wildcard", "true" if self._wildcard else "false"),
                # Tagged mail says what Mailgun found of SPF and spam.
                ("spam_action", "tag"),
            ]
            try:
                await self._control.change("POST", "/v4/domains", form=form)
            except PermanentFailure as error:
                if error.code not in _TAKEN or await self.told(domain) is None:
                    raise
            told = await self.told(domain) or {}
        if wish.own_key is not None:
            await self._sign_with(domain, wish.own_key)
            told = await self.told(domain) or told
        return _identity(domain, told)

    async def resubmit(self, domain: str) -> Identity:
        """See `identity.Identifies`."""
        told = await self._control.change("PUT", f"/v4/domains/{domain}/verify", absent=(404,))
        if told is None:
            raise PermanentFailure(f"Mailgun has no domain {domain}: add it first", about="account")
        return _identity(domain, told)

    async def forget(self, domain: str) -> None:
        """See `identity.Identifies`. Its events and settings at Mailgun go with it."""
        await self._control.change("DELETE", f"/v3/domains/{domain}", absent=(404,))

    async def _sign_with(self, domain: str, key: OwnKey) -> None:
        listed = await self._control.get(f"/v4/domains/{domain}/keys") or {}
        items = listed.get("items") or []
        ours = next((one for one in items if one.get("selector") == key.selector), None)
        if ours is None:
            form = [("signing_domain", domain), ("selector", key.selector)]
            body, content_type = _with_file(form, "pem", key.private_key_pem)
            path = "/v1/dkim/keys"
            await self._control.post_form(path, body, content_type=content_type)
        if ours is None or not (ours.get("dns_record") or {}).get("is_active"):
            path = f"/v4/domains/{domain}/keys/{key.selector}/activate"
            await self._control.change("PUT", path)


def mx_records(domain: str, told: Mapping[str, Any] | None, region: str) -> tuple[DnsRecord, ...]:
    """What brings mail for a domain to Mailgun, as Mailgun says it of the domain, else of all."""
    under = "eu.mailgun.org" if region == "eu" else "mailgun.org"
    given = [
        (str(one["value"]).rstrip(".").lower(), int(one.get("priority") or 10))
        for one in (told or {}).get("receiving_dns_records") or []
        if one.get("record_type") == "MX" and one.get("value")
    ]
    hosts = given or [(f"mxa.{under}", 10), (f"mxb.{under}", 10)]
    return tuple(DnsRecord("MX", domain, host, priority) for host, priority in hosts)


def _identity(domain: str, told: Mapping[str, Any]) -> Identity:
    about = told.get("domain") or {}
    sending = told.get("sending_dns_records") or []
    tracking = f"{about.get('web_prefix') or 'email'}.{domain}"
    wanted = [one for one in sending if _name(one, domain) != tracking]
    state = _STATES.get(str(about.get("state")), "unknown")
    seen = [str(seen) for one in wanted for seen in one.get("cached") or []]
    sees = f"Mailgun sees {'; '.join(seen)}"[:500] if seen and state != "verified" else ""
    disabled = str((about.get("disabled") or {}).get("reason") or "")
    return Identity(
        domain,
        tuple(_records(wanted, domain)),
        state,
        {_subject(one): str(one.get("valid") or "unknown") for one in wanted},
        disabled or sees,
    )


def _records(found: Sequence[Mapping[str, Any]], domain: str) -> Iterable[DnsRecord]:
    for one in found:
        name, value = _name(one, domain), str(one.get("value") or "")
        match one.get("record_type"):
            case "TXT":
                yield DnsRecord("TXT", name, value)
            case "CNAME":
                yield DnsRecord("CNAME", name, value.rstrip(".").lower())


def _name(record: Mapping[str, Any], domain: str) -> str:
    return str(record.get("name") or domain).rstrip(".").lower()


def _subject(record: Mapping[str, Any]) -> str:
    if "_domainkey" in str(record.get("name")):
        return "dkim"
    return "spf" if record.get("record_type") == "TXT" else str(record.get("record_type")).lower()


def _with_file(form: Sequence[tuple[str, str]], name: str, content: bytes) -> tuple[bytes, str]:
    """A form with a file in it, and its Content-Type."""
    boundary = secrets.token_hex(20)
    head = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in form
    )
    head += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"'
    body = b"".join((head.encode(), b"\r\n\r\n", content, f"\r\n--{boundary}--\r\n".encode()))
    return body, f"multipart/form-data; boundary={boundary}"

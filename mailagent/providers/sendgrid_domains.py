"""Which domains are authenticated at SendGrid, and what must they publish?

Source: Twilio SendGrid "Domain Authentication" (v3), read 2026-11.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mailagent.errors import PermanentFailure
from mailagent.identity import DnsRecord, Identity, Wish
from mailagent.providers.control import Control

__all__ = ["SendGridDomains"]

_PATH = "/v3/whitelabel/domains"
_MX_PRIORITY = 10


class SendGridDomains:
    """The authenticated domains of one account. SendGrid holds the keys and changes them itself."""

    def __init__(self, control: Control, *, region: str = "") -> None:
        """`region` is `eu` for a subuser that is pinned there."""
        self._control, self._region = control, region

    async def identity(self, domain: str) -> Identity | None:
        """See `identity.Identifies`."""
        told = await self._told(domain)
        return None if told is None else _identity(domain, told)

    async def identify(self, domain: str, wish: Wish) -> Identity:
        """See `identity.Identifies`. The reverse-path is chosen when the domain is made."""
        told = await self._told(domain)
        if told is None:
            asked: dict[str, Any] = {"domain": domain, "automatic_security": True}
            label, _, under = (wish.mail_from or "").partition(".")
            if under == domain:
                asked["subdomain"] = label
            if self._region == "eu":
                asked["region"] = "eu"
            told = await self._control.change("POST", _PATH, body=asked)
        return _identity(domain, told)

    async def resubmit(self, domain: str) -> Identity:
        """See `identity.Identifies`."""
        told = await self._told(domain)
        if told is None:
            reason = f"SendGrid has no domain {domain}: add it first"
            raise PermanentFailure(reason, about="account")
        looked = await self._control.change("POST", f"{_PATH}/{told['id']}/validate")
        results = looked.get("validation_results") or {}
        reasons = [str(one["reason"]) for one in results.values() if one and one.get("reason")]
        return _identity(domain, await self._told(domain) or told, "; ".join(reasons))

    async def forget(self, domain: str) -> None:
        """See `identity.Identifies`."""
        told = await self._told(domain)
        if told is not None:
            await self._control.change("DELETE", f"{_PATH}/{told['id']}", absent=(404,))

    async def _told(self, domain: str) -> Mapping[str, Any] | None:
        """SendGrid's filter also finds longer names; of several the valid one counts."""
        found = await self._control.get(_PATH, {"domain": domain, "limit": "50", "offset": "0"})
        same = [one for one in found or [] if str(one.get("domain")).lower() == domain]
        return max(same, key=lambda one: bool(one.get("valid")), default=None)


def _identity(domain: str, told: Mapping[str, Any], detail: str = "") -> Identity:
    # Which records there are depends on how the domain was made: none is asked for by its name.
    dns = {key: one for key, one in (told.get("dns") or {}).items() if isinstance(one, Mapping)}
    return Identity(
        domain,
        tuple(_records(dns.values())),
        "verified" if told.get("valid") else "pending",
        {key: "valid" if one.get("valid") else "not valid" for key, one in dns.items()},
        detail,
    )


def _records(found: Iterable[Mapping[str, Any]]) -> Iterable[DnsRecord]:
    for one in found:
        name, value = str(one.get("host")).rstrip(".").lower(), str(one.get("data"))
        match str(one.get("type")).upper():
            case "CNAME":
                yield DnsRecord("CNAME", name, value.rstrip(".").lower())
            case "TXT":
                yield DnsRecord("TXT", name, value)
            case "MX":
                host = value.rpartition(" ")[2].rstrip(".").lower()
                yield DnsRecord("MX", name, host, _MX_PRIORITY)

"""For which domains does Postmark bring mail to us?

A server has one inbound domain, so each domain has a server of its own. Source: Postmark "Servers
API", read 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mailagent.identity import DnsRecord
from mailagent.providers.control import Control
from mailagent.providers.postmark_domains import listed

__all__ = ["PostmarkServers", "mx_record"]


def mx_record(domain: str) -> DnsRecord:
    """What brings a domain's mail to Postmark."""
    return DnsRecord("MX", domain, "inbound.postmarkapp.com", 10)


class PostmarkServers:
    """The servers of one account that bring mail."""

    def __init__(self, control: Control, hook: str) -> None:
        """`hook` is our address with what authenticates Postmark in it."""
        self._control = control
        self._brings = {"InboundHookUrl": hook, "RawEmailEnabled": True}

    async def collect(self, domain: str) -> tuple[DnsRecord, ...]:
        """See `identity.Collects`. Postmark takes a domain only once its MX is published, and says
        so by a PermanentFailure until then.
        """
        wanted = {**self._brings, "InboundDomain": domain}
        found = await self._server(domain)
        if found is None:
            asked = {"Name": _name(domain), **wanted}
            await self._control.change("POST", "/servers", body=asked)
        elif any(found.get(key) != value for key, value in wanted.items()):
            await self._control.change("PUT", f"/servers/{found['ID']}", body=wanted)
        return (mx_record(domain),)

    async def collects(self, domain: str) -> bool:
        """See `identity.Collects`."""
        found = await self._server(domain)
        wanted = {**self._brings, "InboundDomain": domain}
        return found is not None and all(found.get(key) == value for key, value in wanted.items())

    async def stop_collecting(self, domain: str) -> None:
        """See `identity.Collects`. The server stays, with what it remembers."""
        found = await self._server(domain)
        if found is not None and found.get("InboundDomain"):
            nothing = {"InboundDomain": "", "InboundHookUrl": ""}
            await self._control.change("PUT", f"/servers/{found['ID']}", body=nothing)

    async def _server(self, domain: str) -> Mapping[str, Any] | None:
        """The server that has the domain, else the one that we made for it."""
        ours = None
        async for one in listed(self._control, "Servers"):
            if str(one.get("InboundDomain") or "").lower() == domain:
                return one
            if one.get("Name") == _name(domain):
                ours = one
        return ours


def _name(domain: str) -> str:
    return f"mailagent {domain}"

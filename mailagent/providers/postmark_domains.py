"""Which domains may a Postmark account send for, and what must they publish?

Source: Postmark "Domains API", and the official SDK for its fields; read 2026-11.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from mailagent.errors import PermanentFailure
from mailagent.identity import DnsRecord, Identity, Wish
from mailagent.providers.control import Control

__all__ = ["PostmarkDomains", "listed"]

_PAGE = 500


async def listed(control: Control, what: str) -> AsyncIterator[Mapping[str, Any]]:
    """Every entry of a list that Postmark gives by `count` and `offset`: `Domains`, `Servers`."""
    offset = 0
    while True:
        query = {"count": str(_PAGE), "offset": str(offset)}
        told = await control.get(f"/{what.lower()}", query, absent=()) or {}
        items = told.get(what) or []
        for one in items:
            yield one
        offset += len(items)
        if not items or offset >= int(told.get("TotalCount") or 0):
            return


class PostmarkDomains:
    """The sender domains of one account. Postmark makes the DKIM key, of its own length."""

    def __init__(self, control: Control) -> None:
        self._control = control

    async def identity(self, domain: str) -> Identity | None:
        """See `identity.Identifies`. No SPF record: the reverse-path's CNAME carries it."""
        told = await self._told(domain)
        return None if told is None else _identity(domain, told)

    async def identify(self, domain: str, wish: Wish) -> Identity:
        """See `identity.Identifies`. A reverse-path that is there stays where none is wished."""
        told = await self._told(domain)
        under = wish.mail_from or ""
        if told is None:
            asked = {"Name": domain, **({"ReturnPathDomain": under} if under else {})}
            try:
                told = await self._control.change("POST", "/domains", body=asked)
            except PermanentFailure as error:
                # One that is there is refused by the same status as one that may not be.
                if error.code != "422" or (told := await self._told(domain)) is None:
                    raise
        if under and str(told.get("ReturnPathDomain") or "").lower() != under:
            path = f"/domains/{told['ID']}"
            told = await self._control.change("PUT", path, body={"ReturnPathDomain": under})
        return _identity(domain, told)

    async def resubmit(self, domain: str) -> Identity:
        """See `identity.Identifies`."""
        told = await self._told(domain)
        if told is None:
            reason = f"Postmark has no domain {domain}: add it first"
            raise PermanentFailure(reason, about="account")
        path = f"/domains/{told['ID']}"
        told = await self._control.change("PUT", f"{path}/verifyDkim")
        if told.get("ReturnPathDomain"):
            told = await self._control.change("PUT", f"{path}/verifyReturnPath")
        return _identity(domain, told)

    async def forget(self, domain: str) -> None:
        """See `identity.Identifies`."""
        id_ = await self._id(domain)
        if id_ is not None:
            # Gone meanwhile is 422 like any other refusal: then it is no longer in the list.
            try:
                await self._control.change("DELETE", f"/domains/{id_}", absent=(404,))
            except PermanentFailure:
                if await self._id(domain) is not None:
                    raise

    async def _told(self, domain: str) -> Mapping[str, Any] | None:
        id_ = await self._id(domain)
        if id_ is None:
            return None
        told: Mapping[str, Any] | None = await self._control.get(f"/domains/{id_}")
        return told

    async def _id(self, domain: str) -> int | None:
        async for one in listed(self._control, "Domains"):
            if str(one.get("Name")).lower() == domain:
                return int(one["ID"])
        return None


def _identity(domain: str, told: Mapping[str, Any]) -> Identity:
    verified = bool(told.get("DKIMVerified"))
    words = {"dkim": "verified" if verified else str(told.get("DKIMUpdateStatus") or "unverified")}
    if told.get("ReturnPathDomain"):
        seen = told.get("ReturnPathDomainVerified")
        words["mail_from"] = "verified" if seen else "unverified"
    records = tuple(_records(told))
    return Identity(domain, records, "verified" if verified else "pending", words)


def _records(told: Mapping[str, Any]) -> Iterable[DnsRecord]:
    """Both keys while one takes over from the other."""
    for which in ("DKIMPending", "DKIM"):
        host, value = told.get(f"{which}Host"), told.get(f"{which}TextValue")
        if host and value:
            yield DnsRecord("TXT", str(host).rstrip(".").lower(), str(value))
    under, to = told.get("ReturnPathDomain"), told.get("ReturnPathDomainCNAMEValue")
    if under and to:
        yield DnsRecord("CNAME", str(under).rstrip(".").lower(), str(to).rstrip(".").lower())

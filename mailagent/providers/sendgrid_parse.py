"""For which hosts does SendGrid bring mail to us, and does it sign it?

One parse setting is one host. SendGrid drops a mail for good whose signature we refuse, so that a
policy that signs is attached only once its key is known here. Source: Twilio SendGrid "Inbound
Parse Webhook", "Securing your Inbound Parse webhooks" (v3), read 2026-11.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mailagent.errors import PermanentFailure
from mailagent.identity import DnsRecord
from mailagent.providers.account import House
from mailagent.providers.control import Control

__all__ = ["POLICY", "PUBLIC_KEY", "SendGridParse", "bare", "mx_record", "public_keys"]

PUBLIC_KEY = "SENDGRID_WEBHOOK_PUBLIC_KEY"
POLICY = "mailagent"
_SETTINGS = "/v3/user/webhooks/parse/settings"
_POLICIES = "/v3/user/webhooks/security/policies"


def mx_record(host: str) -> DnsRecord:
    """What brings a host's mail to SendGrid."""
    return DnsRecord("MX", host, "mx.sendgrid.net", 10)


def bare(key: str) -> str:
    """A public key as it is compared: Base64 without armour and white space."""
    return re.sub(r"-----[A-Z ]+-----|\s", "", key)


def public_keys(house: House) -> frozenset[str]:
    """The keys by which this installation believes SendGrid."""
    given = re.sub(r"-----[A-Z ]+-----", ",", house.settings.value(PUBLIC_KEY))
    return frozenset(filter(None, map(bare, given.split(","))))


class SendGridParse:
    """The parse settings of one account."""

    def __init__(self, control: Control, house: House) -> None:
        self._control, self._house = control, house
        self._url = house.webhook("sendgrid", secret=True)

    @property
    def url(self) -> str:
        """Where mail is brought."""
        return self._url

    async def policy(self) -> Mapping[str, Any] | None:
        """The security policy that we made; None before there is one."""
        told = await self._control.get(_POLICIES, absent=(404,)) or {}
        for one in told.get("policies") or []:
            if one.get("name") == POLICY:
                found: Mapping[str, Any] = one
                return found
        return None

    async def make_policy(self) -> None:
        body = {"name": POLICY, "signature": {"enabled": True}}
        await self._control.change("POST", _POLICIES, body=body)

    async def remove_policy(self) -> None:
        if (found := await self.policy()) is not None:
            await self._control.change("DELETE", f"{_POLICIES}/{found['id']}", absent=(404,))

    async def wanted(self, host: str) -> dict[str, Any]:
        """What the setting of a host should be. Raises PermanentFailure while mail would be
        refused here that SendGrid brings by it.
        """
        setting = {"hostname": host, "url": self._url, "send_raw": True}
        known = public_keys(self._house)
        if not known:
            if self._house.secret:
                return setting
            reason = f"{PUBLIC_KEY} is empty: mailagent provider setup sendgrid says what to set"
            raise PermanentFailure(reason, about="account")
        policy = await self.policy()
        key = bare(str(((policy or {}).get("signature") or {}).get("public_key") or ""))
        if policy is None or key not in known:
            reason = f"{PUBLIC_KEY} lacks the key of the security policy {POLICY}"
            mend = "mailagent provider setup sendgrid says it"
            raise PermanentFailure(f"{reason}: {mend}", about="account")
        return {**setting, "security_policy": policy["id"]}

    async def setting(self, host: str) -> Mapping[str, Any] | None:
        """The setting of a host; None where it has none."""
        found: Mapping[str, Any] | None = await self._control.get(f"{_SETTINGS}/{host}")
        return found

    async def put(self, wanted: Mapping[str, Any], *, there: bool) -> None:
        """Make a setting, or change the one that is `there`."""
        if there:
            changed = {key: value for key, value in wanted.items() if key != "hostname"}
            await self._control.change("PATCH", f"{_SETTINGS}/{wanted['hostname']}", body=changed)
        else:
            # Its score makes spam of mail here too; a setting that is there keeps its own way.
            await self._control.change("POST", _SETTINGS, body={"spam_check": True, **wanted})

    async def collect(self, domain: str) -> tuple[DnsRecord, ...]:
        """See `identity.Collects`. SendGrid takes a host whose domain is authenticated there."""
        wanted, found = await self.wanted(domain), await self.setting(domain)
        if found is not None and not self._house.is_ours(str(found.get("url"))):
            reason = f"SendGrid brings mail for {domain} to another program: take that away first"
            raise PermanentFailure(reason, about="account")
        if found is None or not same(found, wanted):
            await self.put(wanted, there=found is not None)
        return (mx_record(domain),)

    async def collects(self, domain: str) -> bool:
        """See `identity.Collects`."""
        found = await self.setting(domain)
        return found is not None and found.get("url") == self._url

    async def stop_collecting(self, domain: str) -> None:
        """See `identity.Collects`. A setting that brings mail to another program stays."""
        found = await self.setting(domain)
        if found is not None and self._house.is_ours(str(found.get("url"))):
            await self._control.change("DELETE", f"{_SETTINGS}/{domain}", absent=(404,))

    async def collected(self) -> Sequence[str]:
        """See `identity.CollectsEachHost`."""
        told = await self._control.get(_SETTINGS, absent=()) or {}
        return [
            str(one["hostname"]).lower()
            for one in told.get("result") or []
            if self._house.is_ours(str(one.get("url")))
        ]


def same(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a setting is as it should be; what is not wanted is somebody's wish."""
    return all(found.get(key) == value for key, value in wanted.items())

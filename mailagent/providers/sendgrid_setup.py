"""What should stand at SendGrid, so that mail comes, leaves and is told of?

Two runs: the first makes the keys that sign, a person sets them here, the second lets mail and
events come. Sources: those of `sendgrid_domains` and `sendgrid_parse`; Twilio SendGrid "Event
Webhook" (v3), read 2026-11.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from mailagent.errors import PermanentFailure
from mailagent.identity import Wish
from mailagent.providers.account import Account, House
from mailagent.providers.control import Control
from mailagent.providers.identity_step import identity_step, verified_step
from mailagent.providers.sendgrid_access import control
from mailagent.providers.sendgrid_domains import SendGridDomains
from mailagent.providers.sendgrid_parse import (
    POLICY,
    PUBLIC_KEY,
    SendGridParse,
    bare,
    mx_record,
    public_keys,
    same,
)
from mailagent.providers.steps import Laid, SetUp, Step, differs, missing, observed, stands

__all__ = ["setting_up"]

_EVENTS = "/v3/user/webhooks/event/settings"
_TELLS = (
    *("delivered", "deferred", "bounce", "dropped", "spam_report"),
    *("unsubscribe", "group_unsubscribe"),
)
"""Opens and clicks are for who wants to track people."""
_AGAIN = "then run mailagent provider setup sendgrid again"


@asynccontextmanager
async def setting_up(account: Account, house: House) -> AsyncIterator[SetUp]:
    """See `account.CanSetUp`."""
    asked, domain = control(account, house.masked), house.default_domain
    region = account.settings.get("SENDGRID_REGION", "").strip().lower()
    domains, parse = SendGridDomains(asked, region=region), SendGridParse(asked, house)
    events = _EventWebhook(asked, house)
    steps = (
        identity_step(domains, domain, Wish(), call="POST /v3/whitelabel/domains"),
        _policy_step(parse),
        _webhook_step(events),
        _keys_step(parse, events, house),
        _enabled_step(events, house),
        # The last that are made: with them mail begins to come.
        *(_parse_step(parse, house, host) for host in (domain, *house.hosts)),
        verified_step(domains, domain),
    )
    try:
        yield SetUp(steps, publish=(mx_record(domain), mx_record(f"*.{domain}")))
    finally:
        await asked.close()


class _EventWebhook:
    """The Event Webhook that leads to us."""

    def __init__(self, asked: Control, house: House) -> None:
        self._asked, self._house = asked, house
        self.url = house.events("sendgrid", secret=True)

    async def found(self) -> Mapping[str, Any] | None:
        told = await self._asked.get(f"{_EVENTS}/all", absent=()) or {}
        for one in told.get("webhooks") or []:
            if self._house.is_ours(str(one.get("url")), events=True):
                found: Mapping[str, Any] = one
                return found
        return None

    async def make(self) -> None:
        """Off, until its signature can be verified here."""
        flags = dict.fromkeys(_TELLS, True)
        body = {"enabled": False, "url": self.url, "friendly_name": "mailagent", **flags}
        await self._asked.change("POST", _EVENTS, body=body)

    async def sign(self, id_: str, *, on: bool) -> None:
        await self._asked.change("PATCH", f"{_EVENTS}/signed/{id_}", body={"enabled": on})

    async def change(self, id_: str, changed: Mapping[str, Any]) -> None:
        await self._asked.change("PATCH", f"{_EVENTS}/{id_}", body=dict(changed))

    async def remove(self) -> None:
        if (found := await self.found()) is not None:
            await self._asked.change("DELETE", f"{_EVENTS}/{found['id']}", absent=(404,))


def _policy_step(parse: SendGridParse) -> Step:
    async def look() -> Laid:
        return missing() if await parse.policy() is None else stands(f"{POLICY} is there")

    async def make(_: Laid) -> None:
        await parse.make_policy()

    async def undo(_: Laid) -> None:
        await parse.remove_policy()

    wants = f"the policy {POLICY} signs what Inbound Parse brings"
    calls = ("POST /v3/user/webhooks/security/policies",)
    return Step("security policy", wants, look, make, undo, calls)


def _webhook_step(events: _EventWebhook) -> Step:
    async def look() -> Laid:
        found = await events.found()
        if found is None:
            return missing()
        lacks = [name for name in _TELLS if not found.get(name)]
        if lacks:
            return differs(f"lacks {', '.join(lacks)}", before=found)
        if found.get("url") != events.url:
            return differs("has an older address of ours", before=found)
        if not found.get("public_key"):
            return differs("is not signed", before=found)
        return stands("as it should be")

    async def make(laid: Laid) -> None:
        if laid.before is None:
            await events.make()
        found = await events.found()
        if found is None:
            raise PermanentFailure("SendGrid does not list the webhook it made", about="account")
        wanted = {"url": events.url, **dict.fromkeys(_TELLS, True)}
        if not same(found, wanted):
            await events.change(found["id"], wanted)
        if not found.get("public_key"):
            await events.sign(found["id"], on=True)

    async def undo(laid: Laid) -> None:
        if laid.before is None:
            await events.remove()
            return
        before = {name: bool(laid.before.get(name)) for name in _TELLS}
        before["url"] = laid.before.get("url")
        await events.change(laid.before["id"], before)
        if not laid.before.get("public_key"):
            await events.sign(laid.before["id"], on=False)

    wants = f"{', '.join(_TELLS)} go to {events.url}, signed"
    calls = (f"POST {_EVENTS}", f"PATCH {_EVENTS}/signed/{{id}}")
    return Step("event webhook", wants, look, make, undo, calls)


def _keys_step(parse: SendGridParse, events: _EventWebhook, house: House) -> Step:
    async def look() -> Laid:
        policy, webhook = await parse.policy() or {}, await events.found() or {}
        there = [(policy.get("signature") or {}).get("public_key"), webhook.get("public_key")]
        keys = [bare(str(key)) for key in there if key]
        known = public_keys(house)
        if len(keys) == len(there) and set(keys) <= known:
            return stands("has both keys")
        if not known and house.secret:
            note = f"signatures would be better: {PUBLIC_KEY}={','.join(keys)}"
            said = "is not set; the secret in the address is what authenticates SendGrid"
            return stands(said, notes=[note] if keys else [])
        if len(keys) < len(there):
            return missing("the keys come with what is above", mend=f"run this, {_AGAIN}")
        wanted = ",".join(dict.fromkeys([*sorted(known), *keys]))
        return missing("lacks a key", mend=f"{PUBLIC_KEY}={wanted}, start again, {_AGAIN}")

    wants = f"{PUBLIC_KEY} has the keys of the policy and of the webhook"
    return observed(f"setting {PUBLIC_KEY}", wants, look)


def _enabled_step(events: _EventWebhook, house: House) -> Step:
    async def look() -> Laid:
        found = await events.found()
        if found is not None and found.get("enabled"):
            return stands("on")
        known = public_keys(house)
        key = bare(str((found or {}).get("public_key") or ""))
        if key in known or (not known and house.secret):
            return differs("off", before=found)
        return missing("off", mend=f"set {PUBLIC_KEY} first, {_AGAIN}")

    async def turn(*, on: bool) -> None:
        if (found := await events.found()) is not None:
            await events.change(found["id"], {"enabled": on})

    async def make(_: Laid) -> None:
        await turn(on=True)

    async def undo(_: Laid) -> None:
        await turn(on=False)

    calls = (f"PATCH {_EVENTS}/{{id}} enabled=true",)
    return Step("events", "the event webhook is on", look, make, undo, calls)


def _parse_step(parse: SendGridParse, house: House, host: str) -> Step:
    async def look() -> Laid:
        found = await parse.setting(host)
        if found is not None and not house.is_ours(str(found.get("url"))):
            mend = "take it away there, or leave this host to that program"
            return differs("its mail goes to another program", mend=mend)
        try:
            wanted = await parse.wanted(host)
        except PermanentFailure as error:
            if found is not None:
                return differs(error.reason, mend=f"set {PUBLIC_KEY}, {_AGAIN}")
            return missing(error.reason, mend=f"set {PUBLIC_KEY}, {_AGAIN}")
        if found is None:
            return missing()
        if same(found, wanted):
            return stands("as it should be")
        lacks = [key for key, value in wanted.items() if found.get(key) != value]
        return differs(f"differs in {', '.join(lacks)}", before=dict(found))

    async def make(laid: Laid) -> None:
        await parse.put(await parse.wanted(host), there=laid.before is not None)

    async def undo(laid: Laid) -> None:
        if laid.before is not None:
            await parse.put(laid.before, there=True)
        else:
            await parse.stop_collecting(host)

    wants = f"mail for {host} goes raw to {parse.url}"
    calls = (f"POST /v3/user/webhooks/parse/settings {host}",)
    return Step(f"parse setting of {host}", wants, look, make, undo, calls)

"""What should stand at Mailgun, so that mail comes, leaves and is told of?

Sources: those of `mailgun_domains` and `mailgun_routes`; Mailgun "Domain webhooks" (API v3), read
2026-11.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from mailagent.identity import Wish
from mailagent.providers.account import Account, House
from mailagent.providers.control import Control
from mailagent.providers.identity_step import identity_step, verified_step
from mailagent.providers.mailgun_access import access, open_api
from mailagent.providers.mailgun_domains import MailgunDomains, mx_records
from mailagent.providers.mailgun_routes import MailgunRoutes, faults
from mailagent.providers.mailgun_signature import SIGNING_KEY
from mailagent.providers.steps import Laid, SetUp, Step, differs, missing, observed, stands

__all__ = ["control", "setting_up", "webhook"]

_KINDS = ("delivered", "permanent_fail", "temporary_fail", "complained", "unsubscribed")
"""Opens and clicks are for who wants to track people."""
_MOST_ADDRESSES = 3
_OFF = ("disabled", "", None)


def control(account: Account) -> Control:
    """Mailgun's control API for an account. Raises Misconfigured."""
    key, region, base = access(account)
    other = "us" if region == "eu" else "eu"
    mend = f"a sending key may do nothing else; or the account is in MAILGUN_REGION={other}"
    return Control("Mailgun", open_api(key, base), mends={401: mend, 403: mend, 404: mend})


def webhook(house: House) -> str:
    """Where Mailgun brings mail octet for octet. Its signature covers no mail, so the secret
    stands in the address too where there is one."""
    return house.webhook("mailgun", "mime", secret=True)


@asynccontextmanager
async def setting_up(account: Account, house: House) -> AsyncIterator[SetUp]:
    """See `account.CanSetUp`."""
    asked, domain = control(account), house.default_domain
    region = access(account)[1]
    domains = MailgunDomains(asked, wildcard=True)
    routes = MailgunRoutes(asked, webhook(house), region)
    steps = (
        identity_step(domains, domain, Wish(), call="POST /v4/domains"),
        _wildcard_step(asked, domains, domain),
        _webhooks_step(asked, domain, house.events("mailgun", secret=True)),
        # The last that is made: with it mail begins to come.
        _route_step(asked, routes, domain),
        _signing_key_step(house),
        verified_step(domains, domain),
    )
    names = (domain, f"*.{domain}")
    try:
        yield SetUp(
            steps, publish=tuple(one for name in names for one in mx_records(name, None, region))
        )
    finally:
        await asked.close()


def _wildcard_step(asked: Control, domains: MailgunDomains, domain: str) -> Step:
    path = f"/v4/domains/{domain}"

    async def look() -> Laid:
        told = await domains.told(domain)
        if told is None:
            return missing("comes with the domain")
        about = told.get("domain") or {}
        notes = []
        if about.get("spam_action") in _OFF:
            notes.append("its spam action is off, so Mailgun says nothing of SPF: set it to tag")
        if about.get("wildcard"):
            return stands("on", notes=notes)
        return differs("off", before="false", notes=notes)

    async def put(value: str) -> None:
        await asked.change("PUT", path, form=[("wildcard", value)])

    async def make(_: Laid) -> None:
        await put("true")

    async def undo(_: Laid) -> None:
        await put("false")

    wants = f"{domain} takes mail for every workspace below it"
    return Step("wildcard", wants, look, make, undo, (f"PUT {path} wildcard=true",))


def _webhooks_step(asked: Control, domain: str, address: str) -> Step:
    path = f"/v3/domains/{domain}/webhooks"

    async def addresses() -> Mapping[str, Sequence[str]]:
        told = await asked.get(path) or {}
        return {kind: _urls(one) for kind, one in (told.get("webhooks") or {}).items() if one}

    async def look() -> Laid:
        now = await addresses()
        lacks = [kind for kind in _KINDS if address not in now.get(kind, ())]
        if not lacks:
            return stands("all of them")
        full = [kind for kind in lacks if len(now.get(kind, ())) >= _MOST_ADDRESSES]
        if full:
            mend = f"take one away: Mailgun has {_MOST_ADDRESSES} addresses of a kind at most"
            return differs(f"no place left for {', '.join(full)}", mend=mend)
        says = f"lacks {', '.join(lacks)}"
        return differs(says, before=now) if now else replace(missing(says), before={})

    async def make(_: Laid) -> None:
        now = await addresses()
        for kind in _KINDS:
            if address not in now.get(kind, ()):
                await _put(kind, now.get(kind, ()), [*now.get(kind, ()), address])

    async def undo(laid: Laid) -> None:
        now = await addresses()
        for kind in _KINDS:
            if now.get(kind, ()) != laid.before.get(kind, ()):
                await _put(kind, now.get(kind, ()), laid.before.get(kind, ()))

    async def _put(kind: str, now: Sequence[str], wanted: Sequence[str]) -> None:
        urls = [("url", one) for one in wanted]
        if not wanted:
            await asked.change("DELETE", f"{path}/{kind}", absent=(404,))
        elif now:
            await asked.change("PUT", f"{path}/{kind}", form=urls)
        else:
            await asked.change("POST", path, form=[("id", kind), *urls])

    wants = f"{', '.join(_KINDS)} of {domain} go to {address}"
    return Step("webhooks", wants, look, make, undo, (f"POST {path}",))


def _route_step(asked: Control, routes: MailgunRoutes, domain: str) -> Step:
    wanted = routes.wanted(domain, below=True)

    async def look() -> Laid:
        known = [one async for one in routes.all()]
        ours = next((one for one in known if one.description == wanted.description), None)
        others = [one for one in known if one is not ours]
        notes = faults(others, domain)
        for one in others:
            if one.expression == wanted.expression and wanted.actions[0] in one.actions:
                return stands(f"the route {one.description!r}, made by hand, does it", notes=notes)
        if ours is None:
            return missing(notes=notes)
        if ours.same(wanted):
            return stands("as it should be", notes=notes)
        return differs(f"is {ours.expression} {', '.join(ours.actions)}", before=ours, notes=notes)

    async def make(laid: Laid) -> None:
        await routes.put(wanted, laid.before.id if laid.before else "")

    async def undo(laid: Laid) -> None:
        if laid.before:
            await routes.put(laid.before, laid.before.id)
        else:
            await routes.stop_collecting(domain)

    wants = f"a route {wanted.expression} to {', '.join(wanted.actions)}"
    return Step("route", wants, look, make, undo, ("POST /v3/routes",))


def _signing_key_step(house: House) -> Step:
    async def look() -> Laid:
        if house.settings.value(SIGNING_KEY):
            return stands("is set")
        if house.secret:
            return stands("is not set; the secret in the address is what authenticates Mailgun")
        mend = f"copy it from Settings, API security, HTTP webhook signing key into {SIGNING_KEY}"
        return missing("is not set: every webhook is answered 503", mend=mend)

    return observed(f"setting {SIGNING_KEY}", "Mailgun's signatures can be verified here", look)


def _urls(told: Mapping[str, Any]) -> Sequence[str]:
    found = told.get("urls")
    return list(map(str, found if isinstance(found, list) else [told.get("url")]))

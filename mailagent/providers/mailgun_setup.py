"""What should stand at Mailgun, so that mail comes, leaves and is told of?

Sources: those of `mailgun_domains` and `mailgun_routes`; Mailgun "Domain webhooks" (API v3), read
2026-11.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
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


def control(account: Account, mask: Callable[[str], str] = str) -> Control:
    """Mailgun's control API for an account; `mask` as `Control`. Raises Misconfigured."""
    key, region, base = access(account)
    other = "us" if region == "eu" else "eu"
    mend = f"a sending key may do nothing else; or the account is in MAILGUN_REGION={other}"
    mends = {401: mend, 403: mend, 404: mend}
    return Control("Mailgun", open_api(key, base), mends=mends, mask=mask)


def webhook(house: House) -> str:
    """Where Mailgun brings mail octet for octet. Its signature covers no mail, so the secret
    stands in the address too where there is one."""
    return house.webhook("mailgun", "mime", secret=True)


@asynccontextmanager
async def setting_up(account: Account, house: House) -> AsyncIterator[SetUp]:
    """See `account.CanSetUp`."""
    asked, domain = control(account, house.masked), house.default_domain
    region = access(account)[1]
    domains = MailgunDomains(asked, wildcard=True)
    routes = MailgunRoutes(asked, webhook(house), region)
    steps = (
        identity_step(domains, domain, Wish(), call="POST /v4/domains"),
        _wildcard_step(asked, domains, domain),
        _webhooks_step(asked, domain, house),
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


class _Webhooks:
    """The addresses of a domain's events, by their kind; those of others stay."""

    def __init__(self, asked: Control, domain: str, house: House) -> None:
        self._asked, self._house = asked, house
        self.path = f"/v3/domains/{domain}/webhooks"
        self.address = house.events("mailgun", secret=True)

    async def now(self) -> Mapping[str, Sequence[str]]:
        told = await self._asked.get(self.path) or {}
        return {kind: _urls(one) for kind, one in (told.get("webhooks") or {}).items() if one}

    def others(self, now: Mapping[str, Sequence[str]], kind: str) -> Sequence[str]:
        """Those of a kind that are not ours, nor were ours with an older secret in them."""
        return [one for one in now.get(kind, ()) if not self._house.is_ours(one, events=True)]

    async def put(self, kind: str, now: Sequence[str], wanted: Sequence[str]) -> None:
        urls = [("url", one) for one in wanted]
        if not wanted:
            await self._asked.change("DELETE", f"{self.path}/{kind}", absent=(404,))
        elif now:
            await self._asked.change("PUT", f"{self.path}/{kind}", form=urls)
        else:
            await self._asked.change("POST", self.path, form=[("id", kind), *urls])


def _webhooks_step(asked: Control, domain: str, house: House) -> Step:
    hooks = _Webhooks(asked, domain, house)

    async def look() -> Laid:
        now = await hooks.now()
        lacks = [kind for kind in _KINDS if hooks.address not in now.get(kind, ())]
        if not lacks:
            return stands("all of them")
        full = [kind for kind in lacks if len(hooks.others(now, kind)) >= _MOST_ADDRESSES]
        if full:
            mend = f"take one away: Mailgun has {_MOST_ADDRESSES} addresses of a kind at most"
            return differs(f"no place left for {', '.join(full)}", mend=mend)
        return differs(f"lacks {', '.join(lacks)}", before=now)

    async def make(_: Laid) -> None:
        now = await hooks.now()
        for kind in _KINDS:
            if hooks.address not in now.get(kind, ()):
                wanted = [*hooks.others(now, kind), hooks.address]
                await hooks.put(kind, now.get(kind, ()), wanted)

    async def undo(laid: Laid) -> None:
        now = await hooks.now()
        for kind in _KINDS:
            if now.get(kind, ()) != laid.before.get(kind, ()):
                await hooks.put(kind, now.get(kind, ()), laid.before.get(kind, ()))

    wants = f"{', '.join(_KINDS)} of {domain} go to {hooks.address}"
    calls = tuple(f"POST {hooks.path} {kind}" for kind in _KINDS)
    return Step("webhooks", wants, look, make, undo, calls)


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
        # An older address of ours may have a secret in it that nobody masks any more.
        if ours.expression != wanted.expression:
            return differs(f"its expression is {ours.expression}", before=ours, notes=notes)
        return differs("it has other actions or another priority", before=ours, notes=notes)

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

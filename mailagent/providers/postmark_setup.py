"""What should stand at Postmark, so that mail comes, leaves and is told of?

Sources: those of `postmark_domains`; Postmark "Server API", "Servers API", "Webhooks API", read
2026-11.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from mailagent.identity import Wish
from mailagent.providers.account import Account, House
from mailagent.providers.control import Control
from mailagent.providers.identity_step import identity_step, verified_step
from mailagent.providers.postmark_control import (
    ACCOUNT_TOKEN,
    SERVER_TOKEN,
    account_control,
    hook,
    open_control,
)
from mailagent.providers.postmark_domains import PostmarkDomains, listed
from mailagent.providers.postmark_servers import mx_record
from mailagent.providers.steps import Laid, SetUp, Step, differs, missing, observed, stands

__all__ = ["setting_up"]

_NAME = "mailagent"
_TELLS = ("Bounce", "Delivery", "SpamComplaint", "SubscriptionChange")
"""Opens and clicks are for who wants to track people."""
_NOT_YET = "comes with the server"


@asynccontextmanager
async def setting_up(account: Account, house: House) -> AsyncIterator[SetUp]:
    """See `account.CanSetUp`. Raises Misconfigured without a password of our webhooks."""
    domain = house.default_domain
    brings = hook(house, house.webhook("postmark", secret=True))
    tells = hook(house, house.events("postmark", secret=True))
    stream = account.settings.get("POSTMARK_MESSAGE_STREAM", "").strip() or "outbound"
    async with AsyncExitStack() as stack:
        of_account = None
        if account.settings.get(ACCOUNT_TOKEN, "").strip():
            of_account = account_control(account, house.masked)
            stack.push_async_callback(of_account.close)
        server = _Server(account, house, of_account)
        stack.push_async_callback(server.close)
        steps: list[Step] = []
        if of_account is not None:
            domains = PostmarkDomains(of_account)
            steps.append(identity_step(domains, domain, Wish(), call="POST /domains"))
        else:
            steps.append(_no_token_step(domain))
        steps += [
            _server_step(server),
            _hook_step(server, house, brings),
            _webhook_step(server, house, stream, tells),
            # The last that is made: with it mail begins to come.
            _inbound_domain_step(server, domain),
        ]
        if of_account is not None:
            steps.append(verified_step(PostmarkDomains(of_account), domain))
        yield SetUp(tuple(steps), publish=(mx_record(domain),))


class _Server:
    """The server of the token that is set, else the one that we made by the account's token."""

    def __init__(self, account: Account, house: House, of_account: Control | None) -> None:
        self.account, self.of_account = account, of_account
        self._mask = house.masked
        self.token = account.settings.get(SERVER_TOKEN, "").strip()
        self._control: Control | None = None

    async def found(self) -> Mapping[str, Any] | None:
        """The server that we made, by the account's list."""
        if self.of_account is None:
            self.account.required(SERVER_TOKEN)
            return None
        async for one in listed(self.of_account, "Servers"):
            if one.get("Name") == _NAME:
                return one
        return None

    async def control(self) -> Control | None:
        """Its API; None before there is a server."""
        if self._control is None:
            token = self.token
            if not token:
                made = await self.found()
                token = next(iter((made or {}).get("ApiTokens") or ()), "")
            if token:
                self._control = open_control(
                    self.account, str(token), of_server=True, mask=self._mask
                )
        return self._control

    async def told(self) -> Mapping[str, Any] | None:
        """What Postmark says of it; None before there is one."""
        control = await self.control()
        told: Mapping[str, Any] | None = (
            await control.get("/server", absent=()) if control else None
        )
        return told

    async def change(self, method: str, path: str, body: Any = None) -> None:
        if (control := await self.control()) is not None:
            await control.change(method, path, body=body)

    async def close(self) -> None:
        if self._control is not None:
            await self._control.close()
            self._control = None


def _no_token_step(domain: str) -> Step:
    async def look() -> Laid:
        mend = f"set {ACCOUNT_TOKEN}, or add the domain under Sender signatures"
        return missing(f"cannot be seen without {ACCOUNT_TOKEN}", mend=mend)

    return observed("sender domain", f"{domain} is a sender domain", look)


def _server_step(server: _Server) -> Step:
    async def look() -> Laid:
        if server.token:
            told = await server.told() or {}
            return stands(f"{SERVER_TOKEN} is of the server {told.get('Name')!r}")
        if await server.found() is None:
            return missing()
        mend = f"copy the token from Postmark, the server {_NAME}, API Tokens, into {SERVER_TOKEN}"
        return stands(f"the server {_NAME} is there", notes=[mend])

    async def make(_: Laid) -> None:
        if server.of_account is not None:
            asked = {"Name": _NAME, "RawEmailEnabled": True, "DeliveryType": "Live"}
            await server.of_account.change("POST", "/servers", body=asked)

    async def undo(_: Laid) -> None:
        # Postmark lets nobody delete a server by its API until its support allows it.
        made = await server.found()
        if made is not None and server.of_account is not None:
            await server.close()
            await server.of_account.change("DELETE", f"/servers/{made['ID']}", absent=(404,))

    return Step("server", "a server of ours", look, make, undo, (f"POST /servers {_NAME}",))


def _hook_step(server: _Server, house: House, address: str) -> Step:
    wanted = {"InboundHookUrl": address, "RawEmailEnabled": True}

    async def look() -> Laid:
        told = await server.told()
        if told is None:
            return missing(_NOT_YET)
        now = {key: told.get(key) for key in wanted}
        if now == wanted:
            return stands("as it should be")
        url = str(now["InboundHookUrl"] or "")
        if url and not house.is_ours(url):
            mend = "take its webhook away there, or give mailagent a server of its own"
            return differs("this server brings mail to another program", mend=mend)
        if not now["RawEmailEnabled"]:
            return differs("mail comes without its raw content", before=now)
        return differs("no webhook is set" if not url else "another address of ours", before=now)

    async def make(_: Laid) -> None:
        await server.change("PUT", "/server", wanted)

    async def undo(laid: Laid) -> None:
        before = laid.before or {"InboundHookUrl": "", "RawEmailEnabled": False}
        await server.change(
            "PUT", "/server", {k: v or type(wanted[k])() for k, v in before.items()}
        )

    wants = f"mail goes raw to {address}"
    return Step("inbound webhook", wants, look, make, undo, ("PUT /server InboundHookUrl",))


def _webhook_step(server: _Server, house: House, stream: str, address: str) -> Step:
    wanted: dict[str, Any] = {
        "Url": address,
        "MessageStream": stream,
        "Triggers": {
            name: {"Enabled": True, **({"IncludeContent": False} if name in _CONTENT else {})}
            for name in _TELLS
        },
    }

    async def ours() -> Mapping[str, Any] | None:
        control = await server.control()
        told = await control.get("/webhooks", {"MessageStream": stream}) if control else None
        for one in (told or {}).get("Webhooks") or []:
            if house.is_ours(str(one.get("Url")), events=True):
                found: Mapping[str, Any] = one
                return found
        return None

    async def look() -> Laid:
        if await server.control() is None:
            return missing(_NOT_YET)
        found = await ours()
        if found is None:
            return missing()
        triggers = found.get("Triggers") or {}
        lacks = [name for name in _TELLS if not (triggers.get(name) or {}).get("Enabled")]
        return (
            differs(f"lacks {', '.join(lacks)}", before=found) if lacks else stands("all of them")
        )

    async def make(laid: Laid) -> None:
        if laid.before:
            # Postmark lets a webhook's stream never change.
            triggers = {**(laid.before.get("Triggers") or {}), **wanted["Triggers"]}
            changed = {"Url": address, "Triggers": triggers}
            await server.change("PUT", f"/webhooks/{laid.before['ID']}", changed)
        else:
            await server.change("POST", "/webhooks", wanted)

    async def undo(laid: Laid) -> None:
        found = await ours()
        if found is not None and laid.before:
            before = {key: laid.before.get(key) for key in ("Url", "Triggers")}
            await server.change("PUT", f"/webhooks/{found['ID']}", before)
        elif found is not None:
            await server.change("DELETE", f"/webhooks/{found['ID']}")

    wants = f"{', '.join(_TELLS)} of the stream {stream} go to {address}"
    return Step("webhook", wants, look, make, undo, ("POST /webhooks",))


_CONTENT = ("Bounce", "SpamComplaint")
"""Those that would send the mail's content along."""


def _inbound_domain_step(server: _Server, domain: str) -> Step:
    note = f"a server brings mail for one domain and none below it: not for <workspace>.{domain}"

    async def look() -> Laid:
        told = await server.told()
        if told is None:
            return missing(_NOT_YET, notes=[note])
        now = str(told.get("InboundDomain") or "").lower()
        if now == domain:
            return stands(f"is {domain}", notes=[note])
        if now:
            mend = "a server has one inbound domain: give mailagent a server of its own"
            return differs(f"is {now}", mend=mend, notes=[note])
        return missing("is not set", notes=[note])

    async def make(_: Laid) -> None:
        await server.change("PUT", "/server", {"InboundDomain": domain})

    async def undo(_: Laid) -> None:
        await server.change("PUT", "/server", {"InboundDomain": ""})

    wants = f"the inbound domain is {domain}, whose MX is published"
    return Step("inbound domain", wants, look, make, undo, ("PUT /server InboundDomain",))

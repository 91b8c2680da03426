"""With which tokens are Postmark's control APIs asked, and what address do they get of us?

An account's token is for its domains and servers, a server's token for its hook and webhooks.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from mailagent.errors import Misconfigured
from mailagent.providers.account import Account, House
from mailagent.providers.api import Api, base_url
from mailagent.providers.control import Control

__all__ = ["ACCOUNT_TOKEN", "SERVER_TOKEN", "account_control", "hook", "open_control"]

ACCOUNT_TOKEN = "POSTMARK_ACCOUNT_TOKEN"  # noqa: S105 - the name of a setting
SERVER_TOKEN = "POSTMARK_SERVER_TOKEN"  # noqa: S105 - the name of a setting
_API = "https://api.postmarkapp.com"
_USER = "mailagent"


def open_control(
    account: Account, token: str, *, of_server: bool, mask: Callable[[str], str] = str
) -> Control:
    """One of both APIs, by its token; `mask` as `Control`. Raises Misconfigured."""
    base = base_url("POSTMARK_BASE_URL", account.settings.get("POSTMARK_BASE_URL", ""), _API)
    header = "X-Postmark-Server-Token" if of_server else "X-Postmark-Account-Token"
    api = Api(base, secret=token, headers={header: token})
    mend = f"look at {SERVER_TOKEN if of_server else ACCOUNT_TOKEN}"
    return Control("Postmark", api, mends={401: mend, 403: mend}, mask=mask)


def account_control(account: Account, mask: Callable[[str], str] = str) -> Control:
    """The API of domains and servers. Raises Misconfigured without `POSTMARK_ACCOUNT_TOKEN`."""
    return open_control(account, account.required(ACCOUNT_TOKEN), of_server=False, mask=mask)


def hook(house: House, address: str) -> str:
    """Our address with what authenticates Postmark in it: user and password, or else the secret
    that already stands in its path. Raises Misconfigured where there is neither.
    """
    password = house.settings.value("POSTMARK_WEBHOOK_PASSWORD")
    if not password and not house.secret:
        setting = "POSTMARK_WEBHOOK_PASSWORD"
        raise Misconfigured(setting, "is empty: choose one (openssl rand -hex 24) and set it here")
    if not password:
        return address
    user = house.settings.value("POSTMARK_WEBHOOK_USER") or _USER
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{rest}"

"""With which key and at which address is SendGrid asked?"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mailagent.errors import Misconfigured
from mailagent.providers.account import Account
from mailagent.providers.api import Api, base_url
from mailagent.providers.control import Control

__all__ = ["API", "access", "control"]

API = "https://api.sendgrid.com"
_APIS: Mapping[str, str] = {"": API, "global": API, "eu": "https://api.eu.sendgrid.com"}


def access(account: Account) -> tuple[str, str]:
    """Key and address, of `SENDGRID_API_KEY`, `SENDGRID_REGION` (`global` or `eu`) and
    `SENDGRID_BASE_URL`. Raises Misconfigured.
    """
    region = account.settings.get("SENDGRID_REGION", "").strip().lower()
    if region not in _APIS:
        raise Misconfigured("SENDGRID_REGION", "is global or eu")
    base = account.settings.get("SENDGRID_BASE_URL", "")
    key = account.required("SENDGRID_API_KEY")
    return key, base_url("SENDGRID_BASE_URL", base, _APIS[region])


def control(account: Account, mask: Callable[[str], str] = str) -> Control:
    """SendGrid's control API for an account; `mask` as `Control`. Raises Misconfigured."""
    key, base = access(account)
    mend = "docs/providers/sendgrid.md lists what the key of a set-up may do"
    api = Api(base, secret=key, headers={"Authorization": f"Bearer {key}"})
    return Control("SendGrid", api, mends={401: mend, 403: mend}, mask=mask)

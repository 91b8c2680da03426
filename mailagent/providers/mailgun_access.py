"""With which key, in which region and at which address is Mailgun asked?"""

from __future__ import annotations

import base64

from mailagent.errors import Misconfigured
from mailagent.providers.account import Account
from mailagent.providers.api import TIMES, Api, Times, base_url

__all__ = ["HOSTS", "access", "open_api"]

HOSTS = {"us": "https://api.mailgun.net", "eu": "https://api.eu.mailgun.net"}


def access(account: Account) -> tuple[str, str, str]:
    """Key, region and address, of `MAILGUN_API_KEY`, `MAILGUN_REGION` (`us` by default, `eu`) and
    `MAILGUN_BASE_URL`. Raises Misconfigured.
    """
    settings = account.settings
    region = settings.get("MAILGUN_REGION", "").strip().lower() or "us"
    if region not in HOSTS:
        raise Misconfigured("MAILGUN_REGION", f"{region[:20]!a} is neither us nor eu")
    base = base_url("MAILGUN_BASE_URL", settings.get("MAILGUN_BASE_URL", ""), HOSTS[region])
    return account.required("MAILGUN_API_KEY"), region, base


def open_api(key: str, base: str, times: Times = TIMES) -> Api:
    """The API of one region for one account's key."""
    credentials = base64.b64encode(f"api:{key}".encode()).decode()
    return Api(base, secret=key, headers={"Authorization": f"Basic {credentials}"}, times=times)

"""How is one request made to a provider's HTTP API, so that every failure has a meaning?

Before a byte was written the failure is transient; once the request may have arrived whole it is
uncertain, because none of these APIs takes an idempotency key. No redirect is followed and nothing
is tried again here.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cache
from urllib.parse import urlsplit

import httpx

from mailagent.errors import Misconfigured, TransientFailure, UncertainDelivery

__all__ = ["TIMES", "Answer", "Api", "Times", "base_url", "wait_of"]

_LONGEST_WAIT = timedelta(days=1)
_MOST_WORDS = 500


class Times(httpx.Timeout):
    """Seconds for each act of a request; `whole` for all of it."""

    def __init__(
        self, connect: float = 10, write: float = 60, read: float = 30, whole: float = 150
    ) -> None:
        super().__init__(connect=connect, write=write, read=read, pool=connect)
        self.whole = whole


TIMES = Times()


class Answer:
    """What the far side said."""

    def __init__(self, response: httpx.Response, secret: str) -> None:
        self.status = response.status_code
        self.headers = response.headers
        self.body = response.content
        self._secret = secret

    def words(self, text: str | None = None) -> str:
        """Words of the far side on one line, for people: without our secret, and not too long."""
        said = self.body.decode("utf-8", "replace") if text is None else text
        return " ".join(said.replace(self._secret, "…").split())[:_MOST_WORDS]


class Api:
    """One account's API, over connections that are kept. Belongs to one event loop."""

    def __init__(
        self,
        base: str,
        *,
        secret: str,
        headers: Mapping[str, str],
        times: Times = TIMES,
    ) -> None:
        self._secret = secret
        self._times = times
        self._client = httpx.AsyncClient(
            base_url=base,
            headers={"Accept": "application/json", **headers},
            timeout=times,
            # To read a few hundred roots costs more than all else here: once for all accounts, and
            # not at all for loopback, which has no TLS.
            verify=_roots() if base.startswith("https:") else False,
            follow_redirects=False,
            # Servers keep an idle connection far longer: none is used that they may be closing.
            limits=httpx.Limits(max_connections=20, keepalive_expiry=5),
        )

    async def post(
        self, path: str, content: bytes, *, content_type: str = "application/json"
    ) -> Answer:
        """Raises TransientFailure when no connection could be had, UncertainDelivery later."""
        return await self.change("POST", path, content, content_type=content_type)

    async def change(
        self, method: str, path: str, content: bytes = b"", *, content_type: str = ""
    ) -> Answer:
        """Ask for a change by any method. Raises as `post`."""
        headers = {"Content-Type": content_type} if content_type else {}
        try:
            async with asyncio.timeout(self._times.whole):
                response = await self._client.request(
                    method, path, content=content, headers=headers
                )
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise TransientFailure(f"no connection to it: {type(error).__name__}") from error
        except (httpx.HTTPError, TimeoutError) as error:
            raise UncertainDelivery(
                f"the request was written, and then: {type(error).__name__}"
            ) from error
        return Answer(response, self._secret)

    async def get(self, path: str, query: Mapping[str, str]) -> Answer:
        """Ask for something, which changes nothing there. Raises TransientFailure."""
        try:
            async with asyncio.timeout(self._times.whole):
                response = await self._client.get(path, params=dict(query))
        except (httpx.HTTPError, TimeoutError) as error:
            raise TransientFailure(f"it did not answer: {type(error).__name__}") from error
        return Answer(response, self._secret)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()


@cache
def _roots() -> ssl.SSLContext:
    return httpx.create_ssl_context()


def base_url(setting: str, value: str, default: str) -> str:
    """The address of an API. Raises Misconfigured for what would show the account's secret."""
    address = value.strip() or default
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise Misconfigured(setting, "is no URL") from None
    if not host or parts.query or parts.fragment or parts.username:
        raise Misconfigured(setting, f"is no address of an API: it looks like {default}")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_here(host)):
        raise Misconfigured(setting, "must begin with https://, because a secret goes there")
    return address


def wait_of(answer: Answer, now: datetime) -> datetime | None:
    """When to come again: `Retry-After` (RFC 9110 §10.2.3), else `X-RateLimit-Reset` (Unix
    seconds); None when neither says anything that can be meant."""
    after, reset = answer.headers.get("Retry-After", ""), answer.headers.get("X-RateLimit-Reset")
    try:
        if after.isdecimal():
            at = now + timedelta(seconds=int(after[:9]))
        elif after:
            at = parsedate_to_datetime(after)
        elif reset is not None:
            at = datetime.fromtimestamp(int(reset[:12]), UTC)
        else:
            return None
    except (ValueError, OverflowError, OSError):
        return None
    return at if at.tzinfo and now <= at <= now + _LONGEST_WAIT else None


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

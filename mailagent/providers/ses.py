"""Amazon SES: mail comes through SNS and S3, leaves by `SendEmail`; SNS tells what became of it.

Sending follows the Amazon SES API v2 Reference, "SendEmail" and "GetAccount", and the Amazon SES
Developer Guide, "Service quotas", "Email headers" and "Setting up Easy DKIM" (read 2026-11). What
the other directions follow stands in `ses_sns`, `ses_receipts`, `ses_events` and `ses_objects`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import Any, ClassVar, Self

from mailagent.errors import (
    Malformed,
    Misconfigured,
    PermanentFailure,
    TransientFailure,
    UncertainDelivery,
)
from mailagent.identity import Collects, Identifies
from mailagent.mail import Address
from mailagent.mime import build
from mailagent.outgoing import Committing, HandedOver, Outgoing, Recipient, Refused, Sent
from mailagent.providers import ses_setup
from mailagent.providers.account import Account, House, Recovers, Surroundings
from mailagent.providers.addressing import in_ascii
from mailagent.providers.ses_access import AT_ONCE, Access, ses_access
from mailagent.providers.ses_answer import seen_as
from mailagent.providers.ses_client import Client
from mailagent.providers.ses_control import Aws
from mailagent.providers.ses_events import SesReporter
from mailagent.providers.ses_identity import SesIdentities
from mailagent.providers.ses_left import SesLeftBehind
from mailagent.providers.ses_objects import fetch_object
from mailagent.providers.ses_receipts import SesReceiver
from mailagent.providers.ses_rules import SesReceipts
from mailagent.providers.steps import SetUp
from mailagent.webhook import Fetch, Receives, Reports, WebhookSettings

__all__ = ["Ses"]

_MOST_BYTES = 40 * 1024 * 1024
_MOST_RECIPIENTS = 50
_OUTSIDE_THE_EU = frozenset({"eu-west-2", "eu-central-2"})
_TAG = re.compile(r"[0-9A-Za-z_-]{1,256}")


def _now() -> datetime:
    return datetime.now(UTC)


class Ses:
    """An SES account in one region. An instance belongs to one event loop; `close` it there."""

    kind: ClassVar[str] = "ses"
    carries_mime: ClassVar[bool] = True

    def __init__(
        self,
        access: Access,
        *,
        name: str = "ses",
        configuration_set: str = "",
        tags: Mapping[str, str] | None = None,
        now: Callable[[], datetime] = _now,
    ) -> None:
        """`tags` go with every mail; SES gives them back with its events."""
        self._access = access
        self._name = name
        self._options: dict[str, Any] = {}
        if configuration_set:
            self._options["ConfigurationSetName"] = configuration_set
        if tags:
            self._options["EmailTags"] = [{"Name": n, "Value": v} for n, v in tags.items()]
        self._now = now
        self._client: Client | None = None
        self._opening = asyncio.Lock()
        self._free = asyncio.Semaphore(AT_ONCE)
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="ses")

    @classmethod
    def open(cls, account: Account, surroundings: Surroundings) -> Self:
        """From region, keys, `SES_BASE_URL`, `SES_CONFIGURATION_SET` and `SES_EMAIL_TAGS`."""
        return cls(
            ses_access(account.settings),
            name=account.name,
            configuration_set=account.settings.get("SES_CONFIGURATION_SET", "").strip(),
            tags=_tags(account.settings.get("SES_EMAIL_TAGS", "")),
        )

    @classmethod
    def receiver(cls, settings: WebhookSettings, fetch: Fetch) -> Receives:
        return SesReceiver(settings, fetch)

    @classmethod
    def reporter(cls, settings: WebhookSettings, fetch: Fetch) -> Reports:
        return SesReporter(settings, fetch)

    @classmethod
    def keeps(cls, stored_at: str) -> bool:
        return stored_at.startswith("s3://")

    @classmethod
    async def fetch_stored(cls, settings: WebhookSettings, stored_at: str) -> bytes:
        """See `ses_objects.fetch_object`."""
        return await fetch_object(settings.values, stored_at)

    @classmethod
    @asynccontextmanager
    async def identifier(cls, account: Account) -> AsyncIterator[Identifies]:
        aws = Aws(ses_access(account.settings))
        try:
            yield SesIdentities(aws)
        finally:
            await aws.close()

    @classmethod
    @asynccontextmanager
    async def collector(cls, account: Account, house: House) -> AsyncIterator[Collects]:
        aws = Aws(ses_setup.receiving(ses_access(account.settings)))
        try:
            yield SesReceipts(aws)
        finally:
            await aws.close()

    @classmethod
    def region(cls, account: Account) -> str:
        """See `account.HasRegion`; `eu-…` names the continent, with London and Zurich on it."""
        settings = account.settings
        region = settings.get("AWS_SES_REGION") or settings.get("AWS_REGION", "")
        if region.startswith("us-"):
            return "US"
        return "EU" if region.startswith("eu-") and region not in _OUTSIDE_THE_EU else region

    @classmethod
    def setting_up(cls, account: Account, house: House) -> AbstractAsyncContextManager[SetUp]:
        return ses_setup.setting_up(account, house)

    @classmethod
    def recoverer(cls, settings: WebhookSettings) -> Recovers | None:
        """See `account.CanRecover`."""
        return SesLeftBehind.of(settings)

    @classmethod
    async def describe(cls, account: Account) -> Mapping[str, str]:
        """What SES says of the account: `region`, `access`, `sending`, `standing`, `quota`, `used`.

        Raises Misconfigured, and what `send` raises of an answer.
        """
        access = ses_access(account.settings)
        client = await asyncio.to_thread(Client, access)
        try:
            told = await asyncio.to_thread(client.ask, "get_account", {}, _now)
        finally:
            client.close()
        return _facts(told, access.region)

    @property
    def name(self) -> str:
        return self._name

    @property
    def recipients_at_once(self) -> int:
        return _MOST_RECIPIENTS

    async def send(
        self, outgoing: Outgoing, to: Sequence[Recipient], *, committing: Committing
    ) -> HandedOver:
        """Hand a mail to SES for 1-50 recipients, at most 40 MB as MIME; SES signs it.

        Raises TransientFailure (no connection, 429, 5xx), PermanentFailure (refused, too large) and
        UncertainDelivery (request written and no answer that can be read).
        """
        if len(to) > _MOST_RECIPIENTS:
            reason = f"has {len(to)} recipients, SES takes {_MOST_RECIPIENTS} at once"
            raise PermanentFailure(reason, code="5.5.3", about="message")
        said: dict[Recipient, Sent | Refused] = {}
        addresses: dict[Recipient, str] = {}
        for one in to:
            try:
                addresses[one] = in_ascii(Address(one.address), "SES").address
            except PermanentFailure as error:
                said[one] = Refused(error.reason, about="recipient", code=error.code)
        if not addresses:
            return said
        request = {
            "FromEmailAddress": in_ascii(outgoing.from_, "SES").address,
            "Destination": {"ToAddresses": list(addresses.values())},
            "Content": {"Raw": {"Data": _content(outgoing)}},
            **self._options,
        }
        client = await self._opened()
        async with self._free:
            await committing(list(addresses))
            told = await self._sent(client, request)
        ses_id = str(told.get("MessageId", ""))
        if not ses_id:
            raise UncertainDelivery("SES answered 200 without a MessageId")
        sent = Sent(ses_id, f"SES took it as {ses_id}", (seen_as(ses_id, self._access.region),))
        return said | dict.fromkeys(addresses, sent)

    async def close(self) -> None:
        """Let go of connections; mails that are under way end by themselves."""
        self._threads.shutdown(wait=False)
        if self._client is not None:
            self._client.close()
            self._client = None

    async def _sent(self, client: Client, request: Mapping[str, Any]) -> Mapping[str, Any]:
        asked = self._threads.submit(client.ask, "send_email", request, self._now)
        try:
            async with asyncio.timeout(self._access.whole_seconds):
                return await asyncio.wrap_future(asked)
        except TimeoutError as error:
            if asked.cancel():
                raise TransientFailure("every connection to SES is busy") from error
            raise UncertainDelivery("SES took the request and never ended its answer") from error

    async def _opened(self) -> Client:
        async with self._opening:
            if self._client is None:
                loop = asyncio.get_running_loop()
                self._client = await loop.run_in_executor(self._threads, Client, self._access)
        return self._client


def _content(outgoing: Outgoing) -> bytes:
    if build.needs_smtputf8(outgoing):
        reason = "SES takes no address with letters outside ASCII before the @"
        raise PermanentFailure(reason, code="5.6.7", about="message")
    try:
        content = build.render(outgoing)
    except Malformed as error:
        raise PermanentFailure(str(error), code="5.6.0", about="message") from error
    if len(content) > _MOST_BYTES:
        reason = f"the mail has {len(content)} bytes, SES takes {_MOST_BYTES}"
        raise PermanentFailure(reason, code="5.3.4", about="message")
    return content


def _tags(setting: str) -> Mapping[str, str]:
    """`name=value` between commas or spaces. Raises Misconfigured."""
    tags: dict[str, str] = {}
    for word in setting.replace(",", " ").split():
        name, _, value = word.partition("=")
        if not _TAG.fullmatch(name) or not _TAG.fullmatch(value):
            raise Misconfigured(
                "SES_EMAIL_TAGS",
                f"{word!r} is no tag: write name=value in letters, digits, - and _",
            )
        tags[name] = value
    return tags


def _facts(told: Mapping[str, Any], region: str) -> Mapping[str, str]:
    quota = told.get("SendQuota", {})
    a_day = int(quota.get("Max24HourSend", 0))
    return {
        "region": region,
        "access": "production"
        if told.get("ProductionAccessEnabled")
        else "sandbox: only verified recipients; ask for production access in the SES console",
        "sending": "enabled" if told.get("SendingEnabled") else "paused by SES",
        "standing": str(told.get("EnforcementStatus", "unknown")).lower(),
        "quota": f"{'no limit' if a_day < 0 else a_day} in 24 hours, "
        f"{quota.get('MaxSendRate', 0):g} a second",
        "used": f"{quota.get('SentLast24Hours', 0):g} in the last 24 hours",
    }

"""Which mails has SES put into S3, and whom are they for where no notification told us?

SES writes its own fields on top of the mail, `Return-Path` and `Received` first; the object's name
is the id that its notification names the mail by. Source: Amazon SES Developer Guide, "Deliver to
S3 bucket action", "Contents of notifications" (read 2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, ClassVar, Self

from mailagent.errors import Malformed
from mailagent.inbound import Envelope, Inbound, Origin
from mailagent.mime.headers import raw_fields
from mailagent.providers.account import LeftBehind, Listing
from mailagent.providers.s3 import ask_s3
from mailagent.providers.ses_objects import fetch_object
from mailagent.providers.ses_receipts import buckets
from mailagent.webhook import WebhookSettings

__all__ = ["SesLeftBehind"]

_AT_ONCE = 1_000
_NO_MAIL = "AMAZON_SES_SETUP_NOTIFICATION"
"""SES writes this once, to try the bucket."""
_LONGEST_ADDRESS = 320
_LONGEST_ID = 200
"""As `ses_receipts` takes it."""

_RECEIVED = re.compile(
    rb"from (\S{1,255}) \((?:[^()\[\]]{0,300}\[([0-9A-Fa-f.:]{2,45})\])?[^()]{0,300}\)\s+"
    rb"by inbound-smtp\.[a-z0-9-]+\.amazonaws\.com with SMTP id ([!-~]{1,200})"
    rb"(?:\s+for <?([^\s;<>]{1,320})>?)?\s*;"
)
_OF_SES = frozenset(
    {b"received-spf", b"authentication-results", b"x-ses-receipt", b"x-ses-dkim-signature"}
)
_VERDICTS = {b"x-ses-spam-verdict": "spam", b"x-ses-virus-verdict": "virus"}


class SesLeftBehind:
    """The buckets of `SES_S3_BUCKETS`, an object a mail."""

    late: ClassVar[timedelta] = timedelta(hours=2)
    """SNS tries for an hour at most."""

    def __init__(self, settings: WebhookSettings) -> None:
        self._settings = settings.values
        self._buckets = sorted(buckets(settings.values))

    @classmethod
    def of(cls, settings: WebhookSettings) -> Self | None:
        """See `account.CanRecover`."""
        made = cls(settings)
        return made if made._buckets else None

    async def listed(self, since: datetime, after: str) -> Listing:
        """See `account.Recovers`. S3 lists by name, so all of a bucket is gone through."""
        bucket, _, key = after.partition("/")
        if not after:
            bucket = self._buckets[0]
        elif bucket not in self._buckets:
            return Listing(())  # it is not listed any more: the next look begins anew
        find = partial(_list, bucket, key)
        found = await ask_s3(self._settings, bucket, "s3:ListBucket", find)
        objects: Sequence[Mapping[str, Any]] = found.get("Contents", ())
        if found.get("IsTruncated") and objects:
            after = f"{bucket}/{objects[-1]['Key']}"
        else:
            place = self._buckets.index(bucket) + 1
            after = f"{self._buckets[place]}/" if place < len(self._buckets) else ""
        mails = (_mail(bucket, one) for one in objects if one["LastModified"] >= since)
        return Listing([one for one in mails if one is not None], after)

    async def bring(self, mail: LeftBehind) -> Sequence[Inbound]:
        """See `account.Recovers`."""
        raw = await fetch_object(self._settings, mail.place)
        trace = _Trace.of(raw, mail.source_id)
        origin = Origin(
            received_at=mail.at,
            client_ip=trace.client_ip,
            helo=trace.helo,
            provider_verdicts=trace.objections,
        )
        envelope = Envelope(trace.mail_from, (trace.recipient,) if trace.recipient else ())
        return [Inbound(envelope, raw, "ses", mail.source_id, origin)]


def _list(bucket: str, key: str, client: Any) -> Mapping[str, Any]:
    found: Mapping[str, Any] = client.list_objects_v2(
        Bucket=bucket, MaxKeys=_AT_ONCE, **({"StartAfter": key} if key else {})
    )
    return found


def _mail(bucket: str, said: Mapping[str, Any]) -> LeftBehind | None:
    key: str = said["Key"]
    name = key.rpartition("/")[2]
    if not name or name == _NO_MAIL or len(name) > _LONGEST_ID:
        return None
    return LeftBehind(name, f"s3://{bucket}/{key}", (), said["LastModified"])


@dataclass(frozen=True, slots=True)
class _Trace:
    """What SES itself wrote on top of a mail; nothing of a mail that it did not write.

    Its fields stand before all others, so the first one of a name counts, and the first field that
    SES does not write ends them: what comes after, the sender may have forged.
    """

    recipient: str = ""
    mail_from: str | None = None
    client_ip: str | None = None
    helo: str | None = None
    objections: Mapping[str, str] = field(default_factory=dict)
    """Where SES found spam or a virus. Its verdicts on SPF and DKIM are not read: this text has no
    strict syntax, and we can judge by ourselves."""

    @classmethod
    def of(cls, raw: bytes, ses_id: str) -> Self:
        try:
            fields = [(name.lower(), value) for name, value in raw_fields(raw)]
        except Malformed:
            return cls()
        sender: str | None = None
        if fields and fields[0][0] == b"return-path":
            sender = _address(fields.pop(0)[1].strip(b" <>"))
        if not fields or fields[0][0] != b"received":
            return cls()
        found = _RECEIVED.match(fields[0][1])
        if found is None or found[3].decode() != ses_id:
            return cls()
        return cls(
            recipient=_address(found[4] or b"") or "",
            mail_from=sender,
            client_ip=found[2].decode() if found[2] else None,
            helo=found[1].decode("ascii", "replace"),
            objections=_objections(fields[1:]),
        )


def _objections(fields: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    said: dict[str, str] = {}
    for name, value in fields:
        if name in _VERDICTS:
            said.setdefault(_VERDICTS[name], value.strip().decode("ascii", "replace").upper())
        elif name not in _OF_SES:
            break
    return {name: word for name, word in said.items() if word == "FAIL"}


def _address(octets: bytes) -> str | None:
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        return None
    return text if "@" in text and len(text) <= _LONGEST_ADDRESS else None

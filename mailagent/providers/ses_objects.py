"""How is a mail fetched that SES has put into S3?

Source: Amazon SES Developer Guide, "Deliver to S3 bucket action" (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from functools import partial
from typing import Any

from mailagent.errors import PermanentFailure, TransientFailure
from mailagent.providers.s3 import ask_s3
from mailagent.providers.ses_receipts import BUCKETS, buckets

__all__ = ["fetch_object"]

_MOST_BYTES = 40 * 1024 * 1024
"""SES takes no larger mail."""
_ENCRYPTED = frozenset({"x-amz-key", "x-amz-key-v2"})
"""Metadata of what the S3 encryption client wrote: SES does, when its action names a KMS key."""


async def fetch_object(settings: Mapping[str, str], stored_at: str) -> bytes:
    """The octets of the mail at `stored_at` (`s3://bucket/key`), at most 40 MB.

    `settings` are those of `WebhookSettings.values`: `SES_S3_BUCKETS`, region, keys and
    `AWS_ENDPOINT_URL_S3`. Asks once. Raises TransientFailure (S3 is away, the object is not there,
    or we may not read it until somebody mends that) and PermanentFailure (no listed place, too
    large, encrypted by the S3 encryption client).
    """
    bucket, _, key = stored_at.removeprefix("s3://").partition("/")
    if not stored_at.startswith("s3://") or not bucket or not key:
        raise PermanentFailure("the place is no s3://bucket/key", about="message")
    if bucket not in buckets(settings):
        raise PermanentFailure(f"{BUCKETS} does not list {bucket}", about="account")
    return await ask_s3(settings, bucket, "s3:GetObject", partial(_get, bucket, key))


def _get(bucket: str, key: str, client: Any) -> bytes:
    found = client.get_object(Bucket=bucket, Key=key)
    # Entered by itself, a body is urllib3's, which takes less than was announced for all.
    with closing(found["Body"]) as body:
        _check(found)
        raw: bytes = body.read()
    return raw


def _check(found: Mapping[str, Any]) -> None:
    if _ENCRYPTED & found.get("Metadata", {}).keys():
        raise PermanentFailure(
            "the S3 action of the SES receipt rule encrypts mail with a KMS key, which only the S3 "
            "encryption client reads: take the key off, and let the bucket encrypt (SSE)",
            about="account",
        )
    size = found.get("ContentLength")
    if size is None:
        raise TransientFailure("S3 does not say how long the object is")
    if size > _MOST_BYTES:
        reason = f"the object has over {_MOST_BYTES} bytes: SES writes no such mail"
        raise PermanentFailure(reason, about="message")

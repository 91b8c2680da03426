"""How is S3, or storage that speaks like it, asked, so that every failure has a meaning?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar

from mailagent.errors import Misconfigured, TransientFailure
from mailagent.providers.ses_access import Access, s3_access

__all__ = ["ask_s3"]

T = TypeVar("T")

_REFUSED = frozenset(
    {"AccessDenied", "ExpiredToken", "InvalidAccessKeyId", "NoSuchBucket", "SignatureDoesNotMatch"}
)

_client = lru_cache(maxsize=4)(Access.client)


async def ask_s3(
    settings: Mapping[str, str], bucket: str, right: str, work: Callable[[Any], T]
) -> T:
    """Run `work(client)` in a thread, once; `right` is what its key needs, as IAM writes it.

    `settings` have region, keys and `AWS_ENDPOINT_URL_S3`. Raises TransientFailure whatever S3
    says: a key, a bucket or a policy can still be mended.
    """
    try:
        access = s3_access(settings)
    except Misconfigured as error:
        raise TransientFailure(str(error)) from error

    def asked() -> T:
        with _failures(bucket, right):
            return work(_client(access))

    try:
        async with asyncio.timeout(access.whole_seconds):
            return await asyncio.to_thread(asked)
    except TimeoutError as error:
        raise TransientFailure("S3 never ended its answer") from error


@contextmanager
def _failures(bucket: str, right: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        reason = f"S3 answered {code} for {bucket}"
        if code in _REFUSED:
            reason += f": the key needs {right} on it"
        raise TransientFailure(reason, code=code) from error
    except NoCredentialsError as error:
        reason = "AWS_ACCESS_KEY_ID is empty, and this machine has no role of its own"
        raise TransientFailure(reason) from error
    except BotoCoreError as error:
        raise TransientFailure(f"S3 could not be asked: {type(error).__name__}") from error

"""How do raw messages lie in S3-compatible storage, and come back octet for octet?

Each is one object, gzip (RFC 1952) of its octets. Nothing is believed because a request succeeded:
what was put is read back and compared, and what is read is compared with its SHA-256.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from mailagent.errors import PermanentFailure
from mailagent.providers.s3 import ask_s3

__all__ = ["RawStore"]

_GZIP = 31
"""zlib's `wbits` for gzip with the largest window."""
_GONE = frozenset({"NoSuchKey", "404"})


class RawStore:
    """Raw messages outside the database. Works anywhere; every call asks S3 once."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        """`settings` are region, keys, `AWS_ENDPOINT_URL_S3`, and `MAILAGENT_RAW_STORE`
        (`s3://bucket/prefix`); without the last nothing new goes there, and what is there is read.
        """
        self._settings = settings
        self.root = settings.get("MAILAGENT_RAW_STORE", "").strip().rstrip("/")

    def place(self, name: str) -> str:
        """Where the object of a name lies, or will."""
        return f"{self.root}/{name}.gz"

    async def put(self, place: str, octets: bytes) -> None:
        """Write an object and read it back. Raises TransientFailure, also when it came back
        otherwise than it went."""
        bucket, key = _parts(place)

        def put(client: Any) -> None:
            packed = _packed(octets)
            client.put_object(Bucket=bucket, Key=key, Body=packed, ContentType="application/gzip")

        await ask_s3(self._settings, bucket, "s3:PutObject", put)
        await self.get(place, hashlib.sha256(octets).hexdigest(), len(octets))

    async def get(self, place: str, sha256: str, size: int) -> bytes:
        """The octets of an object. Raises TransientFailure; PermanentFailure when they are not
        there, or not those of this SHA-256 and size.
        """
        bucket, key = _parts(place)

        def get(client: Any) -> bytes:
            from botocore.exceptions import ClientError

            try:
                found = client.get_object(Bucket=bucket, Key=key)
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") in _GONE:
                    raise PermanentFailure(f"{place} is not there", about="message") from error
                raise
            # Entered by itself, a body is urllib3's, which takes less than was announced for all.
            with closing(found["Body"]) as body:
                return _unpacked(body.read(), place, size)

        octets = await ask_s3(self._settings, bucket, "s3:GetObject", get)
        if hashlib.sha256(octets).hexdigest() != sha256:
            raise PermanentFailure(f"{place} is not what was put there", about="message")
        return octets

    async def delete(self, place: str) -> None:
        """Delete an object; one that is not there is deleted. Raises TransientFailure."""
        bucket, key = _parts(place)

        def delete(client: Any) -> None:
            client.delete_object(Bucket=bucket, Key=key)

        await ask_s3(self._settings, bucket, "s3:DeleteObject", delete)


def _parts(place: str) -> tuple[str, str]:
    bucket, _, key = place.removeprefix("s3://").partition("/")
    return bucket, key


def _packed(octets: bytes) -> bytes:
    packer = zlib.compressobj(wbits=_GZIP)
    return packer.compress(octets) + packer.flush()


def _unpacked(packed: bytes, place: str, size: int) -> bytes:
    try:
        # No more than there may be: a bomb that somebody put there instead is cut off.
        return zlib.decompressobj(wbits=_GZIP).decompress(packed, size + 1)
    except zlib.error as error:
        raise PermanentFailure(f"{place} is no gzip", about="message") from error

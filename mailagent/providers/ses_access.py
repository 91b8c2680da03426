"""With which keys, in which region and at which address is AWS asked?"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from mailagent.errors import Misconfigured

__all__ = ["AT_ONCE", "Access", "s3_access", "ses_access"]

AT_ONCE = 10
"""Requests of one client at a time, each with a thread and a connection of its own."""

_REGION = re.compile(r"[a-z]{2,5}(-[a-z]+)+-[0-9]{1,2}")
_CONNECT_SECONDS = 10.0
_READ_SECONDS = 30.0
_WHOLE_SECONDS = 150.0


@dataclass(frozen=True, slots=True)
class Access:
    """Everything a client of one service is made from."""

    service: Literal["sesv2", "ses", "sns", "s3", "sts"]
    region: str
    key_id: str = ""
    """Empty: what the machine itself may do (an instance's or a container's role)."""
    secret: str = field(default="", repr=False)
    base_url: str | None = None
    """Instead of AWS's own address: a VPC endpoint, S3-compatible storage, a test."""
    connect_seconds: float = _CONNECT_SECONDS
    read_seconds: float = _READ_SECONDS
    whole_seconds: float = _WHOLE_SECONDS
    """For all of a request: who sends an octet now and then is never late for one read."""

    attempts: int = 1
    """More than one for control calls alone: SES takes one such call a second."""

    def client(self) -> Any:
        """A boto3 client that asks once, where nobody says otherwise: no mail may be repeated.

        Takes some tenths of a second and reads files: call it in a thread. Safe in many threads.
        """
        # Two seconds of imports, for those who use it.
        import boto3
        from botocore.config import Config

        session = boto3.session.Session(
            aws_access_key_id=self.key_id or None,
            aws_secret_access_key=self.secret or None,
            region_name=self.region,
        )
        config = Config(
            connect_timeout=self.connect_seconds,
            read_timeout=self.read_seconds,
            max_pool_connections=AT_ONCE,
            retries={"mode": "standard", "total_max_attempts": self.attempts},
            tcp_keepalive=True,
        )
        return session.client(self.service, endpoint_url=self.base_url, config=config)


def ses_access(settings: Mapping[str, str]) -> Access:
    """From `AWS_SES_REGION`, else `AWS_REGION`, and `SES_BASE_URL`. Raises Misconfigured."""
    region = _region(settings, "AWS_SES_REGION", "AWS_REGION")
    return Access("sesv2", region, *_keys(settings), base_url=_address(settings, "SES_BASE_URL"))


def s3_access(settings: Mapping[str, str]) -> Access:
    """From `AWS_REGION`, else `AWS_SES_REGION`, and `AWS_ENDPOINT_URL_S3`. Raises Misconfigured."""
    region = _region(settings, "AWS_REGION", "AWS_SES_REGION")
    at = _address(settings, "AWS_ENDPOINT_URL_S3")
    return Access("s3", region, *_keys(settings), base_url=at)


def _region(settings: Mapping[str, str], *names: str) -> str:
    for name in names:
        if region := settings.get(name, "").strip():
            if not _REGION.fullmatch(region):
                raise Misconfigured(name, "is no region: write it like eu-west-1")
            return region
    raise Misconfigured(names[0], "is empty: name the region, like eu-west-1")


def _keys(settings: Mapping[str, str]) -> tuple[str, str]:
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    key_id, secret = (settings.get(name, "").strip() for name in names)
    if bool(key_id) != bool(secret):
        raise Misconfigured(names[bool(key_id)], "is empty: set both keys, or neither")
    return key_id, secret


def _address(settings: Mapping[str, str], name: str) -> str | None:
    url = settings.get(name, "").strip()
    if not url:
        return None
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or "@" in url:
        raise Misconfigured(name, "is no address: write it like https://host.example")
    return url

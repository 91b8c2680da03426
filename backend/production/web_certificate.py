"""Would a provider's webhook client trust the certificate at our web address?"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from cryptography import x509

__all__ = ["Seen", "look_at"]

_ENDS_SOON = timedelta(days=14)
_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Seen:
    """`good` is None for an address that nobody outside could be given."""

    good: bool | None
    found: str
    mend: str = ""


async def look_at(url: str, *, trust: ssl.SSLContext | None = None) -> Seen:
    """Shake hands with the address as the web does; nothing is sent. Never raises.

    `trust` stands in for the publicly trusted roots.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 443
    except ValueError:
        return Seen(None, f"{url} is no address")
    if parts.scheme != "https":
        return Seen(None, f"{url} is no https address")
    if trust is None and _is_private(host):
        return Seen(None, f"{url} is an address of this network")
    context = trust or ssl.create_default_context()
    try:
        async with asyncio.timeout(_PATIENCE):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except ssl.SSLCertVerificationError as error:
        mend = "have one issued that browsers trust (docs/how-to/tls.md): providers refuse others"
        return Seen(False, f"{host}: {error.verify_message}", mend)
    except (OSError, TimeoutError) as error:
        word = str(error) or type(error).__name__
        return Seen(
            False, f"{host} does not answer: {word}", "see whether the proxy runs, port 443"
        )
    shown: ssl.SSLObject = writer.get_extra_info("ssl_object")
    certificate = shown.getpeercert(binary_form=True)
    writer.close()
    assert certificate is not None
    ends = x509.load_der_x509_certificate(certificate).not_valid_after_utc
    found = f"{host}: trusted, valid until {ends:%Y-%m-%d}"
    if ends - datetime.now(UTC) < _ENDS_SOON:
        return Seen(False, found, "renew it, and see why that did not happen by itself")
    return Seen(True, found)


def _is_private(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return host == "localhost" or "." not in host

"""How is a small file fetched from a provider's own host?"""

from __future__ import annotations

import httpx

from mailagent.errors import TransientFailure

__all__ = ["https_get"]

_MOST_BYTES = 64 * 1024
_SECONDS = 5.0


async def https_get(url: str) -> bytes:
    """GET an https address that the caller has checked; see `webhook.Fetch`."""
    if not url.startswith("https://"):
        raise TransientFailure("the address is not https")
    body = bytearray()
    try:
        async with (
            httpx.AsyncClient(timeout=_SECONDS, follow_redirects=False) as client,
            client.stream("GET", url) as response,
        ):
            if response.status_code != httpx.codes.OK:
                raise TransientFailure(f"it answered {response.status_code}")
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > _MOST_BYTES:
                    raise TransientFailure(f"it is larger than {_MOST_BYTES} bytes")
    except httpx.HTTPError as error:
        raise TransientFailure(f"it could not be fetched: {type(error).__name__}") from error
    return bytes(body)

"""How does the MCP SDK's own HTTP client reach users' addresses, and nobody inside?

The SDK speaks httpx2, all else of ours httpx: the same rule of `mailagent.egress`, set into its
transport. Imported only where the SDK is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx2
from mcp.client.streamable_http import streamable_http_client

from mailagent.egress import Egress
from mailagent.errors import Malformed

__all__ = ["pinned_client", "streamable_http"]

_MOST_BYTES = 5_000_000
_SECONDS = 60.0


def streamable_http(url: str, client: httpx2.AsyncClient) -> Any:
    """The SDK's transport over this client."""
    return streamable_http_client(url, http_client=client)


def pinned_client(egress: Egress | None, headers: Mapping[str, str]) -> httpx2.AsyncClient:
    """A client whose every request goes to an address that was looked at; None: the operator's."""
    return httpx2.AsyncClient(
        headers=dict(headers),
        transport=_Pinning(egress),
        timeout=httpx2.Timeout(_SECONDS),
        follow_redirects=False,
        trust_env=False,
    )


class _Pinning(httpx2.AsyncHTTPTransport):
    def __init__(self, egress: Egress | None) -> None:
        super().__init__(trust_env=False)
        self._egress = egress

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if self._egress is not None:
            pinned = await self._egress.pin(str(request.url))
            request.url = request.url.copy_with(host=pinned.address)
            request.extensions = {**request.extensions, "sni_hostname": pinned.host}
        response = await super().handle_async_request(request)
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _Bounded(response.stream)
        return response


class _Bounded(httpx2.AsyncByteStream):
    """An answer that ends with an error when it is too long."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream, self._left = stream, _MOST_BYTES

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            self._left -= len(chunk)
            if self._left < 0:
                raise Malformed("answer", f"is longer than {_MOST_BYTES:,} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()

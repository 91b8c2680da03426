"""How is a provider's control API asked: domains, routes, webhooks?

Unlike sending, every one of these calls may be made again. What is not there is a value; every
other answer that is no success is a failure of the tree in `mailagent.errors`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from mailagent.errors import Delivery, PermanentFailure, TransientFailure, UncertainDelivery
from mailagent.providers.api import Answer, Api, wait_of

__all__ = ["Control"]

_FORM = "application/x-www-form-urlencoded"


def _now() -> datetime:
    return datetime.now(UTC)


class Control:
    """One account's control API. Belongs to one event loop; `close` it there."""

    def __init__(
        self,
        name: str,
        api: Api,
        *,
        mends: Mapping[int, str],
        mask: Callable[[str], str] = str,
        now: Callable[[], datetime] = _now,
    ) -> None:
        """`mends` says by status what a person does about a refusal; `mask` takes our own secrets
        out of what the provider says of an address of ours.
        """
        self._name, self._api, self._mends, self._now = name, api, mends, now
        self._mask = mask

    async def get(
        self, path: str, query: Mapping[str, str] | None = None, *, absent: Collection[int] = (404,)
    ) -> Any:
        """What the answer's JSON says; None for a status in `absent`.

        Raises TransientFailure, PermanentFailure.
        """
        answer = await self._api.get(path, query or {})
        if answer.status in absent:
            return None
        if answer.status in (502, 504):
            raise TransientFailure(self._reason(answer), code=str(answer.status))
        return self._read(answer, TransientFailure)

    async def change(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        form: Sequence[tuple[str, str]] | None = None,
        absent: Collection[int] = (),
    ) -> Any:
        """What the answer to a change says, `body` going as JSON; None for a status in `absent`.

        Raises UncertainDelivery too: then the change may have been made.
        """
        if form is not None:
            content, kind = urlencode(form).encode(), _FORM
        elif body is not None:
            content, kind = json.dumps(body).encode(), "application/json"
        else:
            content, kind = b"", ""
        answer = await self._api.change(method, path, content, content_type=kind)
        return None if answer.status in absent else self._read(answer, UncertainDelivery)

    async def post_form(self, path: str, body: bytes, *, content_type: str) -> Any:
        """What the answer to a form says that has a file in it. Raises as `change`."""
        answer = await self._api.post(path, body, content_type=content_type)
        return self._read(answer, UncertainDelivery)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._api.close()

    def _read(self, answer: Answer, unread: type[TransientFailure | UncertainDelivery]) -> Any:
        """`unread` is what a success that cannot be read means."""
        if 200 <= answer.status < 300:
            if not answer.body.strip():
                return {}
            try:
                return json.loads(answer.body)
            except ValueError:
                said = f"{self._name} answered {answer.status} with what is no JSON"
                raise unread(said, code=str(answer.status)) from None
        raise self._failure(answer)

    def _failure(self, answer: Answer) -> Delivery:
        reason, code = self._reason(answer), str(answer.status)
        if answer.status in (408, 429, 500, 503):
            return TransientFailure(reason, code=code, retry_at=wait_of(answer, self._now()))
        if answer.status >= 500:
            return UncertainDelivery(reason, code=code)
        refused = answer.status in (401, 403)
        return PermanentFailure(reason, code=code, about="account", credentials=refused)

    def _reason(self, answer: Answer) -> str:
        mend = self._mends.get(answer.status, "")
        said = self._mask(f"{self._name}: {answer.status} {answer.words()}".strip())
        return f"{said} ({mend})" if mend else said

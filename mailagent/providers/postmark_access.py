"""Who may call Postmark's webhooks, and what is each answer to Postmark?

Postmark signs nothing: it sends the user and password of the webhook's URL (RFC 7617). It tries
again after every status but 403 and 2xx, over some ten hours.
"""

from __future__ import annotations

import base64
import binascii
import hmac

from mailagent.errors import Malformed, Misconfigured, Unauthentic
from mailagent.inbound import Accepted, Duplicate, Replayed, Unrouted
from mailagent.webhook import Answered, WebhookRequest, WebhookSettings

__all__ = ["Access", "answer"]


class Access:
    """The Basic authentication that the operator set."""

    def __init__(self, settings: WebhookSettings) -> None:
        self._user = settings.value("POSTMARK_WEBHOOK_USER")
        self._password = settings.value("POSTMARK_WEBHOOK_PASSWORD")
        self._shared = settings.value("INBOUND_WEBHOOK_SECRET")

    @property
    def missing(self) -> Misconfigured | None:
        """See `Receives.missing`."""
        if self._password or self._shared:
            return None
        return Misconfigured(
            "POSTMARK_WEBHOOK_PASSWORD",
            "is empty: choose one, and write it with POSTMARK_WEBHOOK_USER into the webhook's URL "
            "at Postmark, as https://user:password@…",
        )

    def check(self, request: WebhookRequest) -> None:
        """Pass a request that may speak for Postmark. Raises Unauthentic."""
        if not self._password and request.secret_in_path:
            return
        user, password = _credentials(request.header("authorization"))
        expected = self._password or self._shared
        # Both are compared, whatever the first says: the time tells nothing.
        password_holds = _same(password, expected) and bool(expected)
        user_holds = _same(user, self._user) or not self._user
        if not (password_holds and user_holds):
            raise Unauthentic("the user or password of the webhook's URL is not ours")


def answer(answered: Answered) -> int:
    """The status that makes Postmark do what is meant.

    A wrong password is 401, which Postmark tries again: it may be new here and old there.
    """
    match answered:
        case Accepted() | Duplicate() | Unrouted():
            return 200
        case Unauthentic():
            return 401
        case Malformed() | Replayed():
            return 403
        case _:
            return 503


def _credentials(authorization: str) -> tuple[str, str]:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        user, _, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return "", ""
    return user, password


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())

"""What does a running server say to simulated requests, and where did the mail end?"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import httpx
from sqlalchemy import select

from backend.simulating.post import Mail, Post
from mailagent.errors import Malformed, TransientFailure
from mailagent.store.tables import deliveries, raw_messages
from mailagent.store.transaction import Transaction

__all__ = ["Answer", "arrived", "send"]

_SECONDS = 30.0
_UNROUTED = "nobody here has that address: kept for the operator alone"
_MEANS = {
    200: "the provider takes it as done",
    401: "it was not believed; the provider tries again",
    403: "it was refused for good",
    406: "it was refused for good",
    503: "nothing was kept; the provider tries again",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said to one request."""

    status: int
    said: str
    """The server's own sentence."""

    @property
    def means(self) -> str:
        """What the provider makes of it."""
        if self.status == 200 and self.said == "unrouted":
            return _UNROUTED
        return _MEANS.get(self.status, "no status of a webhook of ours: is this the right address?")


def send(posts: Sequence[Post], base: str) -> list[Answer]:
    """Make the requests, one after the other. Raises Malformed, TransientFailure."""
    with httpx.Client(timeout=_SECONDS, follow_redirects=False, trust_env=False) as client:
        return [_send(client, post, base.rstrip("/")) for post in posts]


def _send(client: httpx.Client, post: Post, base: str) -> Answer:
    # An address outside ASCII goes into a header as UTF-8 (RFC 6532).
    headers = [(name.encode(), value.encode()) for name, value in post.headers.items()]
    try:
        response = client.post(base + post.path, content=post.body, headers=headers)
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise Malformed("--url", "is no address: write it like http://127.0.0.1:8001") from error
    except httpx.HTTPError as error:
        reason = f"{base} does not answer ({type(error).__name__}): is mailagent serve running?"
        raise TransientFailure(reason) from error
    try:
        said = str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        said = ""
    return Answer(response.status_code, said)


def arrived(tx: Transaction, source: str, mail: Mail) -> list[str]:
    """The deliveries of a mail, one for each recipient that is ours; newest first."""
    found = (
        select(deliveries.c.id)
        .join(raw_messages, raw_messages.c.id == deliveries.c.raw_id)
        .where(
            deliveries.c.source == source,
            deliveries.c.recipient.in_(mail.rcpt_to),
            raw_messages.c.sha256 == hashlib.sha256(mail.raw).hexdigest(),
        )
        .order_by(deliveries.c.received_at.desc(), deliveries.c.id)
        .limit(len(mail.rcpt_to))
    )
    return [row.id for row in tx.rows(found)]

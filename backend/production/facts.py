"""What does this installation know of itself: accounts, its key, and what it has seen lately?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Select, func, select
from sqlalchemy.exc import SQLAlchemyError

from backend.installation import webhook_settings
from backend.outbound.accounts_environment import of_environment
from mailagent.errors import MailagentError
from mailagent.flow import warm_ups
from mailagent.flow.accounts import Described, describe, standings
from mailagent.mail import EventKind
from mailagent.providers import receivers
from mailagent.providers.account import Account
from mailagent.providers.fetch import https_get
from mailagent.settings import Settings
from mailagent.store import provider_accounts
from mailagent.store.engine import Store
from mailagent.store.tables import deliveries, events, signing_keys
from mailagent.store.transaction import Transaction
from mailagent.tokens import Secrets

__all__ = ["Facts", "gather"]

_BOUNCES = (EventKind.BOUNCED_HARD, EventKind.BOUNCED_SOFT)
_LAST: Mapping[str, Select[tuple[datetime | None]]] = {
    "bounce": select(func.max(events.c.at)).where(events.c.kind.in_(_BOUNCES)),
    "complaint": select(func.max(events.c.at)).where(events.c.kind == EventKind.COMPLAINED),
    "webhook": select(func.max(deliveries.c.received_at)).where(
        deliveries.c.source.not_in(["smtp", "local"])
    ),
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What the checklist goes by, beside what DNS answers."""

    settings: Settings
    accounts: tuple[Account, ...] = ()
    """Those that may carry mail now, in order."""
    selector: str = ""
    key_record: str = ""
    """Of the key that signs for the default domain; empty where there is none."""
    last: Mapping[str, datetime | None] = field(default_factory=dict)
    """When a `bounce`, a `complaint` and mail by `webhook` last came; absent is not known."""
    webhooks: tuple[str, ...] = ()
    """Providers whose webhooks are authenticated here."""
    trouble: str = ""
    """Why the database told nothing."""

    @property
    def kinds(self) -> frozenset[str]:
        """By which kinds of account mail leaves."""
        return frozenset(one.kind for one in self.accounts)


def gather(settings: Settings) -> Facts:
    """Read it, from a thread. Never raises: what the database does not tell is `trouble`."""
    given = webhook_settings(settings)
    vouched = bool(given.value("INBOUND_WEBHOOK_SECRET"))
    served = receivers(given, https_get)
    webhooks = tuple(sorted(kind for kind, one in served.items() if vouched or one.missing is None))
    environment = of_environment(given.values)
    try:
        secrets = Secrets(settings.secret_keys())
        store = Store(settings.database)
    except (MailagentError, SQLAlchemyError) as error:
        return Facts(settings, environment.accounts, webhooks=webhooks, trouble=str(error))
    try:
        described, key, last = store.read_now(
            None, _read, secrets, environment.accounts, environment.first, settings
        )
    except SQLAlchemyError as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        return Facts(settings, environment.accounts, webhooks=webhooks, trouble=reason)
    finally:
        store.close()
    usable = tuple(one.account for one in described if one.status in ("active", "resting"))
    return Facts(settings, usable, *key, last=last, webhooks=webhooks)


def _read(
    tx: Transaction,
    secrets: Secrets,
    environment: Sequence[Account],
    first: Sequence[str],
    settings: Settings,
) -> tuple[Sequence[Described], tuple[str, str], Mapping[str, datetime | None]]:
    described = describe(
        provider_accounts.stored(tx),
        standings(tx),
        secrets,
        environment=environment,
        first=first,
        default_domain=settings.default_email_domain,
        now=tx.now,
        warming=warm_ups.going_on(tx),
    )
    newest = tx.row(
        select(signing_keys.c.selector, signing_keys.c.public_record)
        .where(signing_keys.c.domain == settings.default_email_domain)
        .order_by(signing_keys.c.created_at.desc())
        .limit(1)
    )
    key = (newest.selector, newest.public_record) if newest else ("", "")
    return described, key, {name: tx.value(asked) for name, asked in _LAST.items()}

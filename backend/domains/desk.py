"""What does the domain service work with? Made of settings, handed to workers, API and commands."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property, partial

from backend.domains.carriers import Installed
from backend.domains.patience import LONGEST_LOOK, Patience
from backend.domains.record import DomainRecord
from backend.domains.spf_merge import SpfMerge, merge
from backend.domains.verify import Verdict, verify
from backend.domains.views import Evidence, Needs
from backend.domains.zone_servers import Address, Zone, ZoneServers
from backend.installation import webhook_settings
from backend.outbound.accounts_environment import FromEnvironment, of_environment
from mailagent.dns_answers import Answer, Question, Unknown
from mailagent.errors import NotFound, TransientFailure
from mailagent.flow import accounts as standing_of
from mailagent.flow.accounts import describe
from mailagent.flow.services import FlowSettings
from mailagent.identity import Identity
from mailagent.providers.account import House
from mailagent.resolver import Resolver
from mailagent.settings import Settings
from mailagent.store import provider_accounts
from mailagent.store.engine import Store
from mailagent.store.transaction import Transaction
from mailagent.tokens import Secrets

__all__ = ["Desk"]

_ROUNDS = 20
"""More than the deepest SPF tree that may be followed."""


@dataclass(frozen=True)
class Desk:
    """The installation, as the domain service sees it. Belongs to one event loop."""

    store: Store
    secrets: Secrets
    settings: Settings
    flow: FlowSettings
    addresses_of: Callable[[str], Awaitable[Sequence[Address]]] | None = None
    """Where a name server is asked; None: at the addresses DNS has for it, port 53."""
    longest_look: timedelta = LONGEST_LOOK
    """What DNS has not answered by then is unknown."""
    environment: FromEnvironment = field(init=False)

    def __post_init__(self) -> None:
        given = of_environment(webhook_settings(self.settings).values)
        object.__setattr__(self, "environment", given)

    @cached_property
    def resolver(self) -> Resolver:
        """Remembers nothing: who has just mended a record must not be shown an old answer."""
        return Resolver(self.settings.mailagent_resolver or None, remembered=0)

    @cached_property
    def zone_servers(self) -> ZoneServers:
        """The servers that are asked beside it."""
        return ZoneServers(self.resolver, self.addresses_of)

    def installed(self, tx: Transaction) -> Installed:
        """The accounts and names of this moment."""
        found = describe(
            provider_accounts.stored(tx),
            standing_of.standings(tx),
            self.secrets,
            environment=self.environment.accounts,
            first=self.environment.first,
            default_domain=self.flow.default_domain,
            now=tx.now,
            warming={},
        )
        return Installed(
            default_domain=self.flow.default_domain,
            hostname=self.settings.mailagent_hostname,
            public_ips=self.settings.public_ips,
            accounts=tuple(one.account for one in found),
        )

    async def judged(
        self,
        records: Sequence[DomainRecord],
        zone: Zone | None,
        identities: Mapping[str, Identity],
        *,
        was_verified: bool = False,
        patience: Patience | None = None,
    ) -> Verdict:
        """The verdict on a set, with every answer of DNS that it needs.

        Where none of the zone's servers is reached, as behind a network that lets no packet out to
        port 53, the resolver's word is taken alone, but not to take down what `was_verified`.
        `patience` is that of a look which has begun before.
        """
        patience = patience or Patience.of(self.longest_look)
        recursive: dict[Question, Answer] = {}
        bogus: dict[str, str] = {}
        nothing: dict[str, str] = {}
        own: dict[Question, Answer] | None = None if zone is None else {}
        for _ in range(_ROUNDS):
            verdict = verify(records, Evidence(recursive, own, bogus), identities)
            if isinstance(verdict, Verdict):
                return verdict
            told, said = await asyncio.gather(
                patience.answers(self.resolver.ask, verdict.recursive),
                self._said(zone, verdict, patience),
            )
            recursive.update(told)
            bogus.update(await patience.within(partial(self._bogus, told, bogus), nothing))
            if own is not None:
                own.update(said)
                if not was_verified and all(isinstance(one, Unknown) for one in own.values()):
                    own = None
        raise AssertionError(f"no verdict after {_ROUNDS} rounds of questions")

    async def merged_spf(self, records: Sequence[DomainRecord]) -> SpfMerge:
        """The one SPF record to publish, of what stands there and what the set asks for.

        Raises NotFound for a set without SPF, TransientFailure when DNS does not tell what stands.
        """
        wanted = next((each for each in records if each.kind == "spf"), None)
        if wanted is None:
            raise NotFound("this domain asks for no SPF record")
        terms = [term for term in wanted.record.value.split()[1:] if term[-3:].lower() != "all"]
        answers: dict[Question, Answer] = {}
        for _ in range(_ROUNDS):
            told = merge(wanted.name, terms, answers)
            if isinstance(told, SpfMerge):
                return told
            if isinstance(told, Unknown):
                raise TransientFailure(f"DNS of {wanted.name} cannot be asked: {told.reason}")
            answers.update(await self.resolver.ask_all(told.recursive))
        raise AssertionError(f"no SPF record after {_ROUNDS} rounds of questions")

    async def _bogus(
        self, told: Mapping[Question, Answer], known: Mapping[str, str]
    ) -> dict[str, str]:
        """Of the names that failed, those whose DNSSEC is why."""
        failed = {
            question.name: question
            for question, answer in told.items()
            if isinstance(answer, Unknown) and "SERVFAIL" in answer.reason
        }
        asked = [question for name, question in failed.items() if name not in known]
        reasons = await asyncio.gather(*map(self.resolver.bogus, asked))
        return {
            question.name: reason for question, reason in zip(asked, reasons, strict=True) if reason
        }

    async def _said(
        self, zone: Zone | None, needs: Needs, patience: Patience
    ) -> dict[Question, Answer]:
        if zone is None:
            return {}
        return await patience.answers(partial(self.zone_servers.ask, zone), needs.authoritative)

    @property
    def house(self) -> House:
        """What a provider must be told of us before it brings mail here."""
        url = self.settings.webhook_public_url or self.settings.public_url
        return House(self.flow.default_domain, url.rstrip("/"), webhook_settings(self.settings))

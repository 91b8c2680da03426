"""Who may look at the accounts that carry everybody's mail, or change them?

async def list_providers(operator: Operator = READER)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request

from backend.access.dependencies import Access, authenticated, services_of, settings_of
from backend.access.principal import Principal
from backend.installation import webhook_settings
from backend.outbound import accounts
from backend.outbound.accounts import Overview
from backend.outbound.accounts_environment import FromEnvironment, of_environment
from mailagent.store.transaction import Transaction
from mailagent.tokens import Secrets

__all__ = ["MANAGER", "READER", "Operator"]


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator's key or person, and what accounts are read by."""

    access: Access
    environment: FromEnvironment

    @property
    def known(self) -> tuple[Secrets, FromEnvironment, str]:
        """The further arguments of `accounts.overview` and `accounts.find`."""
        services = self.access.services
        return services.secrets, self.environment, services.settings.default_domain

    def find(self, tx: Transaction, name: str) -> Overview:
        """One account. Raises NotFound."""
        return accounts.find(tx, name, *self.known)


def _operator(permission: str) -> Any:
    def dependency(request: Request, principal: Annotated[Principal, authenticated()]) -> Operator:
        access = Access(principal, principal.demand_operator(permission), services_of(request))
        return Operator(access, of_environment(webhook_settings(settings_of(request)).values))

    return Depends(dependency)


READER, MANAGER = _operator("provider.read"), _operator("provider.manage")

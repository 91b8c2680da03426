"""API: the provider accounts that carry everybody's mail; for the operator's keys and people."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, Request

from backend.access.dependencies import settings_of
from backend.domains import infrastructure
from backend.idempotency import Answer, Once
from backend.installation import make_signing_key, webhook_settings
from backend.outbound import accounts, accounts_probe, provisioning
from backend.outbound.account_schemas import (
    AccountChange,
    AccountIn,
    AccountOut,
    PauseIn,
    ProbeOut,
    SetUpIn,
    SetUpOut,
)
from backend.outbound.accounts import Limits, Overview
from backend.outbound.operator import MANAGER, READER, Operator
from mailagent.errors import Malformed
from mailagent.store.transaction import Transaction

__all__ = ["router"]

router = APIRouter(prefix="/email-infrastructure/providers", tags=["email infrastructure"])


@router.get("", response_model=list[AccountOut])
async def list_providers(operator: Operator = READER) -> Sequence[Overview]:
    """Every account in the order of preference, how it stands and how well it does."""
    store = operator.access.services.store
    return await store.read_unscoped(accounts.overview, *operator.known)


@router.post("", response_model=AccountOut, status_code=201)
async def add_provider(
    body: AccountIn, once: Once, operator: Operator = MANAGER
) -> Answer[Overview]:
    """Add an account. Its settings are encrypted and never shown again."""
    services = operator.access.services
    if body.kind == "smtp":
        await make_signing_key(services.store, services.secrets, services.settings.default_domain)
    return await once.write_unscoped(operator.access, _add, operator, body)


def _add(tx: Transaction, operator: Operator, body: AccountIn) -> Overview:
    secrets = operator.access.services.secrets
    name = accounts.add(tx, secrets, body.kind, body.settings, name=body.name)
    return operator.find(tx, name)


@router.get("/{name}", response_model=AccountOut)
async def get_provider(name: str, operator: Operator = READER) -> Overview:
    """One account."""
    return await operator.access.services.store.read_unscoped(_find, operator, name)


@router.patch("/{name}", response_model=AccountOut)
async def change_provider(name: str, body: AccountChange, operator: Operator = MANAGER) -> Overview:
    """Change what an account may be used for, one of the environment too."""
    return await operator.access.services.store.write_unscoped(_change, operator, name, body)


@router.post("/{name}/pause", response_model=AccountOut)
async def pause_provider(name: str, body: PauseIn, operator: Operator = MANAGER) -> Overview:
    """Let nothing leave by an account until it is resumed."""
    return await operator.access.services.store.write_unscoped(_pause, operator, name, body.reason)


@router.post("/{name}/resume", response_model=AccountOut)
async def resume_provider(name: str, operator: Operator = MANAGER) -> Overview:
    """Use an account at once, whether a person paused it, the provider rejected it, or it rests."""
    return await operator.access.services.store.write_unscoped(_resume, operator, name)


@router.post("/{name}/test", response_model=ProbeOut)
async def probe_provider(name: str, operator: Operator = MANAGER) -> accounts_probe.Probe:
    """Ask the provider whether the credentials are good; sends nothing."""
    services = operator.access.services
    account = await services.store.read_unscoped(
        accounts.opened, name, services.secrets, operator.environment
    )
    return await accounts_probe.probe(account)


@router.post("/{name}/setup", response_model=SetUpOut)
async def set_up_provider(
    name: str, body: SetUpIn, request: Request, operator: Operator = MANAGER
) -> provisioning.Report:
    """Make at the provider what should stand there; to ask twice makes nothing twice."""
    return await _carry_out(name, request, operator, "plan" if body.plan else "make")


@router.post("/{name}/check", response_model=SetUpOut)
async def check_provider(
    name: str, request: Request, operator: Operator = MANAGER
) -> provisioning.Report:
    """Compare what stands at the provider with what should; changes nothing."""
    return await _carry_out(name, request, operator, "check")


@router.delete("/{name}", status_code=204)
async def remove_provider(name: str, operator: Operator = MANAGER) -> None:
    """Forget an account and its credentials."""
    await operator.access.services.store.write_unscoped(accounts.remove, name)


async def _carry_out(
    name: str, request: Request, operator: Operator, mode: provisioning.Mode
) -> provisioning.Report:
    services, settings = operator.access.services, settings_of(request)
    account = await services.store.read_unscoped(
        accounts.opened, name, services.secrets, operator.environment
    )
    here = await services.store.read_unscoped(
        provisioning.house,
        settings.default_email_domain,
        settings.webhook_public_url or settings.public_url,
        webhook_settings(settings),
    )
    report = await provisioning.carry_out(account, here, mode)
    if report is None:
        raise Malformed("name", f"{account.kind} has nothing to set up at a provider")
    if mode != "plan":
        # Only it knows its DKIM records of the default domain: our zone has them from here.
        await infrastructure.ask(request.app.state.domains, {name})
    return report


def _find(tx: Transaction, operator: Operator, name: str) -> Overview:
    return operator.find(tx, name)


def _change(tx: Transaction, operator: Operator, name: str, body: AccountChange) -> Overview:
    operator.find(tx, name)
    accounts.limit(tx, name, Limits(body.priority, body.sends_for, body.quotas))
    return operator.find(tx, name)


def _pause(tx: Transaction, operator: Operator, name: str, reason: str) -> Overview:
    operator.find(tx, name)
    accounts.pause(tx, name, reason)
    return operator.find(tx, name)


def _resume(tx: Transaction, operator: Operator, name: str) -> Overview:
    operator.find(tx, name)
    accounts.resume(tx, name)
    return operator.find(tx, name)

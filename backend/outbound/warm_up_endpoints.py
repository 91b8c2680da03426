"""API: warm-ups of domains at accounts; for the operator's keys and people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query

from backend.idempotency import Answer, Once
from backend.outbound import warm_ups
from backend.outbound.account_schemas import PauseIn, WarmUpIn, WarmUpOut
from backend.outbound.operator import MANAGER, READER, Operator
from backend.outbound.warm_ups import Progress
from mailagent.store.transaction import Transaction

__all__ = ["router"]

router = APIRouter(prefix="/email-infrastructure/warm-ups", tags=["email infrastructure"])


@router.get("", response_model=list[WarmUpOut])
async def list_warm_ups(
    account: Annotated[str | None, Query(max_length=64)] = None, operator: Operator = READER
) -> Sequence[Progress]:
    """Every warm-up with its rates, those that are over too."""
    return await operator.access.services.store.read_unscoped(warm_ups.overview, account)


@router.post("", response_model=WarmUpOut, status_code=201)
async def start_warm_up(
    body: WarmUpIn, once: Once, operator: Operator = MANAGER
) -> Answer[Progress]:
    """Let ever more leave each day, beginning with 50 recipients."""
    return await once.write_unscoped(operator.access, _start, operator, body)


@router.post("/{account}/{domain}/pause", response_model=WarmUpOut)
async def pause_warm_up(
    account: str, domain: str, body: PauseIn, once: Once, operator: Operator = MANAGER
) -> Answer[Progress]:
    """Let nothing leave for the domain by the account until it is resumed."""
    return await once.write_unscoped(operator.access, warm_ups.pause, account, domain, body.reason)


@router.post("/{account}/{domain}/resume", response_model=WarmUpOut)
async def resume_warm_up(
    account: str, domain: str, once: Once, operator: Operator = MANAGER
) -> Answer[Progress]:
    """Go on where it stopped; what was before is judged no more."""
    return await once.write_unscoped(operator.access, warm_ups.resume, account, domain)


@router.delete("/{account}/{domain}", status_code=204)
async def stop_warm_up(account: str, domain: str, operator: Operator = MANAGER) -> None:
    """Forget it: the account's quotas alone hold from now on."""
    await operator.access.services.store.write_unscoped(warm_ups.stop, account, domain)


def _start(tx: Transaction, operator: Operator, body: WarmUpIn) -> Progress:
    account, default = operator.find(tx, body.account).name, operator.known[2]
    return warm_ups.start(tx, account, body.domain, body.days, default_domain=default)

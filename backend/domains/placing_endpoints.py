"""API: what the person who keeps a domain's DNS types, and what they have typed wrong.

Every path is there twice, as those of `backend.domains.endpoints`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import APIRouter, Request

from backend.access.dependencies import Access, require, require_in_own
from backend.domains import placing
from backend.domains.comparing import Difference
from backend.domains.endpoints import desk_of
from backend.domains.placing_schemas import DifferenceOut, InstructionsOut, SpfOut
from backend.domains.spf_merge import SpfMerge
from mailagent.errors import Malformed

__all__ = ["router"]

router = APIRouter(tags=["domains"])

_EXPORT: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"text/plain": {"schema": {"type": "string"}}}}
}


def _routes(prefix: str, of: Callable[[str], Any], suffix: str) -> None:
    one = f"{prefix}/{{domain}}"

    @router.get(
        f"{one}/instructions", response_model=InstructionsOut, name=f"domain_instructions{suffix}"
    )
    async def get_instructions(
        request: Request, domain: str, access: Access = of("domain.read")
    ) -> InstructionsOut:
        """The records field by field, as the DNS host seen in the NS records asks for them."""
        told = await placing.at_host(desk_of(request), access.workspace_id, domain)
        return InstructionsOut.of(told)

    @router.get(f"{one}/spf", response_model=SpfOut, name=f"domain_spf{suffix}")
    async def get_spf(
        request: Request, domain: str, access: Access = of("domain.read")
    ) -> SpfMerge:
        """The one SPF record to publish: what stands there, with what the domain needs merged in.
        404 for a domain that asks for none; 503 when DNS does not tell what stands."""
        return await placing.merged_spf(desk_of(request), access.workspace_id, domain)

    @router.post(
        f"{one}/compare",
        response_model=list[DifferenceOut],
        name=f"compare_domain{suffix}",
        openapi_extra=_EXPORT,
    )
    async def compare_domain(
        request: Request, domain: str, access: Access = of("domain.read")
    ) -> Sequence[Difference]:
        """Compare what a DNS host exports (a zone file or CSV, as text) with the records, and mark
        each difference. Changes nothing."""
        try:
            export = (await request.body()).decode()
        except UnicodeDecodeError as error:
            raise Malformed("body", "is no text in UTF-8") from error
        return await placing.compared(desk_of(request), access.workspace_id, domain, export)


_routes("/workspaces/{ws}/domains", require, "")
_routes("/domains", require_in_own, "_of_key")

"""A node that loses patience with a relay soon, and whose sandbox runs hostile jobs.

    python -m tests.faults.node '{…, "asked": {"patience_seconds": 1, "hostile_mail": true}}'

Each is what the real node has, with other values or one more job: nothing of it is imitated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from backend.installation import Installation
from bench.node import main
from mailagent.outbound import AccountState
from mailagent.providers import SigningKey
from mailagent.providers.relay import Relay
from mailagent.providers.smtp import Smtp, Timeouts
from mailagent.sandbox import JsonValue, Sandbox
from tests.faults import hostile_jobs

_READ = "mailagent.reading:read"


class HostileSandbox(Sandbox):
    """The sandbox, where a mail may do what its subject says while it is read."""

    async def run(
        self,
        job: str,
        blob: bytes,
        arguments: Mapping[str, JsonValue],
        *,
        deadline: timedelta | None = None,
    ) -> bytes:
        if job == _READ:
            job = f"{hostile_jobs.__name__}:read"
            if hostile_jobs.deed(blob) is hostile_jobs.hang:
                deadline = timedelta(seconds=1)
        return await super().run(job, blob, arguments, deadline=deadline)


def change(shared: Installation, asked: Mapping[str, Any]) -> Installation:
    """The installation with what is asked for."""
    services = shared.services
    if patience := asked.get("patience_seconds"):
        services = replace(
            services,
            accounts={**services.accounts, "smtp": _impatient(shared, patience)},
            # What one hand-over comes to is looked at: the account never rests after several.
            account_states=(AccountState("smtp"),),
        )
    if asked.get("hostile_mail"):
        sandbox = HostileSandbox(
            allowed=("mailagent.reading", hostile_jobs.__name__), memory_bytes=512 * 1024 * 1024
        )
        services = replace(services, sandbox=sandbox)
    return replace(shared, services=services)


def _impatient(shared: Installation, seconds: float) -> Smtp:
    url = shared.settings.smtp_relay_url
    assert url is not None
    limit = timedelta(seconds=seconds)
    return Smtp(
        Relay.parse(url.get_secret_value()),
        hostname=shared.settings.mailagent_hostname,
        signing_key=_unsigned,
        timeouts=Timeouts(connect=limit, command=limit, content=limit),
    )


async def _unsigned(_: str) -> SigningKey | None:
    return None


if __name__ == "__main__":
    main(change)

"""The cases of a relay that speaks SMTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Literal

from mailagent.providers.relay import Relay
from mailagent.providers.smtp import Smtp, Timeouts
from tests.contract.cases import NOW, AtWork, Failure, seen
from tests.contract.far_side import unsigned, unused_port, waits_in_vain
from tests.smtp_sink import Behaviour, Fault, Sink

__all__ = ["SENDS"]

_SHORT = Timeouts(*(timedelta(seconds=0.3),) * 3)
_LONG = Timeouts(*(timedelta(seconds=10),) * 3)
_SCRIPTS: Mapping[Failure, Mapping[str, Behaviour]] = {
    Failure.REFUSED: {"RCPT": "550 5.1.1 no such user"},
    Failure.REFUSED_ACCOUNT: {"AUTH": "535 5.7.8 wrong password"},
    Failure.THROTTLED: {"MAIL": "451 4.7.1 too many, come again"},
    Failure.FAILING: {"CONTENT": "451 4.3.0 the disk is full"},
    Failure.DEAF: {"CONNECT": Fault.HANG},
    Failure.SILENT: {"CONTENT": Fault.HANG},
    Failure.RESET: {"CONTENT": Fault.RESET},
}


class _Sends:
    secrets = ("hunter2-of-the-relay",)
    reaches: Literal["another host"] = "another host"
    names_wait = False

    @asynccontextmanager
    async def at_work(self, failure: Failure | None = None) -> AsyncIterator[AtWork]:
        users = {"acme": self.secrets[0]}
        async with Sink(script=_SCRIPTS.get(failure, {}) if failure else {}, users=users) as sink:
            port = unused_port() if failure is Failure.UNREACHABLE else sink.port
            url = f"smtp://acme:{self.secrets[0]}@127.0.0.1:{port}?tls=none"
            account = Smtp(
                Relay.parse(url),
                hostname="mail.acme.example",
                signing_key=unsigned,
                timeouts=_SHORT if waits_in_vain(failure) else _LONG,
                now=lambda: NOW,
            )
            try:
                yield AtWork(account, lambda: [seen(one.content) for one in sink.taken])
            finally:
                await account.close()


SENDS = _Sends()

"""How do the secondaries learn that the zone has changed? NOTIFY (RFC 1996)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.tsig
import structlog
from dns.rdatatype import RdataType

from backend.domains.zone import Zone

__all__ = ["Notifier", "notify"]

_ANSWER_SECONDS = 2.0
_WAITS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
"""Seconds before each try; a secondary that is away longer asks by itself (the SOA's refresh)."""

log = structlog.get_logger()


class Notifier:
    """Tells each secondary of the newest serial, until it has answered."""

    def __init__(
        self,
        secondaries: Sequence[tuple[str, int]],
        key: dns.tsig.Key | None,
        zone: Callable[[], Zone],
    ) -> None:
        self._secondaries, self._key, self._zone = secondaries, key, zone
        self._telling: dict[tuple[str, int], asyncio.Task[None]] = {}

    def tell_all(self) -> None:
        """Begin to tell every secondary; what was still being told is overtaken."""
        for secondary in self._secondaries:
            if earlier := self._telling.get(secondary):
                earlier.cancel()
            self._telling[secondary] = asyncio.create_task(self._tell(secondary))

    async def close(self) -> None:
        """Tell nobody any more."""
        for task in self._telling.values():
            task.cancel()
        await asyncio.gather(*self._telling.values(), return_exceptions=True)

    async def _tell(self, secondary: tuple[str, int]) -> None:
        serial, said = self._zone().serial, ""
        for wait in _WAITS:
            await asyncio.sleep(wait)
            try:
                said = await notify(self._zone(), secondary, self._key)
            except (dns.exception.DNSException, OSError, EOFError) as error:
                said = f"{type(error).__name__}: {error}"
            if said == "NOERROR":
                log.info("dns.notified", secondary=secondary[0], serial=serial)
                return
        log.warning("dns.notify_failed", secondary=secondary[0], serial=serial, said=said[:300])


async def notify(zone: Zone, secondary: tuple[str, int], key: dns.tsig.Key | None) -> str:
    """Tell one secondary of the zone's serial; the code it answers.

    Raises DNSException, OSError or EOFError when none comes within two seconds.
    """
    message = dns.message.make_query(zone.origin, RdataType.SOA)
    message.set_opcode(dns.opcode.NOTIFY)
    message.flags = (message.flags & ~dns.flags.RD) | dns.flags.AA
    message.answer = [zone.soa]
    if key is not None:
        message.use_tsig(key)
    address, port = secondary
    answer = await dns.asyncquery.udp(message, address, timeout=_ANSWER_SECONDS, port=port)
    return dns.rcode.to_text(answer.rcode())

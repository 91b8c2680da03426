"""What does DNS say? Three answers: found, absent, unknown.

`Unknown` (SERVFAIL, time-out, no network) is never taken for `Absent`: it neither verifies nor
demotes anything. No DNS trouble is raised; only a wrong setting is (`Misconfigured`).
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import timedelta
from ipaddress import ip_address
from urllib.parse import urlsplit

import dns.asyncquery
import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdata
import dns.rdtypes.ANY.MX
import dns.rdtypes.nsbase
import dns.rdtypes.txtbase
import dns.resolver

from mailagent.dns_answers import Absent, Answer, Found, Question, Unknown, ascii_name
from mailagent.errors import Misconfigured

__all__ = ["Resolver", "text_of"]

_SETTING = "MAILAGENT_RESOLVER"
# A day-old record is a surprise to whoever changed it an hour ago; a short negative answer lets
# "I have added the record, check again" come true within the minute.
_LONGEST_FOUND_SECONDS = 3600.0
_LONGEST_ABSENT_SECONDS = 60.0
_UNKNOWN_SECONDS = 3.0


class Resolver:
    """Asks one recursive resolver, at most `at_once` questions at a time, and remembers answers.

    `address` is `host`, `host:port`, `[v6]:port` or an `https://` URL (RFC 8484); None takes the
    system's. `attempt` bounds one packet's wait, `lifetime` a whole question. An instance belongs
    to one event loop. Raises Misconfigured for an address that cannot be used.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        attempt: timedelta = timedelta(seconds=2),
        lifetime: timedelta = timedelta(seconds=6),
        at_once: int = 50,
        remembered: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._resolver = _configured(address)
        self._resolver.timeout = attempt.total_seconds()
        self._resolver.lifetime = lifetime.total_seconds()
        # One socket a question: some hundreds at once and a resolver drops packets.
        self._slots = asyncio.Semaphore(at_once)
        self._remembered = remembered
        self._clock = clock
        self._cache: OrderedDict[Question, tuple[float, Answer]] = OrderedDict()
        self._running: dict[Question, asyncio.Task[Answer]] = {}

    async def ask(self, question: Question) -> Answer:
        """Answer one question; the same question asked meanwhile waits for the same answer."""
        cached = self._cache.get(question)
        if cached is not None and cached[0] > self._clock():
            self._cache.move_to_end(question)
            return cached[1]
        task = self._running.get(question)
        if task is None:
            task = asyncio.create_task(self._look_up(question))
            self._running[question] = task
            task.add_done_callback(lambda _: self._running.pop(question, None))
        # Shielded: who stops waiting must not take the answer from the others who wait.
        return await asyncio.shield(task)

    async def ask_all(self, questions: Iterable[Question]) -> dict[Question, Answer]:
        """Answer many questions at once."""
        distinct = list(dict.fromkeys(questions))
        answers = await asyncio.gather(*map(self.ask, distinct))
        return dict(zip(distinct, answers, strict=True))

    async def bogus(self, question: Question) -> str:
        """Why DNSSEC makes the resolver fail on a question that it answers when it is told not to
        check (RFC 4035 §3.2.2); empty where that is not why, or cannot be told.
        """
        name = ascii_name(question.name)
        server = self._resolver.nameservers[0] if self._resolver.nameservers else None
        if name is None or not isinstance(server, str) or server.startswith("https://"):
            return ""
        checked = dns.message.make_query(_wire_name(name), question.type, use_edns=0)
        unchecked = dns.message.make_query(_wire_name(name), question.type, use_edns=0)
        unchecked.flags |= dns.flags.CD
        said: list[dns.message.Message] = []
        for query in (checked, unchecked):
            try:
                async with self._slots:
                    response, _ = await dns.asyncquery.udp_with_fallback(
                        query, server, timeout=self._resolver.timeout, port=self._resolver.port
                    )
            except (dns.exception.DNSException, OSError, EOFError):
                return ""
            said.append(response)
        failed = said[0].rcode() == dns.rcode.SERVFAIL
        if not failed or said[1].rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            return ""
        # RFC 8914 §4.7 to §4.13: what is wrong with the signatures.
        told = [error for error in said[0].extended_errors() if 6 <= error.code <= 12]
        words = [error.text or error.code.name.lower().replace("_", " ") for error in told]
        return "; ".join(words) or "it answers only unchecked"

    async def _look_up(self, question: Question) -> Answer:
        name = ascii_name(question.name)
        if name is None:
            return Absent(nxdomain=True)
        async with self._slots:
            answer, seconds = await self._query(_wire_name(name), question.type)
        if seconds > 0:
            self._cache[question] = (self._clock() + seconds, answer)
            self._cache.move_to_end(question)
            while len(self._cache) > self._remembered:
                self._cache.popitem(last=False)
        return answer

    async def _query(self, name: dns.name.Name, type_: str) -> tuple[Answer, float]:
        """Return an answer and for how many seconds it may be remembered."""
        try:
            got = await self._resolver.resolve(name, type_, raise_on_no_answer=False, search=False)
        except dns.resolver.NXDOMAIN as absent:
            response: dns.message.Message = absent.response(name)  # type: ignore[no-untyped-call]
            return Absent(nxdomain=True), min(_ttl(response), _LONGEST_ABSENT_SECONDS)
        except dns.exception.Timeout:
            return Unknown("DNS did not answer in time"), _UNKNOWN_SECONDS
        except dns.resolver.NoNameservers as failed:
            return Unknown(f"DNS failed: {_rcode(failed)}"), _UNKNOWN_SECONDS
        except (dns.exception.DNSException, OSError, EOFError) as failed:
            return Unknown(f"DNS failed: {type(failed).__name__}"), _UNKNOWN_SECONDS
        if not got.rrset:
            return Absent(nxdomain=False), min(_ttl(got.response), _LONGEST_ABSENT_SECONDS)
        records = tuple(text_of(rdata) for rdata in got.rrset)
        return Found(records), min(_ttl(got.response), _LONGEST_FOUND_SECONDS)


def _configured(address: str | None) -> dns.asyncresolver.Resolver:
    if address is None:
        try:
            return dns.asyncresolver.Resolver()
        except dns.exception.DNSException as unreadable:
            problem = f"the system names no resolver ({unreadable}): set it to host:port"
            raise Misconfigured(_SETTING, problem) from unreadable
    resolver = dns.asyncresolver.Resolver(configure=False)
    if address.startswith("https://"):
        if not dns.query.have_doh:
            raise Misconfigured(_SETTING, "https:// needs dnspython[doh]; take a host:port instead")
        resolver.nameservers = [address]
        return resolver
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname, parts.port or 53
    except ValueError as refused:
        raise Misconfigured(_SETTING, f"{address!r} is not host:port") from refused
    if not host or parts.path or parts.query or parts.username is not None:
        raise Misconfigured(_SETTING, f"{address!r} is not host, host:port or an https:// URL")
    resolver.nameservers = [_ip(host)]
    resolver.port = port
    return resolver


def _ip(host: str) -> str:
    """The address of the resolver itself; a name is looked up once, by the system, at start."""
    try:
        return str(ip_address(host))
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except OSError as refused:
        raise Misconfigured(_SETTING, f"no address is known for {host!r}") from refused
    return str(found[0][4][0])


def _wire_name(name: str) -> dns.name.Name:
    # Not from_text: it would read the escapes and quotes of master files into a sender's name.
    return dns.name.Name([*(label.encode("ascii") for label in name.split(".")), b""])


def _ttl(response: dns.message.Message) -> float:
    """Seconds an answer lives; for a negative one that is the SOA's minimum (RFC 2308 §5)."""
    if not isinstance(response, dns.message.QueryMessage):
        return 0.0
    try:
        return float(response.resolve_chaining().minimum_ttl)
    except dns.exception.DNSException:
        return 0.0


def _rcode(failed: dns.resolver.NoNameservers) -> str:
    said = {str(error[3]) for error in failed.kwargs.get("errors", ())}
    return ", ".join(sorted(said))[:200] or "no resolver answered"


def text_of(rdata: dns.rdata.Rdata) -> str:
    """A record as `Found` has it."""
    match rdata:
        case dns.rdtypes.txtbase.TXTBase(strings=strings):
            octets = b"".join(strings)
            try:
                return octets.decode("utf-8")
            except UnicodeDecodeError:
                return octets.decode("latin-1")
        case dns.rdtypes.ANY.MX.MX(preference=preference, exchange=exchange):
            return f"{preference} {_plain(exchange)}"
        case dns.rdtypes.nsbase.NSBase(target=target):  # NS, CNAME and PTR
            return _plain(target)
        case _:
            return rdata.to_text()


def _plain(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()

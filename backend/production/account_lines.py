"""Is what each account that carries mail wants of the default domain there?"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

from backend.outbound.accounts_probe import Probe
from backend.production.line import Line, unknown
from mailagent.dns_answers import Absent, Found, Question, Unknown
from mailagent.errors import MailagentError, NotFound
from mailagent.identity import DnsRecord, Identity
from mailagent.providers.account import Account
from mailagent.resolver import Resolver

__all__ = ["Ask", "Identify", "of_account", "published"]

Identify = Callable[[Account, str], Awaitable[Identity | None]]
"""What a provider knows of a domain; raises as `accounts_probe.identified`."""
Ask = Callable[[Account], Awaitable[Probe]]


async def of_account(
    account: Account, default: str, resolver: Resolver, identify: Identify, ask: Ask
) -> AsyncIterator[Line]:
    """What a provider wants published, and whether it has verified the default domain."""
    name = f"records of {account.name}"
    if account.kind == "smtp":
        return  # its records are the lines above
    if account.kind == "ses":
        yield await _production_access(account, ask)
    try:
        identity = await identify(account, default)
    except NotFound as error:
        page = f"docs/providers/{account.kind}.md has them; mailagent send-test shows the verdict"
        yield Line(name, "not tested", str(error), page)
        return
    except MailagentError as error:
        yield Line(name, "not tested", f"the provider does not tell: {error}")
        return
    if identity is None:
        mend = f"add {default} as a sender domain there (docs/providers/{account.kind}.md)"
        yield Line(name, "no", f"the provider does not know {default}", mend)
        return
    line = await published(name, identity.records, resolver)
    if line.answer == "yes" and identity.sending != "verified":
        words = ", ".join(f"{subject} {word}" for subject, word in identity.words.items())
        found = f"published, but {account.name} says {words or identity.sending}"
        yield Line(name, "no", found, identity.detail or "it looks again by itself")
        return
    yield line


async def _production_access(account: Account, ask: Ask) -> Line:
    name = f"production access of {account.name}"
    try:
        said = await ask(account)
    except MailagentError as error:
        return Line(name, "not tested", str(error))
    access = said.facts.get("access", "")
    if not access:
        return Line(name, "not tested", said.summary, f"mailagent provider test {account.name}")
    if access == "production":
        return Line(name, "yes", "out of the sandbox")
    return Line(name, "no", access, "ask for production access in the SES console")


async def published(name: str, records: Iterable[DnsRecord], resolver: Resolver) -> Line:
    """Whether each of these records is published as it is."""
    wanted = tuple(records)
    for record in wanted:
        publish = f"publish: {record.name} {record.type} {_shown(record)}"
        match await resolver.ask(Question(record.name, record.type)):
            case Found(values) if _holds(values, record):
                continue
            case Found(values):
                found = f"{record.name} {record.type} is {', '.join(values)[:200]}"
                return Line(name, "no", f"{found}, not as it must be", publish)
            case Absent():
                return Line(name, "no", f"{record.name} has no {record.type} record", publish)
            case Unknown(reason):
                return unknown(name, reason)
    names = ", ".join(dict.fromkeys(record.name for record in wanted)) or "none are wanted"
    return Line(name, "yes", f"published: {names}")


def _holds(values: tuple[str, ...], record: DnsRecord) -> bool:
    if record.type == "TXT":
        return record.value in values
    # "10 mx.example." and "mx.example." alike: the priority is the publisher's choice.
    hosts = {value.split()[-1].rstrip(".").lower() for value in values}
    return record.value.rstrip(".").lower() in hosts


def _shown(record: DnsRecord) -> str:
    return record.value if record.priority is None else f"{record.priority} {record.value}."

"""Which of the things that mail on the internet needs are there, which not, and what mends each?

Answers are yes, no, or not tested: what cannot be seen from here is never guessed. It asks DNS, the
providers whose accounts are set up, and the web address that the settings name; nothing else.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import datetime

from dns import reversename

from backend.outbound.accounts_probe import identified, probe
from backend.production.account_lines import Ask, Identify, of_account, published
from backend.production.facts import Facts
from backend.production.line import Line, unknown
from backend.production.web_certificate import look_at
from mailagent.authentication.dmarc_record import parse_record
from mailagent.dns_answers import Absent, Answer, Found, Question, Unknown
from mailagent.identity import DnsRecord
from mailagent.resolver import Resolver

__all__ = ["Line", "checklist"]

_ANY = "any-workspace"
_COLLECTORS = {
    "ses": re.compile(r"inbound-smtp\.[a-z0-9-]+\.amazonaws\.com"),
    "sendgrid": re.compile(r"mx\.sendgrid\.net"),
    "mailgun": re.compile(r"mx[ab]\.(?:eu\.)?mailgun\.org"),
    "postmark": re.compile(r"inbound\.postmarkapp\.com"),
}
"""The hosts at which a provider takes mail in."""
_INCLUDES = {
    "ses": "include:amazonses.com",
    "sendgrid": "include:sendgrid.net",
    "mailgun": "include:mailgun.org",
}
_MEND_BOUNCE = "send one to bounce@simulator.amazonses.com, or to an address that does not exist"
_MEND_COMPLAINT = "send one to complaint@simulator.amazonses.com, or: mailagent webhook simulate"


async def checklist(
    facts: Facts,
    resolver: Resolver,
    *,
    identify: Identify = identified,
    ask: Ask = probe,
) -> AsyncIterator[Line]:
    """Every line, in the order of the guide: records, then what they make possible."""
    default = facts.settings.default_email_domain
    exchange = await resolver.ask(Question(default, "MX"))
    yield _mx("MX", default, exchange, facts)
    yield _wildcard(exchange, await resolver.ask(Question(f"{_ANY}.{default}", "MX")), facts)
    yield await _spf(facts, resolver)
    yield await _dkim(facts, resolver)
    yield _dmarc(default, await resolver.ask(Question(f"_dmarc.{default}", "TXT")))
    yield await _bounce(facts, resolver)
    yield await _ptr(facts, resolver)
    yield _port_25(facts)
    yield await _certificate(facts)
    for account in facts.accounts:
        async for line in of_account(account, default, resolver, identify, ask):
            yield line
    if facts.trouble:
        yield Line("database", "no", facts.trouble, "check DATABASE_URL, then mailagent migrate")
        return
    if not facts.accounts:
        yield Line(
            "account",
            "no",
            "none may carry mail: it is captured",
            "mailagent provider add, or set one",
        )
    yield _seen("last bounce", facts.last.get("bounce"), _MEND_BOUNCE)
    yield _seen("last complaint", facts.last.get("complaint"), _MEND_COMPLAINT)
    if facts.webhooks:
        mend = f"send a mail to an agent by way of {', '.join(facts.webhooks)}"
        yield _seen("last mail by webhook", facts.last.get("webhook"), mend)


# --- where mail comes in ----------------------------------------------------------------------


def _mx(name: str, domain: str, answer: Answer, facts: Facts) -> Line:
    publish = f"publish: {domain} MX 10 {facts.settings.mailagent_hostname}."
    match answer:
        case Found(records):
            hosts = [record.split()[-1].rstrip(".").lower() or "nobody" for record in records]
            foreign = [host for host in hosts if not _takes_for_us(host, facts)]
            found = ", ".join(sorted(hosts))
            if not foreign:
                return Line(name, "yes", f"{domain}: {found}")
            mend = f"remove {', '.join(foreign)}, or set up its webhook; {publish}"
            return Line(name, "no", f"{domain}: mail also goes to {', '.join(foreign)}", mend)
        case Absent():
            return Line(name, "no", f"{domain} has no MX record", publish)
        case Unknown(reason):
            return unknown(name, reason)


def _takes_for_us(host: str, facts: Facts) -> bool:
    if host == facts.settings.mailagent_hostname:
        return True
    brought = [_COLLECTORS[kind] for kind in facts.webhooks if kind in _COLLECTORS]
    return any(hosts.fullmatch(host) for hosts in brought)


def _wildcard(exchange: Answer, below: Answer, facts: Facts) -> Line:
    default = facts.settings.default_email_domain
    line = _mx("wildcard MX", f"*.{default}", below, facts)
    if line.answer != "yes" or not isinstance(exchange, Found) or not isinstance(below, Found):
        return line
    if {one.lower() for one in exchange.records} != {one.lower() for one in below.records}:
        found = f"*.{default} leads elsewhere than {default}: {', '.join(below.records)}"
        return Line("wildcard MX", "no", found, f"publish the records of {default} there too")
    return line


# --- what vouches for mail that leaves --------------------------------------------------------


async def _spf(facts: Facts, resolver: Resolver) -> Line:
    default = facts.settings.default_email_domain
    wanted = [_INCLUDES[kind] for kind in sorted(facts.kinds) if kind in _INCLUDES]
    for name, shown in ((default, default), (f"{_ANY}.{default}", f"*.{default}")):
        answer = await resolver.ask(Question(name, "TXT"))
        if isinstance(answer, Unknown):
            return unknown("SPF", answer.reason)
        records = _spf_of(answer)
        words = " ".join(["v=spf1", *wanted, "mx" if "smtp" in facts.kinds else "", "~all"])
        publish = f"publish: {shown} TXT {' '.join(words.split())}"
        if len(records) != 1:
            found = f"{shown} has {len(records) or 'no'} SPF record{'s' * (len(records) != 1)}"
            return Line("SPF", "no", found, publish if not records else "merge them into one")
        terms = records[0].lower().split()
        if terms[-1] in ("+all", "all"):
            return Line("SPF", "no", f"{shown} lets everybody send: {records[0]}", "end it in ~all")
        if lacking := [one for one in wanted if one not in terms and "redirect=" not in records[0]]:
            mend = f"add {' '.join(lacking)} to it"
            return Line("SPF", "no", f"{shown} lacks {' '.join(lacking)}: {records[0]}", mend)
    return Line("SPF", "yes", f"{default} and *.{default} have one record each")


def _spf_of(answer: Answer) -> list[str]:
    texts = answer.records if isinstance(answer, Found) else ()
    return [text for text in texts if f"{text.lower()} ".startswith("v=spf1 ")]


async def _dkim(facts: Facts, resolver: Resolver) -> Line:
    if not facts.selector:
        what = "mail leaves by accounts that sign it themselves" if facts.accounts else "no account"
        return Line("DKIM", "not tested", f"{what}: see their own lines", "mailagent send-test")
    name = f"{facts.selector}._domainkey.{facts.settings.default_email_domain}"
    record = DnsRecord("TXT", name, facts.key_record)
    return await published("DKIM", [record], resolver)


def _dmarc(default: str, answer: Answer) -> Line:
    name = f"_dmarc.{default}"
    publish = f"publish: {name} TXT v=DMARC1; p=quarantine"
    if isinstance(answer, Unknown):
        return unknown("DMARC", answer.reason)
    texts = answer.records if isinstance(answer, Found) else ()
    found = [record for text in texts if (record := parse_record(name, text)) is not None]
    if len(found) != 1:
        count = f"{len(found)} DMARC records" if found else "no DMARC record"
        return Line("DMARC", "no", f"{name} has {count}", publish)
    (record,) = found
    policies = {record.p or "none", record.sp or record.p or "none"}
    if "none" in policies or record.testing:
        what = "asks nobody to refuse what pretends to be yours"
        return Line("DMARC", "no", f"{name}: {texts[0]} {what}", publish)
    if record.psd == "y" or record.strict_dkim or record.strict_spf:
        found_ = "mail of workspaces is signed by the default domain, and would align with none"
        return Line("DMARC", "no", f"{name}: {found_}", "remove psd=y, adkim=s and aspf=s")
    return Line("DMARC", "yes", f"{name}: {texts[0]}")


async def _bounce(facts: Facts, resolver: Resolver) -> Line:
    """Where reports of what was not delivered go: our own VERP, or the provider's MAIL FROM."""
    default = facts.settings.default_email_domain
    if "smtp" in facts.kinds:
        name = f"return.{default}"
        line = _mx("bounce", name, await resolver.ask(Question(name, "MX")), facts)
        answer = await resolver.ask(Question(name, "TXT"))
        if line.answer != "yes" or isinstance(answer, Unknown) or len(_spf_of(answer)) == 1:
            return line
        mend = f"publish: {name} TXT v=spf1 and what your relay tells you (it is the envelope From)"
        return Line("bounce", "no", f"{name} has no SPF record of its own", mend)
    if "ses" in facts.kinds:
        name = f"bounce.{default}"
        match await resolver.ask(Question(name, "MX")):
            case Found(records) if all("feedback-smtp." in one for one in records):
                return Line("bounce", "yes", f"{name}: {', '.join(records)}")
            case Unknown(reason):
                return unknown("bounce", reason)
            case _:
                mend = f"set {name} as custom MAIL FROM in SES, and publish its MX and TXT"
                return Line("bounce", "no", f"{name} is no MAIL FROM of SES", mend)
    found = "the accounts' own return paths take them" if facts.accounts else "no account sends"
    return Line("bounce", "not tested", found, "last bounce below shows whether they arrive")


# --- this machine -----------------------------------------------------------------------------


async def _ptr(facts: Facts, resolver: Resolver) -> Line:
    name = facts.settings.mailagent_hostname
    if "smtp" not in facts.kinds:
        return Line("PTR", "not tested", "no mail leaves from a machine of yours by SMTP")
    if "." not in name:
        mend = "set MAILAGENT_HOSTNAME to the name of your MX"
        return Line("PTR", "no", f"{name} is no name of the DNS", mend)
    answers = [await resolver.ask(Question(name, kind)) for kind in ("A", "AAAA")]
    addresses = [one for answer in answers if isinstance(answer, Found) for one in answer.records]
    given = facts.settings.public_ips
    if not addresses:
        if silent := next((one for one in answers if isinstance(one, Unknown)), None):
            return unknown("PTR", silent.reason)
        return Line("PTR", "no", f"{name} has no address", f"publish: {name} A <your address>")
    for address in given or addresses:
        back = await resolver.ask(Question(reversename.from_address(address).to_text(), "PTR"))
        if isinstance(back, Unknown):
            return unknown("PTR", back.reason)
        names = back.records if isinstance(back, Found) else ()
        if name not in {one.rstrip(".").lower() for one in names}:
            leads = f"{address} leads back to {', '.join(names) or 'no name'}"
            mend = f"have its host set {name} there; a relay elsewhere needs its own"
            return Line("PTR", "no", leads, mend)
        if address not in addresses:
            mend = f"publish: {name} A {address}"
            return Line("PTR", "no", f"{name} is not {address}", mend)
    return Line("PTR", "yes", f"{', '.join(given or addresses)} and {name} lead to each other")


def _port_25(facts: Facts) -> Line:
    name = facts.settings.mailagent_hostname
    if facts.webhooks and not facts.kinds & {"smtp"}:
        found = f"needed only where mail comes by SMTP; {', '.join(facts.webhooks)} bring it too"
        return Line("port 25", "not tested", found)
    mend = f"from a machine elsewhere: nc -v {name} 25 shows our banner (docs/how-to/port-25.md)"
    return Line("port 25", "not tested", "whether the world reaches it is not seen from here", mend)


async def _certificate(facts: Facts) -> Line:
    url = facts.settings.webhook_public_url or facts.settings.public_url
    seen = await look_at(url)
    if seen.good is None and not facts.webhooks:
        return Line(
            "certificate", "not tested", f"{seen.found}; no provider brings mail by webhook"
        )
    if seen.good:
        return Line("certificate", "yes", seen.found)
    mend = seen.mend or "set WEBHOOK_PUBLIC_URL to the https address that providers are given"
    return Line("certificate", "no", seen.found, mend)


def _seen(name: str, at: datetime | None, mend: str) -> Line:
    if at is None:
        return Line(name, "not tested", "none has come yet", mend)
    return Line(name, "yes", f"{at:%Y-%m-%d %H:%M} UTC")

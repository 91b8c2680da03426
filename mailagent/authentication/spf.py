"""May this client send for this domain? Sender Policy Framework (RFC 7208).

pyspf evaluates the records; it is given its DNS here and never touches the network.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address
from itertools import islice
from typing import Any, Literal, cast, get_args

import spf

from mailagent.authentication.answers import Inquiry
from mailagent.dns_answers import Absent, Found, Unknown, ascii_name
from mailagent.mail import SpfResult, SpfVerdict

__all__ = ["check"]

_MAX_RECORD = 4_096
# A name has at most 253 octets; a longer term only feeds the regular expressions of pyspf, which
# are quadratic in its length.
_MAX_TERM = 512
_MAX_REASON = 300
_ASKING_TERM = re.compile(
    r"[+?~-]?(?P<mechanism>a|mx|include|exists|redirect)([:=](?P<name>[^/]*))?(/[0-9/]*)?",
    re.IGNORECASE,
)
_RESULTS = frozenset(get_args(SpfResult))
_EXPLAINED = {"pass": "", "none": "the domain publishes no SPF record"}


class _Missing(Exception):
    """An answer is not there yet."""


def check(
    inquiry: Inquiry, *, client_ip: str | None, mail_from: str | None, helo: str | None
) -> SpfVerdict | None:
    """Judge the envelope sender, or the HELO name when the reverse-path is empty (§2.4).

    Returns None while `inquiry` lacks answers. Unknown DNS is `temperror`; a client address that
    nobody told, or that is none, is `not_judged`.
    """
    if client_ip is None:
        return SpfVerdict("not_judged", reason="the client's address is not known")
    try:
        client = ip_address(client_ip.split("%", 1)[0])
    except ValueError:
        return SpfVerdict("not_judged", reason="the client's address is not an IP address")
    identity: Literal["mailfrom", "helo"] = "mailfrom" if mail_from else "helo"
    local_part, _, given = (mail_from or f"postmaster@{helo or ''}").rpartition("@")
    domain = ascii_name(given)
    if domain is None or "." not in domain:
        # §4.3: a malformed domain, an address literal or a bare host name has no policy.
        return SpfVerdict("none", None, identity, "the name is not a domain with a policy")
    # postmaster where the local part is empty, §4.3.
    query = _Query(inquiry, str(client), local_part or "postmaster", domain, helo or domain)
    try:
        result, _, explained = query.check()
    except _Missing:
        return None
    except (ValueError, AssertionError, LookupError, RecursionError) as broken:
        # pyspf on a record or sender that it did not foresee: the record is at fault.
        result, explained = "permerror", f"the record cannot be evaluated: {type(broken).__name__}"
    if result not in _RESULTS:
        result = "permerror"
    reason = " ".join(_EXPLAINED.get(result, str(explained)).split())[:_MAX_REASON]
    return SpfVerdict(cast("SpfResult", result), domain, identity, reason)


class _Query(spf.query):  # type: ignore[misc]
    """One evaluation whose questions are answered by an `Inquiry`."""

    def __init__(self, inquiry: Inquiry, client: str, local: str, domain: str, helo: str) -> None:
        super().__init__(i=client, s=f"{local}@{domain}", h=helo, strict=True)
        # pyspf cuts at the first @, which may stand in a quoted local part.
        self.l, self.o, self.d = local, domain, domain
        self._inquiry = inquiry

    def dns(
        self, name: str, qtype: str, cnames: object = None, ignore_void: bool = False
    ) -> list[Any]:
        """Records in pyspf's shapes: bytes for TXT, (preference, name) for MX, else text."""
        asked = ascii_name(str(name))
        if asked is None:
            return []
        match self._inquiry.ask(asked, qtype):
            case None:
                raise _Missing
            case Unknown(reason=reason):
                raise spf.TempError(reason)
            case Found(records=records):
                return [_shaped(record, qtype) for record in records]
            case Absent():
                self._count_void(ignore_void)
                return []

    def _count_void(self, ignore_void: bool) -> None:
        if ignore_void:
            return
        self.void_lookups += 1
        if self.void_lookups > spf.MAX_VOID_LOOKUPS:
            raise spf.PermError(f"Void lookup limit of {spf.MAX_VOID_LOOKUPS} exceeded")

    def dns_spf(self, domain: str) -> str | None:
        record = cast("str | None", super().dns_spf(domain))
        if record is not None:
            if len(record) > _MAX_RECORD:
                raise spf.PermError(f"SPF record is longer than {_MAX_RECORD} octets")
            if any(len(term) > _MAX_TERM for term in record.split(" ")):
                raise spf.PermError(f"SPF term is longer than {_MAX_TERM} octets")
            self._foresee(record, domain)
        return record

    def dns_mx(self, domainname: str) -> list[str]:
        exchanges = (name for _, name in self.dns(domainname, "MX", ignore_void=True))
        self._foresee_addresses(exchanges)
        return cast("list[str]", super().dns_mx(domainname))

    def dns_ptr(self, i: str) -> list[str]:
        names = cast("list[str]", super().dns_ptr(i))
        self._foresee_addresses(names)
        return names

    def get_explanation(self, spec: str) -> None:
        """None: a sender's own words would be fetched only to be shown to people (§6.2)."""

    def _foresee(self, record: str, domain: str) -> None:
        """Ask for the terms of a record at once rather than one a round."""
        terms = filter(None, map(_ASKING_TERM.fullmatch, record.split(" ")))
        # More than ten are an error when evaluated (§4.6.4), and a mail must not make us ask a
        # thousand questions.
        for term in islice(terms, spf.MAX_LOOKUP):
            name = self._expanded(term["name"] or domain, domain)
            if ascii_name(name) is None:
                continue
            match term["mechanism"].lower():
                case "include" | "redirect":
                    self._inquiry.foresee(name, "TXT")
                case "a":
                    self._inquiry.foresee(name, self.A)
                case "mx":
                    self._inquiry.foresee(name, "MX")
                case "exists":
                    self._inquiry.foresee(name, "A")

    def _expanded(self, name: str, domain: str) -> str:
        """Macros expanded as the record of `domain` will have them; empty if they are wrong."""
        if "%" not in name:
            return name
        current, self.d = self.d, domain
        try:
            return cast("str", self.expand(name))
        except (spf.PermError, ValueError):
            return ""
        finally:
            self.d = current

    def _foresee_addresses(self, names: Iterable[str]) -> None:
        for name in islice(names, spf.MAX_MX):
            self._inquiry.foresee(name, self.A)


def _shaped(record: str, type_: str) -> Any:
    match type_:
        case "TXT":
            return (record.encode("utf-8", "replace"),)
        case "MX":
            preference, _, exchange = record.partition(" ")
            return int(preference), exchange
        case _:
            return record

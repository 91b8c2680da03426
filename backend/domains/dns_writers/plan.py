"""What is to be done in a zone so that it holds the records we want, and what must a person decide?

Pure: what the zone has at our names and what is wanted go in, a plan comes out that is shown before
anything is written. Only names of wanted records are looked at. A step never takes away what may be
somebody else's (a foreign MX, a term of SPF, an address) unless a person has confirmed that very
record set; until then it is a conflict, and nothing at all is written.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from mailagent.dns_answers import ascii_name
from mailagent.errors import Malformed
from mailagent.identity import DnsRecord

__all__ = ["Plan", "Published", "RecordSet", "Step", "names_of", "plan"]

_TTL = 300
Action = Literal["leave", "create", "update", "conflict"]
RecordSet = tuple[str, str]
"""(name, type)."""

_HOST_TYPES = frozenset({"CNAME", "MX", "NS", "SRV"})
_TXT_KINDS: Sequence[tuple[str, re.Pattern[str]]] = (
    ("SPF", re.compile(r"v=spf1(?= |$)", re.I)),
    ("DMARC", re.compile(r"v=DMARC1(?=\s*;|\s*$)", re.I)),
    ("TLS-RPT", re.compile(r"v=TLSRPTv1\b", re.I)),
    ("MTA-STS", re.compile(r"v=STSv1\b", re.I)),
)
_OWNERSHIP = re.compile(r"[\w-]+-verif(?:y|ication)=", re.I)
_STRENGTHS = ("none", "quarantine", "reject")


@dataclass(frozen=True, slots=True)
class Published:
    """One value that the zone has now, as its service tells it."""

    record: DnsRecord
    ttl: int = _TTL
    key: str = ""
    """The service's own id of it."""
    proxied: bool = False
    """Cloudflare answers with addresses of its own instead: no CNAME or MX survives that."""
    special: str = ""
    """What makes it more than a plain record (an alias, a routing policy): never written over."""


@dataclass(frozen=True, slots=True)
class Step:
    """What becomes of one record set."""

    action: Action
    name: str
    type: str
    before: tuple[Published, ...]
    after: tuple[DnsRecord, ...]
    """The whole set as it is to be: values of others that stay are among them."""
    ttl: int
    why: str

    @property
    def record_set(self) -> str:
        """How a person names it to confirm it: `example.com MX`."""
        return f"{self.name} {self.type}"


@dataclass(frozen=True, slots=True)
class Plan:
    """Every step for one zone, by name."""

    zone: str
    steps: tuple[Step, ...]

    @property
    def changes(self) -> tuple[Step, ...]:
        """What is to be written."""
        return tuple(one for one in self.steps if one.action in ("create", "update"))

    @property
    def conflicts(self) -> tuple[Step, ...]:
        """What waits for a person's word."""
        return tuple(one for one in self.steps if one.action == "conflict")


def names_of(zone: str, wanted: Iterable[DnsRecord]) -> tuple[str, ...]:
    """The names to be read of a zone. Raises Malformed for a record outside it."""
    names = dict.fromkeys(_normal(one).name for one in wanted)
    for name in names:
        if not f".{name}".endswith(f".{zone}"):
            raise Malformed("zone", f"{name} is not in the zone {zone}: name the zone that has it")
    return tuple(names)


def plan(
    zone: str,
    published: Iterable[Published],
    wanted: Iterable[DnsRecord],
    *,
    confirmed: Collection[str] = (),
) -> Plan:
    """Compare what stands with what is wanted.

    `confirmed` holds record sets (`example.com MX`) that may be replaced whatever they hold. Values
    of TXT are joined strings. Raises Malformed for a record outside the zone, and for two wanted
    records that cannot stand together.
    """
    records = [_normal(one) for one in wanted]
    names_of(zone, records)
    there: dict[RecordSet, list[Published]] = {}
    for one in published:
        record = _normal(one.record)
        there.setdefault((record.name, record.type), []).append(_with(one, record))
    sets: dict[RecordSet, list[DnsRecord]] = {}
    for record in records:
        kept = sets.setdefault((record.name, record.type), [])
        if record not in kept:
            kept.append(record)
    _check_together(sets)
    agreed = frozenset(" ".join(one.lower().split()) for one in confirmed)
    steps = [
        _step(name, type_, values, there, f"{name} {type_}".lower() in agreed)
        for (name, type_), values in sorted(sets.items())
    ]
    return Plan(zone, tuple(steps))


# --- one record set ---------------------------------------------------------------------------


def _step(
    name: str,
    type_: str,
    wanted: Sequence[DnsRecord],
    there: Mapping[RecordSet, Sequence[Published]],
    confirmed: bool,
) -> Step:
    before = tuple(there.get((name, type_), ()))

    def step(action: Action, why: str, after: Iterable[DnsRecord] = wanted) -> Step:
        shared = before and any(one.record in after for one in before)
        ttl = before[0].ttl if shared else _TTL
        return Step(action, name, type_, before, tuple(after), ttl, why)

    if obstacle := _obstacle(name, type_, there):
        return step("conflict", obstacle)
    if special := next((one.special for one in before if one.special), ""):
        return step("conflict", f"it is {special} there: change it by hand")
    now = [one.record for one in before]
    after, loses = _txt(now, wanted) if type_ == "TXT" else _whole(now, wanted)
    if not before:
        return step("create", "nothing stands there", after)
    if set(now) == set(after):
        if any(one.proxied for one in before):
            return step("update", "it is proxied: mail needs the plain record", after)
        return step("leave", "it stands there already", after)
    if loses and not confirmed:
        return step("conflict", f"{loses}; confirm it as {name} {type_}", after)
    return step("update", loses or "it has another value", after)


def _obstacle(name: str, type_: str, there: Mapping[RecordSet, Sequence[Published]]) -> str | None:
    """What keeps a record set from standing at its name (RFC 1034 §3.6.2: a CNAME is alone)."""
    others = sorted(kind for at, kind in there if at == name and kind != type_)
    if type_ == "CNAME" and others:
        return f"a CNAME stands alone, and there is {', '.join(others)}: remove that first"
    if type_ != "CNAME" and "CNAME" in others:
        return "a CNAME stands there, and it stands alone: remove it first"
    return None


def _whole(
    now: Sequence[DnsRecord], wanted: Sequence[DnsRecord]
) -> tuple[list[DnsRecord], str | None]:
    """The set as wanted, and what of others that would take away."""
    ours = {one.value for one in wanted}
    foreign = [one.value for one in now if one.value not in ours]
    if not foreign:
        return list(wanted), None
    is_mx = wanted[0].type == "MX"
    what = "mail would no longer go to" if is_mx else "it would no longer lead to"
    return list(wanted), f"{what} {', '.join(foreign)}"


def _txt(
    now: Sequence[DnsRecord], wanted: Sequence[DnsRecord]
) -> tuple[list[DnsRecord], str | None]:
    """The wanted texts beside those of others; a text of the same kind is replaced."""
    kinds = {_kind(one) for one in wanted} - {""}
    after = [one for one in now if one not in wanted and _kind(one) not in kinds]
    losses = []
    for one in wanted:
        same = [old for old in now if old != one and _kind(old) == _kind(one) != ""]
        match _kind(one):
            case "SPF":
                losses += [_spf_loss(old, one) for old in same]
            case "DMARC":
                stronger = [old for old in same if _is_stronger(old, one)]
                if stronger and len(same) == 1:
                    after += stronger
                    continue
                losses += [_dmarc_loss(old, one) for old in same]
            case "DKIM":
                losses += [_key_loss(old, one) for old in same]
        after.append(one)
    return after, next((loss for loss in losses if loss), None)


def _kind(record: DnsRecord) -> str:
    if "._domainkey." in record.name:
        return "DKIM"
    if proof := _OWNERSHIP.match(record.value):
        return proof[0].lower()
    return next((kind for kind, form in _TXT_KINDS if form.match(record.value)), "")


def _spf_loss(old: DnsRecord, new: DnsRecord) -> str | None:
    """The terms of a published record that the wanted one lacks; its `all` may differ."""
    kept = {_term(word) for word in new.value.split()[1:]}
    words = [_term(word) for word in old.value.split()[1:]]
    lost = [word for word in words if word not in kept and word.lstrip("+-~?") != "all"]
    return f"the SPF record would lose {' '.join(lost)}" if lost else None


def _term(word: str) -> str:
    return word.lower().removeprefix("+")


def _dmarc_loss(old: DnsRecord, new: DnsRecord) -> str | None:
    kept, had = _tags(new), _tags(old)
    lost = [f"{tag}={value}" for tag, value in had.items() if tag != "p" and kept.get(tag) != value]
    return f"the DMARC record would lose {'; '.join(lost)}" if lost else None


def _key_loss(old: DnsRecord, new: DnsRecord) -> str | None:
    """Another key may be in use by somebody; a revoked, empty or cut-off one is in nobody's."""
    theirs, ours = (_tags(one).get("p", "").replace(" ", "") for one in (old, new))
    return None if ours.startswith(theirs) else "another key stands there"


def _is_stronger(old: DnsRecord, new: DnsRecord) -> bool:
    """Whether a published policy asks for as much as ours or more, of every mail."""
    had, asked = _tags(old), _tags(new)
    if had.get("pct", "100") != "100":
        return False
    policies = [
        (tags.get("p", "none").lower(), tags.get("sp", tags.get("p", "none")).lower())
        for tags in (had, asked)
    ]
    if not all(word in _STRENGTHS for pair in policies for word in pair):
        return False
    return all(
        _STRENGTHS.index(theirs) >= _STRENGTHS.index(ours)
        for theirs, ours in zip(*policies, strict=True)
    )


def _tags(record: DnsRecord) -> dict[str, str]:
    pairs = (part.partition("=") for part in record.value.split(";"))
    return {tag.strip().lower(): value.strip() for tag, _, value in pairs if tag.strip()}


# --- one form for all -------------------------------------------------------------------------


def _normal(record: DnsRecord) -> DnsRecord:
    """Names in lower-case A-labels without a final dot. Raises Malformed."""
    value = record.value.strip()
    if record.type in _HOST_TYPES:
        value = value.lower().removesuffix(".")
    elif record.type in ("A", "AAAA"):
        value = value.lower()
    return DnsRecord(record.type, _name(record.name), value, record.priority)


def _name(name: str) -> str:
    found = ascii_name(name)
    if found is None:
        raise Malformed("name", f"{name[:80]!r} is no name of the DNS")
    return found


def _with(one: Published, record: DnsRecord) -> Published:
    return Published(record, one.ttl, one.key, one.proxied, one.special)


def _check_together(sets: Mapping[RecordSet, Sequence[DnsRecord]]) -> None:
    for name, type_ in sets:
        alone = [kind for at, kind in sets if at == name]
        if type_ == "CNAME" and (len(alone) > 1 or len(sets[name, type_]) > 1):
            raise Malformed("records", f"{name}: a CNAME stands alone (RFC 1034 §3.6.2)")
        kinds = [_kind(one) for one in sets[name, type_] if type_ == "TXT" and _kind(one)]
        if len(kinds) != len(set(kinds)):
            raise Malformed("records", f"{name}: two texts of one kind, hand in the merged one")

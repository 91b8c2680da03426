"""Writing into a hosted zone of Amazon Route 53.

Follows the API reference 2013-04-01 (`ListHostedZonesByName`, `ListResourceRecordSets`,
`ChangeResourceRecordSets`; read in November 2026). A plan is one change batch, which stands whole
or not at all; each set that was there is deleted as it was read, so a change since then fails it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self, cast

from backend.domains.dns_writers.plan import Plan, Published
from backend.domains.dns_writers.text import joined, quoted
from mailagent.errors import (
    Conflict,
    Malformed,
    NotFound,
    PermanentFailure,
    TransientFailure,
    UncertainDelivery,
)
from mailagent.identity import DnsRecord
from mailagent.providers.ses_access import Access

__all__ = ["Route53"]

_TYPES = frozenset({"A", "AAAA", "CNAME", "MX", "NS", "SRV", "TXT"})
_OCTAL = re.compile(r"\\([0-7]{3})")
_CREDENTIALS = frozenset(
    {"InvalidClientTokenId", "SignatureDoesNotMatch", "ExpiredToken", "UnrecognizedClientException"}
    | {"AccessDenied", "AccessDeniedException", "MissingAuthenticationToken"}
)
_LATER = frozenset({"Throttling", "PriorRequestNotComplete", "ThrottlingException"})


class Route53:
    """The zones of one AWS account."""

    title = "Route 53"

    def __init__(self, access: Access) -> None:
        self._access = access
        self._client: Any = None

    @classmethod
    def open(cls, token: str, base_url: str) -> Self:
        """`token` is `KEY_ID:SECRET`, with `:SESSION` behind it for temporary ones; empty is what
        this machine itself may do. Raises Malformed.
        """
        key_id, secret, session, *more = [*token.split(":"), "", ""][: max(3, token.count(":") + 1)]
        if more or bool(key_id) != bool(secret):
            raise Malformed("token", "must be KEY_ID:SECRET or KEY_ID:SECRET:SESSION")
        address = base_url or None
        return cls(Access("route53", "us-east-1", key_id, secret, address, session=session))

    async def published(self, zone: str, names: Sequence[str]) -> Sequence[Published]:
        """What stands at these names. Raises NotFound, PermanentFailure, TransientFailure."""
        return await asyncio.to_thread(self._published, zone, names)

    async def apply(self, plan: Plan) -> None:
        """Write what a plan changes. Raises Conflict when the zone has changed since it was made,
        UncertainDelivery when no answer came; else as `published`.
        """
        await asyncio.to_thread(self._apply, plan)

    async def close(self) -> None:
        """Let go of the connections."""
        if self._client is not None:
            self._client.close()

    # --- in a thread ---

    def _published(self, zone: str, names: Sequence[str]) -> list[Published]:
        zone_id = self._zone_id(zone)
        return [one for name in names for one in self._at(zone_id, name)]

    def _at(self, zone_id: str, name: str) -> Iterator[Published]:
        request = {"HostedZoneId": zone_id, "StartRecordName": name, "MaxItems": "100"}
        while True:
            answer = self._ask("list_resource_record_sets", request)
            for found in answer["ResourceRecordSets"]:
                if _name(found["Name"]) != name:
                    return
                if found["Type"] in _TYPES:
                    yield from _values(name, found)
            if not answer.get("IsTruncated"):
                return
            request = {
                "HostedZoneId": zone_id,
                "StartRecordName": answer["NextRecordName"],
                "StartRecordType": answer["NextRecordType"],
                "MaxItems": "100",
            }
            if follows := answer.get("NextRecordIdentifier"):
                request["StartRecordIdentifier"] = follows

    def _apply(self, plan: Plan) -> None:
        changes = []
        for step in plan.changes:
            if step.before:
                values = [one.record for one in step.before]
                old = _set(step.name, step.type, values, step.before[0].ttl)
                changes.append({"Action": "DELETE", "ResourceRecordSet": old})
            new = _set(step.name, step.type, step.after, step.ttl)
            changes.append({"Action": "CREATE", "ResourceRecordSet": new})
        if changes:
            batch = {"Comment": "mailagent", "Changes": changes}
            zone_id = self._zone_id(plan.zone)
            request = {"HostedZoneId": zone_id, "ChangeBatch": batch}
            self._ask("change_resource_record_sets", request, writes=True)

    def _zone_id(self, zone: str) -> str:
        answer = self._ask("list_hosted_zones_by_name", {"DNSName": zone, "MaxItems": "10"})
        found = [
            one["Id"].removeprefix("/hostedzone/")
            for one in answer["HostedZones"]
            if _name(one["Name"]) == zone and not one.get("Config", {}).get("PrivateZone")
        ]
        if len(found) > 1:
            raise Conflict(f"the account has {len(found)} public zones {zone}: remove the unused")
        if not found:
            raise NotFound(f"the account at Route 53 has no public zone {zone}")
        return str(found[0])

    def _ask(
        self, operation: str, request: Mapping[str, Any], *, writes: bool = False
    ) -> Mapping[str, Any]:
        from botocore import exceptions as boto

        if self._client is None:
            self._client = self._access.client()
        try:
            return cast("Mapping[str, Any]", getattr(self._client, operation)(**request))
        except boto.ClientError as error:
            raise _failure(error.response, writes) from error
        except (boto.NoCredentialsError, boto.PartialCredentialsError) as error:
            reason = "no AWS keys were given, and this machine has no role of its own"
            raise PermanentFailure(reason, about="account", credentials=True) from error
        except (boto.ConnectTimeoutError, boto.EndpointConnectionError) as error:
            raise TransientFailure(f"no connection to Route 53: {type(error).__name__}") from error
        except (boto.BotoCoreError, OSError) as error:
            word = type(error).__name__
            if writes:
                raise UncertainDelivery(_UNCERTAIN.format(word=word)) from error
            raise TransientFailure(f"Route 53 did not answer: {word}") from error


_UNCERTAIN = (
    "Route 53 may have taken the change and gave no answer ({word}): run it again, it looks"
)


def _failure(response: Mapping[str, Any], writes: bool) -> Exception:
    error = response.get("Error", {})
    code, words = str(error.get("Code", "")), " ".join(str(error.get("Message", "")).split())[:300]
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _CREDENTIALS or status == 401:
        reason = f"Route 53 refuses the key ({code}): it needs route53:ListHostedZonesByName, "
        reason += "ListResourceRecordSets and ChangeResourceRecordSets"
        return PermanentFailure(reason, code=code, about="account", credentials=True)
    if code in _LATER or status == 429:
        return TransientFailure(f"Route 53 asks to wait ({code})", code=code)
    if code == "InvalidChangeBatch" or (code == "InvalidInput" and writes):
        return Conflict(f"the zone has changed since the plan, nothing was written: {words}")
    if status >= 500:
        if writes:
            return UncertainDelivery(_UNCERTAIN.format(word=status), code=code)
        return TransientFailure(f"Route 53 is in trouble ({status})", code=code)
    return PermanentFailure(f"Route 53 refuses: {code} {words}", code=code, about="message")


def _values(name: str, found: Mapping[str, Any]) -> Iterator[Published]:
    type_, ttl = found["Type"], int(found.get("TTL", 0))
    special = "an alias" if "AliasTarget" in found else ""
    if "SetIdentifier" in found:
        special = "a set with a routing policy"
    texts = [one["Value"] for one in found.get("ResourceRecords", [])] or [""]
    for text in texts:
        yield Published(_record(name, type_, text), ttl, special=special)


def _record(name: str, type_: Any, text: str) -> DnsRecord:
    if type_ == "TXT":
        return DnsRecord(type_, name, joined(text))
    if type_ in ("MX", "SRV") and " " in text:
        priority, _, value = text.partition(" ")
        return DnsRecord(type_, name, value.removesuffix("."), int(priority))
    return DnsRecord(type_, name, text.removesuffix("."))


def _set(name: str, type_: str, records: Sequence[DnsRecord], ttl: int) -> dict[str, Any]:
    values = [{"Value": _text(one)} for one in records]
    return {"Name": f"{name}.", "Type": type_, "TTL": ttl, "ResourceRecords": values}


def _text(record: DnsRecord) -> str:
    match record.type:
        case "TXT":
            return quoted(record.value)
        case "MX" | "SRV":
            return f"{record.priority or 0} {record.value}."
        case "CNAME" | "NS":
            return f"{record.value}."
        case _:
            return record.value


def _name(text: str) -> str:
    """Route 53 writes `*` and the like as `\\052`."""
    plain = _OCTAL.sub(lambda found: chr(int(found[1], 8)), text)
    return plain.removesuffix(".").lower()

"""Which receipt rule brings mail, and in whose rule set?

One rule set of a region is active. One that is there already is never replaced: our rule is added
to it. Source: Amazon SES API Reference (version 1), "CreateReceiptRule" and beside it; Amazon SES
Developer Guide, "Receipt rules", "Recipient conditions" (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import count
from typing import Any

from mailagent.errors import PermanentFailure, TransientFailure
from mailagent.identity import DnsRecord
from mailagent.providers.ses_control import Aws
from mailagent.providers.steps import Laid, Step, differs, missing, stands

__all__ = ["RULE", "SesReceipts", "active_set", "rule_set_step", "rule_step"]

RULE = "mailagent"
_MOST_RECIPIENTS = 100
SET = "mailagent"
_EXISTS = ("AlreadyExists", "AlreadyExistsException")
_NONE = ("RuleDoesNotExist", "RuleDoesNotExistException", "RuleSetDoesNotExist")

Rule = Mapping[str, Any]


async def active_set(ses: Aws) -> str:
    """The active rule set's name, or the one that would be made active."""
    return await _active(ses) or SET


def rule_set_step(ses: Aws) -> Step:
    """A rule set is active."""

    async def look() -> Laid:
        name = await _active(ses)
        if name is None:
            return missing("none is active")
        if name == SET:
            return stands(f"{name} is active")
        note = f"{name} is active and stays: our rule is added at its end"
        return stands(f"{name} is active", notes=[note])

    async def make(_: Laid) -> None:
        await ses.ask("create_receipt_rule_set", absent=_EXISTS, RuleSetName=SET)
        await ses.ask("set_active_receipt_rule_set", RuleSetName=SET)

    async def undo(_: Laid) -> None:
        if await _active(ses) == SET:
            await ses.ask("set_active_receipt_rule_set")
        await ses.ask("delete_receipt_rule_set", absent=_NONE, RuleSetName=SET)

    calls = (f"ses:CreateReceiptRuleSet {SET}", f"ses:SetActiveReceiptRuleSet {SET}")
    return Step("rule set", "a receipt rule set is active", look, make, undo, calls)


def rule_step(
    ses: Aws, rule_set: str, domain: str, *, bucket: str, topic: str, topics: Collection[str]
) -> Step:
    """Mail for the domain and all below it goes to the bucket, and the topic tells of it.

    `topics` are those that this installation believes: a rule made by hand that tells one of them
    is as good.
    """
    recipients = [domain, f".{domain}"]
    wanted: Rule = {
        "Name": RULE,
        "Enabled": True,
        "TlsPolicy": "Optional",
        "Recipients": recipients,
        "Actions": [{"S3Action": {"BucketName": bucket, "TopicArn": topic}}],
        "ScanEnabled": True,
    }

    async def look() -> Laid:
        rules = await _rules(ses, rule_set)
        notes = _notes(rules, domain)
        ours = next((one for one in rules if one["Name"] == RULE), None)
        if ours is not None:
            lacks = [key for key, value in wanted.items() if ours.get(key) != value]
            if set(recipients) <= set(ours.get("Recipients") or []):  # and domains of customers
                lacks = [key for key in lacks if key != "Recipients"]
            if not lacks:
                return stands(f"{RULE} in {rule_set}", notes=notes)
            return differs(f"differs in {', '.join(lacks)}", before=ours, notes=notes)
        for one in rules:
            if one.get("Enabled") and _covers(one, recipients) and _tells(one, topics):
                return stands(f"{one['Name']} in {rule_set}, made by hand, does it", notes=notes)
        return missing(notes=notes)

    async def make(laid: Laid) -> None:
        if laid.before is not None:
            added = [one for one in laid.before.get("Recipients") or [] if one not in recipients]
            rule = {**wanted, "Recipients": [*recipients, *added]}
            await ses.ask("update_receipt_rule", RuleSetName=rule_set, Rule=rule)
            return
        others = await _rules(ses, rule_set)
        after = {"After": others[-1]["Name"]} if others else {}
        await ses.ask(
            "create_receipt_rule", absent=_EXISTS, RuleSetName=rule_set, Rule=wanted, **after
        )

    async def undo(laid: Laid) -> None:
        if laid.before is not None:
            await ses.ask("update_receipt_rule", RuleSetName=rule_set, Rule=laid.before)
        else:
            await ses.ask("delete_receipt_rule", absent=_NONE, RuleSetName=rule_set, RuleName=RULE)

    wants = f"a rule in {rule_set} for {domain} and .{domain}: scan, S3 {bucket}, topic {topic}"
    return Step("receipt rule", wants, look, make, undo, (f"ses:CreateReceiptRule {RULE}",))


class SesReceipts:
    """Domains of customers among the recipients of our rules, in the active rule set.

    The first of these rules is the set-up's; when it is full another one is made like it.
    """

    def __init__(self, ses: Aws) -> None:
        self._ses = ses

    async def collect(self, domain: str) -> tuple[DnsRecord, ...]:
        """See `identity.Collects`. PermanentFailure before the account was set up."""
        rule_set, rules = await self._ours()
        if not rules:
            reason = f"the active rule set has no rule {RULE}: mailagent provider setup ses first"
            raise PermanentFailure(reason, about="account")
        if not any(domain in one["Recipients"] for one in rules):
            await self._add(rule_set, rules, domain)
            # AWS has no condition on a write: one that came between may have written over ours.
            _, after = await self._ours()
            if not any(domain in one["Recipients"] for one in after):
                raise TransientFailure(f"the rule {RULE} was changed by another meanwhile")
        region = self._ses.region
        return (DnsRecord("MX", domain, f"inbound-smtp.{region}.amazonaws.com", 10),)

    async def collects(self, domain: str) -> bool:
        """See `identity.Collects`."""
        _, rules = await self._ours()
        return any(one.get("Enabled") and domain in one["Recipients"] for one in rules)

    async def stop_collecting(self, domain: str) -> None:
        """See `identity.Collects`."""
        rule_set, rules = await self._ours()
        for one in rules:
            left = [other for other in one["Recipients"] if other != domain]
            if left == one["Recipients"]:
                continue
            if left:
                rule = {**one, "Recipients": left}
                await self._ses.ask("update_receipt_rule", RuleSetName=rule_set, Rule=rule)
            else:  # a rule without a recipient would take all mail of the account
                call = "delete_receipt_rule"
                name = one["Name"]
                await self._ses.ask(call, absent=_NONE, RuleSetName=rule_set, RuleName=name)

    async def _add(self, rule_set: str, rules: Sequence[Rule], domain: str) -> None:
        for one in rules:
            if len(one["Recipients"]) < _MOST_RECIPIENTS:
                rule = {**one, "Recipients": [*one["Recipients"], domain]}
                await self._ses.ask("update_receipt_rule", RuleSetName=rule_set, Rule=rule)
                return
        names = {one["Name"] for one in rules}
        number = next(n for n in count(2) if f"{RULE}-{n}" not in names)
        rule = {**rules[0], "Name": f"{RULE}-{number}", "Recipients": [domain]}
        last = rules[-1]["Name"]
        await self._ses.ask("create_receipt_rule", RuleSetName=rule_set, Rule=rule, After=last)

    async def _ours(self) -> tuple[str, Sequence[Rule]]:
        """The active rule set, and our rules in it that say for whom they are."""
        rule_set = await active_set(self._ses)
        return rule_set, [
            one
            for one in await _rules(self._ses, rule_set)
            if (one["Name"] == RULE or one["Name"].startswith(f"{RULE}-")) and one.get("Recipients")
        ]


async def _active(ses: Aws) -> str | None:
    told = await ses.ask("describe_active_receipt_rule_set") or {}
    name: str | None = (told.get("Metadata") or {}).get("Name")
    return name or None


async def _rules(ses: Aws, rule_set: str) -> Sequence[Rule]:
    """None where the set is still to be made."""
    told = await ses.ask("describe_receipt_rule_set", absent=_NONE, RuleSetName=rule_set)
    return (told or {}).get("Rules") or []


def _covers(rule: Rule, recipients: Sequence[str]) -> bool:
    conditions = rule.get("Recipients") or []
    return not conditions or set(recipients) <= set(conditions)


def _tells(rule: Rule, topics: Collection[str]) -> bool:
    return any(
        action.get(kind, {}).get("TopicArn") in topics
        for action in rule.get("Actions") or []
        for kind in ("S3Action", "SNSAction")
    )


def _notes(rules: Sequence[Rule], domain: str) -> list[str]:
    """What in other rules keeps mail from us."""
    notes = []
    for one in rules:
        name, recipients = one["Name"], one.get("Recipients") or []
        if one["Name"] == RULE:
            break
        if domain in recipients and f".{domain}" not in recipients:
            notes.append(
                f"the rule {name} has the recipient {domain} and not .{domain}: "
                "no workspace's mail matches it"
            )
        stops = any("StopAction" in action for action in one.get("Actions") or [])
        if stops and (not recipients or {domain, f".{domain}"} & set(recipients)):
            notes.append(
                f"the rule {name} stands before ours and stops: what it matches ends there"
            )
    return notes

"""How does SES reach our webhooks: is the topic there, may SES publish to it, is it subscribed?

Source: Amazon SNS Developer Guide, "HTTP/HTTPS notification parsing", "Delivery retries"; Amazon
SES Developer Guide, "Set up an Amazon SNS event destination" (read 2026-11).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from mailagent.providers import aws_policy
from mailagent.providers.aws_policy import Statement
from mailagent.providers.ses_control import Aws
from mailagent.providers.steps import Laid, Step, differs, missing, observed, stands

__all__ = ["confirmed_step", "subscription_step", "topic_step"]

_NONE = ("NotFound", "NotFoundException")
_PENDING = "PendingConfirmation"
_RETRIES = {
    "minDelayTarget": 20,
    "maxDelayTarget": 300,
    "numRetries": 12,
    "numNoDelayRetries": 0,
    "numMinDelayRetries": 3,
    "numMaxDelayRetries": 4,
    "backoffFunction": "exponential",
}
"""The hour that SNS allows in all: by default it tries for a minute."""


def topic_step(sns: Aws, name: str, arn: str, *, account_id: str, subject: str) -> Step:
    """A topic whose signatures are of version 2 and to which SES may publish."""
    statement: Statement = {
        "Sid": "MailagentSesPublishes",
        "Effect": "Allow",
        "Principal": {"Service": "ses.amazonaws.com"},
        "Action": "sns:Publish",
        "Resource": arn,
        "Condition": {"StringEquals": {"AWS:SourceAccount": account_id}},
    }

    async def attributes() -> Mapping[str, str] | None:
        told = await sns.ask("get_topic_attributes", absent=_NONE, TopicArn=arn)
        return None if told is None else told["Attributes"]

    async def look() -> Laid:
        now = await attributes()
        if now is None:
            return missing()
        lacks = []
        if now.get("SignatureVersion") != "2":
            lacks.append("its signatures are of version 1")
        if not aws_policy.holds(now.get("Policy", ""), statement):
            lacks.append("its policy does not name SES")
        return differs("; ".join(lacks), before=dict(now)) if lacks else stands(f"{arn} is there")

    async def make(_: Laid) -> None:
        await sns.ask("create_topic", Name=name)
        now = await attributes() or {}
        await put("Policy", aws_policy.with_statement(now.get("Policy", ""), statement))
        await put("SignatureVersion", "2")

    async def put(attribute: str, value: str) -> None:
        await sns.ask(
            "set_topic_attributes", TopicArn=arn, AttributeName=attribute, AttributeValue=value
        )

    async def undo(laid: Laid) -> None:
        if laid.before is None:
            await sns.ask("delete_topic", absent=_NONE, TopicArn=arn)
            return
        await put("SignatureVersion", laid.before.get("SignatureVersion", "1"))
        if policy := laid.before.get("Policy"):
            await put("Policy", policy)

    wants = f"the topic {name}, signed by version 2, SES may publish to it"
    calls = (f"sns:CreateTopic {name}", f"sns:SetTopicAttributes {name} Policy, SignatureVersion")
    return Step(f"topic {subject}", wants, look, make, undo, calls)


def subscription_step(sns: Aws, arn: str, endpoint: str, *, subject: str) -> Step:
    """Our webhook hears of the topic, and SNS tries for an hour."""

    async def look() -> Laid:
        found = await _subscription(sns, arn, endpoint)
        return missing() if found is None else stands(f"{endpoint} is subscribed")

    async def make(_: Laid) -> None:
        await sns.ask(
            "subscribe",
            TopicArn=arn,
            Protocol=endpoint.partition(":")[0],
            Endpoint=endpoint,
            Attributes={"DeliveryPolicy": json.dumps({"healthyRetryPolicy": _RETRIES})},
            ReturnSubscriptionArn=True,
        )

    async def undo(_: Laid) -> None:
        found = await _subscription(sns, arn, endpoint)
        # One that waits for its confirmation has no name and goes with its topic, or in two days.
        if found is not None and found["SubscriptionArn"] != _PENDING:
            await sns.ask("unsubscribe", absent=_NONE, SubscriptionArn=found["SubscriptionArn"])

    wants = f"{endpoint} is subscribed, raw delivery off, tried for an hour"
    calls = (f"sns:Subscribe {endpoint}",)
    return Step(f"subscription of {subject}", wants, look, make, undo, calls)


def confirmed_step(sns: Aws, arn: str, endpoint: str, *, subject: str) -> Step:
    """SNS has the confirmation that our webhook gives by itself."""

    async def look() -> Laid:
        found = await _subscription(sns, arn, endpoint)
        if found is not None and found["SubscriptionArn"] != _PENDING:
            return stands("confirmed")
        mend = f"have mailagent answer at {endpoint} with {arn} in SES_SNS_TOPIC_ARNS"
        return missing("not yet" if found else "not subscribed", mend=mend)

    return observed(f"confirmation of {subject}", "SNS has the confirmation", look)


async def _subscription(sns: Aws, arn: str, endpoint: str) -> Mapping[str, Any] | None:
    async for one in _subscriptions(sns, arn):
        if one.get("Endpoint") == endpoint:
            return one
    return None


async def _subscriptions(sns: Aws, arn: str) -> AsyncIterator[Mapping[str, Any]]:
    more: dict[str, str] = {}
    while True:
        told = await sns.ask("list_subscriptions_by_topic", absent=_NONE, TopicArn=arn, **more)
        for one in (told or {}).get("Subscriptions", []):
            yield one
        if not (token := (told or {}).get("NextToken")):
            return
        more = {"NextToken": token}

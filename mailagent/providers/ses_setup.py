"""What should stand at Amazon SES, so that mail comes, leaves and is told of?

Sources: those of `ses_identity`, `ses_bucket`, `ses_topics` and `ses_rules`; Amazon SES API v2
Reference, "CreateConfigurationSetEventDestination", "GetAccount"; Amazon SES Developer Guide,
"Request production access" (read 2026-11).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from mailagent.identity import DnsRecord, Wish
from mailagent.providers.account import Account, House
from mailagent.providers.identity_step import identity_step, verified_step
from mailagent.providers.ses_access import Access, s3_access, ses_access
from mailagent.providers.ses_bucket import bucket_step, policy_step
from mailagent.providers.ses_control import Aws
from mailagent.providers.ses_identity import SesIdentities
from mailagent.providers.ses_rules import RULE, active_set, rule_set_step, rule_step
from mailagent.providers.ses_topics import confirmed_step, subscription_step, topic_step
from mailagent.providers.steps import Laid, SetUp, Step, differs, missing, observed, stands

__all__ = ["receiving", "setting_up"]

_ATTEMPTS = 5
_MAIL, _EVENTS = "mailagent-mail", "mailagent-events"
_SET = "mailagent"
_DESTINATION = "mailagent"
_NONE = ("NotFoundException",)
_EXISTS = ("AlreadyExistsException",)
_TELLS = ("REJECT", "BOUNCE", "COMPLAINT", "DELIVERY", "DELIVERY_DELAY", "RENDERING_FAILURE")
"""Opens and clicks are for who wants to track people."""


def receiving(ses: Access) -> Access:
    """Version 1 of the API, which alone has receipt rules. `SES_BASE_URL` is an address of version
    2; the others have AWS's own, or that of boto3's settings.
    """
    return replace(ses, service="ses", base_url=None, attempts=_ATTEMPTS)


@asynccontextmanager
async def setting_up(account: Account, house: House) -> AsyncIterator[SetUp]:
    """See `account.CanSetUp`. Asks AWS for the account's number and the active rule set."""
    async with AsyncExitStack() as stack:

        def opened(access: Access) -> Aws:
            aws = Aws(replace(access, attempts=_ATTEMPTS))
            stack.push_async_callback(aws.close)
            return aws

        ses = ses_access(account.settings)
        v2 = opened(ses)
        v1 = opened(receiving(ses))
        sns = opened(replace(ses, service="sns", base_url=None))
        sts = opened(replace(ses, service="sts", base_url=None))
        s3 = opened(s3_access({**house.settings.values, **account.settings}))
        told = await sts.ask("get_caller_identity") or {}
        aws = _Aws(v2, v1, sns, s3, str(told["Account"]), str(told["Arn"]).split(":")[1])
        yield _set_up(account, house, aws, rule_set=await active_set(v1))


@dataclass(frozen=True, slots=True)
class _Aws:
    """The services of one account."""

    v2: Aws
    v1: Aws
    sns: Aws
    s3: Aws
    number: str
    partition: str

    def arn(self, service: str, name: str) -> str:
        return f"arn:{self.partition}:{service}:{self.v1.region}:{self.number}:{name}"


def _set_up(account: Account, house: House, aws: _Aws, *, rule_set: str) -> SetUp:
    domain, number = house.default_domain, aws.number
    v2, v1, sns, s3 = aws.v2, aws.v1, aws.sns, aws.s3
    identities = SesIdentities(v2)
    mail, events = aws.arn("sns", _MAIL), aws.arn("sns", _EVENTS)
    listed = _words(house.settings.value("SES_SNS_TOPIC_ARNS"))
    buckets = _words(house.settings.value("SES_S3_BUCKETS"))
    bucket = buckets[0] if buckets else f"mailagent-mail-{number}-{s3.region}"
    named = account.settings.get("SES_CONFIGURATION_SET", "").strip()
    configuration_set = named or _SET
    mail_to, events_to = house.webhook("ses"), house.events("ses")
    rule_arn = aws.arn("ses", f"receipt-rule-set/{rule_set}:receipt-rule/{RULE}")
    needed = {
        "SES_SNS_TOPIC_ARNS": (listed, [mail, events]),
        "SES_S3_BUCKETS": (buckets, [bucket]),
        "SES_CONFIGURATION_SET": ([named], [configuration_set]),
    }
    steps = (
        identity_step(identities, domain, Wish(), call="ses:CreateEmailIdentity"),
        topic_step(sns, _EVENTS, events, account_id=number, subject="of events"),
        subscription_step(sns, events, events_to, subject="events"),
        _set_step(v2, configuration_set),
        _destination_step(v2, configuration_set, events),
        bucket_step(s3, bucket),
        topic_step(sns, _MAIL, mail, account_id=number, subject="of mail"),
        subscription_step(sns, mail, mail_to, subject="mail"),
        rule_set_step(v1),
        policy_step(s3, bucket, account_id=number, rule_arn=rule_arn),
        # The last that is made: with it mail begins to come.
        rule_step(v1, rule_set, domain, bucket=bucket, topic=mail, topics={mail, *listed}),
        *(_setting_step(name, has, wants) for name, (has, wants) in needed.items()),
        confirmed_step(sns, mail, mail_to, subject="mail"),
        confirmed_step(sns, events, events_to, subject="events"),
        verified_step(identities, domain),
        _access_step(v2),
        _statistics_step(v1),
    )
    mx = f"inbound-smtp.{v1.region}.amazonaws.com"
    return SetUp(
        steps,
        {name: _joined(has, wants) for name, (has, wants) in needed.items()},
        tuple(DnsRecord("MX", name, mx, 10) for name in (domain, f"*.{domain}")),
    )


def _set_step(v2: Aws, name: str) -> Step:
    async def look() -> Laid:
        found = await v2.ask("get_configuration_set", absent=_NONE, ConfigurationSetName=name)
        return missing() if found is None else stands(f"{name} is there")

    async def make(_: Laid) -> None:
        await v2.ask("create_configuration_set", absent=_EXISTS, ConfigurationSetName=name)

    async def undo(_: Laid) -> None:
        await v2.ask("delete_configuration_set", absent=_NONE, ConfigurationSetName=name)

    calls = (f"ses:CreateConfigurationSet {name}",)
    return Step("configuration set", f"the configuration set {name}", look, make, undo, calls)


def _destination_step(v2: Aws, name: str, topic: str) -> Step:
    wanted = {
        "Enabled": True,
        "MatchingEventTypes": list(_TELLS),
        "SnsDestination": {"TopicArn": topic},
    }
    ours = {"ConfigurationSetName": name, "EventDestinationName": _DESTINATION}

    async def look() -> Laid:
        told = await v2.ask(
            "get_configuration_set_event_destinations", absent=_NONE, ConfigurationSetName=name
        )
        for one in (told or {}).get("EventDestinations", []):
            if one["Name"] == _DESTINATION:
                return _compared(one, topic)
        return missing()

    async def make(laid: Laid) -> None:
        kind = "update" if laid.before else "create"
        call = f"{kind}_configuration_set_event_destination"
        await v2.ask(call, absent=_EXISTS, EventDestination=wanted, **ours)

    async def undo(laid: Laid) -> None:
        if laid.before:
            call = "update_configuration_set_event_destination"
            await v2.ask(call, EventDestination=laid.before, **ours)
        else:
            await v2.ask("delete_configuration_set_event_destination", absent=_NONE, **ours)

    wants = f"{name} tells {topic} of {', '.join(_TELLS)}"
    calls = (f"ses:CreateConfigurationSetEventDestination {name} {_DESTINATION}",)
    return Step("event destination", wants, look, make, undo, calls)


def _compared(one: Mapping[str, Any], topic: str) -> Laid:
    """More events than we ask for are somebody's wish."""
    before = {key: value for key, value in one.items() if key != "Name"}
    lacks = sorted(set(_TELLS) - set(one.get("MatchingEventTypes", [])))
    if not one.get("Enabled"):
        return differs("it is off", before=before)
    if one.get("SnsDestination", {}).get("TopicArn") != topic:
        return differs("it tells another topic", before=before)
    if lacks:
        return differs(f"it does not tell {', '.join(lacks)}", before=before)
    return stands("it tells the topic")


def _setting_step(name: str, has: Sequence[str], wants: Sequence[str]) -> Step:
    async def look() -> Laid:
        if set(wants) <= set(has):
            return stands("is set")
        return missing("is not set so", mend=f"{name}={_joined(has, wants)} and start again")

    return observed(f"setting {name}", f"{name} has {' '.join(wants)}", look)


def _access_step(v2: Aws) -> Step:
    async def look() -> Laid:
        told = await v2.ask("get_account") or {}
        quota = told.get("SendQuota", {})
        most = quota.get("Max24HourSend", 0)
        says = (
            f"{'no limit' if most < 0 else f'{most:g}'} in 24 hours, "
            f"{quota.get('SentLast24Hours', 0):g} of them used, "
            f"{quota.get('MaxSendRate', 0):g} a second, "
            f"standing {str(told.get('EnforcementStatus', 'unknown')).lower()}"
        )
        if not told.get("SendingEnabled"):
            return missing(f"paused; {says}", mend="the SES console says why sending is paused")
        if not told.get("ProductionAccessEnabled"):
            mend = (
                "ask for production access: SES console, Account dashboard, or aws sesv2 "
                "put-account-details --production-access-enabled --mail-type TRANSACTIONAL "
                f"--region {v2.region} --website-url https://…"
            )
            return missing(f"sandbox, to verified recipients only; {says}", mend=mend)
        return stands(f"production; {says}")

    return observed("access", "SES sends to everybody", look)


def _statistics_step(v1: Aws) -> Step:
    async def look() -> Laid:
        points = (await v1.ask("get_send_statistics") or {}).get("SendDataPoints") or []
        sums = {
            word: sum(int(one.get(word, 0)) for one in points)
            for word in ("DeliveryAttempts", "Bounces", "Complaints", "Rejects")
        }
        said = f"{sums['DeliveryAttempts']} tried, {sums['Bounces']} bounced"
        said += f", {sums['Complaints']} complained, {sums['Rejects']} rejected"
        return stands(f"{said} in two weeks")

    return observed("send statistics", "what became of mail", look)


def _words(setting: str) -> list[str]:
    return setting.replace(",", " ").split()


def _joined(has: Sequence[str], wants: Sequence[str]) -> str:
    return " ".join(dict.fromkeys([*filter(None, has), *wants] if wants != has else wants))

"""SES is set up, checked and taken back: moto plays S3, SNS and rules, our own server the rest."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.core.responses import EmptyResult
from moto.server import ThreadedMotoServer
from moto.ses.exceptions import RuleDoesNotExist
from moto.ses.models import SESBackend
from moto.ses.responses import EmailResponse
from moto.sns.responses import SNSResponse

from backend.outbound.provisioning import Mode, Report, carry_out
from mailagent.errors import PermanentFailure
from mailagent.identity import Collects
from mailagent.providers import Account, House, collector
from mailagent.providers.ses_access import Access
from mailagent.providers.steps import Outcome, Result
from mailagent.webhook import WebhookSettings
from tests.api_server import Reply
from tests.ses_identities import SesControlServer

DOMAIN = "aexy.example"
URL = "https://mail.aexy.example"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI-secret"}
REGION = "eu-west-1"
MAIL = f"arn:aws:sns:{REGION}:{DEFAULT_ACCOUNT_ID}:mailagent-mail"
_TOLD = SNSResponse.get_topic_attributes
BUCKET = f"mailagent-mail-{DEFAULT_ACCOUNT_ID}-{REGION}"


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def _told_whole(answer: SNSResponse) -> Any:
    """A topic's attributes as AWS gives them: moto keeps the version and does not say it."""
    told: Any = _TOLD(answer)
    topic = answer.backend.get_topic(told.result["Attributes"]["TopicArn"])
    told.result["Attributes"]["SignatureVersion"] = getattr(topic, "signature_version", "1")
    return told


def _delete_rule(answer: EmailResponse) -> EmptyResult:
    """What moto has not."""
    rules = answer.backend.receipt_rule_set[answer._get_param("RuleSetName")].rules
    rules[:] = [one for one in rules if one["Name"] != answer._get_param("RuleName")]
    return EmptyResult()


@pytest.fixture
def aws(moto: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """AWS without anything in it; boto3 is led to it as it documents."""
    httpx.post(f"{moto}/moto-api/reset").raise_for_status()
    monkeypatch.setattr(SNSResponse, "get_topic_attributes", _told_whole)
    monkeypatch.setattr(EmailResponse, "delete_receipt_rule", _delete_rule, raising=False)
    for service in ("SES", "SNS", "STS"):
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", moto)
    return moto


def client(aws: str, service: Any) -> Any:
    key_id, secret = KEYS.values()
    return Access(service, REGION, key_id, secret, base_url=aws).client()


@asynccontextmanager
async def ses(aws: str, **trusted: str) -> AsyncIterator[tuple[SesControlServer, Account, House]]:
    async with SesControlServer() as server:
        settings = {**KEYS, "AWS_SES_REGION": REGION, "SES_BASE_URL": server.url}
        values = {**settings, "AWS_ENDPOINT_URL_S3": aws, **trusted}
        here = House(DOMAIN, URL, WebhookSettings(values))
        yield server, Account("ses", "ses", {**settings, **trusted}), here


async def run(account: Account, here: House, mode: Mode) -> Report:
    report = await carry_out(account, here, mode)
    assert report is not None
    return report


def by_name(report: Report) -> Mapping[str, Result]:
    return {step.name: step for step in report.steps}


async def test_a_plan_makes_nothing_and_lists_every_call(aws: str) -> None:
    async with ses(aws) as (server, account, here):
        report = await run(account, here, "plan")
        assert server.changes == []
    calls = [call.split()[0] for step in report.steps for call in step.calls]
    assert calls[:2] == ["ses:CreateEmailIdentity", "sns:CreateTopic"]
    assert calls[-1] == "ses:CreateReceiptRule"
    assert {"s3:CreateBucket", "s3:PutBucketPolicy", "sns:Subscribe"} <= set(calls)
    assert client(aws, "s3").list_buckets()["Buckets"] == []
    assert client(aws, "sns").list_topics()["Topics"] == []


async def test_everything_of_the_guide_is_made_once(aws: str) -> None:
    async with ses(aws) as (server, account, here):
        first = await run(account, here, "make")
        assert not first.failed, first
        asked = server.changes
        rule = client(aws, "ses").describe_active_receipt_rule_set()
        policy = client(aws, "s3").get_bucket_policy(Bucket=BUCKET)["Policy"]
        second = await run(account, here, "make")
        assert server.changes == asked
        assert DOMAIN in server.identities
        (destination,) = server.sets["mailagent"].values()

    assert rule["Metadata"]["Name"] == "mailagent"
    (only,) = rule["Rules"]
    assert only["Recipients"] == [DOMAIN, f".{DOMAIN}"]
    assert only["Enabled"]
    assert only["ScanEnabled"]
    assert only["Actions"] == [{"S3Action": {"BucketName": BUCKET, "TopicArn": MAIL}}]
    (statement,) = json.loads(policy)["Statement"]
    assert statement["Condition"] == {
        "StringEquals": {"AWS:SourceAccount": DEFAULT_ACCOUNT_ID},
        "ArnLike": {
            "AWS:SourceArn": f"arn:aws:ses:{REGION}:{DEFAULT_ACCOUNT_ID}:"
            "receipt-rule-set/mailagent:receipt-rule/mailagent*"
        },
    }
    sns = client(aws, "sns")
    assert sns.get_topic_attributes(TopicArn=MAIL)["Attributes"]["SignatureVersion"] == "2"
    (subscribed,) = sns.list_subscriptions_by_topic(TopicArn=MAIL)["Subscriptions"]
    assert (subscribed["Protocol"], subscribed["Endpoint"]) == ("https", f"{URL}/webhook/ses")
    assert {"BOUNCE", "COMPLAINT", "DELIVERY"} <= set(destination["MatchingEventTypes"])
    assert destination["SnsDestination"]["TopicArn"].endswith(":mailagent-events")
    assert {step.outcome for step in second.steps} == {Outcome.STANDS, Outcome.WAITS}
    assert first.settings["SES_S3_BUCKETS"] == BUCKET
    assert [(one.name, one.value) for one in first.publish] == [
        (DOMAIN, f"inbound-smtp.{REGION}.amazonaws.com"),
        (f"*.{DOMAIN}", f"inbound-smtp.{REGION}.amazonaws.com"),
    ]


async def test_another_active_rule_set_is_never_replaced_and_its_faults_are_named(aws: str) -> None:
    boto = client(aws, "ses")
    boto.create_receipt_rule_set(RuleSetName="theirs")
    boto.create_receipt_rule(
        RuleSetName="theirs",
        Rule={"Name": "guide", "Enabled": True, "Recipients": [DOMAIN], "Actions": []},
    )
    boto.set_active_receipt_rule_set(RuleSetName="theirs")
    async with ses(aws) as (_, account, here):
        report = by_name(await run(account, here, "make"))
    active = boto.describe_active_receipt_rule_set()
    assert active["Metadata"]["Name"] == "theirs"
    assert [one["Name"] for one in active["Rules"]] == ["guide", "mailagent"]
    assert report["rule set"].notes == ("theirs is active and stays: our rule is added at its end",)
    (fault,) = report["receipt rule"].notes
    assert fault.startswith("the rule guide has the recipient aexy.example and not .aexy.example")


async def test_a_rule_made_by_hand_that_does_the_same_is_left_alone(aws: str) -> None:
    boto = client(aws, "ses")
    topic = f"arn:aws:sns:{REGION}:{DEFAULT_ACCOUNT_ID}:by-hand"
    boto.create_receipt_rule_set(RuleSetName="theirs")
    boto.create_receipt_rule(
        RuleSetName="theirs",
        Rule={
            "Name": "hand",
            "Enabled": True,
            "Recipients": [DOMAIN, f".{DOMAIN}"],
            "Actions": [{"SNSAction": {"TopicArn": topic, "Encoding": "Base64"}}],
        },
    )
    boto.set_active_receipt_rule_set(RuleSetName="theirs")
    async with ses(aws, SES_SNS_TOPIC_ARNS=topic) as (_, account, here):
        report = by_name(await run(account, here, "make"))
    assert report["receipt rule"].says == "hand in theirs, made by hand, does it"
    assert len(boto.describe_active_receipt_rule_set()["Rules"]) == 1


async def test_a_failure_takes_back_what_the_run_made_and_leaves_what_was_there(
    aws: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuleDoesNotExist("refused for the test")

    monkeypatch.setattr(SESBackend, "create_receipt_rule", refuse)
    s3 = client(aws, "s3")
    s3.create_bucket(Bucket="kept", CreateBucketConfiguration={"LocationConstraint": REGION})
    theirs = {
        "Sid": "Theirs",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:DeleteBucket",
        "Resource": "arn:aws:s3:::kept",
    }
    s3.put_bucket_policy(
        Bucket="kept", Policy=json.dumps({"Version": "2012-10-17", "Statement": [theirs]})
    )
    async with ses(aws, SES_S3_BUCKETS="kept") as (server, account, here):
        server.sets["theirs"] = {}
        report = by_name(await run(account, here, "make"))
        assert server.identities == {}
        assert server.sets == {"theirs": {}}

    assert report["receipt rule"].outcome is Outcome.FAILED
    assert report["bucket"].outcome is Outcome.STANDS
    assert report["topic of mail"].outcome is Outcome.UNDONE
    assert report["confirmation of mail"].outcome is Outcome.UNTRIED
    assert client(aws, "sns").list_topics()["Topics"] == []
    assert client(aws, "sns").list_subscriptions()["Subscriptions"] == []
    assert client(aws, "ses").list_receipt_rule_sets()["RuleSets"] == []
    kept = json.loads(s3.get_bucket_policy(Bucket="kept")["Policy"])["Statement"]
    assert [one["Sid"] for one in kept] == ["Theirs"]


async def test_a_check_tells_the_sandbox_the_quota_and_what_became_of_mail(aws: str) -> None:
    async with ses(aws) as (server, account, here):
        await run(account, here, "make")
        asked = server.changes
        report = await run(account, here, "check")
        assert server.changes == asked
    told = by_name(report)
    assert told["access"].outcome is Outcome.WAITS
    assert "sandbox" in told["access"].says
    assert "200 in 24 hours, 17 of them used, 1 a second" in told["access"].says
    assert "put-account-details" in told["access"].mend
    assert told["send statistics"].says.endswith("in two weeks")
    assert told["confirmation of mail"].outcome is Outcome.STANDS
    assert "_domainkey.aexy.example CNAME" in told["records of the domain"].mend
    assert told["setting SES_S3_BUCKETS"].mend.startswith(f"SES_S3_BUCKETS={BUCKET}")
    assert not report.well


async def test_what_was_changed_by_hand_is_told_and_mended(aws: str) -> None:
    async with ses(aws) as (server, account, here):
        await run(account, here, "make")
        boto = client(aws, "ses")
        (rule,) = boto.describe_active_receipt_rule_set()["Rules"]
        boto.update_receipt_rule(RuleSetName="mailagent", Rule={**rule, "Recipients": [DOMAIN]})
        server.sets["mailagent"]["mailagent"]["Enabled"] = False
        checked = by_name(await run(account, here, "check"))
        assert checked["receipt rule"].says == "differs in Recipients"
        assert checked["event destination"].says == "it is off"
        await run(account, here, "make")
        again = by_name(await run(account, here, "check"))
    assert again["receipt rule"].outcome is Outcome.STANDS
    assert again["event destination"].outcome is Outcome.STANDS


async def test_keys_that_may_not_say_who_they_are_fail_before_anything_is_made(aws: str) -> None:
    async with ses(aws) as (server, account, here):
        async with SesControlServer(
            [
                Reply(
                    403,
                    b"<ErrorResponse><Error><Code>AccessDenied</Code>"
                    b"<Message>not authorized to perform: sts:GetCallerIdentity</Message></Error>"
                    b"</ErrorResponse>",
                )
            ]
            * 9
        ) as refusing:
            with pytest.MonkeyPatch.context() as led:
                led.setenv("AWS_ENDPOINT_URL_STS", refusing.url)
                report = await run(account, here, "make")
        assert server.requests == []
    (only,) = report.steps
    assert only.outcome is Outcome.FAILED
    assert "sts:GetCallerIdentity" in only.says
    assert "docs/providers/ses.md" in only.says


def recipients(aws: str) -> dict[str, list[str]]:
    rules = client(aws, "ses").describe_active_receipt_rule_set()["Rules"]
    return {one["Name"]: one["Recipients"] for one in rules}


@asynccontextmanager
async def collecting(account: Account, here: House) -> AsyncIterator[Collects]:
    opened = collector(account, here)
    assert opened is not None
    async with opened as collects:
        yield collects


async def test_mail_for_one_more_domain_is_brought_and_brought_no_more(aws: str) -> None:
    async with ses(aws) as (_, account, here):
        await run(account, here, "make")
        async with collecting(account, here) as collects:
            assert not await collects.collects("shop.example")
            (record,) = await collects.collect("shop.example")
            assert await collects.collect("shop.example") == (record,)
            assert recipients(aws) == {"mailagent": [DOMAIN, f".{DOMAIN}", "shop.example"]}
            assert await collects.collects("shop.example")

            checked = by_name(await run(account, here, "check"))
            assert checked["receipt rule"].outcome is Outcome.STANDS

            await collects.stop_collecting("shop.example")
            await collects.stop_collecting("shop.example")
            assert not await collects.collects("shop.example")
    assert recipients(aws) == {"mailagent": [DOMAIN, f".{DOMAIN}"]}
    assert (record.type, record.name, record.priority) == ("MX", "shop.example", 10)
    assert record.value == f"inbound-smtp.{REGION}.amazonaws.com"


async def test_a_full_rule_is_followed_by_another_which_is_never_left_without_a_recipient(
    aws: str,
) -> None:
    async with ses(aws) as (_, account, here):
        await run(account, here, "make")
        boto = client(aws, "ses")
        (rule,) = boto.describe_active_receipt_rule_set()["Rules"]
        full = [*rule["Recipients"], *(f"d{n}.example" for n in range(98))]
        boto.update_receipt_rule(RuleSetName="mailagent", Rule={**rule, "Recipients": full})
        async with collecting(account, here) as collects:
            await collects.collect("shop.example")
            assert recipients(aws) == {"mailagent": full, "mailagent-2": ["shop.example"]}
            assert await collects.collects("shop.example")
            await collects.stop_collecting("shop.example")
            assert not await collects.collects("shop.example")
    assert recipients(aws) == {"mailagent": full}


async def test_a_page_in_awss_place_is_a_failure_of_the_tree(
    aws: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ses(aws) as (_, account, here), SesControlServer() as gateway:
        gateway.now_does(*[Reply(502, b"<!doctype html><p>Bad Gateway")] * 9)
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", gateway.url)
        report = await run(account, here, "check")
    (only,) = report.steps
    assert only.outcome is Outcome.FAILED


async def test_a_domain_of_an_account_that_is_not_set_up_is_refused_with_the_mend(aws: str) -> None:
    async with ses(aws) as (_, account, here), collecting(account, here) as collects:
        with pytest.raises(PermanentFailure, match="mailagent provider setup ses first"):
            await collects.collect("shop.example")

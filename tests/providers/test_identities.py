"""What only one provider does with a sender domain; what all do stands in the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mailagent.errors import PermanentFailure
from mailagent.identity import DnsRecord, Identifies, OwnKey, Wish
from mailagent.providers import Account, identifier
from tests.mailgun_control import MailgunControlServer
from tests.mailgun_server import KEY as MAILGUN_KEY
from tests.postmark_control import ACCOUNT_TOKEN, PostmarkControlServer
from tests.sendgrid_control import SendGridControlServer
from tests.sendgrid_server import KEY as SENDGRID_KEY
from tests.ses_identities import SesControlServer

SHOP = "shop.example"
KEY = OwnKey("s1", b"-----BEGIN PRIVATE KEY-----\nMIIE\nvgIB\n-----END PRIVATE KEY-----\n")


@asynccontextmanager
async def opened(kind: str, **settings: str) -> AsyncIterator[Identifies]:
    found = identifier(Account("main", kind, settings))
    assert found is not None
    async with found as identifies:
        yield identifies


@asynccontextmanager
async def ses() -> AsyncIterator[tuple[SesControlServer, Identifies]]:
    async with (
        SesControlServer() as server,
        opened(
            "ses",
            AWS_ACCESS_KEY_ID="AKIAEXAMPLE",
            AWS_SECRET_ACCESS_KEY="secret-of-the-tests",
            AWS_SES_REGION="eu-west-1",
            SES_BASE_URL=server.url,
        ) as identifies,
    ):
        yield server, identifies


async def test_ses_is_given_our_key_without_its_armour_and_lists_no_record_of_it() -> None:
    async with ses() as (server, identifies):
        made = await identifies.identify(SHOP, Wish(mail_from=f"bounce.{SHOP}", own_key=KEY))
        asked = server.requests[1].json["DkimSigningAttributes"]
        assert asked == {"DomainSigningSelector": "s1", "DomainSigningPrivateKey": "MIIEvgIB"}
        assert made.records == (
            DnsRecord("MX", f"bounce.{SHOP}", "feedback-smtp.eu-west-1.amazonses.com", 10),
            DnsRecord("TXT", f"bounce.{SHOP}", "v=spf1 include:amazonses.com ~all"),
        )
        assert not server.identities[SHOP]["FeedbackForwardingStatus"]
        assert "MIIE" not in repr(KEY)


async def test_ses_is_given_our_key_again_once_it_gave_up() -> None:
    async with ses() as (server, identifies):
        await identifies.identify(SHOP, Wish(own_key=KEY))
        server.publish(SHOP, dkim="FAILED")
        with pytest.raises(PermanentFailure, match="identify it with the key"):
            await identifies.resubmit(SHOP)
        assert (await identifies.identify(SHOP, Wish(own_key=KEY))).sending == "pending"


async def test_ses_changes_from_its_key_to_ours_and_back_and_drops_a_mail_from() -> None:
    async with ses() as (server, identifies):
        await identifies.identify(SHOP, Wish(mail_from=f"bounce.{SHOP}"))
        assert not (await identifies.identify(SHOP, Wish(own_key=KEY))).records
        assert "MailFromAttributes" not in server.identities[SHOP]
        back = await identifies.identify(SHOP, Wish(dkim_bits=1024))
        assert {one.type for one in back.records} == {"CNAME"}
        length = server.identities[SHOP]["DkimAttributes"]["NextSigningKeyLength"]
        assert length == "RSA_1024_BIT"


async def test_what_ses_cannot_tell_is_unknown_and_why_it_failed_is_told() -> None:
    async with ses() as (server, identifies):
        await identifies.identify(SHOP, Wish())
        server.publish(SHOP, dkim="TEMPORARY_FAILURE")
        assert (told := await identifies.identity(SHOP)) is not None
        assert told.sending == "unknown"
        server.publish(SHOP, dkim="FAILED")
        assert (told := await identifies.identity(SHOP)) is not None
        assert "HOST_NOT_FOUND; SES asked the zone of ns1.dns.example" in told.detail


async def test_mailgun_lists_no_record_for_tracking_and_says_what_it_sees() -> None:
    async with (
        MailgunControlServer() as server,
        opened("mailgun", MAILGUN_API_KEY=MAILGUN_KEY, MAILGUN_BASE_URL=server.url) as identifies,
    ):
        made = await identifies.identify(SHOP, Wish())
        assert {one.type for one in made.records} == {"TXT"}
        server.dns[SHOP] = "wrong"
        assert (told := await identifies.identity(SHOP)) is not None
        assert told.detail == "Mailgun sees v=spf1 -all"
        assert told.words == {"spf": "invalid", "dkim": "invalid"}
        assert not server.known[SHOP]["wildcard"]


async def test_postmark_lists_both_keys_while_one_takes_over_from_the_other() -> None:
    async with (
        PostmarkControlServer() as server,
        opened(
            "postmark", POSTMARK_ACCOUNT_TOKEN=ACCOUNT_TOKEN, POSTMARK_BASE_URL=server.url
        ) as identifies,
    ):
        await identifies.identify(SHOP, Wish())
        server.find(SHOP, "dkim")
        (one,) = server.domains.values()
        one |= {"DKIMPendingHost": f"new._domainkey.{SHOP}", "DKIMPendingTextValue": "k=rsa;p=N"}
        assert (told := await identifies.identity(SHOP)) is not None
        assert [one.name.partition(".")[0] for one in told.records] == ["new", "20261121010000pm"]
        assert told.sending == "verified"

        changed = await identifies.identify(SHOP, Wish(mail_from=f"pm.{SHOP}"))
        assert changed.records[-1] == DnsRecord("CNAME", f"pm.{SHOP}", "pm.mtasv.net")
        kept = await identifies.identify(SHOP, Wish())
        assert kept.records == changed.records


async def test_sendgrid_says_what_it_expected_and_takes_no_longer_name_for_the_domain() -> None:
    async with (
        SendGridControlServer() as server,
        opened(
            "sendgrid", SENDGRID_API_KEY=SENDGRID_KEY, SENDGRID_BASE_URL=server.url
        ) as identifies,
    ):
        await identifies.identify(f"not-{SHOP}", Wish())
        assert await identifies.identity(SHOP) is None
        made = await identifies.identify(SHOP, Wish(mail_from=f"em.{SHOP}"))
        assert made.records[0].name == f"em.{SHOP}"
        assert (await identifies.resubmit(SHOP)).detail == "Expected; Expected; Expected"

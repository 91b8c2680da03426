"""A mail that SES has put into S3 is fetched octet for octet, from listed buckets alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import tests.aws
from mailagent.errors import PermanentFailure, TransientFailure
from mailagent.providers import fetch_stored
from mailagent.providers.ses_access import s3_access
from mailagent.providers.ses_objects import fetch_object
from mailagent.webhook import WebhookSettings
from tests.api_server import Fault, Reply
from tests.ses_server import SesServer

SECRET = "wJalrXUtnFEMI-K7MDENG-secret"
PLACE = "s3://ses-mail-in/in/ses0 s3+ü%20.eml"


def settings(url: str, **more: str) -> dict[str, str]:
    return {
        "SES_S3_BUCKETS": "ses-mail-in, ses-mail-old",
        "AWS_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_ENDPOINT_URL_S3": url,
        **more,
    }


def put(url: str, key: str, content: bytes, **more: object) -> None:
    client = s3_access(settings(url)).client()
    client.put_object(Bucket="ses-mail-in", Key=key, Body=content, **more)
    client.close()


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    """A server that plays AWS, with one bucket."""
    with tests.aws.aws("ses-mail-in") as given:
        yield given["AWS_ENDPOINT_URL_S3"]


async def test_every_octet_of_a_kept_mail_is_fetched(aws: str) -> None:
    content = bytes(range(256)) * 8_192
    put(aws, PLACE.removeprefix("s3://ses-mail-in/"), content)
    assert await fetch_object(settings(aws), PLACE) == content
    assert await fetch_stored(WebhookSettings(settings(aws)), PLACE) == content


async def test_what_is_not_there_is_asked_for_again(aws: str) -> None:
    with pytest.raises(TransientFailure, match=r"NoSuchBucket.* s3:GetObject"):
        await fetch_object(settings(aws), "s3://ses-mail-old/in/ses1")
    with pytest.raises(TransientFailure, match="NoSuchKey"):
        await fetch_object(settings(aws), "s3://ses-mail-in/in/ses1")


async def test_what_the_s3_encryption_client_wrote_names_the_rule(aws: str) -> None:
    put(aws, "in/kms", b"\x00secret", Metadata={"x-amz-key-v2": "AQID", "x-amz-iv": "AQID"})
    with pytest.raises(PermanentFailure, match="KMS key"):
        await fetch_object(settings(aws), "s3://ses-mail-in/in/kms")


@pytest.mark.parametrize(
    "place",
    [
        *(
            "s3://other/in/ses1",
            "s3://ses-mail-in.evil.example/in/ses1",
            "s3://ses-mail-in",
            "s3://ses-mail-in/",
        ),
        *(
            "s3:///in/ses1",
            "https://ses-mail-in.s3.amazonaws.com/in/ses1",
            "file:///etc/passwd",
            "",
        ),
    ],
)
async def test_a_place_that_is_not_listed_is_never_asked(place: str) -> None:
    async with SesServer() as server:
        with pytest.raises(PermanentFailure):
            await fetch_object(settings(server.url), place)
        assert server.requests == []


DENIED = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>less</Message></Error>"


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (Reply(403, DENIED), r"AccessDenied for ses-mail-in: the key needs s3:GetObject"),
        (Reply(503, SLOW_DOWN), "SlowDown"),
        (Reply(500, b""), "500"),
        (Fault.RESET, "could not be asked"),
        (Fault.CUT, "could not be asked"),
    ],
)
async def test_whatever_may_be_over_later_is_asked_for_once(step: Reply | Fault, said: str) -> None:
    async with SesServer([step]) as server:
        with pytest.raises(TransientFailure, match=said) as failure:
            await fetch_object(settings(server.url), PLACE)
        assert len(server.requests) == 1
    assert SECRET not in str(failure.value)


async def test_an_object_over_the_limit_is_not_read() -> None:
    too_large = Reply(200, b"x", {"Content-Length": str(40 * 1024 * 1024 + 1)})
    async with SesServer([too_large]) as server:
        with pytest.raises(PermanentFailure, match="over 41943040 bytes"):
            await fetch_object(settings(server.url), PLACE)


async def test_without_a_region_it_waits_until_somebody_names_one() -> None:
    with pytest.raises(TransientFailure, match="AWS_REGION: is empty"):
        await fetch_object(settings("", AWS_REGION=""), PLACE)


def test_s3_is_in_the_aws_region_and_else_in_that_of_ses() -> None:
    assert s3_access(settings("", AWS_SES_REGION="us-west-2")).region == "eu-west-1"
    only_ses = settings("", AWS_REGION="", AWS_SES_REGION="us-west-2")
    assert s3_access(only_ses).region == "us-west-2"
    assert SECRET not in repr(s3_access(only_ses))

"""`mailagent webhook recover`: what an outage left behind comes when a person asks for it."""

from __future__ import annotations

from tests.aws import aws, s3
from tests.flow.house import mail
from tests.flow.test_recovery import by_ses
from tests.operation.terminal import Terminal

_HELLO = "hello@shop.aexy.example"


def _planted(mailagent: Terminal, url: str) -> Terminal:
    there = mailagent.on(url)
    there.ok("workspace", "create", "shop")
    there.ok("agent", "create", "hello")
    return there


def test_it_prints_what_it_found_once_and_names_each_delivery(
    mailagent: Terminal, sqlite_url: str
) -> None:
    there = _planted(mailagent, sqlite_url)
    with aws("ses-mail-in") as settings:
        there.set(SES_S3_BUCKETS="ses-mail-in", **settings)
        with s3(settings) as client:
            body = by_ses(mail(to=_HELLO), _HELLO)
            name = "q3s0v1o6l1c2m8t9k4h5g7f3d2a1b0c9e8f7a601"
            client.put_object(Bucket="ses-mail-in", Key=f"in/{name}", Body=body)
        first = there("--json", "webhook", "recover", "ses", "--since", "2020-01-01")
        again = there("webhook", "recover", "--since", "2020-01-01")
    (told,) = first.json
    assert (first.code, again.code) == (0, 0)
    assert (told["provider"], told["listed"], told["known"], told["whole"]) == ("ses", 1, 0, True)
    assert [one[:4] for one in told["delivery_ids"]] == ["dlv_"]
    assert "1 listed, 1 known, 0 recovered" in again.out


def test_a_provider_that_is_away_or_not_set_up_is_an_error_that_says_so(
    mailagent: Terminal, sqlite_url: str
) -> None:
    there = _planted(mailagent, sqlite_url)
    assert "PROVIDER: is none that can be asked here" in there("webhook", "recover", "ses").err
    there.set(SES_S3_BUCKETS="ses-mail-in", AWS_REGION="eu-west-1")
    there.set(AWS_ENDPOINT_URL_S3="http://127.0.0.1:9", AWS_ACCESS_KEY_ID="A")
    there.set(AWS_SECRET_ACCESS_KEY="a-secret-of-the-tests")
    done = there("webhook", "recover", "ses", "--since", "2020-01-01")
    assert done.code == 1
    assert "not all was gone through: S3 could not be asked" in done.out

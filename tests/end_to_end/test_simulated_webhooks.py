"""A person tries each provider's webhook on a running server, without the provider."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from backend.cli import main
from backend.simulating import MAKERS
from mailagent.providers import KINDS
from mailagent.providers.account import CanReceive
from tests.end_to_end.system import System, running

HELLO = "hello@demo.aexy.email"
SECRET = "an-inbound-secret-of-forty-eight-characters-0000"
EML = Path(__file__).parent.parent / "data" / "inbound" / "mail.eml"
Run = Callable[..., tuple[object, str]]
RECEIVING = sorted(kind.kind for kind in KINDS if isinstance(kind, CanReceive))


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("simulated")
    settings = {
        "INBOUND_WEBHOOK_SECRET": SECRET,
        "MAILGUN_WEBHOOK_SIGNING_KEY": "whsk-of-the-simulation",
        "POSTMARK_WEBHOOK_PASSWORD": "pm-of-the-simulation",
        "SES_SNS_TOPIC_ARNS": "arn:aws:sns:eu-west-1:123456789012:mail",
    }
    with running(folder, "--demo", **settings) as started:
        yield started


def test_every_provider_that_brings_mail_can_be_simulated() -> None:
    assert set(RECEIVING) <= MAKERS.keys()


@pytest.fixture
def run(system: System, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """A command on the running system's data; its exit code and standard output."""

    def command(*arguments: str, **settings: str) -> tuple[object, str]:
        for name, value in {**system.environment, **settings}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as end:
            main(["webhook", "simulate", *arguments])
        return end.value.code, capsys.readouterr().out

    return command


@pytest.mark.parametrize("provider", RECEIVING)
def test_a_simulated_mail_arrives_once_and_its_delivery_is_named(run: Run, provider: str) -> None:
    for said in ("accepted", "duplicate"):
        code, shown = run(provider, str(EML), "--to", HELLO, "--json")
        told = json.loads(shown)
        assert code == 0
        assert [(one["status"], one["said"]) for one in told["answers"]] == [(200, said)]
        (delivery_id,) = told["delivery_ids"]
        assert delivery_id.startswith("dlv_")


def test_without_a_file_a_short_mail_comes_that_is_new_each_time(run: Run) -> None:
    shown = {run("mailgun", "--to", HELLO)[1] for _ in range(2)}
    assert len(shown) == 2
    for one in shown:
        assert one.startswith("200 accepted: the provider takes it as done\ndlv_")


def test_an_address_that_nobody_has_is_told(run: Run) -> None:
    code, shown = run("inbound", "--to", "nobody@demo.aexy.email")
    assert code == 0
    assert shown == "200 unrouted: nobody here has that address: kept for the operator alone\n"


def test_a_secret_that_the_server_does_not_have_is_refused_and_not_shown(run: Run) -> None:
    code, shown = run("mailgun", "--to", HELLO, MAILGUN_WEBHOOK_SIGNING_KEY="another")
    assert code == 1
    assert shown.startswith("401 the signature does not hold")
    assert "the provider tries again" in shown
    assert "another" not in shown


@pytest.mark.parametrize(
    ("arguments", "settings", "mend"),
    [
        (("pigeon", "--to", HELLO), {}, "PROVIDER: is one of inbound, mailgun"),
        (("mailgun",), {}, "--to: is missing"),
        (("mailgun", "no-such.eml", "--to", HELLO), {}, "FILE: cannot be read"),
        (("mailgun", "--to", HELLO, "--url", "nowhere"), {}, "--url: is no address"),
        (
            ("sendgrid", "--to", HELLO),
            {"SENDGRID_WEBHOOK_PUBLIC_KEY": "MFkw"},
            "only SendGrid has the private key",
        ),
        (("ses", "--to", HELLO), {"INBOUND_WEBHOOK_SECRET": ""}, "only Amazon can sign for SES"),
    ],
    ids=["provider", "recipient", "file", "address", "SendGrid's key", "Amazon's key"],
)
def test_what_cannot_be_simulated_names_the_mend(
    system: System,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: Sequence[str],
    settings: Mapping[str, str],
    mend: str,
) -> None:
    for name, value in {**system.environment, **settings}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as end:
        main(["webhook", "simulate", *arguments])
    assert end.value.code == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert mend in shown.err

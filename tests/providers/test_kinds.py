"""The tuple of providers: each entry can be opened by its name and keeps the contract's outline."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mailagent import providers
from mailagent.errors import LostClaim, Misconfigured
from mailagent.inbound import Inbound, Later, Outcome
from mailagent.outgoing import Sent
from mailagent.providers import KINDS, Account, SigningKey, Surroundings, open_account
from mailagent.providers.account import CanSend
from mailagent.providers.capture import Capture
from tests.providers.mails import ALICE, BOB, Commits, outgoing

SETTINGS = {
    "mailgun": {"MAILGUN_API_KEY": "key"},
    "postmark": {"POSTMARK_SERVER_TOKEN": "token"},
    "sendgrid": {"SENDGRID_API_KEY": "key"},
    "ses": {"AWS_REGION": "eu-west-1"},
    "smtp": {"SMTP_RELAY_URL": "smtp://u:hunter2@127.0.0.1"},
}


class Closed:
    async def accept(self, batch: Sequence[Inbound]) -> Sequence[Outcome]:
        return [Later("closed") for _ in batch]


async def unsigned(domain: str) -> SigningKey | None:
    return None


AROUND = Surroundings("mail.acme.example", Closed(), unsigned)


def test_the_package_offers_these_names() -> None:
    assert set(providers.__all__) == {
        *("KINDS", "Account", "House", "Recovers", "SigningKey", "SigningKeys", "Surroundings"),
        *("close_accounts", "fetch_stored", "open_account", "receivers", "recoverers"),
        *("carries_mime", "collector", "identifier", "region_of", "reporters", "setting_up"),
    }
    assert {kind.kind for kind in KINDS} == {
        *("capture", "inbound", "local", "mailgun", "postmark", "sendgrid", "ses", "smtp"),
    }


@pytest.mark.parametrize("kind", [kind.kind for kind in KINDS if isinstance(kind, CanSend)])
def test_every_kind_is_opened_by_its_name_and_carries_the_accounts(kind: str) -> None:
    provider = open_account(Account("main", kind, SETTINGS.get(kind, {})), AROUND)
    assert provider.name == "main"
    assert provider.recipients_at_once >= 1


def test_an_unknown_kind_names_the_known_ones() -> None:
    known = "capture, local, mailgun, postmark, sendgrid, ses, smtp"
    with pytest.raises(Misconfigured, match=f"choose one of {known}"):
        open_account(Account("main", "pigeon"), AROUND)


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(Misconfigured, match="SMTP_RELAY_URL: is empty"):
        open_account(Account("main", "smtp"), AROUND)


def test_an_accounts_settings_and_a_private_key_are_in_no_repr() -> None:
    assert "hunter2" not in repr(Account("main", "smtp", SETTINGS["smtp"]))
    assert "PRIVATE" not in repr(SigningKey("acme.example", "s1", b"-----BEGIN PRIVATE KEY-----"))


async def test_a_captured_mail_is_kept_and_never_sent() -> None:
    commits = Commits()
    outcomes = await Capture().send(outgoing(), [ALICE, BOB], committing=commits)
    assert set(outcomes) == {ALICE, BOB}
    outcome = outcomes[ALICE]
    assert isinstance(outcome, Sent)
    assert outcome.provider_id is not None
    assert outcome.provider_id.startswith("captured-")
    assert outcome.response == "captured: kept and shown, never sent"
    assert commits.calls == [(ALICE, BOB)]


async def test_a_capture_whose_committing_fails_says_nothing() -> None:
    with pytest.raises(LostClaim):
        await Capture().send(outgoing(), [ALICE], committing=Commits(LostClaim("taken over")))

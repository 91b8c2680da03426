"""Sending by SMTP, judged by what a relay on the other end of a socket sees and says."""

from __future__ import annotations

import email
import email.policy
import logging
import socket
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from email.message import EmailMessage
from typing import Any

import dkim as dkimpy
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from mailagent.authentication import dkim
from mailagent.errors import (
    Delivery,
    LostClaim,
    PermanentFailure,
    TransientFailure,
    UncertainDelivery,
)
from mailagent.mail import Address
from mailagent.outgoing import Later, Outgoing, Recipient, Refused, Sent
from mailagent.providers import SigningKey
from mailagent.providers.relay import Relay
from mailagent.providers.smtp import Smtp, Timeouts
from tests.providers.mails import ALICE, Commits, outgoing
from tests.smtp_sink import Behaviour, Certificate, Fault, Sink, Taken, make_certificate

PASSWORD = "pa$$: wörd/@"
SHORT = Timeouts(*(timedelta(seconds=0.2),) * 3)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


async def unsigned(domain: str) -> SigningKey | None:
    return None


def provider(sink: Sink, url: str = "smtp://127.0.0.1", **changes: Any) -> Smtp:
    relay = replace(Relay.parse(url), port=sink.port)
    values = {"hostname": "mail.acme.example", "signing_key": unsigned, **changes}
    return Smtp(relay, **values)


async def send(
    script: Mapping[str, Behaviour],
    *,
    mail: Outgoing | None = None,
    to: Recipient = ALICE,
    commits: Commits | None = None,
    **changes: Any,
) -> tuple[Sent | Refused | Later, Sink]:
    async with Sink(script=script) as sink:
        outcomes = await provider(sink, **changes).send(
            mail or outgoing(), [to], committing=commits or Commits()
        )
    return outcomes[to], sink


def read(taken: Taken) -> EmailMessage:
    message = email.message_from_bytes(taken.content, policy=email.policy.SMTP)
    assert isinstance(message, EmailMessage)
    return message


async def test_a_taken_mail_is_sent_with_the_relays_words() -> None:
    commits = Commits()
    outcome, sink = await send({}, commits=commits)
    assert outcome == Sent(provider_id=None, response="250 2.0.0 taken as Q1")
    assert commits.calls == [(ALICE,)]
    assert [mail.rcpt_to for mail in sink.taken] == [("alice@customer.example",)]


async def test_the_recipients_own_return_path_is_the_envelope_sender() -> None:
    _, sink = await send({})
    assert sink.taken[0].mail_from == "b.k7f3@return.acme.example"


async def test_a_mail_without_return_path_has_the_empty_envelope_sender() -> None:
    _, sink = await send({}, to=replace(ALICE, return_path=None))
    assert sink.taken[0].mail_from == ""


async def test_thread_headers_unicode_and_attachments_arrive() -> None:
    _, sink = await send({})
    message = read(sink.taken[0])
    assert message["Message-ID"] == "<reply-42@acme.example>"
    assert message["In-Reply-To"] == "<question-1@customer.example>"
    assert message["References"] == "<question-1@customer.example>"
    assert message["Subject"] == "Re: Grüße"
    [attachment] = message.iter_attachments()
    assert attachment.get_filename() == "übersicht.txt"
    assert attachment.get_content().split() == ["one", "two"]


async def test_a_line_that_is_a_dot_does_not_end_the_mail() -> None:
    _, sink = await send({})
    body = read(sink.taken[0]).get_body(("plain",))
    assert body is not None
    assert body.get_content().splitlines()[1:] == [".", "the line above is a dot."]


async def test_only_crlf_ends_a_line() -> None:
    _, sink = await send({}, mail=outgoing(text="one\r\n.\rtwo\n.\nthree"))
    content = sink.taken[0].content
    assert content.count(b"\n") == content.count(b"\r") == content.count(b"\r\n")


async def test_the_mail_is_signed_for_its_from_domain() -> None:
    private = rsa.generate_private_key(65537, 2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    asked = []

    async def signing_key(domain: str) -> SigningKey | None:
        asked.append(domain)
        return SigningKey("acme.example", "s1", pem)

    _, sink = await send({}, signing_key=signing_key)
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    record = b"v=DKIM1; k=rsa; p=" + b"".join(public.splitlines()[1:-1])
    assert asked == ["acme.example"]
    names = []

    def dns(name: bytes, timeout: int = 5) -> bytes:
        names.append(name)
        return record

    assert dkimpy.verify(sink.taken[0].content, dnsfunc=dns)
    assert names == [b"s1._domainkey.acme.example."]


async def test_two_keys_of_a_domain_sign_both() -> None:
    pairs = {"s1": dkim.new_key("rsa2048"), "s2": dkim.new_key("ed25519")}

    async def signing_key(domain: str) -> SigningKey | None:
        second = SigningKey(domain, "s2", pairs["s2"].private_pem)
        return SigningKey(domain, "s1", pairs["s1"].private_pem, second)

    _, sink = await send({}, signing_key=signing_key)
    asked = []

    def dns(name: bytes, timeout: int = 5) -> bytes:
        selector = name.decode().partition(".")[0]
        asked.append(selector)
        return pairs[selector].public_record.encode()

    checked = dkimpy.DKIM(sink.taken[0].content)
    assert checked.verify(idx=0, dnsfunc=dns)
    assert checked.verify(idx=1, dnsfunc=dns)
    assert sorted(asked) == ["s1", "s2"]


async def test_a_signing_key_that_cannot_sign_sends_nothing_unsigned() -> None:
    async def signing_key(domain: str) -> SigningKey | None:
        return SigningKey("acme.example", "s1", b"hunter2 is no key")

    async with Sink() as sink:
        with pytest.raises(PermanentFailure, match="key s1 of acme") as failure:
            await provider(sink, signing_key=signing_key).send(
                outgoing(), [ALICE], committing=Commits()
            )
    assert failure.value.about == "account"
    assert "hunter2" not in str(failure.value)
    assert sink.connections == 0


async def test_a_mail_that_cannot_be_written_is_its_own_fault() -> None:
    with pytest.raises(PermanentFailure) as failure:
        await send({}, mail=outgoing(message_id=f"<{'a' * 2000}@acme.example>"))
    assert failure.value.about == "message"


@pytest.mark.parametrize("point", ["CONNECT", "EHLO", "MAIL"])
async def test_not_now_before_the_recipient_is_a_transient_failure(point: str) -> None:
    commits = Commits()
    with pytest.raises(TransientFailure) as failure:
        await send({point: "451 4.3.0 later"}, commits=commits)
    assert failure.value.code == "4.3.0"
    assert commits.calls == []


@pytest.mark.parametrize("point", ["RCPT", "DATA", "CONTENT"])
async def test_not_now_from_the_recipient_on_is_later(point: str) -> None:
    outcome, sink = await send({point: "452 4.2.2 mailbox full"})
    assert isinstance(outcome, Later)
    assert outcome.code == "4.2.2"
    assert sink.taken == []


@pytest.mark.parametrize(
    ("point", "about"), [("CONNECT", "account"), ("MAIL", "account"), ("EHLO", "account")]
)
async def test_a_no_before_the_recipient_is_the_accounts_failure(point: str, about: str) -> None:
    with pytest.raises(PermanentFailure) as failure:
        await send({point: "554 5.7.1 go away"})
    assert failure.value.about == about


@pytest.mark.parametrize(
    ("point", "reply", "about", "code"),
    [
        ("RCPT", "550 5.1.1 no such user", "recipient", "5.1.1"),
        ("RCPT", "550 no such user", "recipient", "550"),
        ("RCPT", "554 5.7.1 relay access denied", "account", "5.7.1"),
        ("RCPT", "552 5.3.4 too big", "message", "5.3.4"),
        ("DATA", "554 5.6.0 no", "message", "5.6.0"),
        ("CONTENT", "554 5.7.1 looks like spam", "message", "5.7.1"),
        ("CONTENT", "550 5.1.1 no such user", "recipient", "5.1.1"),
        ("CONTENT", "554 no", "message", "554"),
    ],
)
async def test_a_no_is_refused_and_says_whose_fault_it_is(
    point: str, reply: str, about: str, code: str
) -> None:
    outcome, sink = await send({point: reply})
    assert isinstance(outcome, Refused)
    assert (outcome.about, outcome.code) == (about, code)
    assert reply in outcome.reason
    assert sink.taken == []


@pytest.mark.parametrize("point", ["RCPT", "DATA"])
async def test_what_was_refused_before_the_content_was_never_committing(point: str) -> None:
    commits = Commits()
    await send({point: "550 5.1.1 no"}, commits=commits)
    assert commits.calls == []


@pytest.mark.parametrize("point", ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize("fault", [Fault.HANG, Fault.DROP])
async def test_a_relay_lost_before_the_content_may_be_tried_again(point: str, fault: Fault) -> None:
    commits = Commits()
    with pytest.raises(TransientFailure):
        await send({point: fault}, commits=commits, timeouts=SHORT)
    assert commits.calls == []


@pytest.mark.parametrize("point", ["MIDWAY", "CONTENT"])
@pytest.mark.parametrize("fault", [Fault.HANG, Fault.DROP])
async def test_a_relay_lost_after_the_contents_first_byte_leaves_it_uncertain(
    point: str, fault: Fault
) -> None:
    commits = Commits()
    with pytest.raises(UncertainDelivery):
        await send({point: fault}, commits=commits, timeouts=SHORT)
    assert commits.calls == [(ALICE,)]


@pytest.mark.parametrize("garbage", ["<html>hello</html>", "99", "354 go on and on", "x" * 50_000])
async def test_a_reply_to_the_content_that_means_nothing_leaves_it_uncertain(garbage: str) -> None:
    with pytest.raises(UncertainDelivery):
        await send({"CONTENT": garbage}, timeouts=SHORT)


@pytest.mark.parametrize("point", ["CONNECT", "EHLO", "MAIL"])
async def test_a_server_that_speaks_no_smtp_is_a_transient_failure(point: str) -> None:
    with pytest.raises(TransientFailure):
        await send({point: "HTTP/1.1 400 Bad Request"}, timeouts=SHORT)


async def test_a_yes_to_data_itself_sends_nothing() -> None:
    outcome, _ = await send({"DATA": "250 2.0.0 thanks"})
    assert isinstance(outcome, Later)


async def test_nobody_listening_is_a_transient_failure() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        relay = Relay.parse(f"smtp://127.0.0.1:{unused.getsockname()[1]}")
        smtp = Smtp(relay, hostname="mail.acme.example", signing_key=unsigned)
        with pytest.raises(TransientFailure, match="not reachable"):
            await smtp.send(outgoing(), [ALICE], committing=Commits())


async def test_when_committing_fails_nothing_is_sent() -> None:
    commits = Commits(refuse=LostClaim("another worker owns it"))
    async with Sink() as sink:
        with pytest.raises(LostClaim):
            await provider(sink).send(outgoing(), [ALICE], committing=commits)
        _, after = await send({})
    assert sink.taken == []
    assert "QUIT" not in sink.commands
    assert len(after.taken) == 1


@pytest.mark.parametrize(
    "address",
    [
        "a@b\r\nRCPT TO:<eve@evil.example>",
        '"b\r\nX"@customer.example',
        "<alice@customer.example>",
        "alice",
        "alice@",
        "@customer.example",
        "alice@customer example",
        "alice bob@customer.example",
        "a" * 65 + "@customer.example",
        "alice@" + "a" * 260 + ".example",
        "alice@customer.example>",
        "al\x00ice@customer.example",
        "al\ud800ice@customer.example",
        "alice@-",
    ],
)
async def test_what_is_no_address_is_refused_and_never_spoken(address: str) -> None:
    outcome, sink = await send({}, to=Recipient("r", address))
    assert isinstance(outcome, Refused)
    assert outcome.about == "recipient"
    assert sink.connections == 0


async def test_a_quoted_local_part_is_kept_as_it_is() -> None:
    _, sink = await send({}, to=Recipient("r", '"a b"@customer.example'))
    assert sink.taken[0].rcpt_to == ('"a b"@customer.example',)


async def test_a_domain_outside_ascii_is_spoken_in_a_labels() -> None:
    _, sink = await send({}, to=Recipient("r", "alice@münchen.example"))
    assert sink.taken[0].rcpt_to == ("alice@xn--mnchen-3ya.example",)
    assert "SMTPUTF8" not in sink.taken[0].mail_options


async def test_a_local_part_outside_ascii_asks_for_smtputf8() -> None:
    to = Recipient("r", "jörg@customer.example")
    _, sink = await send({}, to=to, mail=outgoing(to=(Address(to.address),)))
    assert sink.taken[0].rcpt_to == ("jörg@customer.example",)
    assert "SMTPUTF8" in sink.taken[0].mail_options


async def test_a_relay_without_smtputf8_cannot_carry_it_but_another_account_may() -> None:
    to = Recipient("r", "jörg@customer.example")
    async with Sink(extensions=("SIZE",)) as sink:
        outcomes = await provider(sink).send(outgoing(), [to], committing=Commits())
    assert outcomes[to] == Refused(
        "the relay cannot carry addresses outside ASCII", about="account", code="5.6.7"
    )


async def test_a_relay_that_only_knows_helo_takes_mail_too() -> None:
    async with Sink(script={"EHLO": "502 5.5.1 what?"}) as sink:
        with pytest.raises(PermanentFailure):
            await provider(sink).send(outgoing(), [ALICE], committing=Commits())
    assert [command.split()[0] for command in sink.commands] == ["EHLO", "HELO", "QUIT"]


def login_url(user: str = "mailer", password: str = "pa%24%24%3A%20w%C3%B6rd%2F%40") -> str:
    return f"smtp://{user}:{password}@127.0.0.1?tls=required"


async def test_starttls_then_auth_then_mail(certificate: Certificate) -> None:
    async with Sink(certificate=certificate, users={"mailer": PASSWORD}) as sink:
        smtp = provider(sink, login_url(), trust=certificate.client)
        await smtp.send(outgoing(), [ALICE], committing=Commits())
    assert sink.taken[0].encrypted
    assert sink.taken[0].username == "mailer"


async def test_a_relay_that_only_offers_login_is_logged_in_to(certificate: Certificate) -> None:
    async with Sink(certificate=certificate, users={"mailer": PASSWORD}, logins="LOGIN") as sink:
        smtp = provider(sink, login_url(), trust=certificate.client)
        await smtp.send(outgoing(), [ALICE], committing=Commits())
    assert sink.taken[0].username == "mailer"


async def test_smtps_is_encrypted_from_the_first_byte(certificate: Certificate) -> None:
    async with Sink(certificate=certificate, implicit_tls=True) as sink:
        smtp = provider(sink, "smtps://127.0.0.1", trust=certificate.client)
        await smtp.send(outgoing(), [ALICE], committing=Commits())
    assert sink.taken[0].encrypted


@pytest.mark.parametrize("implicit", [False, True])
async def test_a_certificate_that_nobody_vouches_for_gets_no_password(
    certificate: Certificate, implicit: bool
) -> None:
    url = login_url()
    if implicit:
        url = url.replace("smtp://", "smtps://").partition("?")[0]
    async with Sink(
        certificate=certificate, implicit_tls=implicit, users={"mailer": PASSWORD}
    ) as sink:
        with pytest.raises(TransientFailure):
            await provider(sink, url).send(outgoing(), [ALICE], committing=Commits())
    assert not any(command.startswith("AUTH") for command in sink.commands)


async def test_a_stripped_starttls_gets_no_password() -> None:
    async with Sink(users={"mailer": PASSWORD}) as sink:
        with pytest.raises(TransientFailure, match="no STARTTLS"):
            await provider(sink, login_url()).send(outgoing(), [ALICE], committing=Commits())
    assert not any(command.startswith("AUTH") for command in sink.commands)


async def test_opportunistic_tls_encrypts_without_asking_who_it_is(
    certificate: Certificate,
) -> None:
    async with Sink(certificate=certificate) as sink:
        await provider(sink).send(outgoing(), [ALICE], committing=Commits())
    assert sink.taken[0].encrypted


async def test_a_wrong_password_is_the_accounts_failure_and_stays_out_of_sight(
    certificate: Certificate, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with Sink(certificate=certificate, users={"mailer": PASSWORD}) as sink:
        smtp = provider(sink, login_url(password="hunter2secret"), trust=certificate.client)
        with pytest.raises(PermanentFailure) as failure:
            await smtp.send(outgoing(), [ALICE], committing=Commits())
    assert (failure.value.about, failure.value.code) == ("account", "535")
    assert len([command for command in sink.commands if command.startswith("AUTH")]) == 1
    seen = f"{caplog.text} {failure.value} {smtp!r} {vars(smtp)}"
    assert "hunter2secret" not in seen
    assert "AG1haWxlcg" not in seen  # base64 of what AUTH PLAIN carries


async def test_a_relay_that_offers_no_login_is_the_accounts_failure(
    certificate: Certificate,
) -> None:
    async with Sink(certificate=certificate) as sink:
        smtp = provider(sink, login_url(), trust=certificate.client)
        with pytest.raises(PermanentFailure) as failure:
            await smtp.send(outgoing(), [ALICE], committing=Commits())
    assert failure.value.about == "account"


async def test_no_log_line_holds_the_text_or_an_address(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    await send({})
    assert "Good morning" not in caplog.text
    assert "alice@" not in caplog.text


@pytest.mark.parametrize("point", ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "CONTENT"])
@pytest.mark.parametrize("reply", ["421 4.3.2 closing", "200", "999 what", "-1 x", "550-", ""])
async def test_odd_replies_end_in_an_outcome_or_a_delivery_failure(point: str, reply: str) -> None:
    commits = Commits()
    try:
        outcome, _ = await send({point: reply}, commits=commits, timeouts=SHORT)
    except Delivery as failure:
        uncertain = isinstance(failure, UncertainDelivery)
        assert not uncertain or point == "CONTENT"
    else:
        assert not isinstance(outcome, Sent) or (point in {"MAIL", "RCPT", "CONTENT"})
    assert len(commits.calls) <= 1

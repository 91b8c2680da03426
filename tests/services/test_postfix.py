"""A real MTA on the other end: what we send is what it delivers."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dkim as dkimpy
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from mailagent.outgoing import Later, Recipient, Refused, Sent
from mailagent.providers import SigningKey
from mailagent.providers.relay import Relay
from mailagent.providers.smtp import Smtp
from tests.providers.mails import ALICE, Commits, outgoing
from tests.services.postfix import Postfix, running_postfix
from tests.smtp_sink import Certificate, make_certificate

pytestmark = [
    pytest.mark.service("postfix"),
    pytest.mark.skipif(os.geteuid() != 0, reason="Postfix starts as root only"),
]

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Certificate, Path]:
    folder = tmp_path_factory.mktemp("certificate")
    return make_certificate(folder), folder / "sink.pem"


@pytest.fixture
def postfix(certificate: tuple[Certificate, Path]) -> Iterator[Postfix]:
    with running_postfix(certificate[1]) as running:
        yield running


async def _send(provider: Smtp, to: Recipient, *, times: int = 1) -> Sent | Refused | Later:
    """Send some mails, at most three at a time, and close the account; the last outcome."""
    open_files = len(os.listdir("/proc/self/fd"))
    at_once = asyncio.Semaphore(3)

    async def one() -> Sent | Refused | Later:
        async with at_once:
            return (await provider.send(outgoing(), [to], committing=Commits()))[to]

    outcomes = await asyncio.gather(*(one() for _ in range(times)))
    await provider.close()
    # The provider leaves without waiting for the socket's end; the loop must not.
    while len(os.listdir("/proc/self/fd")) > open_files:
        await asyncio.sleep(0.01)
    return outcomes[-1]


@pytest.fixture
def provider(postfix: Postfix, certificate: tuple[Certificate, Path]) -> Smtp:
    relay = replace(Relay.parse("smtp://127.0.0.1?tls=required"), port=postfix.port)
    return Smtp(
        relay, hostname="mail.acme.example", signing_key=_signing_key, trust=certificate[0].client
    )


async def _signing_key(domain: str) -> SigningKey | None:
    pem = KEY.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return SigningKey(domain=domain, selector="s1", private_key_pem=pem)


def _published(name: bytes, timeout: int = 5) -> bytes:
    der = KEY.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return b"v=DKIM1; k=rsa; p=" + base64.b64encode(der)


async def test_a_signed_mail_comes_through_a_real_mta_with_its_signature_whole(
    provider: Smtp, postfix: Postfix
) -> None:
    outcome = await _send(provider, ALICE)

    assert isinstance(outcome, Sent)
    (delivered,) = postfix.delivered(count=1)
    assert f"Return-Path: <{ALICE.return_path}>".encode() in delivered
    assert b"with ESMTPS" in delivered
    message = delivered.replace(b"\n", b"\r\n")
    assert dkimpy.verify(message, dnsfunc=_published)


async def test_a_refusal_of_a_real_mta_is_the_recipients(provider: Smtp) -> None:
    nobody = replace(ALICE, address="nobody@customer.example")

    refused = await _send(provider, nobody)

    assert isinstance(refused, Refused)
    assert (refused.about, refused.code) == ("recipient", "5.1.1")


async def test_many_mails_go_over_few_connections_of_a_real_mta(
    provider: Smtp, postfix: Postfix
) -> None:
    outcome = await _send(provider, ALICE, times=30)

    assert isinstance(outcome, Sent)
    assert len(postfix.delivered(count=30)) == 30
    # One more was the test's own, to see whether Postfix answers.
    assert postfix.log().count(": connect from ") <= 4


async def test_a_refused_recipient_leaves_nothing_behind_at_a_real_mta(
    provider: Smtp, postfix: Postfix
) -> None:
    nobody = replace(ALICE, address="nobody@customer.example")
    refused = await provider.send(outgoing(), [nobody], committing=Commits())
    assert isinstance(refused[nobody], Refused)

    assert isinstance(await _send(provider, ALICE), Sent)
    (delivered,) = postfix.delivered(count=1)
    assert b"Delivered-To: alice@customer.example" in delivered
    # Postfix tells at the end of a connection what was said on it.
    async with asyncio.timeout(10):
        while "rset=1" not in postfix.log():
            await asyncio.sleep(0.01)

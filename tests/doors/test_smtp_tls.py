"""A sender asks the SMTP door for TLS, before and after its certificate was renewed."""

from __future__ import annotations

import asyncio
import ssl
import stat
from collections.abc import Callable
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
import uvloop
from cryptography import x509
from structlog.testing import capture_logs

from mailagent.doors import SmtpLimits
from mailagent.doors.smtp_tls import Certificate
from mailagent.errors import Misconfigured
from tests.doors.smtp_client import Client, House, house

Tls = Callable[[], ssl.SSLContext]


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    return _self_made(tmp_path_factory.mktemp("tls"), "mx.our.example").context


def _self_made(folder: Path, hostname: str) -> Certificate:
    return Certificate(None, None, hostname=hostname, folder=folder)


async def _deliver_secured(tls: Tls) -> None:
    async with house(tls=tls) as h:
        client = await h.client()
        assert "250-STARTTLS" in await client.ask("EHLO client.example")
        await client.ask("MAIL FROM:<plain@their.example>")
        assert (await client.ask("STARTTLS")).startswith("220 2.0.0")

        await client.secure()

        # RFC 3207 §4.2: nothing that was said in the clear is still known.
        assert (await client.ask("MAIL FROM:<ann@their.example>")).startswith("503 5.5.1")
        assert "STARTTLS" not in await client.ask("EHLO secure.example")
        assert (await client.ask("STARTTLS")).startswith("503 5.5.1")
        assert (await client.deliver(b"x" * 300_000 + b"\r\n" * 3)).startswith("554 5.6.0")
        assert (await client.deliver(b"line\r\n" * 50_000)).startswith("250 2.0.0")
        assert (await client.ask("QUIT")).startswith("221")
        origin = h.shelf.mails[0].origin
        assert origin.tls is not None
        assert origin.tls.startswith("TLSv1.3 TLS_")
        assert origin.helo == "client.example"


async def test_a_mail_comes_in_over_starttls(tls: Tls) -> None:
    await _deliver_secured(tls)


def test_a_mail_comes_in_over_starttls_on_uvloop(tls: Tls) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_deliver_secured(tls))


async def test_the_client_a_proxy_named_is_still_known_after_starttls(tls: Tls) -> None:
    async with house(tls=tls, proxy_networks=[ip_network("127.0.0.0/8")]) as h:
        client = await h.knock()
        client.send("PROXY TCP4 192.0.2.7 192.0.2.1 4711 25")
        await client.reply()
        await client.ask("STARTTLS")
        await client.secure()

        await client.deliver(b"x\r\n")

        assert h.shelf.mails[0].origin.client_ip == "192.0.2.7"


async def test_what_was_injected_before_the_handshake_is_forgotten(tls: Tls) -> None:
    async with house(tls=tls) as h:
        client = await h.client()
        await client.ask("EHLO client.example")

        client.writer.write(b"STARTTLS\r\nEHLO evil.example\r\nMAIL FROM:<evil@their.example>\r\n")
        assert (await client.reply()).startswith("220 2.0.0")
        await client.secure()

        assert (await client.ask("NOOP")) == "250 2.0.0 Ok"
        assert (await client.ask("RCPT TO:<bob@our.example>")).startswith("503 5.5.1")


async def test_a_handshake_that_fails_ends_the_connection(tls: Tls) -> None:
    async with house(tls=tls) as h:
        client = await h.client()
        await client.ask("STARTTLS")

        client.send("this is no handshake")

        assert await client.closed()
        await h.gone()
        assert h.door.stats().open_connections == 0


async def test_a_handshake_that_never_comes_ends_the_connection(tls: Tls) -> None:
    limits = SmtpLimits(tls_timeout=timedelta(milliseconds=50))
    async with house(tls=tls, limits=limits) as h:
        client = await h.client()
        await client.ask("STARTTLS")

        assert await client.closed()
        await h.gone()


async def test_tls_1_1_is_refused(tls: Tls) -> None:
    async with house(tls=tls) as h:
        client = await h.client()
        await client.ask("STARTTLS")
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname = False
        old.verify_mode = ssl.CERT_NONE
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            old.minimum_version = ssl.TLSVersion.TLSv1
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1

        with pytest.raises(OSError):
            await client.writer.start_tls(old)


def _pair(folder: Path, hostname: str) -> tuple[bytes, bytes]:
    """A certificate for `hostname` and its key, both PEM."""
    _self_made(folder, hostname)
    key, begin, certificate = (
        (folder / f"self-made-{hostname}.pem").read_bytes().partition(b"-----BEGIN CERTIFICATE")
    )
    return begin + certificate, key


async def _shown_to(h: House) -> tuple[Client, str]:
    """A client of the door after STARTTLS, and the name in the certificate it was shown."""
    client = await h.client()
    await client.ask("EHLO client.example")
    assert (await client.ask("STARTTLS")).startswith("220")
    await client.secure()
    shown = client.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return client, x509.load_der_x509_certificate(shown).subject.rfc4514_string()


async def test_who_comes_after_a_renewal_is_shown_the_new_certificate(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert_bytes, key_bytes = _pair(tmp_path, "old.example")
    cert.write_bytes(cert_bytes)
    key.write_bytes(key_bytes)
    certificate = Certificate(cert, key, hostname="unused", folder=tmp_path)
    async with house(tls=certificate.context) as h:
        early, name = await _shown_to(h)
        assert name == "CN=old.example"

        new_cert, new_key = _pair(tmp_path, "new.example")
        cert.write_bytes(new_cert)
        with capture_logs() as logs:
            certificate.look()  # one file of two: a pair that does not fit
            certificate.look()
        assert [log["event"] for log in logs] == ["smtp_certificate_kept"]
        assert certificate.problem is not None
        assert "MAILAGENT_TLS_CERT" in certificate.problem
        assert (await _shown_to(h))[1] == "CN=old.example"

        key.write_bytes(new_key)
        certificate.look()
        assert certificate.problem is None
        assert (await _shown_to(h))[1] == "CN=new.example"
        assert (await early.ask("NOOP")).startswith("250")


@pytest.mark.parametrize("broken", [b"", b"not PEM", None])
async def test_a_broken_or_vanished_file_keeps_the_old_certificate(
    tmp_path: Path, broken: bytes | None
) -> None:
    _self_made(tmp_path, "old.example")
    pair = tmp_path / "self-made-old.example.pem"
    certificate = Certificate(pair, None, hostname="unused", folder=tmp_path)
    expires = certificate.expires
    async with house(tls=certificate.context) as h:
        if broken is None:
            pair.unlink()
        else:
            pair.write_bytes(broken)
        with capture_logs():
            certificate.look()
        assert certificate.problem is not None
        assert certificate.expires == expires
        assert (await _shown_to(h))[1] == "CN=old.example"


async def test_a_certificate_that_comes_after_the_start_is_taken_over(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert_bytes, key_bytes = _pair(tmp_path, "fetched.example")
    with capture_logs() as logs:
        certificate = Certificate(cert, key, hostname="own.example", folder=tmp_path)
    assert [(log["event"], log["log_level"]) for log in logs] == [
        ("smtp_certificate_absent", "error")
    ]
    assert certificate.problem is not None
    assert str(cert) in certificate.problem
    async with house(tls=certificate.context) as h:
        assert (await _shown_to(h))[1] == "CN=own.example"

        cert.write_bytes(cert_bytes)
        with capture_logs():
            certificate.look()  # its key is still missing
        assert (await _shown_to(h))[1] == "CN=own.example"

        key.write_bytes(key_bytes)
        certificate.look()
        assert certificate.problem is None
        assert (await _shown_to(h))[1] == "CN=fetched.example"


def test_the_self_made_certificate_is_made_once_and_its_key_is_private(tmp_path: Path) -> None:
    folder = tmp_path / "certificates"
    _self_made(folder, "mx.our.example")
    (pair,) = folder.iterdir()
    made = pair.read_bytes()

    _self_made(folder, "mx.our.example")

    assert pair.read_bytes() == made
    assert stat.S_IMODE(pair.stat().st_mode) == 0o600


def test_given_files_are_used_and_unusable_ones_name_the_setting(tmp_path: Path) -> None:
    _self_made(tmp_path, "mx.our.example")
    (pair,) = tmp_path.iterdir()

    Certificate(pair, None, hostname="x", folder=tmp_path / "none")
    assert not (tmp_path / "none").exists()
    (tmp_path / "broken.pem").write_text("not PEM")
    with pytest.raises(Misconfigured, match="MAILAGENT_TLS_CERT"):
        Certificate(tmp_path / "broken.pem", None, hostname="x", folder=tmp_path)
    with pytest.raises(Misconfigured, match="MAILAGENT_TLS_CERT"):
        Certificate(None, pair, hostname="x", folder=tmp_path)

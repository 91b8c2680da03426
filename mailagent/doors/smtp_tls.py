"""Which certificate does the SMTP door show? The operator's, else one made here, once.

STARTTLS between mail servers is opportunistic (RFC 7435): a self-made certificate protects against
listeners, and only MTA-STS or DANE ask for more. Files that change are read anew, because public
certificates live for weeks and a mail server for months.
"""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mailagent.errors import Misconfigured

__all__ = ["Certificate"]

_log = structlog.get_logger(__name__)

_LIFETIME = timedelta(days=3650)

_Stamp = tuple[int, int, int]
"""Inode of a file, its time of change in nanoseconds and its size in octets."""


class Certificate:
    """The certificate in use; `look` follows its files, and a broken one changes nothing.

    Without `cert` and `key` (PEM; `key` may be None when `cert` holds both) a certificate for
    `hostname` is made and kept in `folder`. It is also shown while the given files are not there
    yet. Raises Misconfigured when they are there and cannot be used.
    """

    def __init__(self, cert: Path | None, key: Path | None, *, hostname: str, folder: Path) -> None:
        if cert is None:
            if key is not None:
                raise Misconfigured("MAILAGENT_TLS_CERT", "a key is set without its certificate")
            cert = _self_made(hostname, folder)
        self._cert, self._key = cert, key or cert
        self._stamps = self._stamped()
        self._problem: str | None = None
        if None in self._stamps:
            # Who fetches it may need hours, and mail need not wait for that.
            self._problem = f"{self._absent()} is not there yet: a self-made certificate is shown"
            _log.error("smtp_certificate_absent", problem=self._problem)
            made = _self_made(hostname, folder)
            self._context, self._expires = _loaded(made, made)
        else:
            self._context, self._expires = _loaded(self._cert, self._key)

    def context(self) -> ssl.SSLContext:
        """The server side of TLS 1.2 and newer, for a connection that begins now."""
        return self._context

    @property
    def expires(self) -> datetime:
        """When the certificate in use ends."""
        return self._expires

    @property
    def problem(self) -> str | None:
        """Why the files as they are now are not in use; None while they are."""
        return self._problem

    def look(self) -> None:
        """Read the files if they changed; blocks for as long as the file system does."""
        stamps = self._stamped()
        if stamps == self._stamps:
            return
        self._stamps = stamps
        try:
            self._context, self._expires = _loaded(self._cert, self._key)
        except Misconfigured as error:
            # A pair is replaced one file after the other: the second change is looked at again.
            self._problem = str(error)
            _log.error("smtp_certificate_kept", problem=self._problem, expires=str(self._expires))
        else:
            self._problem = None
            _log.info("smtp_certificate_renewed", cert=str(self._cert), expires=str(self._expires))

    def _stamped(self) -> tuple[_Stamp | None, _Stamp | None]:
        return _stamp(self._cert), _stamp(self._key)

    def _absent(self) -> Path:
        return self._cert if self._stamps[0] is None else self._key


def _loaded(cert: Path, key: Path) -> tuple[ssl.SSLContext, datetime]:
    """What new connections are served with, and when that ends. Raises Misconfigured."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996: 1.0 and 1.1 must not be used
    try:
        # An encrypted key is refused, not asked for: nobody sits before a server.
        made.load_cert_chain(cert, key, password=lambda: b"")
        leaf = x509.load_pem_x509_certificate(cert.read_bytes())
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise Misconfigured(
            "MAILAGENT_TLS_CERT",
            f"{cert} cannot be used: not readable, or not the pair of its key",
        ) from error
    return made, leaf.not_valid_after_utc


def _stamp(path: Path) -> _Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _self_made(hostname: str, folder: Path) -> Path:
    """One file with certificate and key of `hostname`, made when there is none yet."""
    folder.mkdir(parents=True, exist_ok=True)
    pair = folder / f"self-made-{hostname}.pem"
    if not pair.exists():
        # One file, moved into place: two processes that start together end with one whole pair.
        draft = folder / f".{pair.name}.{os.getpid()}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(_pem(hostname))
        draft.replace(pair)
    return pair


def _pem(hostname: str) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    # RFC 5280 allows 64 characters in a common name; the name that counts is the alternative one.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname[:64])])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # clocks differ
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(hostname)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return private + certificate.public_bytes(serialization.Encoding.PEM)

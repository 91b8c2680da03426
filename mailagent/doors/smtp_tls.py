"""Which certificate does the SMTP door show? The operator's, else one made here, once.

STARTTLS between mail servers is opportunistic (RFC 7435): a self-made certificate protects against
listeners, and only MTA-STS or DANE ask for more.
"""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mailagent.errors import Misconfigured

__all__ = ["context"]

_LIFETIME = timedelta(days=3650)


def context(cert: Path | None, key: Path | None, *, hostname: str, folder: Path) -> ssl.SSLContext:
    """The server side of TLS 1.2 and newer.

    Without `cert` and `key` (PEM; `key` may be None when `cert` holds both) a certificate for
    `hostname` is made and kept in `folder`. Raises Misconfigured when the files cannot be used.
    """
    if cert is None:
        if key is not None:
            raise Misconfigured("MAILAGENT_TLS_CERT", "a key is set without its certificate")
        cert, key = _self_made(hostname, folder)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996: 1.0 and 1.1 must not be used
    try:
        made.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise Misconfigured(
            "MAILAGENT_TLS_CERT", f"{cert} cannot be used: not readable, or not the pair of its key"
        ) from error
    return made


def _self_made(hostname: str, folder: Path) -> tuple[Path, Path]:
    """Certificate and key of `hostname`, made when there is none yet."""
    folder.mkdir(parents=True, exist_ok=True)
    pair = folder / f"self-made-{hostname}.pem"
    if not pair.exists():
        # One file, moved into place: two processes that start together end with one whole pair.
        draft = folder / f".{pair.name}.{os.getpid()}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(_pem(hostname))
        draft.replace(pair)
    return pair, pair


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

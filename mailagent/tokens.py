"""Which strings prove something, and how are they made and read?

Every token names the key that made it, so that `MAILAGENT_SECRET_KEY` can be rotated: old keys go
on reading. Subkeys are derived by purpose (HKDF, RFC 5869), so no token can be used as
another kind. Tokens inside addresses are lower-case base32 because a local part may lose its case.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import uuid
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from uuid_utils.compat import uuid7

from mailagent.errors import Misconfigured, Unauthentic

__all__ = [
    "Secrets",
    "hash_secret",
    "key_of_answer",
    "new_id",
    "new_key",
    "new_reply_key",
    "new_secret",
]

_KEY_IDS = "abcdefghijklmnopqrstuvwxyz234567"
_REPLY_MAC_CHARS = 12  # 60 bits: a guess costs a mail, and a hit proves a thread, never a person
_VERP_MAC_CHARS = 16
_ANSWER_MAC_CHARS = 16
_FORM_MAC_CHARS = 52  # all 256 bits
_CALLBACK_MAC_CHARS = 52


def new_id(kind: str) -> str:
    """A time-ordered id such as `dlv_0199…`: `kind` says whose it is, in logs as in links."""
    return f"{kind}_{uuid7().hex}"


def new_secret(prefix: str) -> str:
    """256 random bits as text that a person can paste; shown once, stored as `hash_secret`."""
    return f"{prefix}_{secrets.token_urlsafe(32)}"


def hash_secret(secret: str) -> str:
    """SHA-256 (hex): enough for 256 random bits, and quick enough for every request."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _base32(data: bytes) -> str:
    return base64.b32encode(data).decode().rstrip("=").lower()


class Secrets:
    """The installation's secret keys, the current one first; each at least 32 characters.

    Raises Misconfigured for two keys with one key id: what the older made could not be read.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._by_id = {_key_id(key): key for key in reversed(keys)}
        if len(self._by_id) < len(set(keys)):
            raise Misconfigured("MAILAGENT_SECRET_KEY", "is too like an older one: make another")
        self._current = _key_id(keys[0])
        self._subkeys: dict[tuple[str, str], bytes] = {}

    @property
    def current_id(self) -> str:
        """The id of the key that makes every new token: one character."""
        return self._current

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of all keys that read, the current one first."""
        return (self._current, *(one for one in reversed(self._by_id) if one != self._current))

    def check_value(self, key_id: str) -> str:
        """16 hex digits that tell whether two installations have the same key, and no more of it.

        Raises KeyError for a key id that is not ours.
        """
        return self.subkey("check value", key_id)[:8].hex()

    def subkey(self, purpose: str, key_id: str | None = None) -> bytes:
        """32 bytes for one purpose. Raises KeyError for a key id that is not ours."""
        key_id = key_id or self._current
        if (found := self._subkeys.get((purpose, key_id))) is not None:
            return found
        hkdf = HKDF(SHA256(), 32, salt=None, info=f"mailagent {purpose}".encode())
        made = hkdf.derive(self._by_id[key_id].encode())
        self._subkeys[purpose, key_id] = made
        return made

    def _mac(self, purpose: str, key_id: str, text: str, length: int) -> str:
        digest = hmac.new(self.subkey(purpose, key_id), text.encode(), hashlib.sha256).digest()
        return _base32(digest)[:length]

    def _sign(self, purpose: str, body: str, bound_to: str, length: int) -> str:
        key_id = self._current
        return key_id + body + self._mac(purpose, key_id, f"{body}|{bound_to}", length)

    def _read(self, purpose: str, token: str, bound_to: str, length: int) -> str | None:
        key_id, body, mac = token[:1], token[1:-length], token[-length:]
        if key_id not in self._by_id or not body or not token.isascii():
            return None
        good = self._mac(purpose, key_id, f"{body}|{bound_to}", length)
        return body if hmac.compare_digest(good.encode(), mac.encode()) else None

    def seal(self, plain: bytes, purpose: str) -> bytes:
        """Encrypt a secret for the database: key id, nonce, AES-256-GCM (NIST SP 800-38D)."""
        nonce = secrets.token_bytes(12)
        sealed = AESGCM(self.subkey(purpose)).encrypt(nonce, plain, None)
        return self._current.encode() + nonce + sealed

    def unseal(self, sealed: bytes, purpose: str) -> bytes:
        """The inverse of `seal`. Raises Unauthentic when no key of ours made it."""
        try:
            key = self.subkey(purpose, sealed[:1].decode())
            return AESGCM(key).decrypt(sealed[1:13], sealed[13:], None)
        except (KeyError, ValueError, InvalidTag) as error:
            raise Unauthentic(
                f"a stored {purpose} was made with another MAILAGENT_SECRET_KEY"
            ) from error

    def reseal(self, sealed: bytes, purpose: str) -> bytes | None:
        """The same secret under the current key; None when it is. Raises Unauthentic."""
        if sealed[:1] == self._current.encode():
            return None
        return self.seal(self.unseal(sealed, purpose), purpose)

    def form_token(self, session: str) -> str:
        """What a form of our pages carries, to prove that it is ours and of this session."""
        return self._sign("form token", "f", session, _FORM_MAC_CHARS)

    def is_form_token(self, token: str, session: str) -> bool:
        """Whether one of our keys made this token for this session."""
        return self._read("form token", token, session, _FORM_MAC_CHARS) is not None

    def reply_token(self, reply_key: str, agent_address: str) -> str:
        """29 characters that tie a mail to a thread of one agent.

        `reply_key` is the thread's 16 base32 characters. Fits behind a handle of 32 and `+t.`
        into the 64 octets of a local part (RFC 5321 §4.5.3.1.1).
        """
        return self._sign("reply", reply_key, agent_address.lower(), _REPLY_MAC_CHARS)

    def read_reply_token(self, token: str, agent_address: str) -> str | None:
        """The thread's reply key, or None when the token is not ours: then it is a plain tag."""
        return self._read("reply", token.lower(), agent_address.lower(), _REPLY_MAC_CHARS)

    def answer_token(self, reply_key: str, delivery_id: str, person: str) -> str:
        """33 characters with which one person may answer one mail: `reply_key` names the row.

        Fits behind `postmaster+h.` into a local part. It proves which notice is answered; that the
        person answers it, the mail itself must prove.
        """
        bound_to = f"{delivery_id}|{person.lower()}"
        return self._sign("answer", reply_key, bound_to, _ANSWER_MAC_CHARS)

    def read_answer_token(self, token: str, delivery_id: str, person: str) -> bool:
        """Whether the token was made for this mail and this person."""
        bound_to = f"{delivery_id}|{person.lower()}"
        return self._read("answer", token.lower(), bound_to, _ANSWER_MAC_CHARS) is not None

    def callback_token(self, turn_id: str) -> str:
        """What proves that an answer to a turn comes from whom we asked."""
        body = _base32(_uuid_of(turn_id).bytes)
        return self._sign("callback", body, "", _CALLBACK_MAC_CHARS)

    def read_callback_token(self, token: str) -> str | None:
        """The turn's id, or None when the token is not ours."""
        body = self._read("callback", token.lower(), "", _CALLBACK_MAC_CHARS)
        if body is None:
            return None
        raw = base64.b32decode(body.upper() + "=" * (-len(body) % 8))
        return f"trn_{uuid.UUID(bytes=raw).hex}"

    def approval_token(self, reply_key: str, approval_id: str, person: str) -> str:
        """As `answer_token`, for one person's decision about one approval."""
        bound_to = f"{approval_id}|{person.lower()}"
        return self._sign("approval", reply_key, bound_to, _ANSWER_MAC_CHARS)

    def read_approval_token(self, token: str, approval_id: str, person: str) -> bool:
        """Whether the token was made for this approval and this person."""
        bound_to = f"{approval_id}|{person.lower()}"
        return self._read("approval", token.lower(), bound_to, _ANSWER_MAC_CHARS) is not None

    def verp_token(self, recipient_id: str) -> str:
        """The opaque part of `b.<token>@return.<domain>` for one envelope recipient."""
        return self._sign("verp", _base32(_uuid_of(recipient_id).bytes), "", _VERP_MAC_CHARS)

    def read_verp_token(self, token: str) -> str | None:
        """The outbound recipient's id, or None when the token is not ours."""
        body = self._read("verp", token.lower(), "", _VERP_MAC_CHARS)
        if body is None:
            return None
        raw = base64.b32decode(body.upper() + "=" * (-len(body) % 8))
        return f"rcp_{uuid.UUID(bytes=raw).hex}"


def new_key(beside: Sequence[str] = ()) -> str:
    """A secret key of 384 random bits that can be told from those `beside` it by its id.

    Raises Misconfigured when all 32 ids are taken.
    """
    taken = {_key_id(key) for key in beside}
    if len(taken) == len(_KEY_IDS):
        raise Misconfigured("MAILAGENT_SECRET_KEY", "holds 32 keys: retire one first")
    while _key_id(made := secrets.token_urlsafe(48)) in taken:
        pass
    return made


def _key_id(key: str) -> str:
    return _KEY_IDS[hashlib.sha256(key.encode()).digest()[0] % 32]


def _uuid_of(prefixed: str) -> uuid.UUID:
    return uuid.UUID(hex=prefixed.rpartition("_")[2])


def key_of_answer(token: str) -> str:
    """The reply key that such a token claims: where to look for what it is bound to."""
    return token.lower()[1:-_ANSWER_MAC_CHARS]


def new_reply_key() -> str:
    """80 random bits, the part of a reply token that names a thread."""
    return _base32(secrets.token_bytes(10))

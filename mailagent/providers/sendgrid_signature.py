"""Who may call SendGrid's webhooks, and what is each answer to SendGrid?

Event Webhook and Inbound Parse sign alike: ECDSA with SHA-256 over the timestamp and the body's
octets, each with a key of its own. SendGrid drops a mail for good on any 3xx and 4xx. Source:
Twilio SendGrid "Getting started with the Event Webhook security features", read 2026-11-21.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from datetime import datetime, timedelta

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import load_der_public_key

from mailagent.errors import Misconfigured, Unauthentic
from mailagent.inbound import Accepted, Duplicate, Unrouted
from mailagent.webhook import Answered, WebhookRequest, WebhookSettings, from_base64

__all__ = ["Signature", "WrongSignature", "answer"]

_SETTING = "SENDGRID_WEBHOOK_PUBLIC_KEY"
_OLDEST = timedelta(hours=73)
"""SendGrid tries a mail again for 72 hours, and nobody says whether it signs anew for that."""
_SOONEST = timedelta(hours=1)
_ARMOUR = re.compile(r"-----[A-Z ]+-----")


class WrongSignature(Unauthentic):
    """There is a signature, and none of our keys made it."""


class Signature:
    """The public keys that the operator set: one each for mail and events, old ones beside new."""

    def __init__(self, settings: WebhookSettings) -> None:
        self._keys: tuple[ec.EllipticCurvePublicKey, ...] = ()
        self.missing: Misconfigured | None = None
        """See `Receives.missing`; also a key that cannot be read."""
        given = _ARMOUR.sub(",", settings.value(_SETTING))
        encoded = ["".join(one.split()) for one in given.split(",") if one.strip()]
        self._is_set = bool(encoded)
        try:
            self._keys = tuple(map(_key, encoded))
        except ValueError:
            self.missing = Misconfigured(
                _SETTING,
                "is no key as SendGrid shows it: Base64 of a P-256 key, several between commas",
            )
        if not encoded:
            self.missing = Misconfigured(
                _SETTING,
                "is empty: copy the verification key of the Event Webhook, and the public key of "
                "the security policy of Inbound Parse, between commas",
            )

    def check(self, request: WebhookRequest) -> None:
        """Pass a request that SendGrid signed, or that the path vouches for while no key is set.

        Raises WrongSignature, Unauthentic (not signed, too old), Misconfigured; the last too for
        what the path vouches for and no key does, because a 403 would lose it.
        """
        if self.missing is not None:
            if self._is_set or not request.secret_in_path:
                raise self.missing
            return
        signature = request.header("x-twilio-email-event-webhook-signature")
        timestamp = request.header("x-twilio-email-event-webhook-timestamp")
        if not signature or not timestamp:
            if request.secret_in_path:
                raise Misconfigured(
                    _SETTING,
                    "is set, and this came unsigned: let SendGrid sign it (Event Webhook: "
                    "signature verification, Inbound Parse: a security policy) and list that key",
                )
            raise Unauthentic("the request is not signed, and a key is set")
        digest = hashlib.sha256(timestamp.encode("latin-1", "replace"))
        digest.update(request.body)
        try:
            octets = from_base64(signature)
        except ValueError:
            raise WrongSignature("the signature is no Base64") from None
        if not any(_holds(key, octets, digest.digest()) for key in self._keys):
            if request.secret_in_path:
                raise Misconfigured(
                    _SETTING,
                    "lacks the key that signed this, or it was changed on its way: the keys of the "
                    "Event Webhook and of Inbound Parse are two, list both",
                )
            raise WrongSignature("the signature does not hold")
        _check_age(timestamp, request.received_at)


def answer(answered: Answered) -> int:
    """The status that makes SendGrid do what is meant.

    403 is for what is surely not SendGrid's. All else that was not kept is "later", a form that
    cannot be read too: three days are time to mend what is wrong, a 4xx is none.
    """
    match answered:
        case Accepted() | Duplicate() | Unrouted():
            return 200
        case WrongSignature():
            return 403
        case _:
            return 503


def _key(encoded: str) -> ec.EllipticCurvePublicKey:
    try:
        key = load_der_public_key(base64.b64decode(encoded, validate=True))
    except binascii.Error as error:
        raise ValueError from error
    match key:
        case ec.EllipticCurvePublicKey(curve=ec.SECP256R1()):
            return key
        case _:
            raise ValueError("a key of another kind")


def _holds(key: ec.EllipticCurvePublicKey, signature: bytes, digest: bytes) -> bool:
    try:
        key.verify(signature, digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
    except InvalidSignature:
        return False
    return True


def _check_age(timestamp: str, now: datetime) -> None:
    if not timestamp.isdecimal() or len(timestamp) > 12:
        raise Unauthentic("the timestamp is no number of seconds")
    age = timedelta(seconds=now.timestamp() - int(timestamp))
    if not -_SOONEST < age < _OLDEST:
        raise Unauthentic("the signature is days old: is this machine's clock right?")

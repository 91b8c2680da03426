"""Which domains may SES send for, and what must they publish?

Easy DKIM by SES's own key, or a key of ours (BYODKIM), and a MAIL FROM domain where one is wished.
Source: Amazon SES API v2 Reference, "CreateEmailIdentity" to "PutEmailIdentityMailFromAttributes";
Amazon SES Developer Guide, "Easy DKIM", "BYODKIM", "Custom MAIL FROM domain" (read 2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mailagent.errors import PermanentFailure
from mailagent.identity import DnsRecord, Identity, IdentityState, OwnKey, Wish
from mailagent.providers.ses_control import Aws

__all__ = ["SesIdentities"]

_UNKNOWN = ("NotFoundException",)
_TRIED_FOR_DAYS = "SES looked for 72 hours and gave up"


class SesIdentities:
    """The domain identities of one account in one region."""

    def __init__(self, aws: Aws) -> None:
        self._aws = aws

    async def identity(self, domain: str) -> Identity | None:
        """See `identity.Identifies`. The record of a key of ours is not listed."""
        told = await self._get(domain)
        return None if told is None else self._identity(domain, told)

    async def identify(self, domain: str, wish: Wish) -> Identity:
        """See `identity.Identifies`. SES changes the length of its own key once a day at most."""
        told = await self._get(domain)
        if told is None:
            made = await self._aws.ask(
                "create_email_identity",
                absent=("AlreadyExistsException",),
                EmailIdentity=domain,
                DkimSigningAttributes=_signing(wish),
            )
            told = await self._get(domain)
            if told is None:  # its reads lag behind
                told = made or {}
        dkim = told.get("DkimAttributes", {})
        if not _signs_as_wished(dkim, wish):
            await self._sign(domain, _signing(wish), own=wish.own_key is not None)
        if told.get("MailFromAttributes", {}).get("MailFromDomain", "") != (wish.mail_from or ""):
            await self._mail_from(domain, wish.mail_from)
        if told.get("FeedbackForwardingStatus", True):
            # SES mails every bounce to the agent otherwise, and goes on where no topic has them.
            await self._aws.ask(
                "put_email_identity_feedback_attributes",
                EmailIdentity=domain,
                EmailForwardingEnabled=False,
            )
        return self._identity(domain, await self._get(domain) or told)

    async def resubmit(self, domain: str) -> Identity:
        """See `identity.Identifies`."""
        told = await self._get(domain)
        if told is None:
            raise PermanentFailure(f"SES does not know {domain}: add it first", about="account")
        dkim = told.get("DkimAttributes", {})
        if dkim.get("SigningAttributesOrigin") == "EXTERNAL":
            if _failed(dkim.get("Status")):
                reason = f"SES must be given our key of {domain} again: identify it with the key"
                raise PermanentFailure(reason, about="account")
        else:
            length = dkim.get("NextSigningKeyLength") or "RSA_2048_BIT"
            await self._sign(domain, {"NextSigningKeyLength": length}, own=False)
        if mail_from := told.get("MailFromAttributes", {}).get("MailFromDomain"):
            await self._mail_from(domain, mail_from)
        return self._identity(domain, await self._get(domain) or told)

    async def forget(self, domain: str) -> None:
        """See `identity.Identifies`."""
        await self._aws.ask("delete_email_identity", absent=_UNKNOWN, EmailIdentity=domain)

    async def _get(self, domain: str) -> Mapping[str, Any] | None:
        return await self._aws.ask("get_email_identity", absent=_UNKNOWN, EmailIdentity=domain)

    async def _sign(self, domain: str, attributes: Mapping[str, str], *, own: bool) -> None:
        await self._aws.ask(
            "put_email_identity_dkim_signing_attributes",
            EmailIdentity=domain,
            SigningAttributesOrigin="EXTERNAL" if own else "AWS_SES",
            SigningAttributes=attributes,
        )

    async def _mail_from(self, domain: str, mail_from: str | None) -> None:
        wanted = {"MailFromDomain": mail_from} if mail_from else {}
        await self._aws.ask(
            "put_email_identity_mail_from_attributes",
            EmailIdentity=domain,
            # While its MX is not seen mail goes out by SES's own name, and is not held back.
            BehaviorOnMxFailure="USE_DEFAULT_VALUE",
            **wanted,
        )

    def _identity(self, domain: str, told: Mapping[str, Any]) -> Identity:
        dkim = told.get("DkimAttributes", {})
        mail_from = told.get("MailFromAttributes", {})
        records = []
        if dkim.get("SigningAttributesOrigin") != "EXTERNAL":
            zone = dkim.get("SigningHostedZone") or "dkim.amazonses.com"
            records += [
                DnsRecord("CNAME", f"{token}._domainkey.{domain}", f"{token}.{zone}")
                for token in dkim.get("Tokens", [])
            ]
        if under := mail_from.get("MailFromDomain"):
            feedback = f"feedback-smtp.{self._aws.region}.amazonses.com"
            records.append(DnsRecord("MX", under, feedback, 10))
            records.append(DnsRecord("TXT", under, "v=spf1 include:amazonses.com ~all"))
        words = {
            "dkim": dkim.get("Status", ""),
            "mail_from": mail_from.get("MailFromDomainStatus", ""),
            "verification": told.get("VerificationStatus", ""),
        }
        return Identity(
            domain,
            tuple(records),
            _state(told),
            {subject: word for subject, word in words.items() if word},
            _detail(told),
        )


def _signing(wish: Wish) -> Mapping[str, str]:
    if wish.own_key is None:
        return {"NextSigningKeyLength": f"RSA_{wish.dkim_bits}_BIT"}
    return {
        "DomainSigningSelector": wish.own_key.selector,
        "DomainSigningPrivateKey": _bare(wish.own_key),
    }


def _bare(key: OwnKey) -> str:
    """The key as SES takes it: Base64 on one line, without the armour of PEM."""
    return re.sub(r"-----[^-]+-----|\s", "", key.private_key_pem.decode("ascii"))


def _signs_as_wished(dkim: Mapping[str, Any], wish: Wish) -> bool:
    own = dkim.get("SigningAttributesOrigin") == "EXTERNAL"
    if wish.own_key is not None:
        given = own and list(dkim.get("Tokens", [])) == [wish.own_key.selector]
        return given and not _failed(dkim.get("Status"))
    length = dkim.get("NextSigningKeyLength") or dkim.get("CurrentSigningKeyLength")
    return not own and length in (None, f"RSA_{wish.dkim_bits}_BIT")


def _failed(status: str | None) -> bool:
    return status == "FAILED"


def _state(told: Mapping[str, Any]) -> IdentityState:
    if told.get("VerifiedForSendingStatus"):
        return "verified"
    match told.get("VerificationStatus") or told.get("DkimAttributes", {}).get("Status"):
        case "FAILED":
            return "failed"
        case "TEMPORARY_FAILURE":
            return "unknown"
        case _:
            return "pending"


def _detail(told: Mapping[str, Any]) -> str:
    info = told.get("VerificationInfo", {})
    said = [info["ErrorType"]] if info.get("ErrorType") else []
    if server := info.get("SOARecord", {}).get("PrimaryNameServer"):
        said.append(f"SES asked the zone of {server}")
    if told.get("VerificationStatus") == "FAILED":
        said.append(_TRIED_FOR_DAYS)
    return "; ".join(said)

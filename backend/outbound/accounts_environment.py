"""Which provider accounts does the environment name, in which order, and what in it is odd?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mailagent.providers import KINDS, Account
from mailagent.providers.account import CanSend

__all__ = ["SECRETS", "SETTINGS", "FromEnvironment", "of_environment"]

SETTINGS: Mapping[str, Sequence[str]] = {
    # First: a relay is there for sending alone, the others may be set for mail that comes in.
    "smtp": ("SMTP_RELAY_URL",),
    "ses": (
        "AWS_SES_REGION",
        "AWS_REGION",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "SES_CONFIGURATION_SET",
        "SES_EMAIL_TAGS",
        "SES_BASE_URL",
    ),
    "sendgrid": ("SENDGRID_API_KEY", "SENDGRID_REGION", "SENDGRID_BASE_URL"),
    "mailgun": (
        "MAILGUN_API_KEY",
        "MAILGUN_REGION",
        "MAILGUN_DOMAIN",
        "MAILGUN_TAGS",
        "MAILGUN_BASE_URL",
    ),
    "postmark": (
        "POSTMARK_SERVER_TOKEN",
        "POSTMARK_ACCOUNT_TOKEN",
        "POSTMARK_MESSAGE_STREAM",
        "POSTMARK_TAG",
        "POSTMARK_BASE_URL",
    ),
}
"""What an account of each kind is made from; in this order, where nothing names the first."""
SECRETS = frozenset(
    {
        "AWS_SECRET_ACCESS_KEY",
        "SENDGRID_API_KEY",
        "MAILGUN_API_KEY",
        "POSTMARK_SERVER_TOKEN",
        "POSTMARK_ACCOUNT_TOKEN",
        "SMTP_RELAY_URL",
    }
)
"""Those that nobody may read."""
_PROVES = {
    "sendgrid": "SENDGRID_API_KEY",
    "mailgun": "MAILGUN_API_KEY",
    "postmark": "POSTMARK_SERVER_TOKEN",
    "smtp": "SMTP_RELAY_URL",
}


@dataclass(frozen=True, slots=True)
class FromEnvironment:
    """The accounts that the environment names."""

    accounts: tuple[Account, ...]
    first: tuple[str, ...]
    """Names or kinds that go before all other accounts, those of the database too."""
    conflicts: tuple[str, ...]
    """Sentences for whoever starts the process."""


def of_environment(values: Mapping[str, str]) -> FromEnvironment:
    """The accounts of the settings `values`, by environment variable's name; each named by its
    kind. Opens nothing.
    """
    named = [("DEFAULT_EMAIL_PROVIDER", values.get("DEFAULT_EMAIL_PROVIDER", "").strip().lower())]
    named += [("EMAIL_PROVIDER_TYPE", values.get("EMAIL_PROVIDER_TYPE", "").strip().lower())]
    first = tuple(dict.fromkeys(word for _, word in named if word))
    able = {kind.kind for kind in KINDS if isinstance(kind, CanSend)}
    found = [kind for kind in SETTINGS if kind in able and _is_set(kind, values, first)]
    accounts = tuple(
        Account(kind, kind, {one: values[one] for one in SETTINGS[kind] if values.get(one)})
        for kind in sorted(found, key=lambda kind: _place(kind, first))
    )
    return FromEnvironment(accounts, first, tuple(_conflicts(values, named, found)))


def _is_set(kind: str, values: Mapping[str, str], first: Sequence[str]) -> bool:
    if kind == "ses":
        # Keys and a region may be there for S3 alone; and a machine with a role needs no keys.
        region = bool(values.get("AWS_SES_REGION") or values.get("AWS_REGION"))
        return region and (kind in first or bool(values.get("AWS_SES_REGION")))
    return bool(values.get(_PROVES[kind]))


def _place(kind: str, first: Sequence[str]) -> tuple[int, int]:
    return first.index(kind) if kind in first else len(first), list(SETTINGS).index(kind)


def _conflicts(
    values: Mapping[str, str], named: Sequence[tuple[str, str]], found: Sequence[str]
) -> list[str]:
    said: list[str] = []
    words = [word for _, word in named if word]
    if len(set(words)) == 2:
        said.append(
            f"DEFAULT_EMAIL_PROVIDER is {words[0]} and EMAIL_PROVIDER_TYPE is {words[1]}: "
            f"{words[0]} goes first, {words[1]} after it"
        )
    if len(found) > 1 and not words:
        order = ", then ".join(found)
        said.append(f"DEFAULT_EMAIL_PROVIDER is not set: mail leaves by {order}")
    for setting, word in named:
        if word in SETTINGS and word not in found:
            needs = _PROVES.get(word, "AWS_REGION or AWS_SES_REGION")
            said.append(f"{setting} is {word}, and {needs} is not set: no mail leaves by it")
    ses, other = values.get("AWS_SES_REGION"), values.get("AWS_REGION")
    if ses and other and ses != other:
        said.append(
            f"AWS_SES_REGION is {ses} and AWS_REGION is {other}: SES is asked in {ses}, "
            f"S3 and SNS in {other}"
        )
    return said

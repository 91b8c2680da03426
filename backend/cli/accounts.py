"""How does a command find the accounts that carry mail?"""

from __future__ import annotations

from backend.cli.shell import Shell
from backend.cli.writing import keyed
from backend.installation import webhook_settings
from backend.outbound import accounts
from backend.outbound.accounts import Overview
from backend.outbound.accounts_environment import FromEnvironment, of_environment
from mailagent.tokens import Secrets

__all__ = ["environment_of", "find", "known", "secrets_of"]


def secrets_of(shell: Shell) -> Secrets:
    """What accounts are encrypted by. Raises Misconfigured."""
    return Secrets(keyed(shell.settings).secret_keys())


def environment_of(shell: Shell) -> FromEnvironment:
    """The accounts that the environment names."""
    return of_environment(webhook_settings(shell.settings).values)


def known(shell: Shell) -> tuple[Secrets, FromEnvironment, str]:
    """The further arguments of `accounts.overview` and `accounts.find`."""
    return secrets_of(shell), environment_of(shell), shell.settings.default_email_domain


def find(shell: Shell, name: str) -> Overview:
    """One account. Raises NotFound."""
    return shell.read(None, accounts.find, name, *known(shell))

"""How much may one peer ask of the SMTP door, and how long may it take?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

__all__ = ["SmtpLimits"]


@dataclass(frozen=True, slots=True)
class SmtpLimits:
    """Caps of the door. The defaults satisfy RFC 5321 §4.5.3; tests and operators set their own."""

    size_bytes: int = 30 * 1024 * 1024
    """Octets of one mail, announced by SIZE (RFC 1870); large mailbox providers take 25-35 MB."""
    line_bytes: int = 64 * 1024
    """One line of a mail without CRLF. 998 binds what we send; real mail has longer ones."""
    recipients: int = 100
    """Of one mail: at least 100, RFC 5321 §4.5.3.1.8; the rest is told 452 and comes again."""
    held_bytes: int = 512 * 1024 * 1024
    """Octets of unfinished mails in memory, of all connections together; over it, 452."""
    connections: int = 500
    """At a time."""
    connections_per_address: int = 20
    """At a time, from one IPv4 address or IPv6 /64; large senders keep to 10-20."""
    cap_loopback: bool = False
    """Whether the cap for one address holds for loopback too (a local relay, the demo, a bench)."""
    errors: int = 10
    """Refused commands of one connection: a guesser of addresses is not helped along."""
    commands: int = 1_000
    """Since the last mail kept: a full mail of 100 recipients needs 104."""
    mails_per_connection: int = 5_000
    """Then the peer connects again, perhaps to another process on the same port."""
    command_timeout: timedelta = timedelta(minutes=5)
    """Until the next whole command, RFC 5321 §4.5.3.2.7; single octets do not extend it."""
    data_timeout: timedelta = timedelta(minutes=15)
    """For the whole content, however it trickles: 30 MiB at 35 kB/s."""
    answer_timeout: timedelta = timedelta(minutes=10)
    """For our own answer: RFC 5321 §4.5.3.2.6, after which the client has gone."""
    tls_timeout: timedelta = timedelta(seconds=60)
    """For the TLS handshake and for a PROXY header."""
    connection_lifetime: timedelta = timedelta(hours=1)
    """No new transaction after it."""

"""How are the SMTP doors made of the settings? The same in every process that opens one."""

from __future__ import annotations

import asyncio
import contextlib

from backend.submission.failures import StoreThrottle
from backend.submission.handing_in import HandingIn
from backend.submission.logins import StoreLogins
from mailagent.doors.smtp import SmtpDoor
from mailagent.doors.smtp_blocklists import Blocklists
from mailagent.doors.smtp_shared_counts import SharedCounts
from mailagent.doors.smtp_tls import Certificate
from mailagent.doors.submission import SubmissionDoor
from mailagent.flow.services import Services
from mailagent.inbound import Acceptor, Directory
from mailagent.resolver import Resolver
from mailagent.settings import Settings

__all__ = ["follow", "make_certificate", "make_door", "make_submission_door"]

_LOOK_EVERY = 5.0


def make_certificate(settings: Settings) -> Certificate:
    """The certificate of the door. Raises Misconfigured."""
    return Certificate(
        settings.mailagent_tls_cert,
        settings.mailagent_tls_key,
        hostname=settings.mailagent_hostname,
        folder=settings.mailagent_data,
    )


def make_door(
    settings: Settings,
    acceptor: Acceptor,
    directory: Directory,
    certificate: Certificate,
    *,
    shared_counts: SharedCounts | None = None,
) -> SmtpDoor:
    """The door, not open yet."""
    return SmtpDoor(
        acceptor,
        directory,
        hostname=settings.mailagent_hostname,
        tls=certificate.context,
        proxy_networks=settings.proxy_networks,
        blocklists=_blocklists(settings),
        shared_counts=shared_counts,
    )


def make_submission_door(
    settings: Settings, services: Services, certificate: Certificate
) -> SubmissionDoor:
    """The door of our own, not open yet."""
    return SubmissionDoor(
        StoreLogins(services.store),
        HandingIn(services),
        hostname=settings.mailagent_hostname,
        tls=certificate.context,
        throttle=StoreThrottle(services.store),
        proxy_networks=settings.proxy_networks,
    )


def _blocklists(settings: Settings) -> Blocklists | None:
    if not settings.dnsbl:
        return None
    # Its own resolver: a flood of strangers must not stand before the questions about mail.
    resolver = Resolver(settings.mailagent_resolver or None)
    return Blocklists(settings.dnsbl, resolver, spared=settings.proxy_networks)


async def follow(certificate: Certificate, stop: asyncio.Event) -> None:
    """Take over new certificate files within seconds, until `stop`."""
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _LOOK_EVERY)
        await asyncio.to_thread(certificate.look)

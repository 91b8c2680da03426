"""Whose mail service is a host that an MX names?

By the hosts that the services tell their customers to name. A host of nobody in the table is named
as it is.
"""

from __future__ import annotations

__all__ = ["whose"]

_SERVICES = (
    ("google.com", "Google Workspace"),
    ("googlemail.com", "Google Workspace"),
    ("mail.protection.outlook.com", "Microsoft 365"),
    ("mx.microsoft", "Microsoft 365"),
    ("olc.protection.outlook.com", "Outlook.com"),
    ("zoho.com", "Zoho Mail"),
    ("zoho.eu", "Zoho Mail"),
    ("zoho.in", "Zoho Mail"),
    ("messagingengine.com", "Fastmail"),
    ("protonmail.ch", "Proton Mail"),
    ("mail.icloud.com", "iCloud Mail"),
    ("yahoodns.net", "Yahoo Mail"),
    ("yandex.net", "Yandex 360"),
    ("yandex.ru", "Yandex 360"),
    ("emailsrvr.com", "Rackspace Email"),
    ("secureserver.net", "GoDaddy e-mail"),
    ("registrar-servers.com", "Namecheap e-mail forwarding"),
    ("privateemail.com", "Namecheap Private Email"),
    ("mx.cloudflare.net", "Cloudflare Email Routing"),
    ("pphosted.com", "Proofpoint"),
    ("ppe-hosted.com", "Proofpoint Essentials"),
    ("mimecast.com", "Mimecast"),
    ("barracudanetworks.com", "Barracuda"),
    ("ovh.net", "OVHcloud"),
    ("kundenserver.de", "IONOS"),
    ("ionos.com", "IONOS"),
    ("one.com", "one.com"),
    ("gandi.net", "Gandi"),
    ("migadu.com", "Migadu"),
    ("improvmx.com", "ImprovMX"),
    ("forwardemail.net", "Forward Email"),
    ("qq.com", "Tencent"),
    ("amazonaws.com", "Amazon SES"),
    ("awsapps.com", "Amazon WorkMail"),
    ("sendgrid.net", "SendGrid"),
    ("mailgun.org", "Mailgun"),
    ("postmarkapp.com", "Postmark"),
)


def whose(host: str) -> str:
    """The service of an MX host in words, `Google Workspace (aspmx.l.google.com)`; or the host."""
    name = host.lower().removesuffix(".")
    for suffix, service in _SERVICES:
        if name == suffix or name.endswith(f".{suffix}"):
            return f"{service} ({name})"
    return name

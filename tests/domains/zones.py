"""A zone as an operator has it, for tests of the name server."""

from __future__ import annotations

import base64

import dns.message
import dns.name
import dns.rdatatype
import dns.tsig

from backend.domains.zone import NameServer, Zone
from mailagent.identity import DnsRecord
from mailagent.settings import Settings, load

DOMAIN = "agents.example"
SECRET = base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
TSIG = f"hmac-sha256:mailagent:{SECRET}"
KEY = dns.tsig.Key("mailagent", SECRET, "hmac-sha256")
SERVERS = (NameServer("ns1.agents.example", ("192.0.2.53",)), NameServer("ns2.other.example"))
LONG_KEY = "v=DKIM1; k=rsa; p=" + 'MIIB\\";' * 60

RECORDS = (
    DnsRecord("MX", DOMAIN, "mx.agents.example", 10),
    DnsRecord("TXT", DOMAIN, "v=spf1 -all"),
    DnsRecord("MX", f"*.{DOMAIN}", "mx.agents.example", 10),
    DnsRecord("TXT", f"*.{DOMAIN}", "v=spf1 -all"),
    DnsRecord("A", f"mx.{DOMAIN}", "192.0.2.25"),
    DnsRecord("AAAA", f"mx.{DOMAIN}", "2001:db8::25"),
    DnsRecord("TXT", f"_dmarc.{DOMAIN}", "v=DMARC1; p=quarantine"),
    DnsRecord("TXT", f"abc._domainkey.{DOMAIN}", LONG_KEY),
    DnsRecord("MX", f"bounce.{DOMAIN}", "feedback.provider.example", 10),
    # As in F.7 of the wire formats: something stands below or at a workspace's name.
    DnsRecord("TXT", f"_dmarc.beta.{DOMAIN}", "v=DMARC1; p=none"),
    DnsRecord("TXT", f"s1._domainkey.gamma.{DOMAIN}", "v=DKIM1; p="),
    DnsRecord("TXT", f"delta.{DOMAIN}", "aexy-verify=1"),
    DnsRecord("CNAME", f"one.{DOMAIN}", f"two.{DOMAIN}"),
    DnsRecord("CNAME", f"two.{DOMAIN}", f"mx.{DOMAIN}"),
    DnsRecord("CNAME", f"wild.{DOMAIN}", f"any.thing.{DOMAIN}"),
    DnsRecord("CNAME", f"away.{DOMAIN}", "elsewhere.example"),
    DnsRecord("CNAME", f"lost.{DOMAIN}", f"nothing._dmarc.{DOMAIN}"),
    DnsRecord("CNAME", f"ring.{DOMAIN}", f"gnir.{DOMAIN}"),
    DnsRecord("CNAME", f"gnir.{DOMAIN}", f"ring.{DOMAIN}"),
    DnsRecord("SRV", f"_submission._tcp.{DOMAIN}", "1 587 mx.agents.example", 0),
)


def zone(*more: DnsRecord, serial: int = 7) -> Zone:
    """The zone of RECORDS, and more."""
    return Zone.of(DOMAIN, (*RECORDS, *more), name_servers=SERVERS, serial=serial)


def settings(**more: str) -> Settings:
    """What an operator sets for a zone of the default domain."""
    return load(
        {
            "DEFAULT_EMAIL_DOMAIN": DOMAIN,
            "MAILAGENT_HOSTNAME": f"mx.{DOMAIN}",
            "MAILAGENT_PUBLIC_IPS": "192.0.2.25",
            "MAILAGENT_DNS_NAME_SERVERS": f"ns1.{DOMAIN}=192.0.2.53",
            "MAILAGENT_DNS_SECONDARIES": "127.0.0.1:5300",
            "MAILAGENT_DNS_TSIG": TSIG,
            **more,
        },
        env_file=None,
    )


def query(name: str, type_: str = "MX", *, payload: int = 0) -> dns.message.Message:
    """A query, with EDNS if `payload` is not 0."""
    edns = 0 if payload else None
    return dns.message.make_query(name, type_, use_edns=edns, payload=payload or None)

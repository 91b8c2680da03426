"""Mail that was written to hang, crash or fool its reader: every message of the threat list.

Each is made by code of ours, a few kilobytes to some megabytes, and stands for one trap that a
library of the field has been caught in. `expected` is what our reader makes of it: a result, or the
field by which it is quarantined.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["MESSAGES", "Hostile", "arguments"]

READ = "read"
_CRLF = "\r\n"
_USUAL = {"From": "ann@customer.example", "To": "hello@shop.example", "Subject": "a"}
_TOP = "".join(f"{name}: {value}\r\n" for name, value in _USUAL.items())

Answers = Sequence[Sequence[Any]]
"""DNS answers as the reading job takes them: name, type, word, detail."""


@dataclass(frozen=True)
class Hostile:
    """One hostile message; `make` builds its octets only when it is run."""

    name: str
    make: Callable[[], bytes]
    expected: str = READ
    """`read`, or the field of the cap that quarantines it."""
    answers: Answers = ()
    representative: bool = False
    """Cheap, and of a kind of its own: part of every test run."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the reading job that differ."""


def arguments(of: Hostile) -> dict[str, Any]:
    """What the reading job is given beside the octets."""
    return {
        "mail_from": "ann@customer.example",
        "client_ip": "192.0.2.1",
        "helo": "mx.customer.example",
        "hostname": "mx.shop.example",
        "now": "2026-11-21T09:30:00+00:00",
        "judged_by": "mailagent",
        "verdicts": {},
        "answers": [list(one) for one in of.answers],
        "arc_sealers": ["customer.example"],
        **of.more,
    }


def _mail(body: str = "hello", *headers: str) -> bytes:
    given = {one.partition(":")[0] for one in headers}
    usual = [f"{name}: {value}" for name, value in _USUAL.items() if name not in given]
    lines = "".join(f"{one}\r\n" for one in (*usual, *headers))
    return (lines + "\r\n" + body).encode("utf-8", "surrogateescape")


def _html(body: str) -> bytes:
    return _mail(body, "Content-Type: text/html; charset=utf-8")


def _parts(count: int, part: str = "\r\nx\r\n") -> bytes:
    body = "".join(f"--b\r\n{part}" for _ in range(count)) + "--b--\r\n"
    return _mail(body, "Content-Type: multipart/mixed; boundary=b")


def _nested(depth: int) -> bytes:
    opening = "".join(
        f"Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n" for n in range(depth)
    )
    return (_TOP + opening + "\r\nx\r\n").encode()


def _nested_mails(depth: int) -> bytes:
    inner = "Subject: inner\r\n\r\nx\r\n"
    for _ in range(depth):
        inner = f"Subject: outer\r\nContent-Type: message/rfc822\r\n\r\n{inner}"
    return (_TOP + inner).encode()


def _charset(label: str, octets: bytes) -> Callable[[], bytes]:
    def make() -> bytes:
        return _mail("", f"Content-Type: text/plain; charset={label}") + octets

    return make


def _signature(number: int = 0, *, tags: str = "c=relaxed/relaxed") -> str:
    return (
        f"DKIM-Signature: v=1; a=rsa-sha256; {tags}; d=customer.example; s=s{number};"
        " h=from:to:subject; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA"
    )


_KEY = "v=DKIM1; k=rsa; p=" + base64.b64encode(bytes(270)).decode()


def _keys(count: int, record: str = _KEY) -> Answers:
    keys = [[f"s{n}._domainkey.customer.example", "TXT", "found", [record]] for n in range(count)]
    return [*_DMARC, ["customer.example", "TXT", "absent", False], *keys]


_DMARC: Answers = [["_dmarc.customer.example", "TXT", "found", ["v=DMARC1; p=none"]]]


def _spf(record: str, *others: Sequence[Any]) -> Answers:
    return [*_DMARC, ["customer.example", "TXT", "found", [record]], *others]


def _includes(count: int) -> Answers:
    chain = [
        [f"i{n}.example", "TXT", "found", [f"v=spf1 include:i{n + 1}.example -all"]]
        for n in range(count)
    ]
    return _spf("v=spf1 include:i0.example -all", *chain)


def _dmarc(record: str) -> Answers:
    return [
        ["customer.example", "TXT", "absent", False],
        ["_dmarc.customer.example", "TXT", "found", [record]],
    ]


def _report(count: int) -> bytes:
    fields = "".join(
        f"\r\nFinal-Recipient: rfc822; u{n}@customer.example\r\nAction: failed\r\nStatus: 5.1.1\r\n"
        for n in range(count)
    )
    body = (
        "--b\r\nContent-Type: message/delivery-status\r\n\r\n"
        f"Reporting-MTA: dns; mx\r\n{fields}\r\n--b--\r\n"
    )
    kind = 'Content-Type: multipart/report; report-type=delivery-status; boundary="b"'
    return _mail(body, kind)


MESSAGES: tuple[Hostile, ...] = (
    # --- the MIME tree ---
    Hostile("300,000 parts", lambda: _parts(300_000), "parts"),
    Hostile("2,001 parts", lambda: _parts(2_001), "parts", representative=True),
    Hostile("1,500 multiparts in each other", lambda: _nested(1_500), "depth", representative=True),
    Hostile("300 mails in each other", lambda: _nested_mails(300), "depth", representative=True),
    Hostile("90 mails in each other", lambda: _nested_mails(90)),
    Hostile(
        "multipart without a boundary",
        lambda: _mail("--\r\n" * 50_000, "Content-Type: multipart/mixed"),
        representative=True,
    ),
    Hostile(
        "boundary of 200,000 octets",
        lambda: _mail("x", f'Content-Type: multipart/mixed; boundary="{"b" * 200_000}"'),
    ),
    Hostile(
        "a boundary that begins another, 20,000 times",
        lambda: _mail("--b\r\n--bb\r\n" * 20_000, "Content-Type: multipart/mixed; boundary=b"),
        "parts",
    ),
    Hostile(
        "1,000 empty mails as parts",
        lambda: _parts(1_000, "Content-Type: message/rfc822\r\n\r\n\r\n"),
        "parts",
    ),
    # --- header fields ---
    Hostile(
        "a header of 3 MiB",
        lambda: _mail("x", "X-A: " + "a" * (3 << 20)),
        "header",
        representative=True,
    ),
    Hostile("200,000 header fields", lambda: _mail("x", *["X: y"] * 200_000), "header"),
    Hostile("60,000 fields inside the cap", lambda: _mail("x", *["X: y"] * 60_000)),
    Hostile("one field folded 200,000 times", lambda: _mail("x", "X: a" + "\r\n " * 200_000)),
    Hostile(
        "60,000 encoded words",
        lambda: _mail("x", "Subject: " + "=?u?q?a?= " * 60_000),
        representative=True,
    ),
    Hostile(
        "4,000 RFC 2231 continuations",
        lambda: _mail(
            "x", "Content-Type: text/plain; " + "; ".join(f"name*{n}*=%41" for n in range(4_000))
        ),
        representative=True,
    ),
    Hostile(
        "50,000 RFC 2231 continuations, backwards",
        lambda: _mail(
            "x",
            "Content-Disposition: attachment; "
            + "; ".join(f"filename*{n}*=a" for n in range(50_000, 0, -1)),
        ),
    ),
    Hostile(
        "100,000 parameters without a name",
        lambda: _mail("x", "Content-Type: text/plain" + ";=" * 100_000),
    ),
    Hostile("NUL and lone CR in header fields", lambda: _mail("x", "X: a\0b\rBcc: c@example.org")),
    Hostile(
        "CR and LF inside an encoded word",
        lambda: _mail("x", "Subject: =?utf-8?q?a=0D=0ABcc:_victim@example.org?="),
        representative=True,
    ),
    Hostile(
        "20,000 Received fields", lambda: _mail("x", *["Received: by mx.shop.example"] * 20_000)
    ),
    # --- addresses ---
    Hostile(
        "20,000 open parentheses in From",
        lambda: _mail("x", "From: " + "(" * 20_000),
        representative=True,
    ),
    Hostile("16 KB of quotes in From", lambda: _mail("x", "From: " + '"' * 16_384)),
    Hostile(
        "a second mailbox behind a parenthesis (CVE-2023-27043)",
        lambda: _mail("x", "From: alice@example.org)bob@example.net"),
        representative=True,
    ),
    Hostile("20,000 addresses in To", lambda: _mail("x", "To: " + "a@b.example, " * 20_000)),
    Hostile("100,000 nested groups", lambda: _mail("x", "To: " + "g:" * 100_000)),
    Hostile(
        "20,000 Message-IDs in References", lambda: _mail("x", "References: " + "<a@b> " * 20_000)
    ),
    # --- charsets ---
    Hostile("charset zlib", _charset("zlib", b"x\x9cK\xcb\xcf\x07\x00"), representative=True),
    Hostile("charset with a NUL", _charset('"utf\0-8"', b"x"), representative=True),
    Hostile("charset idna, 1 MB", _charset("idna", b"a." * 500_000)),
    Hostile("charset punycode, 300 KB", _charset("punycode", b"a-" * 150_000)),
    Hostile("charset utf-7, 2 MB", _charset("utf-7", b"+AAAAAA-" * 250_000)),
    Hostile("charset unicode_escape", _charset("unicode_escape", rb"\ud800\x00" * 1_000)),
    Hostile("a lie: UTF-16 that is none, 4 MB", _charset("utf-16", b"\xd8\x00" * 2_000_000)),
    Hostile(
        "4 MB of octets without a charset", lambda: _mail("") + bytes(range(128, 256)) * 32_768
    ),
    Hostile("ISO-2022-JP with 300,000 escapes", _charset("iso-2022-jp", b"\x1b$B\x1b(B" * 300_000)),
    # --- bodies ---
    Hostile("one line of 20 MB", lambda: _mail("a" * 20_000_000)),
    Hostile("5,000,000 empty lines", lambda: _mail(_CRLF * 5_000_000)),
    Hostile(
        "base64 of 20 MB with a blank after each letter",
        lambda: _mail("A " * 10_000_000, "Content-Transfer-Encoding: base64"),
    ),
    Hostile(
        "quoted-printable of 10 MB of equal signs",
        lambda: _mail("=" * 10_000_000, "Content-Transfer-Encoding: quoted-printable"),
    ),
    Hostile(
        "uuencode without end",
        lambda: _mail("begin 644 a\r\n" * 100_000, "Content-Transfer-Encoding: x-uuencode"),
    ),
    # --- what the writer wrote ---
    Hostile(
        "200,000 empty lines before a reply",
        lambda: _mail("a" + "\n" * 200_000 + "On x wrote:"),
        representative=True,
    ),
    Hostile("20,000 times On", lambda: _mail("On " * 20_000), representative=True),
    Hostile("20,000 times Le", lambda: _mail("Le " * 20_000)),
    Hostile("32 KB of angle brackets", lambda: _mail(">" * 32_768)),
    Hostile(
        "10,000 lines of a quote header", lambda: _mail("From: a <a@b>\r\nSent: x\r\n" * 10_000)
    ),
    Hostile("500,000 times a dash and a blank", lambda: _mail("- " * 500_000)),
    # --- HTML ---
    Hostile("100,000 nested div", lambda: _html("<div>" * 100_000), representative=True),
    Hostile("500,000 less-than signs", lambda: _html("<" * 500_000), representative=True),
    Hostile("200,000 attributes on one tag", lambda: _html("<p " + "a=b " * 200_000 + ">x")),
    Hostile("200,000 comments that do not end", lambda: _html("<!--" * 200_000)),
    Hostile("10,000 nested lists", lambda: _html("<ul><li>" * 10_000)),
    Hostile("5,000 nested tables", lambda: _html("<table><tr><td>" * 5_000)),
    Hostile(
        "100,000 formatting tags that do not close", lambda: _html("<b><i><a href=x>" * 33_000)
    ),
    Hostile("300,000 entities that do not end", lambda: _html("&ampampamp" * 300_000)),
    Hostile("5 MB of style", lambda: _html("<style>" + "a{color:red}" * 400_000 + "</style>x")),
    Hostile(
        "100,000 elements hidden by style",
        lambda: _html('<p style="display:none;font-size:0;color:#fff">x</p>' * 100_000),
    ),
    Hostile("one data: URL of 10 MB", lambda: _html(f'<img src="data:,{"A" * 10_000_000}">x')),
    Hostile("7,000 nested SVG and MathML", lambda: _html("<svg><math><mtext>" * 7_000)),
    Hostile("40,000 templates and selects", lambda: _html("<template><select>" * 20_000)),
    # --- DKIM, ARC ---
    Hostile(
        "DKIM: one line of 200,000 blanks",
        lambda: _mail(" " * 200_000 + "x", _signature()),
        answers=_keys(1),
        representative=True,
    ),
    Hostile(
        "DKIM: 5 MB of 996 blanks and an x",
        lambda: _mail((" " * 996 + "x\r\n") * 5_000, _signature()),
        answers=_keys(1),
    ),
    Hostile(
        "DKIM: 500 signatures", lambda: _mail("x", *map(_signature, range(500))), answers=_keys(500)
    ),
    Hostile(
        "DKIM: h= of 100,000 names",
        lambda: _mail("x", _signature(tags="h=" + "from:" * 100_000)),
        answers=_keys(1),
    ),
    Hostile(
        "DKIM: a tag list of 500 KB",
        lambda: _mail("x", _signature(tags="z=" + "a|" * 250_000)),
        answers=_keys(1),
    ),
    Hostile(
        "DKIM: a key of 100 KB",
        lambda: _mail("x", _signature()),
        answers=_keys(1, "v=DKIM1; p=" + "A" * 100_000),
        representative=True,
    ),
    Hostile(
        "DKIM: a key that is no base64",
        lambda: _mail("x", _signature()),
        answers=_keys(1, "v=DKIM1; p=%%%\0;;;=="),
        representative=True,
    ),
    Hostile(
        "DKIM: l= of 10^400",
        lambda: _mail("x", _signature(tags="l=" + "9" * 400)),
        answers=_keys(1),
    ),
    Hostile(
        "ARC: 200 sets",
        lambda: _mail(
            "x",
            *(
                f"{name}: i={n}; cv=pass; d=customer.example; s=s0; a=rsa-sha256; b=AA"
                for n in range(1, 201)
                for name in ("ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results")
            ),
        ),
    ),
    # --- SPF, DMARC ---
    Hostile(
        "SPF: includes itself",
        lambda: _mail(),
        answers=_spf("v=spf1 include:customer.example -all"),
        representative=True,
    ),
    Hostile(
        "SPF: a chain of 50 includes", lambda: _mail(), answers=_includes(50), representative=True
    ),
    Hostile(
        "SPF: a record of 60 KB",
        lambda: _mail(),
        answers=_spf("v=spf1 " + "ip4:198.51.100.0/24 " * 3_000 + "-all"),
    ),
    Hostile(
        "SPF: macros of a hundred digits",
        lambda: _mail(),
        answers=_spf("v=spf1 exists:%{l" + "9" * 100 + "r+-}.%{h}%{p}.example -all"),
    ),
    Hostile(
        "SPF: addresses that are none",
        lambda: _mail(),
        answers=_spf("v=spf1 ip4:1.2.3.4/99 ip6:::::/200 a:%{ mx/999//999 -all"),
        representative=True,
    ),
    Hostile(
        "SPF: octets that are no ASCII",
        lambda: _mail(),
        answers=_spf("v=spf1 include:\udcff\x00é -all"),
    ),
    Hostile(
        "DMARC: 100,000 tags", lambda: _mail(), answers=_dmarc("v=DMARC1; " + "p=none;" * 100_000)
    ),
    Hostile(
        "DMARC: a policy of 1 MB",
        lambda: _mail(),
        answers=_dmarc("v=DMARC1; p=" + "reject" * 170_000),
    ),
    Hostile(
        "DMARC: From of 120 labels",
        lambda: _mail("x", "From: a@" + ".".join("a" * 120) + ".example"),
        representative=True,
    ),
    # --- reports ---
    Hostile("a bounce of 20,000 recipients", lambda: _report(20_000), more={"mail_from": None}),
    Hostile(
        "a bounce in prose, 2 MB without an end of line",
        lambda: _mail("<a@b.example>: " * 140_000),
        more={"mail_from": None},
    ),
    Hostile(
        "a bounce of 50,000 less-than signs in prose",
        lambda: _mail("The following addresses had permanent fatal errors\r\n" + "<" * 50_000),
        more={"mail_from": None},
        representative=True,
    ),
)

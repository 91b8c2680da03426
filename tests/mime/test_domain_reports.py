"""Reports of others about our domains are read as their RFCs have them, and bombs stay small."""

from __future__ import annotations

import base64
import gzip
import io
import json
import random
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from mailagent.errors import Malformed
from mailagent.mime import dmarc_report, domain_report, tls_report
from mailagent.mime.dmarc_report import DmarcRow
from tests.mime.report_files import (
    NAMESPACE,
    mail_with,
    record,
    tls,
    tls_gzip,
    xml,
    zipped,
)

_MEGABYTE = 1024 * 1024

# --- DMARC ---


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zipped], ids=["plain", "gzip", "zip"])
@pytest.mark.parametrize("namespace", ["", NAMESPACE], ids=["RFC 7489", "RFC 9990"])
def test_a_report_is_read_in_each_form(pack: Any, namespace: str) -> None:
    found = dmarc_report.read(pack(xml(namespace=namespace, domain="Agents.Example.")))
    assert (found.reporter, found.report_id, found.domain) == (
        "receiver.example",
        "r1",
        "agents.example",
    )
    assert found.begins_at == datetime.fromtimestamp(1_790_000_000, UTC)
    assert found.policy == "quarantine"
    assert found.rows == (
        DmarcRow(
            source="192.0.2.1",
            header_from="agents.example",
            messages=1,
            aligned=True,
            disposition="none",
            dkim=("agents.example",),
            spf=("bounce.provider.example",),
        ),
    )


def test_records_that_say_the_same_are_summed_the_most_first() -> None:
    found = dmarc_report.read(
        xml(
            record(count=2),
            record(source="192.0.2.2", count=4, dkim="fail", raw_dkim="fail", raw_spf="softfail"),
            record(count=3),
        )
    )
    assert [(row.source, row.messages, row.aligned) for row in found.rows] == [
        ("192.0.2.1", 5, True),
        ("192.0.2.2", 4, False),
    ]
    assert found.rows[1].dkim == found.rows[1].spf == ()


def test_spf_alone_may_align() -> None:
    (row,) = dmarc_report.read(xml(record(dkim="fail", spf="pass"))).rows
    assert row.aligned


def test_of_many_sources_those_with_the_most_messages_are_kept() -> None:
    many = [record(f"10.{n >> 8}.{n & 255}.1", n) for n in range(1, 6_001)]
    rows = dmarc_report.read(gzip.compress(xml(*many))).rows
    assert len(rows) == 5_000
    assert (rows[0].messages, rows[-1].messages) == (6_000, 1_001)


def _gzip_bomb() -> bytes:
    return gzip.compress(xml()[:-11] + b" " * (200 * _MEGABYTE))


def _lying_zip() -> bytes:
    """A member of 200 MB whose headers say that it has a hundred octets."""
    made = bytearray(zipped(b" " * (200 * _MEGABYTE)))
    central = made.rindex(b"PK\x01\x02")
    made[22:26] = made[central + 24 : central + 28] = struct.pack("<I", 100)
    return bytes(made)


def _two_files() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("a.xml", xml())
        archive.writestr("b.xml", xml())
    return made.getvalue()


def _bzip2() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.xml", b" " * (200 * _MEGABYTE))
    return made.getvalue()


def _crowded() -> bytes:
    """An archive of 12,000 empty files."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for number in range(12_000):
            archive.writestr(f"{number}.xml", b"")
    return made.getvalue()


def _laughs() -> bytes:
    entities = "".join(
        f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "ha" * 10}">' for n in range(12)
    )
    head, _, rest = xml().partition(b"<feedback>")
    body = rest.replace(b"receiver.example", b"&l11;", 1)
    return head + f"<!DOCTYPE feedback [{entities}]>".encode() + b"<feedback>" + body


def _outside() -> bytes:
    head, _, rest = xml().partition(b"<feedback>")
    entity = b'<!DOCTYPE feedback [<!ENTITY x SYSTEM "file:///etc/passwd">]><feedback>'
    return head + entity + rest.replace(b"receiver.example", b"&x;", 1)


_BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "gzip": (_gzip_bomb, "decompression_limit_exceeded"),
    "gzip in gzip": (lambda: gzip.compress(_gzip_bomb()), "nested_archive"),
    "zip": (lambda: zipped(b" " * (200 * _MEGABYTE)), "decompression_limit_exceeded"),
    "zip with false sizes": (_lying_zip, "corrupt"),
    "zip as XML in zip": (lambda: zipped(zipped(xml())), "nested_archive"),
    "zip in zip": (lambda: zipped(zipped(xml()), "a.zip"), "nested_archive"),
    "zip by bzip2": (_bzip2, "another method than Deflate"),
    "zip of many files": (_crowded, "zip_member_limit_exceeded"),
    "zip of two reports": (_two_files, "archive_report_ambiguous"),
    "a billion laughs": (_laughs, "invalid_xml"),
    "a file of ours": (_outside, "invalid_xml"),
    "many records": (lambda: gzip.compress(xml(*[record()] * 20_001)), "record_limit_exceeded"),
    "a long name": (lambda: xml(record(header_from="x" * 5_000)), "text_limit_exceeded"),
    "large": (lambda: b" " * (11 * _MEGABYTE), "input_limit_exceeded"),
}


@pytest.mark.parametrize(("bomb", "complaint"), _BOMBS.values(), ids=_BOMBS)
def test_a_bomb_is_refused_before_it_takes_memory(
    bomb: Callable[[], bytes], complaint: str
) -> None:
    octets = bomb()
    tracemalloc.start()
    try:
        with pytest.raises(Malformed, match=complaint):
            dmarc_report.read(octets)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 150 * _MEGABYTE


def test_broken_reports_are_malformed_and_nothing_else() -> None:
    chance = random.Random(9990)
    whole = [xml(), gzip.compress(xml()), zipped(xml())]
    refused = 0
    for _ in range(1_500):
        octets = bytearray(chance.choice(whole))
        for _ in range(chance.choice((1, 2, 8))):
            octets[chance.randrange(len(octets))] = chance.randrange(256)
        if chance.random() < 0.3:
            del octets[chance.randrange(len(octets)) :]
        try:
            dmarc_report.read(bytes(octets))
        except Malformed:
            refused += 1
    assert refused > 700


# --- TLS ---


@pytest.mark.parametrize(
    "octets", [json.dumps(tls()).encode(), tls_gzip(tls())], ids=["plain", "gzip"]
)
def test_the_example_of_rfc_8460_is_read(octets: bytes) -> None:
    found = tls_report.read(octets)
    (policy,) = found.policies
    assert (found.reporter, found.report_id) == ("Company-X", "t1")
    assert found.ends_at == datetime(2026, 11, 1, 23, 59, 59, tzinfo=UTC)
    assert (policy.domain, policy.type) == ("agents.example", "sts")
    assert (policy.sessions, policy.failed) == (5629, 303)
    assert [(one.reason, one.sessions, one.mx) for one in policy.failures] == [
        ("certificate-expired", 300, "mx1.mail.company-y.example"),
        ("validation-failure", 3, "mx-backup.mail.company-y.example"),
    ]


def _changed(path: str, value: Any) -> dict[str, Any]:
    report = tls()
    *to, last = path.split("/")
    where: Any = report
    for step in to:
        where = where[int(step)] if isinstance(where, list) else where[step]
    if value is None:
        del where[last]
    else:
        where[last] = value
    return report


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("policies", None, "policies"),
        ("policies", [], "policies"),
        ("policies", [{}] * 51, "policies"),
        ("policies", ["x"], "policies"),
        ("date-range", None, "date-range"),
        ("date-range/start-datetime", "yesterday", "start-datetime"),
        ("date-range/end-datetime", 5, "end-datetime"),
        ("report-id", "", "report-id"),
        ("policies/0/policy", [], "policy"),
        ("policies/0/policy/policy-domain", None, "policy-domain"),
        ("policies/0/summary/total-failure-session-count", -1, "total-failure-session-count"),
        ("policies/0/summary/total-failure-session-count", 1.5, "total-failure-session-count"),
        ("policies/0/failure-details", {"a": 1}, "failure-details"),
    ],
)
def test_a_field_that_is_wrong_is_named(path: str, value: Any, field: str) -> None:
    with pytest.raises(Malformed) as refused:
        tls_report.read(json.dumps(_changed(path, value)).encode())
    assert refused.value.field == field


@pytest.mark.parametrize(
    "octets",
    [
        gzip.compress(b"[" * (200 * _MEGABYTE)),
        gzip.compress(b"[" * _MEGABYTE),
        b"[" * _MEGABYTE,
        b" " * (17 * _MEGABYTE),
        tls_gzip(tls())[:-20],
        b"\x1f\x8b" + bytes(40),
        b"\x1f\x8b" + b"x" * (11 * _MEGABYTE),
        b"[]",
        b"\xff{",
    ],
    ids=range(9),
)
def test_a_bomb_or_wreck_of_a_tls_report_is_malformed(octets: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(Malformed):
            tls_report.read(octets)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 100 * _MEGABYTE


def test_a_text_that_no_database_keeps_is_mended() -> None:
    report = tls(report_id="a\0b\ud800")
    assert tls_report.read(json.dumps(report).encode()).report_id == "ab?"


# --- the mail around it ---


@pytest.mark.parametrize(
    ("octets", "name", "type_", "kind"),
    [
        (gzip.compress(xml()), "a!b!1!2.xml.gz", ("application", "gzip"), "dmarc"),
        (zipped(xml()), "x.zip", ("application", "octet-stream"), "dmarc"),
        (b"\xef\xbb\xbf" + xml(), "x.xml", ("text", "xml"), "dmarc"),
        (tls_gzip(tls()), "x.json.gz", ("application", "tlsrpt+gzip"), "tls"),
        (tls_gzip(tls()), "x.json.gz", ("application", "gzip"), "tls"),
        (json.dumps(tls()).encode(), "x", ("application", "tlsrpt+json"), "tls"),
    ],
)
def test_the_report_in_a_mail_is_found_by_what_it_is(
    octets: bytes, name: str, type_: tuple[str, str], kind: str
) -> None:
    found = domain_report.read(mail_with(octets, name=name, type_=type_))
    assert ("dmarc" if found.dmarc else "tls") == kind


def test_a_mail_that_is_nothing_but_the_archive_is_read() -> None:
    whole = mail_with(zipped(xml()), name="r.zip", type_=("application", "zip"))
    assert domain_report.read(whole).dmarc
    alone = (
        b"From: a@b.example\r\nSubject: Report domain: x\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: application/zip; name="r.zip"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
        + base64.encodebytes(zipped(xml()))
    )
    assert domain_report.read(alone).dmarc


def test_a_mail_without_a_report_says_so() -> None:
    with pytest.raises(Malformed, match="none of them is a DMARC or TLS report"):
        domain_report.read(mail_with(b"%PDF-1.7", name="x.pdf", type_=("application", "pdf")))

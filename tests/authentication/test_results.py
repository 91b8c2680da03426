"""A judgement is written as RFC 8601 wants it, and no sender can write into it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mailagent.authentication import authentication_results, judge
from mailagent.mail import Authentication, DkimVerdict, DmarcVerdict, SpfVerdict


def test_all_methods_are_written_with_their_properties() -> None:
    auth = Authentication(
        SpfVerdict("softfail", "example.com", reason='not "ours"'),
        (DkimVerdict("pass", "example.com", "s1", "rsa-sha256"), DkimVerdict("permerror")),
        DmarcVerdict("pass", "example.com", "reject", "dkim", "example.com"),
        "mailagent",
    )
    assert authentication_results(auth, authserv_id="mx.acme.example") == (
        'mx.acme.example; spf=softfail reason="not \\"ours\\"" smtp.mailfrom=example.com; '
        "dkim=pass header.d=example.com header.s=s1 header.a=rsa-sha256; dkim=permerror; "
        "dmarc=pass header.from=example.com policy.dmarc=reject"
    )


def test_the_helo_identity_is_named() -> None:
    auth = Authentication(
        SpfVerdict("pass", "mx.example.com", "helo"), (), DmarcVerdict("not_judged"), "mailagent"
    )
    assert authentication_results(auth, authserv_id="a.b") == (
        "a.b; spf=pass smtp.helo=mx.example.com"
    )


def test_what_nobody_judged_is_none() -> None:
    assert authentication_results(judge.unjudged(), authserv_id="mx.example") == "mx.example; none"


@given(reason=st.text(max_size=400), domain=st.text(max_size=60))
def test_no_text_of_a_sender_adds_a_method(reason: str, domain: str) -> None:
    auth = Authentication(
        SpfVerdict("fail", domain, reason=reason), (), DmarcVerdict("fail", domain), "mailagent"
    )
    written = authentication_results(auth, authserv_id="mx.example")
    assert written.isascii()
    assert written.isprintable()
    outside = written.replace("\\\\", "").replace('\\"', "").split('"')[::2]
    assert "".join(outside).count(";") == 2

"""What was proven about a sender is told in one sentence, and whose word it rests on."""

from __future__ import annotations

from backend.inboxes.contents import authentication_fields
from backend.inboxes.evidence import in_words
from mailagent.mail import ArcVerdict, Authentication, DmarcVerdict, SpfVerdict

SEALED = Authentication(
    SpfVerdict("fail", "example.com"),
    (),
    DmarcVerdict("pass", "example.com", "reject", "arc", "example.com", "by ARC of lists.example"),
    "mailagent",
    ArcVerdict("pass", ("forward.example", "lists.example"), "lists.example", "dmarc=pass"),
)


def test_a_sealers_word_is_told_as_a_sealers_word() -> None:
    assert in_words(SEALED) == (
        "lists.example, who forwarded this mail, saw example.com vouch for it (SPF fail for "
        "example.com, DKIM none, DMARC pass for example.com, ARC pass for forward.example, "
        "lists.example)."
    )


def test_the_api_has_the_seals_beside_the_other_evidence() -> None:
    fields = authentication_fields(SEALED)
    assert (fields["dmarc"]["aligned_by"], fields["arc"]["trusted"]) == ("arc", "lists.example")
    assert fields["arc"]["sealers"] == ["forward.example", "lists.example"]

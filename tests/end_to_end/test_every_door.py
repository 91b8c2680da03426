"""One mail through every door is the same mail: octets, text, files, routing and conversation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.doors import DOORS, IN_PARTS, Came, differences, mails, through_every_door

_DATA = Path(__file__).parent.parent / "data" / "parsed"


@pytest.mark.timeout(180)
def test_a_mail_is_the_same_through_every_door() -> None:
    """The corpora go the same way by `make corpora`."""
    sent = dict(list(mails(_DATA).items())[:8])
    came = through_every_door(sent)
    assert differences(sent, came) == {door: [] for door in DOORS}
    for door in DOORS:
        assert came[door].keys() == sent.keys(), door
        assert all(one.read["text"] for one in came[door].values()), door


@pytest.mark.timeout(300)
def test_a_well_formed_mail_that_comes_in_parts_says_the_same_and_is_marked() -> None:
    # No two of them name the same mail: by parts nobody is proven, and who is not joins nothing.
    sent = mails(_DATA)
    came = through_every_door(sent, ("smtp", *IN_PARTS))
    assert len(sent) == 20
    for door in IN_PARTS:
        assert came[door].keys() == sent.keys(), door
        for name, one in came[door].items():
            assert one.read == came["smtp"][name].read, (door, name)
            assert any("not computable" in reason for reason in one.dkim), (door, name, one.dkim)


def test_what_differs_is_seen() -> None:
    sent = {"a": b"one", "b": b"two", "c": b"three"}
    good = {
        name: Came(digest, {"text": ["Hi"], "files": []})
        for name, digest in {
            "a": "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed",
            "b": "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3",
            "c": "8b5b9db0c13db24256c829aa364aa90c6d2eba318b9232a4ab9313b954d3555f",
        }.items()
    }
    came = {door: dict(good) for door in DOORS}
    assert not any(differences(sent, came).values())
    came["ses"]["a"] = replace(good["a"], sha256="0")
    came["mailgun"]["b"] = replace(good["b"], read={"text": ["Ho"], "files": []})
    del came["postmark"]["c"]
    wrong = {door: lines for door, lines in differences(sent, came).items() if lines}
    assert wrong == {
        "ses": ["a: other octets"],
        "mailgun": ["b: another text"],
        "postmark": ["c: did not come"],
    }

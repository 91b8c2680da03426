"""Which word does a person read for a state of ours?"""

from __future__ import annotations

import re
from pathlib import Path

from backend.inboxes.words import Status, states_of, status_of
from mailagent.flow.states import DeliveryState


def test_every_state_of_ours_has_exactly_one_word_of_aexy() -> None:
    words = [state for status in Status for state in states_of(status)]

    assert sorted(words) == sorted(DeliveryState)
    assert {status_of(state) for state in ("accepted", "read", "routed")} == {"pending"}
    assert status_of("thinking") == "processing"
    assert {status_of(state) for state in ("answered", "silent")} == {"responded"}
    for state in ("handed to a person", "held", "quarantined", "failed", "looped"):
        assert status_of(state) == "escalated"
    for state in ("recorded", "duplicate", "rejected", "expired"):
        assert status_of(state) == "archived"


def test_the_page_of_aexys_words_has_each_of_our_states_in_its_place() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "aexy-words.md"
    told = dict(
        re.findall(r"^\| `(\w+)` \| ([a-z ,]+?)(?:, and [a-z ]+)? \|$", page.read_text(), re.M)
    )
    assert {status: set(states.split(", ")) for status, states in told.items()} == {
        str(status): {str(state) for state in states_of(status)} for status in Status
    }

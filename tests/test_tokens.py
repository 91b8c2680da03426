"""What proves something is read only as what it was made for, by whose key, for whom."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.errors import Misconfigured, Unauthentic
from mailagent.tokens import (
    Secrets,
    hash_secret,
    key_of_answer,
    new_id,
    new_key,
    new_reply_key,
    new_secret,
)

_OLD, _NEW = "old-key-" * 6, "new-key-" * 6
_ADDRESS = "hello@shop.aexy.example"
secrets = Secrets([_OLD])


def test_ids_are_ordered_by_time_and_say_whose_they_are() -> None:
    ids = [new_id("dlv") for _ in range(100)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 100
    assert ids[0].startswith("dlv_")


def test_a_secret_is_stored_as_a_hash_that_finds_it() -> None:
    secret = new_secret("mak")
    assert secret.startswith("mak_")
    assert hash_secret(secret) == hash_secret(secret)
    assert len(hash_secret(secret)) == 64


def test_a_reply_token_names_its_thread_in_any_case() -> None:
    key = new_reply_key()
    token = secrets.reply_token(key, _ADDRESS)
    assert secrets.read_reply_token(token.upper(), _ADDRESS.upper()) == key


def test_a_reply_address_fits_into_a_local_part() -> None:
    token = secrets.reply_token(new_reply_key(), _ADDRESS)
    assert len("h" * 32 + "+t." + token) <= 64
    assert len("b." + secrets.verp_token(new_id("rcp"))) <= 64
    assert token.isalnum()
    assert token == token.lower()


def test_a_reply_token_of_another_address_is_a_plain_tag() -> None:
    token = secrets.reply_token(new_reply_key(), _ADDRESS)
    assert secrets.read_reply_token(token, "sales@shop.aexy.example") is None


def test_a_return_path_names_its_recipient() -> None:
    recipient_id = new_id("rcp")
    assert secrets.read_verp_token(secrets.verp_token(recipient_id).upper()) == recipient_id


def test_a_token_of_one_kind_is_none_of_another() -> None:
    assert secrets.read_verp_token(secrets.reply_token(new_reply_key(), "")) is None
    assert secrets.read_reply_token(secrets.verp_token(new_id("rcp")), "") is None


@given(st.integers(0, 28), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_one_changed_character_spoils_a_token(place: int, character: str) -> None:
    token = secrets.reply_token("a2b3c4d5e6f7a2b3", _ADDRESS)
    changed = token[:place] + character + token[place + 1 :]
    assert (secrets.read_reply_token(changed, _ADDRESS) is None) == (changed != token)


@given(st.text(st.characters(), max_size=60))
def test_any_text_may_stand_where_a_token_is_looked_for(text: str) -> None:
    assert secrets.read_reply_token(text, text) is None
    assert secrets.read_verp_token(text) is None


@pytest.mark.parametrize("text", ["", "a", "\ud800" * 40, "İ" * 40, "é" * 29])
def test_odd_text_is_no_token(text: str) -> None:
    assert secrets.read_reply_token(text, _ADDRESS) is None
    assert secrets.read_verp_token(text) is None


def test_a_sealed_secret_is_read_back_and_stands_nowhere_in_the_clear() -> None:
    sealed = secrets.seal(b"private", "dkim key")
    assert secrets.unseal(sealed, "dkim key") == b"private"
    assert b"private" not in sealed
    assert sealed != secrets.seal(b"private", "dkim key")


@pytest.mark.parametrize(
    "sealed",
    [
        secrets.seal(b"x", "another purpose"),
        Secrets([_NEW]).seal(b"x", "dkim key"),
        secrets.seal(b"x", "dkim key")[:-1],
        b"",
        b"\xff" * 40,
    ],
    ids=["another purpose", "another key", "cut", "empty", "noise"],
)
def test_what_was_sealed_otherwise_is_unauthentic(sealed: bytes) -> None:
    with pytest.raises(Unauthentic, match="MAILAGENT_SECRET_KEY"):
        secrets.unseal(sealed, "dkim key")


def test_after_a_change_of_keys_the_old_one_still_reads_and_the_new_one_signs() -> None:
    rotated = Secrets([_NEW, _OLD])
    key, recipient_id = new_reply_key(), new_id("rcp")
    assert rotated.read_reply_token(secrets.reply_token(key, _ADDRESS), _ADDRESS) == key
    assert rotated.read_verp_token(secrets.verp_token(recipient_id)) == recipient_id
    assert rotated.unseal(secrets.seal(b"x", "dkim key"), "dkim key") == b"x"
    assert secrets.read_reply_token(rotated.reply_token(key, _ADDRESS), _ADDRESS) is None


def test_two_keys_that_cannot_be_told_apart_are_refused() -> None:
    # A key id is one of 32 letters: of 33 keys two have the same.
    keys = [f"{n:040}" for n in range(33)]
    with pytest.raises(Misconfigured, match="make another"):
        Secrets(keys)


def test_a_key_given_twice_is_one_key() -> None:
    assert Secrets([_OLD, _OLD]).read_verp_token(secrets.verp_token(new_id("rcp")))


def test_a_forms_token_is_of_its_session_and_of_any_of_our_keys() -> None:
    token = secrets.form_token("session")
    assert Secrets([_NEW, _OLD]).is_form_token(token, "session")
    assert not secrets.is_form_token(token, "another session")
    assert not Secrets([_NEW]).is_form_token(token, "session")
    assert not secrets.is_form_token("", "session")
    assert not secrets.is_form_token("é" * 60, "session")


def test_what_an_old_key_sealed_is_sealed_anew_once() -> None:
    rotated = Secrets([_NEW, _OLD])
    again = rotated.reseal(secrets.seal(b"x", "dkim key"), "dkim key")
    assert again is not None
    assert Secrets([_NEW]).unseal(again, "dkim key") == b"x"
    assert rotated.reseal(again, "dkim key") is None


def test_a_drawn_key_can_be_told_from_those_beside_it() -> None:
    keys = [_OLD]
    for _ in range(31):
        keys.insert(0, new_key(keys))
    assert len(Secrets(keys).key_ids) == 32
    assert Secrets(keys).current_id == Secrets(keys[:1]).current_id
    with pytest.raises(Misconfigured, match="retire one first"):
        new_key(keys)


def test_two_installations_with_one_key_have_one_check_value() -> None:
    rotated = Secrets([_NEW, _OLD])
    assert rotated.check_value(secrets.current_id) == secrets.check_value(secrets.current_id)
    assert rotated.check_value(rotated.current_id) != secrets.check_value(secrets.current_id)


def test_an_answer_token_is_one_persons_for_one_mail() -> None:
    key, mail = new_reply_key(), new_id("dlv")
    token = secrets.answer_token(key, mail, "Eva@Shop.example")

    assert key_of_answer(token.upper()) == key
    assert secrets.read_answer_token(token.upper(), mail, "eva@shop.example")
    assert not secrets.read_answer_token(token, mail, "bob@shop.example")
    assert not secrets.read_answer_token(token, new_id("dlv"), "eva@shop.example")
    assert not secrets.read_answer_token(token[:-1] + "?", mail, "eva@shop.example")
    assert Secrets([_NEW, _OLD]).read_answer_token(token, mail, "eva@shop.example")
    assert not Secrets([_NEW]).read_answer_token(token, mail, "eva@shop.example")
    assert len("postmaster+h." + token) <= 64

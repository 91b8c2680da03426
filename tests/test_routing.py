"""Rules choose among the workspace's agents, in order, for a reason that can be told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.errors import Malformed
from mailagent.mail import (
    Address,
    Attachment,
    Authentication,
    Content,
    DkimVerdict,
    DmarcVerdict,
    Kind,
    Mail,
    SpfVerdict,
)
from mailagent.routing import KINDS, Rule, check_condition, decide, explain, matches


def mail(**changes: Any) -> Mail:
    content: dict[str, Any] = {
        "message_id": "<1@x.example>",
        "in_reply_to": (),
        "references": (),
        "date": None,
        "subject": "Refund for order 7",
        "from_": (Address("Ann@Customer.example", "Ann"),),
        "sender": (),
        "reply_to": (),
        "to": (),
        "cc": (),
        "text": "please\n> quoted words",
        "written": "Please pay me back, Straße 1",
        "html": None,
        "hidden_text": False,
        "is_forward": False,
        "attachments": (Attachment("1.2", "Invoice.PDF", "application/pdf", 9, "0"),),
        "headers": (("X-Shop", "Berlin"), ("Subject", "Refund for order 7")),
        "content_sha256": "0",
    }
    values: dict[str, Any] = {
        "delivery_id": "dlv",
        "workspace_id": "wsp",
        "recipient": "Hello+Vip@shop.example",
        "mail_from": "ann@customer.example",
        "received_at": datetime(2026, 11, 21, tzinfo=UTC),
        "authentication": Authentication(
            SpfVerdict("fail"), (DkimVerdict("pass"),), DmarcVerdict("pass"), "mailagent"
        ),
        "kind": Kind.PERSON,
        "why_kind": "",
    }
    own = {name: changes.pop(name) for name in list(changes) if name in values}
    return Mail(content=Content(**{**content, **changes}), **{**values, **own})


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"recipient": "hello+vip@shop.example"}, True),
        ({"recipient": "*+vip@*"}, True),
        ({"recipient": "hello@shop.example"}, False),
        ({"sender": "ann@customer.example"}, True),
        ({"sender": "customer.example"}, False),
        ({"domain": "Customer.example"}, True),
        ({"domain": "@customer.example"}, True),
        ({"domain": "*.example"}, True),
        ({"domain": "omer.example"}, False),
        ({"domain": "*.customer.example"}, False),
        ({"subject_contains": "REFUND"}, True),
        ({"subject_contains": "return"}, False),
        ({"keyword": "STRASSE"}, True),
        ({"keyword": "quoted"}, False),
        ({"header": "x-shop"}, True),
        ({"header": "X-Shop: berlin"}, True),
        ({"header": "X-Shop: Paris"}, False),
        ({"header": "X-Other"}, False),
        ({"has_attachment": True}, True),
        ({"has_attachment": False}, False),
        ({"has_attachment": "*.pdf"}, True),
        ({"has_attachment": "*.doc"}, False),
        ({"authentication": "dmarc=pass"}, True),
        ({"authentication": "spf=pass"}, False),
        ({"authentication": "DKIM=pass"}, True),
        ({"automatic": False}, True),
        ({"not": {"automatic": True}}, True),
        ({"all": [{"keyword": "pay"}, {"not": {"header": "X-Other"}}]}, True),
        ({"all": [{"keyword": "pay"}, {"header": "X-Other"}]}, False),
        ({"any": [{"header": "X-Other"}, {"keyword": "pay"}]}, True),
    ],
    ids=str,
)
def test_a_condition_holds_or_not(condition: dict[str, Any], expected: bool) -> None:
    check_condition(condition)
    assert matches(condition, mail())[0] is expected


def test_a_mail_of_two_authors_is_from_nobody() -> None:
    both = mail(from_=(Address("ann@customer.example"), Address("eve@x.example")))
    assert not matches({"sender": "ann@customer.example"}, both)[0]
    assert not matches({"domain": "customer.example"}, both)[0]


def test_an_inline_image_is_no_attachment() -> None:
    image = Attachment("1.2", "logo.png", "image/png", 9, "0", inline=True)
    assert not matches({"has_attachment": True}, mail(attachments=(image,)))[0]


def test_a_mail_without_signature_has_dkim_none() -> None:
    unsigned = Authentication(SpfVerdict("none"), (), DmarcVerdict("none"), "mailagent")
    assert matches({"authentication": "dkim=none"}, mail(authentication=unsigned))[0]


def deep(levels: int) -> dict[str, Any]:
    condition: dict[str, Any] = {"keyword": "x"}
    for _ in range(levels):
        condition = {"not": condition}
    return condition


@pytest.mark.parametrize(
    ("condition", "place"),
    [
        ("keyword", "condition"),
        ({}, "condition"),
        ({"keyword": "a", "sender": "b"}, "condition"),
        ({"unheard_of": "x"}, "condition"),
        ({"keyword": ""}, "condition.keyword"),
        ({"keyword": 7}, "condition.keyword"),
        ({"keyword": "x" * 501}, "condition.keyword"),
        ({"automatic": "yes"}, "condition.automatic"),
        ({"all": []}, "condition.all"),
        ({"any": "keyword"}, "condition.any"),
        ({"any": [{"keyword": "x"}, {"not": []}]}, r"condition.any\[1\].not"),
        ({"authentication": "dmarc"}, "condition.authentication"),
        ({"authentication": "dmarc=passed"}, "condition.authentication"),
        ({"authentication": "arc=pass"}, "condition.authentication"),
        (deep(9), "condition"),
        ({"any": [{"keyword": "x"}] * 101}, "condition"),
    ],
    ids=lambda one: str(one)[:60],
)
def test_a_condition_that_cannot_be_meant_is_refused_by_its_place(
    condition: Any, place: str
) -> None:
    with pytest.raises(Malformed, match=f"^{place}"):
        check_condition(condition)


_values: dict[str, st.SearchStrategy[Any]] = {
    "automatic": st.booleans(),
    "authentication": st.sampled_from(["dmarc=pass", "spf=none", "dkim=fail"]),
}
_text = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
_leaves: st.SearchStrategy[Any] = st.sampled_from(list(KINDS)).flatmap(
    lambda kind: st.fixed_dictionaries({kind: _values.get(kind, _text)})
)
_conditions = st.recursive(
    _leaves,
    lambda inner: (
        st.fixed_dictionaries({"not": inner})
        | st.fixed_dictionaries({"all": st.lists(inner, min_size=1, max_size=3)})
        | st.fixed_dictionaries({"any": st.lists(inner, min_size=1, max_size=3)})
    ),
    max_leaves=6,
)


@given(_conditions)
def test_not_turns_every_answer_round_and_every_answer_has_a_reason(condition: Any) -> None:
    held, why = matches(condition, mail())
    turned, _ = matches({"not": condition}, mail())
    assert turned is not held
    assert why


_first = Rule("r1", "refunds", {"subject_contains": "refund"}, "agent", "agt_money")
_second = Rule("r2", "anything", {"automatic": False}, "agent", "agt_any")
_over = Rule("r3", "vip", {"recipient": "*+vip@*"}, "agent", "agt_vip", overrides=True)
_spam = Rule("r4", "no shops", {"header": "X-Shop"}, "reject", overrides=True)


@pytest.mark.parametrize(
    ("rules", "addressed", "catch_all", "goes_to"),
    [
        ([_first, _second], None, None, "agt_money"),
        ([_second, _first], None, None, "agt_any"),
        ([_first], "agt_hello", None, "agt_hello"),
        ([_first, _over], "agt_hello", None, "agt_vip"),
        ([], "agt_hello", "agt_all", "agt_hello"),
        ([], None, "agt_all", "agt_all"),
        ([_first], None, "agt_all", "agt_money"),
    ],
)
def test_the_address_goes_first_then_the_rules_then_the_catch_all(
    rules: list[Rule], addressed: str | None, catch_all: str | None, goes_to: str
) -> None:
    found = decide(mail(), addressed_agent=addressed, catch_all_agent=catch_all, rules=rules)
    assert (found.action, found.agent_id) == ("agent", goes_to)


def test_a_decision_names_its_rule_and_why() -> None:
    found = decide(mail(), addressed_agent="agt", catch_all_agent=None, rules=[_spam])
    assert (found.action, found.rule_id) == ("reject", "r4")
    assert found.why == "rule 'no shops' matched: header 'X-Shop' holds"


def test_a_mail_that_nothing_leads_to_an_agent_is_held() -> None:
    found = decide(mail(), addressed_agent=None, catch_all_agent=None, rules=[])
    assert (found.action, found.agent_id) == ("hold", None)


def test_each_rule_is_explained_in_order() -> None:
    told = explain(mail(), [_over, Rule("r5", "never", {"header": "X-No"}, "hold")])
    assert [(one.rule.id, one.matched) for one in told] == [("r3", True), ("r5", False)]
    assert told[1].why == "header 'X-No' does not hold"

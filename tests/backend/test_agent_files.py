"""An agent is one file: it goes out without a secret and comes in checked."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from backend.abilities.service import Surroundings
from backend.agents import agent_file, service, transfer
from backend.agents.agent_file import AgentFile, MalformedFile
from backend.paging import EVERYTHING
from backend.rules import service as rules
from backend.trust import settings as trust
from mailagent.egress import Egress
from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.flow import agent_secrets
from mailagent.flow.tools import custom
from mailagent.sandbox import Sandbox
from mailagent.store.tables import agents
from mailagent.tokens import Secrets
from tests.backend.api_client import key, open_api
from tests.backend.conftest import DEFAULT_DOMAIN, House
from tests.backend.mailroom import Mailroom, open_mailroom

AROUND = Surroundings(Secrets(["a secret of the tests that is long enough"]), Egress(frozenset()))
WHOLE = """\
mailagent: 1
handle: desk
name: The desk
instructions: |
  Be brief.
  Be kind.
processor: builtin
model:
  name: claude-sonnet-5-5
  price: 3/15
  most_questions: 6
tools:
- search_documents
- hand_over
policy:
  stranger:
    link: ask
limits:
  replies_per_agent_a_day: 7
settings:
  email_enabled: true
  escalation_address: eva@acme.example
  usd_a_day: '2.50'
rules:
- name: invoices
  condition:
    subject_contains: invoice
  overrides: true
  enabled: true
examples:
- name: hello
  mail: |
    From: a@b.example
    Subject: Hello

    Hello?
  expect:
    decision: reply
    contains:
    - hello
"""


def imported(house: House, text: str, **how: Any) -> transfer.Imported:
    return house.store.write_now(
        house.acme.id,
        transfer.import_agent,
        DEFAULT_DOMAIN,
        AROUND,
        agent_file.parse(text),
        author="test",
        **how,
    )


def exported(house: House, handle: str) -> str:
    return agent_file.render(house.store.read_now(house.acme.id, transfer.export, AROUND, handle))


def test_what_was_imported_is_exported_as_the_same_file(house: House) -> None:
    done = imported(house, WHOLE)
    assert (done.created, done.done) == (True, True)
    assert done.agent is not None
    assert done.agent.address == f"desk@acme.{DEFAULT_DOMAIN}"
    assert yaml.safe_load(exported(house, "desk")) == yaml.safe_load(WHOLE)


def test_an_agent_that_nobody_set_anything_for_is_a_short_file(house: House) -> None:
    assert yaml.safe_load(exported(house, "hello")) == {
        "mailagent": 1,
        "handle": "hello",
        "name": "hello",
        "instructions": "",
        "processor": "",
        "settings": {"email_enabled": True},
    }


def test_a_file_goes_from_one_workspace_to_another(house: House) -> None:
    imported(house, WHOLE)
    file = agent_file.parse(exported(house, "desk"))
    house.store.write_now(
        house.other.id, transfer.import_agent, DEFAULT_DOMAIN, AROUND, file, author="test"
    )
    there = house.store.read_now(house.other.id, transfer.export, AROUND, "desk")
    assert there == file


LEADING_OUT = """\
handle: desk
aliases:
- sales
- orders
webhook_url: https://agent.example/mail
task_url: https://tasks.example/new
mcp_servers:
- name: crm
  url: https://crm.example/mcp
  reads:
  - find
http_tools:
- name: find_order
  description: Looks an order up by its number.
  input_schema:
    type: object
    properties:
      order:
        type: string
    required:
    - order
  effect: reads
  method: GET
  url: https://orders.example/{order}
  headers:
  - Authorization
- name: list_orders
  description: Lists the orders of a customer.
  input_schema:
    type: object
    properties:
      since:
        type: string
  effect: reads
  method: GET
  url: https://orders.example/
  places:
    since:
      where: query
      name: created-after
      joined: false
  query_secrets:
  - api_key
secrets:
- mcp:crm
- tasks
"""
TOOL = """\
http_tools:
- name: find
  description: Finds what you want.
  input_schema: {{type: object}}
  effect: {}
  method: GET
  url: {}
"""
NEEDS = (
    "mailagent tool secret desk mcp:crm",
    "mailagent tool secret desk tasks",
    "mailagent tool header desk find_order Authorization",
    "mailagent tool header desk list_orders api_key",
)


def in_acme(house: House, function: Any, *args: Any) -> Any:
    return house.store.write_now(house.acme.id, function, *args)


def test_aliases_servers_tools_and_addresses_go_along_and_no_credential_does(
    house: House,
) -> None:
    done = imported(house, LEADING_OUT)
    assert done.agent is not None
    assert done.needs == NEEDS
    addresses = [one.address for one in done.agent.addresses if one.alias]
    assert sorted(addresses) == [f"{one}@acme.{DEFAULT_DOMAIN}" for one in ("orders", "sales")]
    agent_id = done.agent.id
    for name, secret in (("mcp:crm", "topsecret17"), ("tasks", "topsecret18")):
        in_acme(house, agent_secrets.keep, AROUND.secrets, agent_id, name, secret)
    given = (AROUND.secrets, agent_id, "find_order", "authorization", "Bearer topsecret19")
    in_acme(house, custom.set_header, *given)
    given = (AROUND.secrets, agent_id, "list_orders", "api_key", "topsecret20")
    in_acme(house, custom.set_header, *given)

    text = exported(house, "desk")
    assert "topsecret" not in text
    out, wanted = yaml.safe_load(text), yaml.safe_load(LEADING_OUT)
    out["aliases"].sort()
    wanted["aliases"].sort()
    out["mcp_servers"][0].pop("changes", None)
    for tool in out["http_tools"]:
        assert (tool.pop("least"), tool.pop("repeatable")) == ("stranger", True)
        for name in [name for name, value in tool.items() if value in (None, [])]:
            del tool[name]
    assert {name: out[name] for name in wanted} == wanted


def test_what_was_given_before_is_kept_and_nothing_more_is_needed(house: House) -> None:
    agent = imported(house, LEADING_OUT).agent
    assert agent is not None
    given = (AROUND.secrets, agent.id, "find_order", "Authorization", "Bearer topsecret19")
    in_acme(house, custom.set_header, *given)
    changed = LEADING_OUT.replace("orders.example", "new.example").replace("- sales\n", "")
    planned = imported(house, changed, only_plan=True)
    assert [one.field for one in planned.changes] == ["aliases", "http_tools"]
    done = imported(house, changed, overwrite=True)
    assert done.needs == (*NEEDS[:2], NEEDS[3])
    kept = house.store.read_now(house.acme.id, custom.credentials_of, AROUND.secrets, agent.id)
    assert kept["find_order"].headers == {"Authorization": "Bearer topsecret19"}
    assert kept["list_orders"].query == {"api_key": custom.NOT_GIVEN}
    assert done.agent is not None
    assert [one.address for one in done.agent.addresses if one.alias] == [
        f"orders@acme.{DEFAULT_DOMAIN}"
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("aliases: [a@elsewhere.example]", "aliases[0]: must end in a domain of this workspace"),
        ("aliases: [sales, hello]", "aliases[1]: hello@acme"),
        ("webhook_url: http://x.example/", "webhook_url: "),
        ("mcp_servers: [{name: crm}]", "mcp_servers[0].name: "),
        ("mcp_servers: [{name: a, url: https://a.example, read: []}]",
         "mcp_servers[0].read: is unknown: did you mean 'reads'?"),
        (TOOL.format("reads", "https://169.254.169.254/"), "http_tools[0].url: "),
        (TOOL.format("looks", "https://a.example/"), "http_tools[0].effect: "),
    ],
)  # fmt: skip
def test_what_leads_out_is_checked_and_nothing_is_left_behind(
    house: House, text: str, told: str
) -> None:
    with pytest.raises(MalformedFile) as refused:
        imported(house, f"handle: desk\n{text}\n")
    assert told in str(refused.value)
    listed = house.store.read_now(house.acme.id, lambda tx: tx.rows(agents.select()))
    assert [row.handle for row in listed] == ["hello"]


def test_the_value_of_a_header_is_for_a_field_that_the_tool_names(house: House) -> None:
    agent = imported(house, LEADING_OUT).agent
    assert agent is not None
    for header, value, error in (
        ("X-Other", "x", NotFound),
        ("Authorization", "", Malformed),
        ("Authorization", "a\nb", Malformed),
    ):
        given = (AROUND.secrets, agent.id, "find_order", header, value)
        with pytest.raises(error):
            in_acme(house, custom.set_header, *given)


def test_an_agent_that_is_there_is_changed_only_when_that_is_said(house: House) -> None:
    imported(house, WHOLE)
    before = exported(house, "desk")
    with pytest.raises(Conflict, match="--overwrite"):
        imported(house, "handle: desk\nname: Other\n")
    assert exported(house, "desk") == before


def test_a_plan_shows_the_difference_and_changes_nothing(house: House) -> None:
    imported(house, WHOLE)
    before = exported(house, "desk")
    text = "handle: desk\nname: The desk\ninstructions: |\n  Be brief.\n  Be clear.\n"
    done = imported(house, text, only_plan=True)
    assert (done.created, done.done) == (False, False)
    (change,) = done.changes
    assert change.field == "instructions"
    assert "-Be kind." in change.difference
    assert "+Be clear." in change.difference
    assert exported(house, "desk") == before


def test_a_plan_for_a_new_handle_makes_no_agent(house: House) -> None:
    done = imported(house, WHOLE, handle="fresh", only_plan=True)
    assert (done.agent, done.created, done.done) == (None, True, False)
    listed = house.store.read_now(house.acme.id, lambda tx: tx.rows(agents.select()))
    assert [row.handle for row in listed] == ["hello"]


def test_what_a_file_does_not_name_stays(house: House) -> None:
    imported(house, WHOLE)
    imported(house, "handle: desk\nlimits: {approve_below: 0.9}\n", overwrite=True)
    now = yaml.safe_load(exported(house, "desk"))
    was = yaml.safe_load(WHOLE)
    assert now["limits"] == {"replies_per_agent_a_day": 7, "approve_below": 0.9}
    assert {**now, "limits": 0} == {**was, "limits": 0}


def test_rules_are_a_whole_list_and_other_agents_keep_theirs(house: House) -> None:
    imported(house, WHOLE)
    house.store.write_now(
        house.acme.id, rules.add, name="mine", condition={"keyword": "x"}, agent="hello"
    )
    imported(
        house,
        "handle: desk\nrules:\n- {name: orders, condition: {keyword: order}, enabled: false}\n",
        overwrite=True,
    )
    found = house.store.read_now(house.acme.id, rules.list_rules, EVERYTHING).items
    assert [(one.name, one.enabled) for one in found] == [("mine", True), ("orders", False)]


def test_the_same_policy_again_is_no_new_version(house: House) -> None:
    imported(house, WHOLE)
    imported(house, WHOLE, overwrite=True)
    found = house.store.read_now(house.acme.id, trust.policy, "desk")
    assert (found.version, found.policy) == (1, {"stranger": {"link": "ask"}})


def test_a_file_that_cannot_be_leaves_nothing_behind(house: House) -> None:
    with pytest.raises(MalformedFile, match="processor"):
        imported(house, WHOLE.replace("processor: builtin", "processor: oracle"))
    listed = house.store.read_now(house.acme.id, lambda tx: tx.rows(agents.select()))
    assert [row.handle for row in listed] == ["hello"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("instructons: x", "instructons: is unknown: did you mean 'instructions'?"),
        ("name: 3", "name: must be text: put it in quotes"),
        ("settings: {email_enabled: maybe}", "settings.email_enabled: must be true or false"),
        ("tools: [serch_documents]", "tools[0]: 'serch_documents' is unknown: did you mean"),
        ("policy: {stranger: {lnk: ask}}", "policy.stranger: 'lnk' is unknown: did you mean 'link"),
        ("policy: {stranger: {link: alow}}", "policy.stranger.link: 'alow' is unknown"),
        ("policy: {stranger: {'tool:invit': do}}", "'tool:invit' is unknown: did you mean"),
        ("limits: {aprove_below: 0.9}", "limits.aprove_below: is no limit: did you mean"),
        ("limits: {approve_below: 9}", "limits.approve_below: "),
        ("rules: [{nam: x}]", "rules[0].name: is missing"),
        ("rules: [{name: a, condition: {domin: x}}]", "rules[0].condition: unknown kind"),
        ("model: {price: cheap}", "model.price: "),
        (
            "examples: [{name: a, mail: x, expect: {decision: maybe}}]",
            "examples[0].expect.decision",
        ),
        ("name: a\nname: b", "line 2, column 1: 'name' stands twice"),
        ("a: &x [1]\nb: *x", "aliases (*name) are not taken"),
        ("- 1", "must be fields and values"),
        ("{{{", "is no YAML of ours at line 1"),
        ("name: !!python/object:os.system x", "is no YAML of ours"),
        ("[" * 5_000, "is no YAML"),
        ("mailagent: 2", "mailagent: input should be 1"),
    ],
)
def test_a_wrong_field_is_named_with_its_mend(text: str, told: str) -> None:
    with pytest.raises(MalformedFile) as refused:
        agent_file.parse(text)
    assert told in str(refused.value)


def test_all_wrong_fields_are_told_at_once() -> None:
    with pytest.raises(MalformedFile) as refused:
        agent_file.parse("name: 3\ninstructons: x\nrules: [{nam: y}]\n")
    assert [field for field, _ in refused.value.problems] == [
        "name",
        "rules[0].name",
        "rules[0].condition",
        "rules[0].nam",
        "instructons",
    ]


def test_a_file_is_bounded() -> None:
    with pytest.raises(MalformedFile, match="1,048,576 octets"):
        agent_file.parse(f"instructions: {'x' * agent_file.LONGEST_FILE}")


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))


@given(words, words)
def test_any_text_survives_the_way_through_a_file(instructions: str, name: str) -> None:
    file = AgentFile(instructions=instructions, name=name or None)
    assert agent_file.parse(agent_file.render(file)).instructions == instructions


def test_the_file_that_the_docs_show_is_one() -> None:
    page = Path(__file__).parents[2] / "docs" / "how-to" / "agent-files.md"
    (shown,) = re.findall(r"```yaml\n(.*?)```", page.read_text(), re.S)
    file = agent_file.parse(shown)
    assert (file.handle, len(file.examples or ())) == ("help", 1)
    assert set(file.model_dump()) - file.model_fields_set == {"description"}


@pytest.fixture
async def room(database_url: str) -> AsyncIterator[Mailroom]:
    sandbox = Sandbox(workers=1)
    async with open_mailroom(database_url, sandbox) as opened:
        yield opened
    await sandbox.close()


@pytest.fixture
async def api(room: Mailroom) -> AsyncIterator[httpx.AsyncClient]:
    async with open_api(room, await key(room)) as client:
        yield client


async def test_the_api_imports_shows_plans_and_exports(api: httpx.AsyncClient) -> None:
    path = "workspaces/shop/agents/import"
    planned = await api.post(path, json={"file": WHOLE, "only_plan": True})
    made = await api.post(path, json={"file": WHOLE})
    again = await api.post(path, json={"file": WHOLE})
    wrong = await api.post(path, json={"file": "nme: x\nhandle: y"})
    got = await api.get("workspaces/shop/agents/desk/export")

    assert planned.status_code == 201, planned.text
    assert (planned.json()["agent"], planned.json()["done"]) == (None, False)
    assert made.json()["agent"]["handle"] == "desk"
    assert again.status_code == 409
    assert (wrong.status_code, wrong.json()["field"]) == (422, "nme")
    assert yaml.safe_load(got.text) == yaml.safe_load(WHOLE)
    assert got.headers["content-type"].startswith("application/yaml")


async def test_a_file_needs_the_right_to_change_rules_too(room: Mailroom) -> None:
    async with open_api(room, await key(room, "agent.manage")) as client:
        refused = await client.post("workspaces/shop/agents/import", json={"file": WHOLE})
    assert refused.status_code == 403


async def test_no_secret_of_an_agent_stands_in_its_file(
    room: Mailroom, api: httpx.AsyncClient
) -> None:
    secret = "whsec_c2VjcmV0IG9mIHRoZSB0ZXN0cw=="
    await room.do(agent_secrets.keep, room.services.secrets, room.agent_id, "webhook", secret)
    got = await api.get("workspaces/shop/agents/hello/export")
    assert got.status_code == 200
    assert "whsec_" not in got.text
    agent = await room.ask(service.get, "hello")
    assert agent.id not in got.text

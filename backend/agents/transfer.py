"""How does an agent become a file, and a file an agent?

A file says only what it names: what it leaves out stays. `rules` and `examples` are whole lists,
so a rule of this agent that a given list does not have is removed. Nothing is written before the
whole file has been found right.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from sqlalchemy import delete, select, update

from backend.abilities.service import Surroundings
from backend.agents import service, transfer_abilities
from backend.agents.agent_file import (
    AgentFile,
    Example,
    Expected,
    MalformedFile,
    ModelPart,
    RulePart,
    SettingsPart,
)
from backend.agents.service import Agent
from backend.caps import ALL_PRICED, Unpriced
from backend.rules import service as rule_service
from backend.trust import settings as trust
from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.store.tables import agents, evaluation_cases, rules
from mailagent.store.transaction import Transaction
from mailagent.tokens import new_id

__all__ = ["EXAMPLES", "Change", "Imported", "apply", "export", "import_agent", "plan"]

EXAMPLES = "examples"
"""The evaluation set that a file's examples make."""
_MODEL = {"name": "model", "price": "price"} | {
    name: name for name in ("most_questions", "history_tokens")
}
"""What the file calls a setting of the model, and what the agent's settings do."""
_NEVER_CHANGED = ("mailagent", "handle", "description", "secrets")
_BY_FIELD = ("model", "limits", "settings")
"""Parts of which a file changes the fields that it names."""


@dataclass(frozen=True, slots=True)
class Change:
    """One field that a file changes, as YAML; empty is nothing."""

    field: str
    before: str
    after: str

    @property
    def difference(self) -> str:
        """Both as a unified difference."""
        lines = difflib.unified_diff(
            self.before.splitlines(), self.after.splitlines(), "now", "file", lineterm="", n=2
        )
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import made, or (`done` False) would make."""

    agent: Agent | None
    created: bool
    done: bool
    changes: tuple[Change, ...]
    needs: tuple[str, ...] = ()
    """Commands that give the credentials which the file names, and nobody has given this agent."""


def export(tx: Transaction, around: Surroundings, reference: str) -> AgentFile:
    """All that is set for an agent. Raises NotFound."""
    agent = service.get(tx, reference)
    kept: Mapping[str, Any] = tx.value(select(agents.c.settings).where(agents.c.id == agent.id))
    model = {name: kept[key] for name, key in _MODEL.items() if kept.get(key) is not None}
    caps = {name: getattr(agent, name) for name in ("escalation_address", *service.CAPS)}
    fields: dict[str, Any] = {
        "handle": agent.handle,
        "name": agent.name,
        "instructions": agent.instructions,
        "processor": agent.processor,
        "model": ModelPart(**model) if model else None,
        "tools": kept.get("tools"),
        "policy": _cells(tx, agent.id) or None,
        "limits": kept.get("limits"),
        "settings": SettingsPart(
            email_enabled=agent.email_enabled,
            **{name: value for name, value in caps.items() if value is not None},
        ),
        "rules": list(_rules(tx, agent.id)) or None,
        **transfer_abilities.parts(tx, around, agent),
        "examples": list(_examples(tx, agent.id)) or None,
    }
    return AgentFile(**{name: value for name, value in fields.items() if value is not None})


def plan(tx: Transaction, around: Surroundings, file: AgentFile, handle: str) -> tuple[Change, ...]:
    """What the file would change of the agent of that handle; all it says where there is none."""
    try:
        now = export(tx, around, handle)
    except NotFound:
        now = AgentFile(handle=handle)
    before, after = _fields(now), _fields(file)
    named = [name for name in after if name not in _NEVER_CHANGED]
    changes = (Change(n, _yaml(_shown(before, after, n)), _yaml(after[n])) for n in named)
    return tuple(one for one in changes if one.before != one.after)


def import_agent(
    tx: Transaction,
    default_domain: str,
    around: Surroundings,
    file: AgentFile,
    *,
    author: str,
    handle: str | None = None,
    only_plan: bool = False,
    overwrite: bool = False,
    unpriced: Unpriced = ALL_PRICED,
) -> Imported:
    """Make the agent of a file, or (`overwrite`) bring one that is there into line with it.

    `handle` counts before the file's own. Raises MalformedFile; Conflict when there is an agent of
    that handle and `overwrite` is not set.
    """
    wanted = handle or file.handle
    if wanted is None:
        raise MalformedFile([("handle", "is missing: say it in the file or with --handle")])
    tx.lock(f"agents {tx.workspace_id}")
    known = _known(tx, wanted)
    changes = plan(tx, around, file, wanted)
    needs = transfer_abilities.needs(tx, around, known, file, wanted)
    if only_plan:
        return Imported(known, known is None, done=False, changes=changes, needs=needs)
    if known is not None and not overwrite:
        raise Conflict(
            f"there is an agent {wanted} already: look at the plan first, then say that it is to be"
            " overwritten (--overwrite)"
        )
    agent = known or service.create(tx, default_domain, handle=wanted, name=file.name or wanted)
    apply(tx, agent.id, file, author=author, unpriced=unpriced)
    try:
        transfer_abilities.write(tx, default_domain, around, agent.id, file)
    except MalformedFile:
        raise
    except Malformed as error:
        raise MalformedFile([(error.field, error.problem)]) from error
    now = service.get(tx, agent.id)
    return Imported(now, known is None, done=True, changes=changes, needs=needs)


def apply(
    tx: Transaction, agent_id: str, file: AgentFile, *, author: str, unpriced: Unpriced = ALL_PRICED
) -> None:
    """Give an agent all that the file names, but what leads out of it (`transfer_abilities`).

    Raises MalformedFile, Conflict.
    """
    given = file.model_fields_set
    try:
        _write_settings(tx, agent_id, file)
        changes: dict[str, Any] = {
            name: getattr(file, name)
            for name in ("name", "instructions", "processor")
            if name in given and getattr(file, name) is not None
        }
        if file.settings is not None:
            changes |= file.settings.model_dump(exclude_unset=True)
            if changes.get("email_enabled", True) is None:
                del changes["email_enabled"]
        service.update_agent(tx, agent_id, changes, unpriced=unpriced)
        if file.limits is not None:
            trust.set_limits(tx, file.limits, actor=author, agent=agent_id)
        if file.policy is not None and _cells(tx, agent_id) != file.policy:
            trust.set_policy(tx, file.policy, actor=author, agent=agent_id)
        if file.rules is not None:
            _write_rules(tx, agent_id, file.rules)
    except MalformedFile:
        raise
    except Malformed as error:
        raise MalformedFile([(error.field, error.problem)]) from error
    if file.examples is not None:
        _write_examples(tx, agent_id, file.examples, author)


# --- reading ----------------------------------------------------------------------------------


def _known(tx: Transaction, handle: str) -> Agent | None:
    try:
        return service.get(tx, handle)
    except NotFound:
        return None


def _cells(tx: Transaction, agent_id: str) -> dict[str, dict[str, str]]:
    return {standing: dict(row) for standing, row in trust.policy(tx, agent_id).policy.items()}


def _rules(tx: Transaction, agent_id: str) -> Iterator[RulePart]:
    for row in tx.rows(
        select(rules).where(rules.c.agent_id == agent_id).order_by(rules.c.position)
    ):
        yield RulePart(
            name=row.name, condition=row.condition, overrides=row.overrides, enabled=row.enabled
        )


def _examples(tx: Transaction, agent_id: str) -> Iterator[Example]:
    """Those that came with a file: mail of real people stays where it is."""
    cases = evaluation_cases.c
    rows = tx.rows(
        select(cases.name, cases.message, cases.expected)
        .where(cases.agent_id == agent_id, cases.set_name == EXAMPLES, cases.message.is_not(None))
        .order_by(cases.created_at, cases.id)
    )
    for row in rows:
        yield Example(
            name=row.name,
            mail=bytes(row.message).decode(errors="replace").replace("\r\n", "\n"),
            expect=Expected.model_validate(row.expected),
        )


def _fields(file: AgentFile) -> dict[str, Any]:
    return file.model_dump(mode="json", exclude_unset=True)


def _shown(before: Mapping[str, Any], after: Mapping[str, Any], name: str) -> Any:
    """What stands now, of a part only the fields that the file names."""
    now, then = before.get(name), after[name]
    if name in _BY_FIELD and isinstance(now, Mapping) and isinstance(then, Mapping):
        return {key: now.get(key) for key in then}
    return now


def _yaml(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    dumped: str = yaml.safe_dump(value, sort_keys=True, allow_unicode=True, width=100)
    return dumped.strip()


# --- writing ----------------------------------------------------------------------------------


def _write_settings(tx: Transaction, agent_id: str, file: AgentFile) -> None:
    wanted: dict[str, Any] = {}
    if file.model is not None:
        said = file.model.model_dump(exclude_unset=True)
        wanted |= {_MODEL[name]: value for name, value in said.items()}
    if file.tools is not None:
        wanted["tools"] = file.tools
    if not wanted:
        return
    kept = tx.value(select(agents.c.settings).where(agents.c.id == agent_id))
    together = {name: value for name, value in {**kept, **wanted}.items() if value is not None}
    tx.execute(update(agents).where(agents.c.id == agent_id).values(settings=together))


def _write_rules(tx: Transaction, agent_id: str, wanted: Sequence[RulePart]) -> None:
    now = {
        row.name: row.id
        for row in tx.rows(select(rules.c.id, rules.c.name).where(rules.c.agent_id == agent_id))
    }
    for name in now.keys() - {one.name for one in wanted}:
        rule_service.remove(tx, now[name])
    for one in wanted:
        rule_id = now.get(one.name)
        if rule_id is None:
            rule_id = rule_service.add(
                tx,
                name=one.name,
                condition=one.condition,
                agent=agent_id,
                overrides=one.overrides,
            ).id
        changes = {
            "condition": one.condition,
            "overrides": one.overrides,
            "enabled": one.enabled,
        }
        rule_service.update_rule(tx, rule_id, changes)


def _write_examples(tx: Transaction, agent_id: str, wanted: Sequence[Example], author: str) -> None:
    cases = evaluation_cases
    tx.execute(delete(cases).where(cases.c.agent_id == agent_id, cases.c.set_name == EXAMPLES))
    tx.insert(
        cases,
        *(
            {
                "id": new_id("cas"),
                "agent_id": agent_id,
                "set_name": EXAMPLES,
                "name": one.name,
                "message": _wire(one.mail),
                "expected": one.expect.model_dump(mode="json", exclude_unset=True),
                "note": "",
                "author": author,
                "created_at": tx.now,
            }
            for one in wanted
        ),
    )


def _wire(mail: str) -> bytes:
    """A mail as it travels: lines end in CRLF."""
    return mail.replace("\r\n", "\n").replace("\n", "\r\n").encode(errors="surrogatepass")

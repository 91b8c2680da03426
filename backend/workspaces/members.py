"""Who belongs to a workspace, and in which role?

A person is known by e-mail across the installation and belongs to any number of workspaces. A
workspace that has an owner keeps one: nobody can lock everybody out. Owners get the mail to
`postmaster@` and `abuse@`, so the doors are told of each change (`flow.directory.changed`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, or_, select, update

from backend.access.permissions import ROLES
from backend.naming import checked_email, checked_name
from backend.paging import Page, Window, page
from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.flow.directory import changed
from mailagent.store.tables import memberships, people
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import new_id

__all__ = [
    "Member",
    "Person",
    "add_member",
    "change_role",
    "create_person",
    "ensure_person",
    "find_person",
    "get_member",
    "list_members",
    "list_people",
    "remove_member",
]

_OWNER = "owner"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who can sign in."""

    id: str
    email: str
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Member:
    """A person in one workspace; `role` is a key of `ROLES`."""

    person: Person
    role: str


# --- people: any transaction ------------------------------------------------------------------


def create_person(tx: Transaction, email: str, name: str = "") -> Person:
    """Make a person. Raises Malformed; Conflict when the e-mail is known already."""
    address = checked_email("email", email)
    person = Person(
        new_id("prs"), address, checked_name("name", name or address.partition("@")[0]), tx.now
    )
    if not tx.insert_new(people, asdict(person), unique=["email"]):
        raise Conflict(f"{address} is a person here already")
    return person


def find_person(tx: Transaction, email: str) -> Person | None:
    """The person with this e-mail, in whatever case it is written."""
    row = tx.row(select(people).where(people.c.email == email.strip().lower()))
    return _person(row) if row is not None else None


def ensure_person(tx: Transaction, email: str, name: str = "") -> Person:
    """The person with this e-mail, made when not known yet; a known one's name is left."""
    return find_person(tx, email) or create_person(tx, email, name)


def list_people(tx: Transaction, window: Window) -> Page[Person]:
    """Everybody of the installation, by age: for its operator."""
    return page(tx, select(people), window, by=people.c.id).map(_person)


# --- members: the workspace's own transaction -------------------------------------------------


def list_members(tx: Transaction, window: Window) -> Page[Member]:
    """The people of the workspace, by age."""
    return page(tx, _members(), window, by=people.c.id).map(_member)


def get_member(tx: Transaction, reference: str) -> Member:
    """The member of a person's id or e-mail. Raises NotFound."""
    row = tx.row(
        _members().where(or_(people.c.id == reference, people.c.email == reference.lower()))
    )
    if row is None:
        raise NotFound(f"the workspace has no member {reference[:80]!r}")
    return _member(row)


def add_member(tx: Transaction, email: str, role: str, *, name: str = "") -> Member:
    """Let a person in, made when not known yet. Raises Malformed; Conflict for a member."""
    role = _checked_role(role)
    person = ensure_person(tx, email, name)
    row = {"workspace_id": tx.workspace_id, "person_id": person.id, "role": role}
    if not tx.insert_new(memberships, row, unique=["workspace_id", "person_id"]):
        raise Conflict(f"{person.email} is a member already: change the role instead")
    changed(tx)
    return Member(person, role)


def change_role(tx: Transaction, reference: str, role: str) -> Member:
    """Give a member another role. Raises Malformed, NotFound; Conflict for the last owner."""
    role = _checked_role(role)
    tx.lock(f"members {tx.workspace_id}")
    member = get_member(tx, reference)
    if member.role == _OWNER and role != _OWNER:
        _keep_an_owner(tx, member)
    tx.execute(
        update(memberships).where(memberships.c.person_id == member.person.id).values(role=role)
    )
    changed(tx)
    return Member(member.person, role)


def remove_member(tx: Transaction, reference: str) -> None:
    """Take a person out of the workspace. Raises NotFound; Conflict for the last owner."""
    tx.lock(f"members {tx.workspace_id}")
    member = get_member(tx, reference)
    if member.role == _OWNER:
        _keep_an_owner(tx, member)
    tx.execute(delete(memberships).where(memberships.c.person_id == member.person.id))
    changed(tx)


def _keep_an_owner(tx: Transaction, leaving: Member) -> None:
    others = tx.value(
        select(func.count())
        .select_from(memberships)
        .where(memberships.c.role == _OWNER, memberships.c.person_id != leaving.person.id)
    )
    if not others:
        email = leaving.person.email
        raise Conflict(f"{email} is the last owner: make somebody else an owner first")


def _checked_role(role: str) -> str:
    if role not in ROLES:
        raise Malformed("role", f"must be one of {', '.join(ROLES)}")
    return role


def _members() -> Any:
    return select(people, memberships.c.role).join(
        memberships, memberships.c.person_id == people.c.id
    )


def _person(row: AnyRow) -> Person:
    return Person(row.id, row.email, row.name, row.created_at)


def _member(row: AnyRow) -> Member:
    return Member(_person(row), row.role)

"""To whom nothing is sent: for a workspace or one address of ours, for ever or until a day."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import select, update

from backend.outbound import suppression_files, suppressions, writing
from backend.outbound.suppression_files import File, Imported, bring_in, read, written
from backend.outbound.suppressions import Filter, Suppression
from backend.outbound.writing import Draft
from backend.paging import Window
from backend.workspaces import service as workspaces
from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.flow import track
from mailagent.flow.purge import Person, purge
from mailagent.flow.suppression import is_pseudonym, pseudonym
from mailagent.mail import Address, Event, EventKind
from mailagent.outbound import AccountState
from mailagent.providers.postmark_send import PostmarkSender
from mailagent.providers.raw_store import RawStore
from mailagent.sandbox import Sandbox
from mailagent.store import tables as t
from mailagent.store.transaction import Transaction
from tests.backend.api_client import key, open_api
from tests.backend.mailroom import DOMAIN, HELLO, Mailroom, open_mailroom
from tests.operation.terminal import Terminal
from tests.postmark_server import TOKEN, PostmarkServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

ANN = "ann@customer.example"
HELP = f"help@shop.{DOMAIN}"
PATH = "/workspaces/shop/suppressions"


@pytest_asyncio.fixture(loop_scope="module")
async def room(database_url: str) -> AsyncIterator[Mailroom]:
    async with open_mailroom(database_url, Sandbox(allowed=())) as opened:
        yield opened


async def fate(room: Mailroom, to: str = ANN) -> str:
    """What becomes of a new mail from `hello` to an address."""
    draft = Draft((Address(to),), "Your order", "It left today.")
    queued = await room.do(writing.write, room.services, room.agent_id, draft, author="cli")
    await room.work()
    ours = t.outbound_recipients.c.outbound_id == queued.id
    (row,) = await room.rows(select(t.outbound_recipients).where(ours))
    return str(row.state)


async def kept(room: Mailroom, **which: str) -> tuple[Suppression, ...]:
    page = await room.ask(suppressions.listing, Filter(**which), Window())
    return tuple(page.items)


async def add(room: Mailroom, address: str = ANN, **more: Any) -> Suppression:
    made: Suppression = await room.do(
        suppressions.add, address, **{"detail": "asked us", "actor": "cli", **more}
    )
    return made


# --- one at a time ----------------------------------------------------------------------------


async def test_nothing_is_sent_to_a_suppressed_address_until_it_is_removed(
    room: Mailroom,
) -> None:
    await add(room, "Ann@Customer.example")
    assert await fate(room) == "suppressed"
    (one,) = await kept(room)
    assert (one.address, one.reason, one.origin) == (ANN, "manual", "manual")
    assert (one.from_address, one.expires_at) == (None, None)

    await room.do(suppressions.remove, ANN, actor="cli")
    assert await fate(room) == "sent"


async def test_one_for_an_address_of_ours_stops_that_ones_mail_alone(room: Mailroom) -> None:
    await add(room, from_address=HELP)
    assert await fate(room) == "sent"
    await add(room, from_address=HELLO.upper())
    assert await fate(room) == "suppressed"

    with pytest.raises(NotFound, match=f"it is for {HELLO}, {HELP}"):
        await room.do(suppressions.remove, ANN, actor="cli")
    await room.do(suppressions.remove, ANN, actor="cli", from_address=HELLO)
    assert await fate(room) == "sent"


async def test_one_that_has_ended_stops_nothing_and_gives_way(room: Mailroom) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    await add(room, expires_at=soon)
    assert await fate(room) == "suppressed"
    with pytest.raises(Conflict):
        await add(room, expires_at=soon)
    await add(room, expires_at=soon + timedelta(days=1))

    past = datetime.now(UTC) - timedelta(seconds=1)
    await room.do(lambda tx: tx.execute(update(t.suppressions).values(expires_at=past)).rowcount)
    assert await fate(room) == "sent"
    made = await add(room, detail="again")
    assert (made.expires_at, made.detail) == (None, "again")
    assert await fate(room) == "suppressed"
    with pytest.raises(Conflict):
        await add(room, expires_at=soon)


async def test_one_is_checked_when_it_is_added_and_removed(room: Mailroom) -> None:
    with pytest.raises(Malformed, match="address"):
        await add(room, "nobody")
    with pytest.raises(Malformed, match=r"'x@y\.example' is no address of this"):
        await add(room, from_address="x@y.example")
    with pytest.raises(Malformed, match="expires_at: is over"):
        await add(room, expires_at=datetime(2020, 1, 1, tzinfo=UTC))
    await add(room)
    with pytest.raises(Conflict):
        await add(room, ANN.upper())
    with pytest.raises(NotFound):
        await room.do(suppressions.remove, "else@customer.example", actor="cli")


# --- from providers ---------------------------------------------------------------------------


@pytest.mark.parametrize(("days", "length"), [(None, None), (90, timedelta(days=90))])
async def test_a_permanent_bounce_suppresses_for_as_long_as_the_workspace_says(
    room: Mailroom, days: int | None, length: timedelta | None
) -> None:
    await room.do(workspaces.update_settings, {"bounce_suppression_days": days})
    assert await fate(room) == "sent"
    (sent,) = await room.rows(select(t.outbound_mails.c.id))
    told = Event("x", "e1", EventKind.BOUNCED_HARD, room.store.now(), ANN, (), "5.1.1")
    await room.do(track.record, sent.id, None, told)

    (one,) = await kept(room)
    assert (one.reason, one.origin) == ("permanent_bounce", "auto")
    assert (one.expires_at and one.expires_at - one.created_at) == length


async def test_whom_a_provider_writes_to_no_more_is_suppressed_with_its_refusal(
    database_url: str,
) -> None:
    async with PostmarkServer(inactive=frozenset({ANN})) as server:
        sender = PostmarkSender("postmark", TOKEN, base=server.url)
        state = AccountState("postmark")
        async with open_mailroom(
            database_url, Sandbox(allowed=()), accounts=[sender], states=[state]
        ) as room:
            assert await fate(room) == "refused"
            (one,) = await kept(room)
            assert (one.address, one.reason, one.origin) == (ANN, "at_provider", "auto")
            assert "inactive" in one.detail
            assert await fate(room) == "suppressed"
            assert len([one for one in server.requests if ANN in one.json["To"]]) == 1
            assert await fate(room, "bob@customer.example") == "sent"
            assert len(await kept(room)) == 1
        await sender.close()


# --- files ------------------------------------------------------------------------------------


def line_of(**fields: str) -> str:
    return json.dumps(fields) + "\n"


async def bring(room: Mailroom, file: File, *, skip_bad: bool = False) -> Imported:
    done: Imported = await room.do(bring_in, file, skip_bad=skip_bad, actor="cli")
    return done


async def test_what_was_exported_comes_in_again_the_same(room: Mailroom) -> None:
    ends = datetime.now(UTC) + timedelta(days=30)
    await add(room, "=1+1@customer.example", detail="=HYPERLINK(1)")
    await add(room, "'@customer.example", detail='\'=quoted, "twice"\nand more')
    await add(room, ANN, from_address=HELLO, expires_at=ends)
    before = await kept(room)
    for form in ("csv", "jsonl"):
        content = "".join(written(before, form)).encode()
        for one in before:
            sender = one.from_address
            await room.do(suppressions.remove, one.address, actor="cli", from_address=sender)
        done = await bring(room, read(content, form))
        assert (done.added, done.known, done.bad, done.ignored) == (3, 0, (), ())
        assert {(one.address, one.from_address, one.detail, one.expires_at) for one in before} == {
            (one.address, one.from_address, one.detail, one.expires_at)
            for one in await kept(room, origin="import")
        }
    assert (await bring(room, read(content, form))).known == 3


@pytest.mark.parametrize("begins", ["=", "+", "-", "@", "\t", "\r", "＝"])
async def test_no_cell_of_an_exported_table_is_a_formula(begins: str) -> None:
    at = datetime(2026, 11, 21, tzinfo=UTC)
    one = Suppression(
        "sup_1", "=a@b.example", None, "manual", "manual", f"{begins}cmd|' /C calc'!A0", at, None
    )
    _, cells = csv.reader(io.StringIO("".join(written([one], "csv")), newline=""))
    assert [cell for cell in cells if cell[:1] in "=+-@\t\r＝" and cell] == []


async def test_every_bad_line_is_named_and_nothing_is_done_unless_they_are_skipped(
    room: Mailroom,
) -> None:
    content = (
        "Email,Reason,From_Address,Expires_At,Status\r\n"
        f"{ANN},,,,5.1.1\r\n"
        "nobody,,,,\r\n"
        f'"bob@customer.example",complaint,{HELLO},2099-01-01,"two\r\nlines"\r\n'
        "cleo@customer.example,angry,,,\r\n"
        "dan@customer.example\r\n"
        "eve@customer.example,,x@y.example,,\r\n"
        "fay@customer.example,,,tomorrow,\r\n"
    )
    file = read(b"\xef\xbb\xbf" + content.encode(), "csv")
    with pytest.raises(Malformed) as refused:
        await bring(room, file)
    told = str(refused.value)
    for line, problem in {
        3: "address: 'nobody' is no address",
        6: "reason: 'angry' is none of",
        7: "has 1 fields, line 1 has 5",
        8: "from_address: 'x@y.example' is no address of this workspace",
        9: "expires_at: is no date",
    }.items():
        assert f"line {line}: {problem}" in told
    assert await kept(room) == ()

    done = await bring(room, file, skip_bad=True)
    assert (done.added, [one.line for one in done.bad]) == (2, [3, 6, 7, 8, 9])
    assert done.ignored == ("status",)
    bob, _ = sorted(await kept(room), key=lambda one: one.address, reverse=True)
    assert (bob.reason, bob.from_address, bob.origin) == ("complaint", HELLO, "import")


@pytest.mark.parametrize(
    ("content", "form", "problem"),
    [
        (b"a@b.example\n", "csv", "line 1 must name the columns"),
        (b"", "csv", "line 1 must name the columns"),
        (b'address\n"a@b.example\n', "csv", "is no CSV"),
        (b"address\na@b.example\n\xff\n", "csv", "line 3 is no UTF-8"),
        (b"address\n" + b"a@b.example\n" * 100_001, "csv", "more than 100,000 lines"),
    ],
)
async def test_what_is_no_such_file_is_refused_whole(
    content: bytes, form: suppression_files.Format, problem: str
) -> None:
    with pytest.raises(Malformed, match=problem):
        read(content, form)


async def test_each_line_of_json_is_an_object_of_texts(room: Mailroom) -> None:
    lines = line_of(address=ANN, note="x") + "\n[1]\n{\n" + '{"address": 7}\n' + "[" * 100_000
    file = read(lines.encode(), "jsonl")
    done = await bring(room, file, skip_bad=True)
    assert (done.added, done.ignored) == (1, ("note",))
    assert [(one.line, one.problem) for one in done.bad] == [
        (3, "is no JSON object"),
        (4, "is no JSON"),
        (5, "address: must be text"),
        (6, "is no JSON"),
    ]


async def test_a_purged_persons_suppression_is_carried_over_without_their_address(
    room: Mailroom,
) -> None:
    def purged(tx: Transaction) -> str:
        assert tx.workspace_id is not None
        form = pseudonym(tx.workspace_id, ANN)
        tx.execute(update(t.suppressions).values(address=form))
        return form

    await add(room)
    form = await room.do(purged)
    content = "".join(written(await kept(room), "csv"))
    await room.do(suppressions.remove, ANN, actor="cli")
    await bring(room, read(content.encode(), "csv"))
    assert [one.address for one in await kept(room, address=ANN)] == [form]
    assert await fate(room) == "suppressed"


async def test_a_purge_leaves_each_of_a_persons_suppressions_in_force(room: Mailroom) -> None:
    for _ in range(2):  # the second time over what the first has left
        await add(room)
        await add(room, from_address=HELLO)
        await purge(room.store, room.workspace_id, Person(ANN), actor="cli", raw_store=RawStore({}))
    assert [one.from_address for one in await kept(room)] == [HELLO, None]
    assert {is_pseudonym(one.address) for one in await kept(room)} == {True}
    await room.do(suppressions.remove, ANN, actor="cli")
    assert await fate(room) == "suppressed"
    await room.do(suppressions.remove, ANN, actor="cli", from_address=HELLO)
    assert await fate(room) == "sent"


# --- the API ----------------------------------------------------------------------------------


async def test_the_api_lists_by_pages_and_filters(room: Mailroom) -> None:
    async with open_api(room, await key(room)) as api:
        wide = {"address": ANN, "detail": "asked us"}
        narrow = {"address": ANN, "from_address": HELLO, "expires_at": "2099-01-01"}
        for body in (wide, narrow, {"address": "bob@customer.example"}):
            assert (await api.post(PATH, json=body)).status_code == 201
        assert (await api.post(PATH, json=wide)).status_code == 409
        wrong = await api.post(PATH, json={"address": ANN, "expires_at": "2099-01-01T10:00"})
        assert (wrong.status_code, wrong.json()["field"]) == (422, "expires_at")

        first = (await api.get(PATH, params={"limit": 2})).json()
        after = {"limit": 2, "cursor": first["next_cursor"]}
        rest = (await api.get(PATH, params=after)).json()
        assert [len(first["items"]), len(rest["items"]), rest["next_cursor"]] == [2, 1, None]
        for which, count in (
            ({"address": "ANN@customer.example"}, 2),
            ({"from_address": HELLO}, 1),
            ({"reason": "complaint"}, 0),
            ({"origin": "manual"}, 3),
        ):
            assert len((await api.get(PATH, params=which)).json()["items"]) == count, which
        gone = await api.delete(f"{PATH}/{ANN}", params={"from_address": HELLO})
        assert gone.status_code == 204
        assert len((await api.get(PATH, params={"address": ANN})).json()["items"]) == 1


async def test_the_api_takes_and_gives_files_once_for_each_key(
    room: Mailroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.outbound.suppression_endpoints._AT_ONCE", 2)
    lines = "".join(line_of(address=f"a{n}@customer.example") for n in range(5))
    headers = {"Content-Type": "application/x-ndjson; charset=utf-8", "Idempotency-Key": "k1"}
    async with open_api(room, await key(room)) as api:
        for _ in range(2):
            done = await api.post(f"{PATH}/import", content=lines, headers=headers)
            assert (done.status_code, done.json()["added"]) == (200, 5)
        bad = await api.post(
            f"{PATH}/import", content="address\nnobody\n", headers={"Content-Type": "text/csv"}
        )
        assert (bad.status_code, bad.json()["field"]) == (422, "file")
        assert "line 2: address" in bad.json()["detail"]
        assert (await api.post(f"{PATH}/import", content=lines)).status_code == 422

        table = await api.get(f"{PATH}/export")
        assert table.headers["content-type"].startswith("text/csv")
        rows = list(csv.DictReader(io.StringIO(table.text, newline="")))
        assert sorted(row["address"] for row in rows) == [
            f"a{n}@customer.example" for n in range(5)
        ]
        told = await api.get(f"{PATH}/export", params={"format": "jsonl"})
        assert len(told.text.splitlines()) == 5
    reader = await key(room, "outbound.read")
    async with open_api(room, reader) as api:
        assert (await api.get(f"{PATH}/export")).status_code == 200
        assert (await api.post(f"{PATH}/import", content=lines)).status_code == 403
    async with open_api(room, await key(room, workspace="wsp_other")) as api:
        assert (await api.get(f"{PATH}/export")).status_code == 404


# --- the command line -------------------------------------------------------------------------


async def test_the_commands_do_the_same(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    sqlite_url: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEFAULT_EMAIL_DOMAIN", DOMAIN)
    mailagent = Terminal(capsys, monkeypatch).on(sqlite_url)
    mailagent.ok("workspace", "create", "shop")
    mailagent.ok("agent", "create", "hello")
    (tmp_path / "old.csv").write_text(f"email,from_address\n{ANN},\nbob@x.example,{HELLO}\n")
    assert mailagent.ok("suppressions", "import", "old.csv") == "2 added"
    mailagent.ok("suppressions", "add", ANN, "--from", HELLO, "--until", "2099-01-31")
    listed = mailagent("suppressions", "list", "--from", HELLO, "--json").json
    assert {one["address"] for one in listed} == {ANN, "bob@x.example"}
    assert "until 2099-01-31" in mailagent.ok("suppressions", "list", "--address", ANN)

    exported = mailagent.ok("suppressions", "export", "--format", "jsonl")
    assert len(exported.splitlines()) == 3
    (tmp_path / "new.txt").write_text(exported + "\n{}\n")
    assert "--format" in mailagent("suppressions", "import", "new.txt").err
    words = ("suppressions", "import", "new.txt", "--format", "jsonl")
    refused = mailagent(*words)
    assert (refused.code, "line 4: address" in refused.err) == (1, True)
    skipped = mailagent(*words, "--skip-bad", "--json")
    assert (skipped.json["known"], skipped.json["bad"][0]["line"]) == (3, 4)
    mailagent.ok("suppressions", "remove", ANN, "--from", HELLO)
    assert (
        "it is for all addresses" in mailagent("suppressions", "remove", ANN, "--from", HELLO).err
    )

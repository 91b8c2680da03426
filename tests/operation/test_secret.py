"""A new secret key makes what is new, the old one goes on reading, and nothing is lost between."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import select, update

from backend.installation import Installation, installation
from backend.operation.sealed import SEALED
from mailagent.flow.states import FINAL
from mailagent.flow.workers import workers
from mailagent.inbound import Accepted, Envelope, Inbound, Known, Origin
from mailagent.settings import load
from mailagent.store import signing_keys
from mailagent.store import tables as t
from mailagent.store.engine import Store
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import Secrets, new_id, new_key
from tests.flow.house import ANN, DOMAIN, mail
from tests.operation.conftest import KEY
from tests.operation.terminal import Terminal

HELLO = f"hello@acme.{DOMAIN}"


@pytest.fixture
def acme(mailagent: Terminal, sqlite_url: str) -> Terminal:
    mailagent.on(sqlite_url)
    mailagent.ok("workspace", "create", "acme")
    mailagent.ok("agent", "create", "hello")
    return mailagent


@asynccontextmanager
async def working(url: str, *keys: str) -> AsyncIterator[Installation]:
    """The installation with its workers, holding these keys."""
    environ = {
        "DATABASE_URL": url,
        "DEFAULT_EMAIL_DOMAIN": DOMAIN,
        "MAILAGENT_SECRET_KEY": ",".join(keys),
        "MAILAGENT_RESOLVER": "127.0.0.1:9",
    }
    settings = load(environ, env_file=None)
    async with installation(settings, demo=True) as shared:
        stop = asyncio.Event()
        running = [
            asyncio.create_task(worker.run(shared.wakeups.event(name), stop))
            for name, worker in workers(shared.services).items()
        ]
        try:
            yield shared
        finally:
            stop.set()
            await asyncio.gather(*running)


async def answered(shared: Installation, raw: bytes, to: str) -> tuple[AnyRow, AnyRow]:
    """A mail's delivery and its answer."""
    origin = Origin(datetime.now(UTC), client_ip="127.0.0.1", helo="mx.customer.example")
    inbound = Inbound(Envelope(ANN, (to,)), raw, "smtp", new_id("smtp"), origin)
    (outcome,) = await shared.acceptor.accept([inbound])
    assert isinstance(outcome, Accepted)
    store, id_ = shared.services.store, outcome.delivery_ids[0]
    delivery = select(t.deliveries).where(t.deliveries.c.id == id_)
    reply = select(t.outbound_mails).where(t.outbound_mails.c.answers_delivery_id == id_)
    async with asyncio.timeout(20):
        while (found := await store.read_unscoped(Transaction.row, delivery)) is None or (
            found.state not in FINAL
        ):
            await asyncio.sleep(0.02)
    answer = await store.read_unscoped(Transaction.row, reply)
    assert answer is not None, found.reason
    return found, answer


async def test_what_people_hold_of_an_old_key_leads_to_its_thread_until_it_is_retired(
    acme: Terminal, sqlite_url: str
) -> None:
    async with working(sqlite_url, KEY) as old:
        asked, answer = await answered(old, mail(to=HELLO), HELLO)
        bounces_to = f"b.{old.services.secrets.verp_token(new_id('rcp'))}@return.{DOMAIN}"
        form = old.services.secrets.form_token("session")
    reply_to = answer.outgoing["reply_to"][0]["address"]
    newer = new_key([KEY])

    async with working(sqlite_url, newer, KEY) as both:
        again, next_answer = await answered(both, mail(to=reply_to), reply_to)
        assert again.thread_id == asked.thread_id
        assert await both.services.directory.knows(bounces_to) is Known.YES
        assert both.services.secrets.is_form_token(form, "session")
        made_by = next_answer.outgoing["reply_to"][0]["address"].partition("+t.")[2][0]
        assert made_by == both.services.secrets.current_id

    async with working(sqlite_url, newer) as retired:
        third, _ = await answered(retired, mail(to=reply_to), reply_to)
        assert third.thread_id != asked.thread_id
        assert await retired.services.directory.knows(bounces_to) is Known.NO_SUCH_ADDRESS


def sealed_rows(store: Store, secrets: Secrets, many: int = 1) -> None:
    """Something in every encrypted column."""

    def seal(tx: Transaction) -> None:
        row = {"id": "w", "slug": "w", "name": "w", "settings": {}, "created_at": tx.now}
        tx.insert_new(t.workspaces, row, unique=["id"])
        for number in range(many):
            key = signing_keys.StoredKey(f"d{number}.example", "s", b"private", "v=DKIM1; p=")
            signing_keys.add(tx, secrets, key)
            answer = {
                "name": f"n{number}",
                "fingerprint": "",
                "status": 200,
                "answer": secrets.seal(b"private", "idempotency"),
                "complete": True,
                "created_at": tx.now,
            }
            tx.of("w").insert(t.idempotency_keys, answer)

    store.write_now(None, seal)


def opened(store: Store, secrets: Secrets) -> list[bytes]:
    """What is encrypted, read by these keys."""
    return [
        secrets.unseal(row[0], one.purpose)
        for one in SEALED
        for row in store.read_now(None, Transaction.rows, select(one.table.c[one.column]))
    ]


def test_the_way_of_one_machine(
    mailagent: Terminal, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MAILAGENT_SECRET_KEY")
    env_file = tmp_path / ".env"
    env_file.write_text(f"# ours\nMAILAGENT_SECRET_KEY={KEY}\nPUBLIC_URL=https://mail.example\n")
    env_file.chmod(0o640)
    store = Store(database_url)
    sealed_rows(store, Secrets([KEY]))
    mailagent.on(database_url)

    rotated = mailagent("secret", "rotate", "--write")
    keys = load({}, env_file=env_file).secret_keys()
    assert (rotated.code, rotated.out) == (0, "written to .env\n")
    assert "restart every mailagent process" in rotated.err
    assert (len(keys), keys[1]) == (2, KEY)
    assert env_file.read_text().startswith("# ours\nMAILAGENT_SECRET_KEY=")
    assert env_file.read_text().endswith("\nPUBLIC_URL=https://mail.example\n")
    assert stat.S_IMODE(env_file.stat().st_mode) == 0o640

    old = Secrets([KEY]).current_id
    early = mailagent("secret", "retire", old)
    assert (early.code, early.out) == (1, "")
    assert early.err.endswith(f"{old} still encrypts 2 values: mailagent secret reseal\n")
    assert mailagent.ok("secret", "reseal") == "2 values encrypted under the current key"
    assert mailagent("secret", "reseal", "--json").json == {"done": 0, "unreadable": 0}
    assert opened(store, Secrets(keys[:1])) == [b"private", b"private"]
    store.close()

    new, gone = mailagent("secret", "list", "--json").json
    assert (new["makes"], new["sealed"], gone["makes"], gone["sealed"]) == (True, 2, False, 0)
    assert f"may be retired: mailagent secret retire {old}" in mailagent.ok("secret", "list")
    mailagent.ok("secret", "retire", old, "--write")
    assert load({}, env_file=env_file).secret_keys() == keys[:1]


def test_the_way_of_several_nodes(acme: Terminal) -> None:
    announced = acme("secret", "rotate", "--announce", "--json").json["value"].split(",")
    assert announced[0] == KEY
    new = Secrets(announced[1:]).current_id
    acme.holding(*announced)

    used = acme("secret", "use", new)
    assert used.out == f"MAILAGENT_SECRET_KEY={announced[1]},{KEY}\n"
    assert "mailagent secret reseal" in used.err
    assert "is the id of no key" in acme("secret", "use", "0").err


def test_a_key_is_kept_while_its_mails_are_young(acme: Terminal, sqlite_url: str) -> None:
    asyncio.run(_one_answer(sqlite_url))
    old = Secrets([KEY]).current_id
    acme.holding(new_key([KEY]), KEY)

    refused = acme("secret", "retire", old)
    assert refused.code == 1
    assert f"{old} made reply addresses of mails until 20" in refused.err
    assert "retire after 20" in acme.ok("secret", "list")
    assert acme.ok("secret", "retire", old, "--now").count(",") == 0

    store = Store(sqlite_url)
    long_ago = {"created_at": store.now() - timedelta(days=91)}
    store.write_now(None, lambda tx: tx.execute(update(t.outbound_mails).values(long_ago)))
    store.close()
    acme.ok("secret", "retire", old)


async def _one_answer(url: str) -> None:
    async with working(url, KEY) as shared:
        await answered(shared, mail(to=HELLO), HELLO)


def test_the_key_that_makes_tokens_is_not_retired(acme: Terminal) -> None:
    done = acme("secret", "retire", Secrets([KEY]).current_id)
    assert (done.code, done.out) == (1, "")
    assert "makes the new tokens: mailagent secret rotate first" in done.err


def test_a_value_whose_key_is_lost_is_told_and_stops_nothing(
    acme: Terminal, sqlite_url: str
) -> None:
    store = Store(sqlite_url)
    lost = new_key([KEY])
    sealed_rows(store, Secrets([lost]), 150)
    newer = new_key([KEY, lost])
    store.write_now(
        None,
        signing_keys.add,
        Secrets([KEY]),
        signing_keys.StoredKey("z.example", "s", b"private", "v=DKIM1; p="),
    )
    done = acme.holding(newer, KEY)("secret", "reseal", "--json")

    assert (done.code, done.json) == (1, {"done": 1, "unreadable": 300})
    assert "300 values were encrypted by a key that MAILAGENT_SECRET_KEY lacks" in done.err
    assert acme.holding(newer, KEY, lost).ok("secret", "reseal").startswith("300 values")
    store.close()


def test_a_reseal_that_is_killed_goes_on_where_it_stopped(
    mailagent: Terminal, postgres_url: str
) -> None:
    newer = new_key([KEY])
    store, both = Store(postgres_url), Secrets([newer, KEY])
    sealed_rows(store, Secrets([KEY]), 150)
    environ = {
        "DATABASE_URL": postgres_url,
        "MAILAGENT_SECRET_KEY": f"{newer},{KEY}",
        "PATH": os.environ["PATH"],
    }
    with psycopg.connect(postgres_url) as held:
        # In the second hundred of the first column: there it waits for us.
        held.execute("SELECT * FROM signing_keys ORDER BY domain DESC LIMIT 1 FOR UPDATE")
        process = subprocess.Popen(
            [sys.executable, "-m", "backend.cli", "secret", "reseal"],
            env=environ,
            cwd=Path(__file__).parents[2],
        )
        while made_by(store, both.current_id) < 100:
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert made_by(store, both.current_id) == 100
    assert len(opened(store, both)) == 300

    done = mailagent.on(postgres_url).holding(newer, KEY).ok("secret", "reseal")
    assert done == "200 values encrypted under the current key"
    assert len(opened(store, Secrets([newer]))) == 300
    store.close()


def made_by(store: Store, key_id: str) -> int:
    """How many encrypted values a key made."""
    return sum(
        row[0][:1] == key_id.encode()
        for one in SEALED
        for row in store.read_now(None, Transaction.rows, select(one.table.c[one.column]))
    )


@pytest.mark.parametrize("place", ["file", "environment", "several lines"])
def test_a_key_is_written_where_it_stands_or_not_at_all(
    mailagent: Terminal, sqlite_url: str, tmp_path: Path, monkeypatch: Any, place: str
) -> None:
    mailagent.on(sqlite_url)
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    match place:
        case "file":
            monkeypatch.setenv("MAILAGENT_SECRET_KEY_FILE", str(file))
            mailagent.ok("secret", "rotate", "--write")
            assert file.read_text().splitlines()[1:] == [KEY]
            return
        case "environment":
            mend = "stands in the environment: set it there"
        case _:
            monkeypatch.delenv("MAILAGENT_SECRET_KEY")
            (tmp_path / ".env").write_text(f"MAILAGENT_SECRET_KEY={KEY}\n" * 2)
            mend = "does not stand on one plain line of .env: set it there yourself"
    done = mailagent("secret", "rotate", "--write")
    assert (done.code, done.out) == (1, "")
    assert mend in done.err
    assert file.read_text() == f"{KEY}\n"

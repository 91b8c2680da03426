"""`mailagent backup` and `restore`: what they print, what they refuse, and with which sentence."""

from __future__ import annotations

import gzip
import io
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import LargeBinary, create_engine, text

from backend.operation.backup_file import Column, Header, Kind, Reader, TableRows, Writer
from backend.operation.sealed import SEALED
from mailagent.store import signing_keys
from mailagent.store import tables as t
from mailagent.store.engine import Store, driver_url
from mailagent.tokens import Secrets, new_key
from tests.operation.conftest import KEY
from tests.operation.terminal import Terminal


@pytest.fixture
def acme(mailagent: Terminal, sqlite_url: str, tmp_path: Path) -> Terminal:
    """An installation with a workspace, an agent and a document; `acme.backup` is its backup."""
    mailagent.on(sqlite_url)
    mailagent.ok("workspace", "create", "acme", "--owner", "olga@acme.example")
    mailagent.ok("agent", "create", "hello")
    (tmp_path / "faq.md").write_text("# FAQ\n\nWe open at nine.")
    mailagent.ok("document", "add", "faq.md")
    mailagent.ok("backup", "acme.backup")
    return mailagent


@contextmanager
def rows_of(url: str) -> Iterator[Callable[[str], int]]:
    store = Store(url)
    try:
        yield lambda name: store.read_now(
            None, lambda tx: tx.value(text(f"SELECT count(*) FROM {name}"))
        )
    finally:
        store.close()


def test_a_backup_is_one_file_for_its_owner_alone(acme: Terminal, tmp_path: Path) -> None:
    done = acme("backup", "again.backup", "--json")

    assert (done.code, done.json["rows"]["workspaces"], done.json["version"]) == (0, 1, "0.1.0")
    assert done.json["size_bytes"] == (tmp_path / "again.backup").stat().st_size
    assert "MAILAGENT_SECRET_KEY and your other settings are not in it" in done.err
    assert stat.S_IMODE((tmp_path / "again.backup").stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.glob(".*backup*")] == []
    assert acme("backup", "again.backup").code == 0


def test_an_empty_database_of_either_kind_becomes_the_installation(
    acme: Terminal, empty_database_url: str
) -> None:
    done = acme.on(empty_database_url)("restore", "acme.backup", "--json")

    assert (done.code, done.err) == (0, "")
    assert (done.json["migrated"], done.json["unknown"], done.json["held"]) == (False, 0, 0)
    assert acme.ok("agent", "list").startswith("hello ")
    assert acme("migrate", "--check").code == 0
    # What numbers and finds rows goes on where it stood.
    acme.ok("document", "add", "faq.md", "--json")
    assert "acme" in acme.ok("workspace", "list")


def test_a_backup_of_a_restored_database_holds_the_same(
    acme: Terminal, empty_database_url: str, tmp_path: Path
) -> None:
    acme.on(empty_database_url).ok("restore", "acme.backup")
    acme.ok("backup", "second.backup")

    assert inside(tmp_path / "second.backup") == inside(tmp_path / "acme.backup")


def inside(path: Path) -> dict[str, list[str]]:
    with path.open("rb") as file:
        found: dict[str, list[str]] = {}
        for table, row in Reader(file).rows():
            found.setdefault(table.name, []).append(repr(row))
    return {name: sorted(rows) for name, rows in found.items()}


def test_a_database_that_holds_something_is_kept_unless_it_is_given_up(
    acme: Terminal, postgres_url: str, tmp_path: Path
) -> None:
    acme.on(postgres_url).ok("workspace", "create", "precious")
    refused = acme("restore", "acme.backup")

    assert (refused.code, refused.out) == (1, "")
    assert refused.err == (
        "mailagent: the database holds 1 workspaces: restore into an empty one, or give up "
        "everything in it by --replace\n"
    )
    whole = (tmp_path / "acme.backup").read_bytes()
    (tmp_path / "cut.backup").write_bytes(whole[:-30])
    assert "cut off or damaged" in acme("restore", "cut.backup", "--replace").err
    assert "precious" in acme.ok("workspace", "list")
    acme.ok("restore", "acme.backup", "--replace")
    assert "precious" not in acme.ok("workspace", "list")


def test_a_damaged_file_leaves_no_trace_in_an_empty_database(
    acme: Terminal, empty_database_url: str, tmp_path: Path
) -> None:
    whole = gzip.decompress((tmp_path / "acme.backup").read_bytes())
    # Sound to gzip: only our own checksum tells, when all rows have been written.
    (tmp_path / "bad.backup").write_bytes(gzip.compress(whole.replace(b'"acme"', b'"evil"')))
    done = acme.on(empty_database_url)("restore", "bad.backup")

    assert (done.code, done.out) == (1, "")
    assert "FILE: is damaged: its checksum does not hold" in done.err
    assert acme("migrate", "--check").out.startswith("it has no tables yet")


def test_another_key_is_told_in_one_sentence(acme: Terminal, empty_database_url: str) -> None:
    acme.on(empty_database_url).holding(new_key([KEY]))
    for done in (acme("restore", "acme.backup"), acme("restore", "--verify", "acme.backup")):
        assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
        assert "MAILAGENT_SECRET_KEY: is not the key of this backup" in done.err
    acme.holding(new_key([KEY]), KEY)
    assert acme("restore", "acme.backup").code == 0


def test_a_sealed_value_that_no_key_opens_stops_the_restore(
    mailagent: Terminal, sqlite_url: str, tmp_path: Path
) -> None:
    older = new_key([KEY])
    store, secrets = Store(sqlite_url), Secrets([older])
    key = signing_keys.StoredKey("aexy.example", "s", b"private", "v=DKIM1; p=")
    store.write_now(None, signing_keys.add, secrets, key)
    store.close()
    mailagent.on(sqlite_url).holding(KEY, older).ok("backup", "two.backup")
    mailagent.on(f"sqlite:///{tmp_path}/new.db").holding(KEY)
    done = mailagent("restore", "two.backup")

    assert done.code == 1
    assert "does not open a dkim key of this backup" in done.err
    assert mailagent("migrate", "--check").out.startswith("it has no tables yet")
    mailagent.holding(KEY, older).ok("restore", "two.backup")


def test_another_default_domain_is_refused(
    acme: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEFAULT_EMAIL_DOMAIN", "other.example")
    done = acme.on(f"sqlite:///{tmp_path}/new.db")("restore", "acme.backup")

    assert done.code == 1
    assert "DEFAULT_EMAIL_DOMAIN: the backup is of aexy.example" in done.err


def handmade(path: Path, revision: str, slug: str = "old") -> None:
    """A backup as the first version made it, of one workspace."""
    names = {
        "id": Kind.TEXT,
        "slug": Kind.TEXT,
        "name": Kind.TEXT,
        "settings": Kind.JSON,
        "created_at": Kind.MOMENT,
    }
    columns = tuple(Column(name, kind) for name, kind in names.items())
    secrets, moment = Secrets([KEY]), datetime(2026, 1, 1, tzinfo=UTC)
    keys = {secrets.current_id: secrets.check_value(secrets.current_id)}
    table = TableRows("workspaces", columns, 1)
    header = Header("0.9.9", revision, moment, "aexy.example", keys, (table,))
    with path.open("wb") as file:
        writer = Writer(file, header)
        writer.table(table, iter([["wsp_1", slug, "Old", {}, moment]]))
        writer.end()


def test_a_backup_of_older_tables_is_brought_to_this_version(
    mailagent: Terminal, empty_database_url: str, tmp_path: Path
) -> None:
    handmade(tmp_path / "old.backup", "0001")
    done = mailagent.on(empty_database_url)("restore", "old.backup", "--json")

    assert (done.code, done.json["migrated"]) == (0, True)
    assert mailagent("migrate", "--check").code == 0
    assert "old" in mailagent.ok("workspace", "list")


def test_a_backup_of_newer_tables_names_the_version_to_install(
    mailagent: Terminal, tmp_path: Path
) -> None:
    handmade(tmp_path / "new.backup", "9999")
    done = mailagent.on(f"sqlite:///{tmp_path}/new.db")("restore", "new.backup")

    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "made by mailagent 0.9.9, whose tables (revision 9999)" in done.err
    assert "install 0.9.9 or newer" in done.err


def test_what_postgresql_does_not_take_is_named(
    mailagent: Terminal, postgres_url: str, tmp_path: Path
) -> None:
    handmade(tmp_path / "odd.backup", "0001", slug="x" * 64)
    done = mailagent.on(postgres_url)("restore", "odd.backup")

    assert done.code == 1
    assert "FILE: the database refuses rows of workspaces: " in done.err


def test_verify_reads_to_the_end_and_touches_no_database(acme: Terminal, tmp_path: Path) -> None:
    acme.on(f"sqlite:///{tmp_path}/none.db")
    done = acme("restore", "--verify", "acme.backup", "--json")

    assert (done.code, done.json["whole"], done.json["key_opens"]) == (0, True, True)
    assert not (tmp_path / "none.db").exists()
    whole = (tmp_path / "acme.backup").read_bytes()
    (tmp_path / "cut.backup").write_bytes(whole[:-1])
    assert "cut off" in acme("restore", "--verify", "cut.backup").err
    assert "cannot be read" in acme("restore", "--verify", "nothing.backup").err


def test_a_backup_goes_through_a_pipe(
    acme: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = io.BytesIO()
    screen = io.TextIOWrapper(pipe)
    with monkeypatch.context() as here:
        here.setattr(sys, "stdout", screen)
        told = acme("backup", "-")
    assert "1 workspaces" in told.err
    pipe.seek(0)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(pipe))
    acme.on(f"sqlite:///{tmp_path}/new.db").ok("restore", "-")
    assert acme.ok("agent", "list").startswith("hello ")


def test_a_backup_writes_over_nothing_but_a_backup(acme: Terminal, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear Olga")
    done = acme("backup", "letter.txt")

    assert (done.code, done.out) == (1, "")
    assert "is there already and no backup: name another" in done.err
    assert (tmp_path / "letter.txt").read_text() == "Dear Olga"
    assert "cannot be written" in acme("backup", "no/such/folder").err


def test_a_backup_is_made_by_the_version_that_works_on_the_tables(
    acme: Terminal, sqlite_url: str, tmp_path: Path
) -> None:
    engine = create_engine(driver_url(sqlite_url))
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    engine.dispose()
    done = acme("backup", "late.backup")

    assert done.code == 1
    assert "a backup is made by the version that works on it" in done.err
    assert not (tmp_path / "late.backup").exists()


def test_sessions_and_leases_do_not_come_back(acme: Terminal, tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/new.db")
    store.close()
    acme.ok("sign-in-link", "olga@acme.example")
    acme.ok("backup", "acme.backup")
    acme.on(f"sqlite:///{tmp_path}/new.db").ok("restore", "acme.backup")

    with rows_of(f"sqlite:///{tmp_path}/new.db") as count:
        assert (count("people"), count("sign_ins")) == (1, 0)
        assert count("passages_words WHERE passages_words MATCH 'nine'") == 1


def test_every_sealed_column_is_known_to_a_restore(sqlite_url: str) -> None:
    """A column of octets that is neither mail nor an attachment is a secret."""
    octets = {
        (table.name, column.name)
        for table in t.metadata.sorted_tables
        for column in table.c
        if isinstance(column.type, LargeBinary)
    }
    mail = ("raw_messages", "attachments", "unrouted_mails")
    plain = {(name, "content") for name in mail} | {("evaluation_cases", "message")}
    assert {(one.table.name, one.column) for one in SEALED} == octets - plain

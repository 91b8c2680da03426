"""`mailagent migrate` says what is to do, does it once, and never touches a newer database."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from mailagent.store.engine import driver_url
from tests.operation.terminal import Terminal


def migrated_by_a_newer_version(url: str) -> None:
    engine = create_engine(driver_url(url))
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()


def test_an_empty_database_lists_what_is_pending_until_it_is_migrated(
    mailagent: Terminal, empty_database_url: str
) -> None:
    mailagent.on(empty_database_url)

    before = mailagent("migrate", "--check")
    listed = mailagent("migrate", "--check", "--json")
    made = mailagent("migrate", "--json")
    after = mailagent("migrate", "--check", "--json")

    assert (before.code, before.err) == (1, "")
    assert before.out.startswith("it has no tables yet: run mailagent migrate\n0001  ")
    assert (listed.code, listed.json["current"], listed.json["changed"]) == (1, False, False)
    assert listed.json["pending"][-1]["id"] == listed.json["needs"]
    assert (made.code, made.json["changed"], made.json["pending"]) == (0, True, [])
    assert (after.code, after.json["current"], after.json["changed"]) == (0, True, False)
    assert mailagent.ok("migrate").endswith("as this version needs them")


def test_a_check_makes_no_file(mailagent: Terminal, tmp_path: Path) -> None:
    mailagent.on(f"sqlite:///{tmp_path}/none.db")

    assert mailagent("migrate", "--check").code == 1
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize("command", [("migrate",), ("serve",)])
def test_a_newer_versions_database_is_left_alone_with_the_mend(
    mailagent: Terminal, database_url: str, command: tuple[str, ...]
) -> None:
    migrated_by_a_newer_version(database_url)
    done = mailagent.on(database_url)(*command)

    assert (done.code, done.out) == (1, "")
    assert "revision 9999, which mailagent" in done.err
    assert "install that version" in done.err
    assert done.err.count("\n") == 1


def test_a_check_tells_of_a_newer_version(mailagent: Terminal, sqlite_url: str) -> None:
    migrated_by_a_newer_version(sqlite_url)
    done = mailagent.on(sqlite_url)("migrate", "--check", "--json")

    assert (done.code, done.json["current"], done.json["newer"]) == (1, False, True)


def test_serve_on_a_database_without_tables_names_the_command(
    mailagent: Terminal, tmp_path: Path
) -> None:
    done = mailagent.on(f"sqlite:///{tmp_path}/none.db")("serve")

    assert (done.code, done.out) == (1, "")
    assert done.err.endswith("DATABASE_URL: it has no tables yet: run mailagent migrate\n")


def test_the_guides_script_is_the_same_command(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "scripts" / "run_migrations.py"
    done = subprocess.run(
        [sys.executable, str(script), "--json"],
        env={"DATABASE_URL": f"sqlite:///{tmp_path}/made.db", "PATH": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert '"changed": true' in done.stdout

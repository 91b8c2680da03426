"""Where does `MAILAGENT_SECRET_KEY` stand, and can we write it there?"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values

from mailagent.errors import Misconfigured

__all__ = ["KeyPlace", "find"]

_NAME = "MAILAGENT_SECRET_KEY"
_LINE = re.compile(rf"^([ \t]*(?:export[ \t]+)?{_NAME}[ \t]*=).*$", re.M)
_PLAIN = re.compile(r"[\w.,:/+=@~-]+")


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """Where the setting is read from, as `settings.load` looks for it."""

    path: Path | None
    """A file with the keys on lines, or an `.env` with a line for them; None: the environment."""
    in_env_file: bool = False

    def text(self, keys: Sequence[str]) -> str:
        """What a person sets: the line of an `.env`, of a shell or of a compose file."""
        return f"{_NAME}={','.join(keys)}"

    def write(self, keys: Sequence[str]) -> Path:
        """Put the keys in place of those that stand there; the file is whole at every moment.

        Raises Misconfigured, and changes nothing, where that cannot be done.
        """
        if self.path is None:
            raise Misconfigured(_NAME, "stands in the environment: set it there, without --write")
        try:
            old = self.path.read_text(encoding="utf-8")
            new = self._in_env_file(old, keys) if self.in_env_file else "\n".join([*keys, ""])
            self._replace(new)
        except OSError as error:
            raise Misconfigured(
                _NAME, f"{self.path} cannot be written ({error.strerror}): set it there yourself"
            ) from error
        return self.path

    def _in_env_file(self, old: str, keys: Sequence[str]) -> str:
        value = ",".join(keys)
        lines = _LINE.findall(old)
        if len(lines) != 1 or not _PLAIN.fullmatch(value):
            raise Misconfigured(
                _NAME, f"does not stand on one plain line of {self.path}: set it there yourself"
            )
        return _LINE.sub(lambda found: found[1] + value, old)

    def _replace(self, text: str) -> None:
        assert self.path is not None
        path = self.path.resolve()
        was = path.stat()
        number, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
        try:
            with os.fdopen(number, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fchmod(file.fileno(), was.st_mode & 0o777)
                if os.geteuid() == 0:
                    os.fchown(file.fileno(), was.st_uid, was.st_gid)
                os.fsync(file.fileno())
            Path(name).replace(path)
        finally:
            Path(name).unlink(missing_ok=True)


def find(environ: Mapping[str, str], demo_file: Path, env_file: Path = Path(".env")) -> KeyPlace:
    """The place of the keys that `settings.load` would read; `demo_file` is where none is set."""
    in_file = dotenv_values(env_file, interpolate=False) if env_file.is_file() else {}
    given = {**in_file, **{name: value for name, value in environ.items() if value}}
    if path := given.get(f"{_NAME}_FILE"):
        return KeyPlace(Path(path))
    if environ.get(_NAME):
        return KeyPlace(None)
    if in_file.get(_NAME):
        return KeyPlace(env_file, in_env_file=True)
    return KeyPlace(demo_file if demo_file.is_file() else None)

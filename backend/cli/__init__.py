"""`mailagent`: the whole installation from a shell.

Every command prints its result on standard output and nothing else there; `--json`, which may stand
anywhere, prints it as JSON. Exit codes: 0 done, 1 it could not be done (one line on standard error
says why and what to mend), 2 the command line is wrong.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from backend.interpreter import starting
from mailagent.errors import MailagentError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `mailagent`; always ends by SystemExit."""
    with starting():
        from sqlalchemy.exc import DBAPIError

        from backend.cli.commands import app
        from backend.cli.shell import Shell
    shell = Shell(os.environ)
    try:
        given = sys.argv[1:] if arguments is None else arguments
        app(_json_first(given), prog_name="mailagent", obj=shell)
    except MailagentError as error:
        _fail(str(error))
    except DBAPIError as error:
        kind = type(error.orig).__name__
        _fail(f"the database cannot be used ({kind}): check DATABASE_URL, then mailagent migrate")
    finally:
        shell.close()


def _json_first(arguments: Sequence[str]) -> list[str]:
    """`--json` is one option of the whole program, wherever it stands before a `--`."""
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    ours, rest = arguments[:end], arguments[end:]
    given = "--json" in ours
    return [*(["--json"] if given else []), *(one for one in ours if one != "--json"), *rest]


def _fail(reason: str) -> None:
    sys.stderr.write(f"mailagent: {' '.join(reason.split())}\n")
    raise SystemExit(1)

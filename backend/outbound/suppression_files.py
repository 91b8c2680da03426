"""How do suppressions stand in a file, and how do they come in from one? CSV, or JSON lines.

What is written can be read again. In CSV the first line names the columns; other programs' names
for the address are known, their further columns are left alone and told. A text that a spreadsheet
would calculate gets an apostrophe before it (OWASP, "CSV Injection"), which reading takes off.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from backend.outbound.suppressions import REASONS, Suppression, checked_sender, moment, senders
from mailagent.errors import Malformed
from mailagent.flow import suppression
from mailagent.flow.ledger import note
from mailagent.flow.suppression import EVERYWHERE
from mailagent.mime.outgoing_rules import check_address
from mailagent.store.transaction import Transaction

__all__ = ["Bad", "File", "Format", "Imported", "bring_in", "read", "written"]

Format = Literal["csv", "jsonl"]

_MOST_LINES = 100_000
"""One transaction: it must not keep everybody else waiting for longer than a second or two."""
_MOST_TOLD = 10
_COLUMNS = (
    "address",
    "from_address",
    "reason",
    "detail",
    "expires_at",
    "origin",
    "created_at",
)
_ALSO_ADDRESS = frozenset({"email", "email_address", "emailaddress", "recipient"})
"""SendGrid's, Postmark's and SES's word for it; Mailgun's is ours."""
_CALCULATED = "=+\\-@\t\r\n＝＋－＠"
_DANGEROUS = re.compile(rf"'*[{_CALCULATED}]")
_DISARMED = re.compile(rf"'+[{_CALCULATED}]")
_PSEUDONYM = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Bad:
    """A line that cannot be taken; the first of a file is 1."""

    line: int
    problem: str


@dataclass(frozen=True, slots=True)
class File:
    """What was read: each line's fields by our names, and what of it nobody asked for."""

    lines: tuple[tuple[int, Mapping[str, str]], ...]
    bad: tuple[Bad, ...] = ()
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did; `known` were there already, for as long or longer."""

    added: int
    known: int
    bad: tuple[Bad, ...]
    ignored: tuple[str, ...]


def read(content: bytes, form: Format) -> File:
    """The lines of a file in UTF-8. Raises Malformed for one that is no such file at all."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise Malformed("file", f"line {line} is no UTF-8") from error
    found = _read_csv(text) if form == "csv" else _read_json_lines(text)
    if len(found.lines) + len(found.bad) > _MOST_LINES:
        raise Malformed("file", f"has more than {_MOST_LINES:,} lines: bring it in by parts")
    return found


def bring_in(tx: Transaction, file: File, *, skip_bad: bool, actor: str) -> Imported:
    """Suppress every line's address: all, or with `skip_bad` all that can be.

    Raises Malformed that names the bad lines and the mend; then nothing is done.
    """
    ours = senders(tx)
    wanted: list[dict[str, Any]] = []
    bad = list(file.bad)
    for line, fields in file.lines:
        try:
            wanted.append(_checked(fields, ours, tx.now))
        except Malformed as error:
            bad.append(Bad(line, str(error)))
    bad.sort(key=lambda one: one.line)
    if bad and not skip_bad:
        told = "; ".join(f"line {one.line}: {one.problem}" for one in bad[:_MOST_TOLD])
        more = f"; and {len(bad) - _MOST_TOLD} more" if len(bad) > _MOST_TOLD else ""
        raise Malformed("file", f"{told}{more}. Nothing was imported: mend them, or skip the bad")
    added = sum(suppression.suppress(tx, origin="import", **one) for one in wanted)
    what = f"{added} addresses imported, to which nothing is sent"
    note(tx, "suppression", what, f"{len(bad)} bad lines left out" if bad else "", actor=actor)
    return Imported(added, len(wanted) - added, tuple(bad), file.ignored)


def written(rows: Iterable[Suppression], form: Format, *, goes_on: bool = False) -> Iterator[str]:
    """The file, a line at a time; one that `goes_on` has its first lines already."""
    if form == "csv" and not goes_on:
        yield _csv_line(_COLUMNS)
    for one in rows:
        fields = {name: _text(value) for name, value in asdict(one).items() if name in _COLUMNS}
        if form == "csv":
            yield _csv_line([_disarmed(fields[name]) for name in _COLUMNS])
        else:
            told = {name: fields[name] for name in _COLUMNS if fields[name]}
            yield json.dumps(told, ensure_ascii=False) + "\n"


def _checked(fields: Mapping[str, str], ours: frozenset[str], now: datetime) -> dict[str, Any]:
    """The arguments of `suppress`. Raises Malformed."""
    address = fields.get("address", "")
    if not _PSEUDONYM.fullmatch(address):  # one of ours, of a person who was purged
        check_address("address", address)
    reason = fields.get("reason") or "manual"
    if reason not in REASONS:
        raise Malformed("reason", f"{reason[:40]!r} is none of {', '.join(REASONS)}")
    sender, ends = fields.get("from_address"), fields.get("expires_at")
    expires_at = moment("expires_at", ends) if ends else None
    if expires_at is not None and expires_at <= now:
        raise Malformed("expires_at", "is over already")
    return {
        "address": address,
        "reason": reason,
        "detail": fields.get("detail") or "imported",
        "from_address": checked_sender(sender, ours) if sender else EVERYWHERE,
        "expires_at": expires_at,
    }


def _read_csv(text: str) -> File:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    lines: list[tuple[int, Mapping[str, str]]] = []
    bad: list[Bad] = []
    try:
        names = [_named(one) for one in next(reader, [])]
        if names.count("address") != 1:
            raise Malformed("file", "line 1 must name the columns, one of them `address`")
        begins = reader.line_num + 1
        for row in reader:
            if len(row) == len(names):
                cells = [_armed(cell.strip()) for cell in row]
                lines.append((begins, _known(dict(zip(names, cells, strict=True)))))
            elif row:
                bad.append(Bad(begins, f"has {len(row)} fields, line 1 has {len(names)}"))
            begins = reader.line_num + 1
    except csv.Error as error:
        raise Malformed("file", f"line {reader.line_num} is no CSV: {error}") from error
    return File(tuple(lines), tuple(bad), _strange(names))


def _read_json_lines(text: str) -> File:
    lines: list[tuple[int, Mapping[str, str]]] = []
    bad: list[Bad] = []
    strange: dict[str, None] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            given = json.loads(line)
        except (ValueError, RecursionError):
            bad.append(Bad(number, "is no JSON"))
            continue
        if not isinstance(given, dict):
            bad.append(Bad(number, "is no JSON object"))
            continue
        fields = {_named(name): value for name, value in given.items()}
        strange |= dict.fromkeys(_strange(fields))
        ours = _known({name: "" if value is None else value for name, value in fields.items()})
        wrong = [name for name, value in ours.items() if not isinstance(value, str)]
        if wrong:
            bad.append(Bad(number, f"{wrong[0]}: must be text"))
        else:
            lines.append((number, {name: value.strip() for name, value in ours.items()}))
    return File(tuple(lines), tuple(bad), tuple(strange)[:_MOST_TOLD])


def _named(column: str) -> str:
    name = column.strip().lower().replace(" ", "_")
    return "address" if name in _ALSO_ADDRESS else name


def _known(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name in _COLUMNS}


def _strange(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name[:80] for name in names if name not in _COLUMNS)[:_MOST_TOLD]


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return value or ""


def _disarmed(cell: str) -> str:
    return f"'{cell}" if _DANGEROUS.match(cell) else cell


def _armed(cell: str) -> str:
    return cell[1:] if _DISARMED.match(cell) else cell


def _csv_line(cells: Sequence[str]) -> str:
    line = io.StringIO(newline="")
    write: Callable[[Sequence[str]], object] = csv.writer(line).writerow
    write(cells)
    return line.getvalue()

"""Is a mail the same, whichever door it comes in by?

    python -m bench.doors [FOLDER]     (else ../shared/corpora/mime; MAILAGENT_CORPORA names it)

Brings every `.eml` of a folder to a running node through each door that gives raw MIME, to an agent
of that door alone. Compared with what was sent, and with what came by SMTP: the octets, the text,
the files, what kind of mail it is, which agent it is for, and the conversations. Prints a table;
the exit code is 1 for any difference.
"""

from __future__ import annotations

import hashlib
import json
import logging
import smtplib
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import select

from backend.simulating import MAKERS, Mail, Post
from backend.simulating.post import address
from bench.corpora import CORPORA, octets
from bench.node import DOMAIN, Node, furnish
from bench.smtp_targets import free_port
from mailagent.flow import directory
from mailagent.mime import parse
from mailagent.store import tables as t
from mailagent.store.engine import Store
from mailagent.store.migrations import upgrade
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import new_id
from mailagent.webhook import WebhookSettings
from tests.aws import aws, s3
from tests.faults.evidence import Evidence
from tests.parsed_forms import FORMS

__all__ = ["DOORS", "IN_PARTS", "Came", "differences", "mails", "main", "through_every_door"]

SETTLE_SECONDS = 300
DOORS = ("smtp", "ses", "ses-s3", "sendgrid", "mailgun", "postmark", "inbound")
IN_PARTS = tuple(f"{kind}-parsed" for kind in FORMS)
"""Doors by which a mail comes taken apart: well-formed ones alone are the same then."""
_BUCKET = "ses-mail-in"
_SENDER = "ann@customer.example"


@dataclass(frozen=True)
class Came:
    """A mail as one door brought it."""

    sha256: str
    read: Mapping[str, Any] = field(default_factory=dict)
    """Text, files, kind, routing and conversation; empty where it could not be read."""
    dkim: Sequence[str] = ()
    """What was said of each signature."""


def differences(
    sent: Mapping[str, bytes], came: Mapping[str, Mapping[str, Came]]
) -> Mapping[str, Sequence[str]]:
    """What is not as it should be, by door; `came` is by door and name of the mail."""
    found: dict[str, list[str]] = {door: [] for door in DOORS}
    for name, raw in sent.items():
        digest = hashlib.sha256(raw).hexdigest()
        # What SMTP may not carry (a bare CR, a NUL) is compared with the first that did.
        first = next((came[door][name] for door in DOORS if name in came[door]), None)
        for door in DOORS:
            one = came[door].get(name)
            if one is None:
                if door != "smtp":
                    found[door].append(f"{name}: did not come")
            elif one.sha256 != digest:
                found[door].append(f"{name}: other octets")
            elif first is not None and one.read != first.read:
                parts = {*one.read, *first.read}
                wrong = sorted(p for p in parts if one.read.get(p) != first.read.get(p))
                found[door].append(f"{name}: another {', '.join(wrong)}")
    return found


def through_every_door(
    sent: Mapping[str, bytes], doors: Sequence[str] = DOORS
) -> Mapping[str, Mapping[str, Came]]:
    """Run a node, bring all mails in by every door, and look at what became of them."""
    with aws(_BUCKET) as s3_settings, tempfile.TemporaryDirectory(prefix="bench-doors-") as name:
        settings = {
            **s3_settings,
            "SES_S3_BUCKETS": _BUCKET,
            "INBOUND_WEBHOOK_SECRET": "an-inbound-secret-of-forty-eight-characters-0000",
            "MAILAGENT_PORT": str(free_port()),
        }
        return _run(Path(name), settings, sent, doors)


def _run(
    folder: Path, settings: Mapping[str, str], sent: Mapping[str, bytes], doors: Sequence[str]
) -> Mapping[str, Mapping[str, Came]]:
    url = f"sqlite:///{folder / 'doors.db'}"
    upgrade(url)
    workspace_id = furnish(url)
    with closing(Store(url)) as store:
        store.write_now(workspace_id, _agents, doors)
    parts = ("smtp", "webhooks", "worker")
    evidence = Evidence(url)
    with Node(folder, url, parts=parts, settings=settings) as node:
        for door in doors:
            bring = _by_smtp(node.port) if door == "smtp" else _by_webhook(door, settings)
            for together in _one_of_each(sent.values()):
                for raw in together:
                    bring(Mail(_SENDER, (_address(door),), raw))
                evidence.wait_until_settled(SETTLE_SECONDS)
    with closing(Store(url)) as store:
        names: dict[str | None, str] = {parse.read(raw).message_id: n for n, raw in sent.items()}
        names |= {hashlib.sha256(raw).hexdigest(): name for name, raw in sent.items()}
        return store.read_now(workspace_id, _came, names, doors)


def _one_of_each(raws: Iterable[bytes]) -> Sequence[Sequence[bytes]]:
    """The mails in groups that hold each Message-ID once.

    Two with one id and one content are the same mail twice: the one that is read first is kept. At
    a door that is quick they are read beside each other, and either may be the first.
    """
    by_id: dict[str | None, list[bytes]] = defaultdict(list)
    for raw in raws:
        by_id[parse.read(raw).message_id].append(raw)
    without = by_id.pop(None, [])
    groups = [list(filter(None, one)) for one in zip_longest(*by_id.values())]
    return [*groups, without]


def _address(door: str) -> str:
    return f"{door}@demo.{DOMAIN}"


def _agents(tx: Transaction, doors: Sequence[str]) -> None:
    for door in doors:
        agent = {
            "id": f"agt_{door}", "handle": door, "name": door, "processor": "builtin",
            "instructions": "", "email_enabled": True, "settings": {}, "created_at": tx.now,
        }  # fmt: skip
        tx.insert(t.agents, agent)
        local, _, domain = _address(door).partition("@")
        row = {
            "id": new_id("adr"), "agent_id": agent["id"], "local_part": local, "domain": domain,
            "alias": False, "created_at": tx.now,
        }  # fmt: skip
        tx.insert(t.addresses, row)
    directory.changed(tx)


def _by_smtp(port: int) -> Callable[[Mail], None]:
    def bring(mail: Mail) -> None:
        with smtplib.SMTP("127.0.0.1", port, "customer.example", 30) as client:
            try:
                client.sendmail(mail.mail_from or "", list(mail.rcpt_to), mail.raw)
            except smtplib.SMTPResponseException as error:
                print(f"  SMTP refuses one: {error.smtp_code} {error.smtp_error!r}")

    return bring


def _by_webhook(door: str, settings: Mapping[str, str]) -> Callable[[Mail], None]:
    base, given = f"http://127.0.0.1:{settings['MAILAGENT_PORT']}", WebhookSettings(settings)

    def posts(mail: Mail) -> Iterable[Post]:
        if door in IN_PARTS:
            yield _in_parts(door.removesuffix("-parsed"), mail, given)
            return
        for post in MAKERS[door.removesuffix("-s3")](mail, given, datetime.now(UTC)):
            yield _stored(post, mail.raw, settings) if door == "ses-s3" else post

    def bring(mail: Mail) -> None:
        for one in posts(mail):
            answer = httpx.post(
                f"{base}{one.path}", content=one.body, headers=dict(one.headers), timeout=60
            )
            if answer.status_code != httpx.codes.OK:
                raise RuntimeError(f"{door}: {answer.status_code} {answer.text}")

    return bring


def _in_parts(kind: str, mail: Mail, settings: WebhookSettings) -> Post:
    body, content_type = FORMS[kind](
        mail.raw, mail_from=mail.mail_from or "", rcpt_to=mail.rcpt_to[0]
    )
    if kind == "postmark":  # its name for the mail, which the form has the same each time
        said = json.loads(body) | {"MessageID": str(UUID(mail.digest[:32]))}
        body = json.dumps(said).encode()
    return Post(address(kind, settings), {"Content-Type": content_type}, body)


def _stored(post: Post, raw: bytes, settings: Mapping[str, str]) -> Post:
    """The same notification, of a mail that lies in S3."""
    said = json.loads(post.body)
    del said["content"]
    key = f"in/{said['mail']['messageId']}"
    said["receipt"]["action"] |= {"type": "S3", "bucketName": _BUCKET, "objectKey": key}
    with s3(settings) as client:
        client.put_object(Bucket=_BUCKET, Key=key, Body=raw)
    return replace(post, body=json.dumps(said).encode())


def _came(
    tx: Transaction, names: Mapping[str | None, str], doors: Sequence[str]
) -> Mapping[str, Mapping[str, Came]]:
    rows = tx.rows(
        select(t.deliveries.c.recipient, t.deliveries.c.thread_id, t.deliveries.c.agent_id,
               t.raw_messages.c.sha256, t.messages.c.content, t.messages.c.kind,
               t.messages.c.message_id, t.messages.c.authentication)
        .join(t.raw_messages, t.raw_messages.c.id == t.deliveries.c.raw_id)
        .outerjoin(t.messages, t.messages.c.delivery_id == t.deliveries.c.id)
    )  # fmt: skip
    # Who is not proven gets a thread that is linked to the one they named. By SMTP from here nobody
    # is judged, by a provider everybody is: joined or linked, the conversation is the same.
    threads = tx.rows(select(t.threads.c.id, t.threads.c.related_thread_id))
    of_thread = {row.id: row.related_thread_id or row.id for row in threads}
    together: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.thread_id:
            together[of_thread[row.thread_id]].add(_name(row, names))
    found: dict[str, dict[str, Came]] = {door: {} for door in doors}
    for row in rows:
        door = row.recipient.partition("@")[0]
        read = {}
        if row.content is not None:
            read = {
                "text": [row.content[one] for one in ("subject", "text", "written", "html")],
                # Where a file stood in the mail is no part of it.
                "files": [{**one, "part": ""} for one in row.content["attachments"]],
                "kind": row.kind,
                "routing": row.agent_id == f"agt_{door}",
                "conversation": sorted(together[of_thread[row.thread_id]])
                if row.thread_id
                else None,
            }
        dkim = [one["reason"] for one in (row.authentication or {}).get("dkim", ())]
        found[door][_name(row, names)] = Came(row.sha256, read, dkim)
    return found


def _name(row: AnyRow, names: Mapping[str | None, str]) -> str:
    """Of the mail that came; one that came in parts is known by its Message-ID."""
    return names.get(row.sha256) or names.get(row.message_id) or row.sha256


def mails(folder: Path) -> Mapping[str, bytes]:
    """Every `.eml` below a folder, with CRLF and an end of line at its end, as SMTP carries it; of
    files that are the same then, the first.
    """
    found: dict[bytes, str] = {}
    for file in sorted(folder.rglob("*.eml")):
        raw = octets(file)
        raw = raw if raw.endswith(b"\r\n") else raw + b"\r\n"
        found.setdefault(raw, str(file.relative_to(folder)))
    return {name: raw for raw, name in found.items()}


def main(folder: Path) -> int:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # moto tells of each request
    sent = mails(folder)
    if not sent:
        print(f"{folder} has no mail: set MAILAGENT_CORPORA")
        return 1
    came = through_every_door(sent)
    wrong = differences(sent, came)
    print(f"{'door':12}{'came':>8}{'read':>8}{'other':>8}   of {len(sent)} mails")
    for door in DOORS:
        read = sum(bool(one.read) for one in came[door].values())
        print(f"{door:12}{len(came[door]):8}{read:8}{len(wrong[door]):8}")
        for line in wrong[door]:
            print(f"    {line}")
    return 1 if any(wrong.values()) else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else CORPORA / "mime"))

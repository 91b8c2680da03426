"""What becomes of real mail and real bounces when they come in by SMTP?

    python -m bench.corpora        (MAILAGENT_CORPORA names the folder, default ../shared/corpora)

Sends every mail of `mime` to an agent and every one of `bounces` to the return address of a mail
made for it, LF sent as CRLF, through the SMTP door of a running node. Prints what became of them
and holds them to bars; the exit code is 1 when one is missed. `replies` are read by the function
that finds what the writer wrote.
"""

from __future__ import annotations

import json
import os
import re
import smtplib
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import select

from bench.node import AGENT, DOMAIN, SECRET_KEY, Node, furnish, memory_mib
from mailagent.flow import outbox
from mailagent.mail import Address
from mailagent.mime import text
from mailagent.outgoing import Outgoing
from mailagent.store.engine import Store
from mailagent.store.migrations import upgrade
from mailagent.store.tables import agents, deliveries, events, outbound_mails, outbound_recipients
from mailagent.store.transaction import Transaction
from mailagent.tokens import Secrets, new_id
from tests.faults.evidence import Evidence

CORPORA = Path(
    os.environ.get("MAILAGENT_CORPORA", Path(__file__).parents[1] / ".." / "shared" / "corpora")
)
SETTLE_SECONDS = 180
BOUNCE_SHARE = 0.90
REPLY_SHARE = 0.70
MEMORY_GROWTH_MIB = 150
_NO_ANSWER = re.compile(
    rb"^(?:auto-submitted:\s*auto|precedence:\s*(?:bulk|list|junk)|list-id:|list-unsubscribe:"
    rb"|content-type:\s*multipart/report|x-auto-response-suppress:\s*(?:all|autoreply))",
    re.IGNORECASE | re.MULTILINE,
)
_NOT_BOUNCES = {"feedback": "complaint", "vacation": "other", "delivered": "other"}

Verdict = tuple[Literal["bounce", "complaint", "other"], bool]
"""What a report is, and whether it says that the address is gone for good."""


@dataclass(frozen=True, slots=True)
class Item:
    """One file as it is sent."""

    name: str
    raw: bytes
    mail_from: str
    to: str

    @property
    def must_stay_unanswered(self) -> bool:
        """By its envelope and header alone, judged here and not by the code under test."""
        header = re.split(rb"\r\n\r\n", self.raw, maxsplit=1)[0]
        return not self.mail_from or _NO_ANSWER.search(header) is not None


def octets(file: Path) -> bytes:
    """The file with CRLF for every line end."""
    return re.sub(rb"\r?\n", b"\r\n", file.read_bytes())


def mails() -> Iterator[Item]:
    """Every mail of `mime`, each by a sender of its own."""
    for number, file in enumerate(sorted((CORPORA / "mime").rglob("*.eml"))):
        name = str(file.relative_to(CORPORA))
        yield Item(name, octets(file), f"mime-{number}@corpus.example", AGENT)


def bounces(return_addresses: Mapping[str, str]) -> Iterator[Item]:
    """Every mail of `bounces`; those of feedback loops (ARF) have a sender, as in the field."""
    for name, address in return_addresses.items():
        sender = "feedback@corpus.example" if name.startswith("arf-") else ""
        yield Item(f"bounces/{name}", octets(CORPORA / "bounces" / name), sender, address)


def make_mails(url: str, workspace_id: str, names: Sequence[str]) -> dict[str, str]:
    """Queue a mail for each name, to be captured; name → the return address of its recipient."""
    secrets = Secrets([SECRET_KEY])

    def make(tx: Transaction) -> dict[str, str]:
        agent_id = tx.value(select(agents.c.id))
        envelope = outbox.Envelope("new", "agent:hello", agent_id)
        made = {}
        for number, name in enumerate(names):
            outgoing = Outgoing(
                message_id=f"<{new_id('new')}@{DOMAIN}>",
                date=datetime.now(UTC),
                from_=Address(AGENT, "Hello"),
                to=(Address(f"customer-{number}@customer.example"),),
                subject="Your order",
                text="It is on its way.\n",
            )
            outbound_id = outbox.queue(tx, outgoing, envelope, expiry=timedelta(days=3))
            recipient = select(outbound_recipients.c.id).where(
                outbound_recipients.c.outbound_id == outbound_id
            )
            made[name] = f"b.{secrets.verp_token(tx.value(recipient))}@return.{DOMAIN}"
        return made

    store = Store(url)
    try:
        return store.write_now(workspace_id, make)
    finally:
        store.close()


def send(port: int, items: Sequence[Item]) -> dict[str, str]:
    """Send all by SMTP; name → reply of those that were refused."""
    refused = {}
    for item in items:
        with smtplib.SMTP("127.0.0.1", port, "corpus.example", 30) as client:
            try:
                client.sendmail(item.mail_from, [item.to], item.raw)
            except smtplib.SMTPResponseException as error:
                refused[item.name] = f"{error.smtp_code} {error.smtp_error!r}"
            except smtplib.SMTPRecipientsRefused as error:
                refused[item.name] = str(error.recipients[item.to])
    return refused


class Bars:
    """What was promised, and whether it was kept."""

    def __init__(self) -> None:
        self.missed = 0

    def hold(self, what: str, value: str, *, met: bool) -> None:
        """Print one bar."""
        self.missed += not met
        print(f"  {what:58}{value:>22}  {'met' if met else 'MISSED'}")


def verdicts(evidence: Evidence, items: Sequence[Item]) -> dict[str, Verdict]:
    """What the events of each bounce's own mail say."""
    secrets = Secrets([SECRET_KEY])
    by_recipient: dict[str, list[str]] = {}
    for row in evidence.rows(select(events.c.recipient_id, events.c.kind).order_by(events.c.id)):
        by_recipient.setdefault(row.recipient_id, []).append(row.kind)
    found: dict[str, Verdict] = {}
    for item in items:
        token = item.to.partition("@")[0].removeprefix("b.")
        kinds = by_recipient.get(secrets.read_verp_token(token) or "", [])
        found[item.name.removeprefix("bounces/")] = _verdict(kinds)
    return found


def _verdict(kinds: Sequence[str]) -> Verdict:
    if "complained" in kinds:
        return "complaint", False
    if "bounced_hard" in kinds:
        return "bounce", True
    return ("bounce", False) if {"bounced_soft", "delayed"} & set(kinds) else ("other", False)


def show_fates(evidence: Evidence, items: Sequence[Item], refused: dict[str, str]) -> list[Any]:
    """Print how many ended how; returns the deliveries."""
    came = evidence.rows(
        select(deliveries.c.id, deliveries.c.mail_from, deliveries.c.recipient,
               deliveries.c.state, deliveries.c.reason)
    )  # fmt: skip
    print(f"\n{len(items)} files: {len(refused)} refused, {len(came)} kept")
    for name, reply in refused.items():
        print(f"  refused  {name}: {reply}")
    for state, count in Counter(row.state for row in came).most_common():
        print(f"  {state:24}{count:6}")
    for row in came:
        if row.state == "quarantined":
            print(f"  quarantined  {row.mail_from}: {row.reason}")
    return came


def hold_bounces(bars: Bars, found: Mapping[str, Verdict]) -> None:
    """Compare with the corpus' own table; the reason is printed, not counted."""
    expected = json.loads((CORPORA / "bounces" / "expected.json").read_text())
    wrong = []
    for name, row in expected.items():
        wanted: Verdict = (_NOT_BOUNCES.get(row["reason"], "bounce"), row["hard"])  # type: ignore[assignment]
        if found.get(name) != wanted:
            wrong.append(f"  differs  {name}: {row['reason']}, {wanted} here {found.get(name)}")
    print(*wrong, sep="\n")
    share = 1 - len(wrong) / len(expected)
    bars.hold(
        "bounces: class and hardness agree",
        f"{share:.1%} of {len(expected)}",
        met=share >= BOUNCE_SHARE,
    )


def hold_replies(bars: Bars) -> None:
    """Compare what the writer wrote, white space ignored."""
    files = sorted((CORPORA / "replies" / "received").glob("*.txt"))
    agree = 0
    for file in files:
        own = text.written(file.read_text(encoding="utf-8"))
        wanted = (file.parents[1] / "expected" / file.name).read_text(encoding="utf-8")
        agree += "".join(own.split()) == "".join(wanted.split())
    share = agree / len(files)
    bars.hold("replies: the writer's own words", f"{share:.1%} of {len(files)}",
              met=share >= REPLY_SHARE)  # fmt: skip


def hold_fates(
    bars: Bars, evidence: Evidence, items: Sequence[Item], refused: dict[str, str]
) -> None:
    """Each file must have one end with a reason, and none be answered that must not be."""
    came = show_fates(evidence, items, refused)
    bars.hold("every file kept or refused by a named rule", f"{len(came) + len(refused)}",
              met=len(came) + len(refused) == len(items))  # fmt: skip
    unread = [row for row in came if row.state == "failed" or not row.reason]
    bars.hold("kept and neither read nor quarantined with a reason", f"{len(unread)}",
              met=not unread)  # fmt: skip
    answers = select(outbound_mails.c.answers_delivery_id).where(
        outbound_mails.c.purpose == "reply"
    )
    answered = {row[0] for row in evidence.rows(answers)}
    silent = {(item.mail_from, item.to): item.name for item in items if item.must_stay_unanswered}
    wrong = [
        silent[row.mail_from or "", row.recipient]
        for row in came
        if row.id in answered and (row.mail_from or "", row.recipient) in silent
    ]
    for name in wrong:
        print(f"  answered  {name}")
    bars.hold("answered that must not be (bounces, automatic, lists)", f"{len(wrong)}",
              met=not wrong)  # fmt: skip


def main() -> int:
    if not CORPORA.is_dir():
        print(f"{CORPORA} is not there: set MAILAGENT_CORPORA")
        return 1
    bars = Bars()
    with tempfile.TemporaryDirectory(prefix="bench-corpora-") as name:
        folder = Path(name)
        url = f"sqlite:///{folder / 'corpora.db'}"
        upgrade(url)
        workspace_id = furnish(url)
        names = sorted(file.name for file in (CORPORA / "bounces").glob("*.eml"))
        addresses = make_mails(url, workspace_id, names)
        evidence = Evidence(url)
        with Node(folder, url) as node:
            evidence.wait_until_settled(SETTLE_SECONDS)
            before = memory_mib(node.pid)
            items = [*mails(), *bounces(addresses)]
            refused = send(node.port, items)
            evidence.wait_until_settled(SETTLE_SECONDS)
            after = memory_mib(node.pid)
        hold_fates(bars, evidence, items, refused)
        hold_bounces(bars, verdicts(evidence, [i for i in items if i.name.startswith("bounces/")]))
        hold_replies(bars)
        bars.hold("memory (PSS of the tree) before and after", f"{before:.0f}, {after:.0f} MiB",
                  met=after - before <= MEMORY_GROWTH_MIB)  # fmt: skip
    return 1 if bars.missed else 0


if __name__ == "__main__":
    sys.exit(main())

"""What others report is summed by domain and source, with words on what to do."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from backend.cli import main
from backend.domains.reports import DomainReports, summed
from mailagent.sandbox import Sandbox
from mailagent.store.tables import deliveries, domain_report_rows, domain_reports, raw_messages
from mailagent.store.transaction import Transaction
from mailagent.tokens import new_id
from tests.backend.api_client import key, open_api
from tests.backend.conftest import House
from tests.backend.mailroom import open_mailroom

DOMAIN = "acme.example"


def report(
    tx: Transaction,
    *rows: tuple[str, int, int, dict[str, Any]],
    kind: str = "dmarc",
    domain: str = DOMAIN,
    policy: str = "quarantine",
    ago: timedelta = timedelta(days=1),
) -> None:
    """A report with rows of (source, total, good, detail), and the mail it came by."""
    raw, delivery, id_ = new_id("raw"), new_id("dlv"), new_id("rep")
    tx.insert(raw_messages, {"id": raw, "sha256": "", "size_bytes": 0, "received_at": tx.now})
    tx.insert(
        deliveries,
        {
            "id": delivery,
            "raw_id": raw,
            "source": "smtp",
            "source_id": delivery,
            "recipient": f"dmarc@{domain}",
            "origin": {},
            "place": "role",
            "received_at": tx.now,
            "state": "recorded",
            "not_before": tx.now,
        },
    )
    tx.insert(
        domain_reports,
        {
            "id": id_,
            "kind": kind,
            "domain": domain,
            "reporter": "receiver.example",
            "report_id": id_,
            "sender": "dmarc@receiver.example",
            "begins_at": tx.now - ago - timedelta(days=1),
            "ends_at": tx.now - ago,
            "policy": policy,
            "delivery_id": delivery,
            "received_at": tx.now,
        },
    )
    for position, (source, total, good, detail) in enumerate(rows):
        row = {"source": source, "total": total, "good": good, "detail": detail}
        tx.insert(domain_report_rows, {"report_ref": id_, "position": position, **row})


def dmarc(dkim: str = "", spf: str = "") -> dict[str, Any]:
    return {
        "header_from": DOMAIN,
        "disposition": "none",
        "dkim": [dkim] if dkim else [],
        "spf": [spf] if spf else [],
    }


def sums(house: House, days: int = 30, domain: str | None = None) -> tuple[DomainReports, ...]:
    within = timedelta(days=days)
    return house.store.read_now(house.acme.id, summed, within=within, domain=domain)


def test_sources_are_summed_over_reports_the_worst_first(house: House) -> None:
    ours = ("192.0.2.1", 10, 10, dmarc(DOMAIN, "bounce.acme.example"))
    store = house.store
    store.write_now(house.acme.id, report, ours, ("192.0.2.66", 4, 0, dmarc()))
    store.write_now(house.acme.id, report, ours, ("198.51.100.7", 3, 0, dmarc("sendy.example")))
    store.write_now(house.acme.id, report, ("192.0.2.2", 9, 7, dmarc(DOMAIN)))
    (found,) = sums(house)
    assert (found.domain, found.reports, found.messages, found.aligned) == (DOMAIN, 3, 36, 27)
    assert [(one.address, one.messages, one.aligned) for one in found.sources] == [
        ("192.0.2.66", 4, 0),
        ("198.51.100.7", 3, 0),
        ("192.0.2.2", 9, 7),
        ("192.0.2.1", 20, 20),
    ]
    forged, service, changed, fine = (one.advice for one in found.sources)
    assert "somebody forges the domain, and p=quarantine keeps its mail from inboxes" in forged
    assert "authenticates as sendy.example: if it sends for you, set up acme.example" in service
    assert changed.startswith("2 of 9 came without a valid signature")
    assert fine == "aligned: nothing to do"
    assert found.sources[3].sent_as == ("bounce.acme.example",)
    assert found.advice == "27 of 36 messages are aligned"


@pytest.mark.parametrize(
    ("good", "advice"),
    [(5, "p=none can become p=quarantine"), (4, "mend your own sources below, then change p=none")],
)
def test_a_domain_that_protects_nobody_is_told_the_next_step(
    house: House, good: int, advice: str
) -> None:
    row = ("192.0.2.1", 5, good, dmarc(DOMAIN))
    house.store.write_now(house.acme.id, report, row, policy="none")
    assert advice in sums(house)[0].advice


def test_the_policy_is_that_of_the_newest_report(house: House) -> None:
    for policy, days in (("reject", 1), ("none", 9), ("quarantine", 5)):
        ago = timedelta(days=days)
        house.store.write_now(house.acme.id, report, policy=policy, ago=ago)
    assert sums(house)[0].policy == "reject"


def test_tls_failures_are_summed_by_reason_and_host(house: House) -> None:
    failures = [{"reason": "certificate-expired", "sessions": 3, "mx": "mx.acme.example"}]
    row = ("", 100, 97, {"policy": "sts", "failures": failures})
    for _ in range(2):
        house.store.write_now(house.acme.id, report, row, kind="tls", policy="sts")
    (found,) = sums(house)
    assert (found.tls_sessions, found.tls_failed, found.messages) == (200, 6, 0)
    (failure,) = found.tls_failures
    assert (failure.reason, failure.sessions) == ("certificate-expired", 6)
    assert failure.advice == "the certificate has expired: renew it"


def test_only_the_time_and_the_domain_asked_for_count(house: House) -> None:
    row = ("192.0.2.1", 1, 1, dmarc(DOMAIN))
    house.store.write_now(house.acme.id, report, row, ago=timedelta(days=40))
    house.store.write_now(house.acme.id, report, row, domain="b.example")
    assert [one.domain for one in sums(house)] == ["b.example"]
    assert [one.domain for one in sums(house, 60)] == [DOMAIN, "b.example"]
    assert [one.domain for one in sums(house, 60, "ACME.example.")] == [DOMAIN]


def test_another_workspaces_reports_are_not_seen(house: House) -> None:
    house.store.write_now(house.other.id, report, ("192.0.2.1", 1, 1, dmarc(DOMAIN)))
    assert sums(house) == ()


async def test_the_api_and_the_command_say_the_same(
    sqlite_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_mailroom(sqlite_url, Sandbox()) as mailroom:
        row = ("192.0.2.66", 1_200, 0, dmarc())
        await mailroom.store.write(mailroom.workspace_id, report, row)
        async with open_api(mailroom, await key(mailroom, "domain.read")) as client:
            answer = await client.get(f"/workspaces/{mailroom.workspace_id}/reports?days=7")
            refused = await client.get(f"/workspaces/{mailroom.workspace_id}/reports?days=0")
        async with open_api(mailroom, await key(mailroom, "agent.read")) as client:
            forbidden = await client.get(f"/workspaces/{mailroom.workspace_id}/reports")
    assert answer.json()[0]["sources"][0]["messages"] == 1_200
    assert (refused.status_code, forbidden.status_code) == (422, 403)
    monkeypatch.setenv("DATABASE_URL", sqlite_url)
    with pytest.raises(SystemExit, match="0"):
        main(["reports", "--json", "-w", mailroom.workspace_id])
    assert json.loads(capsys.readouterr().out) == answer.json()
    with pytest.raises(SystemExit, match="0"):
        main(["reports", DOMAIN, "-w", mailroom.workspace_id])
    said = capsys.readouterr().out
    assert f"{DOMAIN}, p=quarantine: 1 reports by receiver.example" in said
    assert "  192.0.2.66  0/1,200  not authenticated" in said
    with pytest.raises(SystemExit, match="0"):
        main(["reports", "nothing.example", "-w", mailroom.workspace_id])
    assert capsys.readouterr().out == "no report in 30 days\n"

"""Records are written whole or not at all, twice changes nothing, and a token goes nowhere else."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import typer
from moto.server import ThreadedMotoServer
from structlog.testing import capture_logs
from typer.testing import CliRunner

from backend.cli.dns_writing import Wanted, command
from backend.cli.shell import Shell
from backend.domains.dns_writers import Plan, Writer, look, open_writer, write
from backend.domains.dns_writers.cloudflare import Cloudflare
from backend.domains.dns_writers.plan import Published, plan
from backend.domains.dns_writers.route53 import Route53
from backend.domains.dns_writers.text import joined, quoted
from mailagent.errors import (
    Conflict,
    Delivery,
    MailagentError,
    Malformed,
    NotFound,
    PermanentFailure,
    TransientFailure,
    UncertainDelivery,
)
from mailagent.identity import DnsRecord
from mailagent.providers.api import Times
from mailagent.providers.ses_access import Access
from mailagent.settings import Settings
from tests.api_server import ApiServer, Fault, Reply
from tests.cloudflare_server import TOKEN, CloudflareServer

ZONE = "example.com"
KEY = "v=DKIM1; k=rsa; p=" + "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A" * 12
WANTED = (
    DnsRecord("MX", ZONE, "mx.ours.example", 10),
    DnsRecord("MX", "*.example.com", "mx.ours.example", 10),
    DnsRecord("TXT", ZONE, "v=spf1 include:spf.ours.example ~all"),
    DnsRecord("TXT", "s1._domainkey.example.com", KEY),
    DnsRecord("CNAME", "pm-bounces.example.com", "pm.mtasv.net"),
    DnsRecord("TXT", "_dmarc.example.com", "v=DMARC1; p=quarantine"),
)
Standing = Mapping[tuple[str, str], list[str]]
"""Values by (name, type); TXT joined."""


class Zone:
    """A zone at one of the services, as its owner sees it."""

    writer: Writer

    def put(self, type_: str, name: str, *values: str, ttl: int = 3600) -> None:
        raise NotImplementedError

    def standing(self) -> Standing:
        raise NotImplementedError


# --- the two services -------------------------------------------------------------------------


class AtCloudflare(Zone):
    def __init__(self, server: CloudflareServer) -> None:
        self.server = server
        self.writer = Cloudflare.open(TOKEN, f"{server.url}/client/v4")

    def put(self, type_: str, name: str, *values: str, ttl: int = 3600) -> None:
        for value in values:
            more: dict[str, Any] = {"ttl": ttl}
            if type_ == "MX":
                more["priority"], value = int(value.split()[0]), value.split()[1]
            self.server.put(type_, name, quoted(value) if type_ == "TXT" else value, **more)

    def standing(self) -> Standing:
        found: dict[tuple[str, str], list[str]] = {}
        for one in self.server.records:
            value = joined(one["content"]) if one["type"] == "TXT" else one["content"]
            if one["type"] == "MX":
                value = f"{one['priority']} {value}"
            found.setdefault((one["name"], one["type"]), []).append(value)
        return {at: sorted(values) for at, values in found.items()}


class AtRoute53(Zone):
    def __init__(self, url: str) -> None:
        self.url = url
        self.writer = Route53.open("AKIAEXAMPLE:secret-of-the-tests:session-of-the-tests", url)
        self.client = Access("route53", "us-east-1", "AKIAEXAMPLE", "secret", url).client()
        made = self.client.create_hosted_zone(Name=ZONE, CallerReference="1")
        self.id = made["HostedZone"]["Id"]

    def put(self, type_: str, name: str, *values: str, ttl: int = 3600) -> None:
        texts = [
            quoted(one) if type_ == "TXT" else f"{one}." if type_ in ("MX", "CNAME") else one
            for one in values
        ]
        set_ = {"Name": f"{name}.", "Type": type_, "TTL": ttl}
        change = {
            "Action": "UPSERT",
            "ResourceRecordSet": {**set_, "ResourceRecords": [{"Value": one} for one in texts]},
        }
        self.client.change_resource_record_sets(
            HostedZoneId=self.id, ChangeBatch={"Changes": [change]}
        )

    def standing(self) -> Standing:
        sets = self.client.list_resource_record_sets(HostedZoneId=self.id)["ResourceRecordSets"]
        return {
            (one["Name"].replace("\\052", "*").removesuffix("."), one["Type"]): sorted(
                joined(value["Value"]).removesuffix(".") for value in one["ResourceRecords"]
            )
            for one in sets
            if one["Type"] not in ("SOA", "NS")
        }


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@asynccontextmanager
async def opened(service: str, aws: str) -> AsyncIterator[Zone]:
    if service == "cloudflare":
        async with CloudflareServer() as server:
            there: Zone = AtCloudflare(server)
            yield there
            await there.writer.close()
        return
    there = AtRoute53(aws)
    yield there
    await there.writer.close()
    sets = there.client.list_resource_record_sets(HostedZoneId=there.id)["ResourceRecordSets"]
    changes = [
        {"Action": "DELETE", "ResourceRecordSet": one}
        for one in sets
        if one["Type"] not in ("SOA", "NS")
    ]
    if changes:
        there.client.change_resource_record_sets(
            HostedZoneId=there.id, ChangeBatch={"Changes": changes}
        )
    there.client.delete_hosted_zone(Id=there.id)
    there.client.close()


@pytest.fixture(params=["cloudflare", "route53"])
async def zone(request: pytest.FixtureRequest, aws: str) -> AsyncIterator[Zone]:
    async with opened(request.param, aws) as there:
        yield there


@pytest.fixture
async def at_cloudflare() -> AsyncIterator[AtCloudflare]:
    async with CloudflareServer() as server:
        there = AtCloudflare(server)
        yield there
        await there.writer.close()


def actions(plan: Plan) -> list[str]:
    return sorted({one.action for one in plan.steps})


# --- the same for both ------------------------------------------------------------------------


async def test_an_empty_zone_gets_all_and_the_second_run_changes_nothing(zone: Zone) -> None:
    assert actions(await look(zone.writer, ZONE, WANTED)) == ["create"]
    assert zone.standing() == {}

    assert actions(await write(zone.writer, ZONE, WANTED)) == ["create"]
    assert zone.standing() == {
        ("example.com", "MX"): ["10 mx.ours.example"],
        ("*.example.com", "MX"): ["10 mx.ours.example"],
        ("example.com", "TXT"): ["v=spf1 include:spf.ours.example ~all"],
        ("s1._domainkey.example.com", "TXT"): [KEY],
        ("pm-bounces.example.com", "CNAME"): ["pm.mtasv.net"],
        ("_dmarc.example.com", "TXT"): ["v=DMARC1; p=quarantine"],
    }
    before = zone.standing()
    assert actions(await write(zone.writer, ZONE, WANTED)) == ["leave"]
    assert zone.standing() == before


async def test_what_others_have_there_stays(zone: Zone) -> None:
    zone.put("TXT", ZONE, "google-site-verification=1", "v=spf1 ~all", 'a "quoted" \\ word')
    zone.put("A", ZONE, "192.0.2.1")
    zone.put("TXT", "other.example.com", "v=spf1 -all")
    zone.put("MX", ZONE, "20 mx.ours.example")
    await write(zone.writer, ZONE, WANTED)
    after = zone.standing()
    assert after["example.com", "TXT"] == sorted(
        ["google-site-verification=1", 'a "quoted" \\ word', "v=spf1 include:spf.ours.example ~all"]
    )
    assert after["example.com", "A"] == ["192.0.2.1"]
    assert after["example.com", "MX"] == ["10 mx.ours.example"]
    assert after["other.example.com", "TXT"] == ["v=spf1 -all"]


async def test_one_conflict_keeps_all_from_being_written(zone: Zone) -> None:
    zone.put("MX", ZONE, "1 aspmx.l.google.com", "5 alt1.aspmx.l.google.com", "10 a.example")
    before = zone.standing()
    with pytest.raises(Conflict, match=r"example\.com MX: mail would no longer go to"):
        await write(zone.writer, ZONE, WANTED)
    assert zone.standing() == before

    done = await write(zone.writer, ZONE, WANTED, confirmed=["example.com MX"])
    assert actions(done) == ["create", "update"]
    assert zone.standing()["example.com", "MX"] == ["10 mx.ours.example"]


async def test_a_zone_that_the_token_does_not_see_is_said(zone: Zone) -> None:
    wanted = [DnsRecord("TXT", "example.org", "v=spf1 -all")]
    with pytest.raises(NotFound, match=r"zone example\.org"):
        await write(zone.writer, "example.org", wanted)


async def test_what_cloudflare_has_lost_since_the_plan_is_not_written_over(
    at_cloudflare: AtCloudflare,
) -> None:
    at_cloudflare.put("CNAME", "pm-bounces.example.com", "old.example")
    confirmed = ["pm-bounces.example.com CNAME"]
    planned = await look(at_cloudflare.writer, ZONE, WANTED, confirmed=confirmed)
    at_cloudflare.server.records.clear()
    with pytest.raises(Conflict, match="changed since the plan, nothing was written"):
        await at_cloudflare.writer.apply(planned)
    assert at_cloudflare.standing() == {}


async def test_route_53_is_told_what_stood_there_when_it_was_read() -> None:
    """Its DELETE holds for exactly these values, and CREATE for nothing: else the batch fails."""
    old = DnsRecord("TXT", ZONE, "google-site-verification=1")
    planned = plan(ZONE, [Published(old, ttl=60)], WANTED[2:3])
    async with _Silent() as server:
        writer = Route53(route53_at(server.url))
        await writer.apply(planned)
        await writer.close()
    changes = re.findall(
        r"<Action>(\w+)</Action>.*?<TTL>(\d+)</TTL>(.*?)</ResourceRecordSet>",
        server.requests[-1].body.decode(),
    )
    values = [re.findall(r"<Value>\"(.*?)\"</Value>", texts) for _, _, texts in changes]
    assert [change[:2] for change in changes] == [("DELETE", "60"), ("CREATE", "60")]
    assert values == [[old.value], [old.value, WANTED[2].value]]


# --- what goes wrong --------------------------------------------------------------------------


class Broken(ApiServer):
    """Answers as its script says, and after that as an empty zone of Cloudflare."""

    def reply(self, request: Any) -> Reply:
        zones = [{"id": "z1", "name": ZONE}] if "/zones?" in request.path else []
        return Reply(200, {"success": True, "result": zones, "result_info": {"total_pages": 1}})


def failing(status: int, code: int, message: str = "no", **headers: str) -> Reply:
    body = {"success": False, "errors": [{"code": code, "message": message}], "result": None}
    return Reply(status, body, headers)


READS = 6  # one for the zone, then one for each of five names
QUICK = Times(connect=0.5, write=0.5, read=0.3, whole=1)


@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        (failing(400, 9109, "Invalid access token"), PermanentFailure, "refuses the token"),
        (failing(400, 6003, "Invalid request headers"), PermanentFailure, "refuses the token"),
        (failing(403, 10000, "Authentication error"), PermanentFailure, "Zone:Read and DNS:Edit"),
        (failing(429, 971, "throttle", **{"Retry-After": "7"}), TransientFailure, "asks to wait"),
        (Reply(500, b"<html>"), TransientFailure, "in trouble"),
        (failing(400, 1004, f"bad {TOKEN}"), PermanentFailure, "1004"),
        (Reply(200, b"not json"), PermanentFailure, "refuses"),
        (Reply(302, b"", {"Location": "http://127.0.0.1:9/"}), PermanentFailure, "refuses"),
        (Fault.HANG, TransientFailure, "did not answer"),
        (Fault.RESET_EARLY, TransientFailure, "did not answer"),
        (Fault.CUT, TransientFailure, "did not answer"),
    ],
)
@pytest.mark.parametrize("at", [0, 3])
async def test_a_failure_while_cloudflare_is_read_has_its_class(
    fault: Reply | Fault, error: type[Delivery], says: str, at: int
) -> None:
    script: list[Any] = [None] * at + [fault]
    async with Broken(script=script) as server:
        writer = Cloudflare(TOKEN, base=f"{server.url}/client/v4", times=QUICK)
        with pytest.raises(error, match=says) as raised:
            await write(writer, ZONE, WANTED)
        await writer.close()
        assert TOKEN not in str(raised.value)
        assert [one for one in server.requests if one.method == "POST"] == []


@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        (failing(429, 971, "throttle"), TransientFailure, "asks to wait"),
        (failing(400, 81058, "identical"), Conflict, "changed since the plan"),
        (failing(400, 81044, "gone"), Conflict, "changed since the plan"),
        (failing(400, 9005, "Content invalid"), PermanentFailure, "9005"),
        (Reply(502, b""), UncertainDelivery, "run it again"),
        (Fault.HANG, UncertainDelivery, "the request was written"),
        (Fault.RESET, UncertainDelivery, "the request was written"),
    ],
)
async def test_a_failure_while_cloudflare_is_written_to_has_its_class(
    fault: Reply | Fault, error: type[MailagentError], says: str
) -> None:
    script: list[Any] = [None] * (READS + 1) + [fault]
    async with Broken(script=script) as server:
        writer = Cloudflare(TOKEN, base=f"{server.url}/client/v4", times=QUICK)
        with pytest.raises(error, match=says):
            await write(writer, ZONE, WANTED)
        await writer.close()
        (posted,) = [one for one in server.requests if one.method == "POST"]
        assert posted.path.endswith("/dns_records/batch")


def aws_error(status: int, code: str, message: str = "no") -> Reply:
    body = f"<ErrorResponse><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Reply(status, f"{body}</ErrorResponse>".encode())


@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        (aws_error(403, "InvalidClientTokenId"), PermanentFailure, "refuses the key"),
        (aws_error(403, "AccessDenied"), PermanentFailure, "ChangeResourceRecordSets"),
        (aws_error(403, "SignatureDoesNotMatch"), PermanentFailure, "refuses the key"),
        (aws_error(400, "Throttling"), TransientFailure, "asks to wait"),
        (aws_error(503, "ServiceUnavailable"), TransientFailure, "in trouble"),
        (aws_error(400, "InvalidDomainName", "bad"), PermanentFailure, "InvalidDomainName bad"),
        (Fault.HANG, TransientFailure, "did not answer"),
        (Fault.RESET, TransientFailure, "did not answer"),
    ],
)
async def test_a_failure_while_route_53_is_read_has_its_class(
    fault: Reply | Fault, error: type[Delivery], says: str
) -> None:
    async with _Silent(script=[fault]) as server:
        writer = Route53(route53_at(server.url))
        with pytest.raises(error, match=says) as raised:
            await write(writer, ZONE, WANTED)
        await writer.close()
        assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        (aws_error(400, "InvalidChangeBatch", "it exists"), Conflict, "changed since the plan"),
        (aws_error(400, "PriorRequestNotComplete"), TransientFailure, "asks to wait"),
        (aws_error(500, "InternalFailure"), UncertainDelivery, "run it again"),
        (Fault.HANG, UncertainDelivery, "run it again"),
        (Fault.RESET, UncertainDelivery, "run it again"),
    ],
)
async def test_a_failure_while_route_53_is_written_to_has_its_class(
    fault: Reply | Fault, error: type[MailagentError], says: str
) -> None:
    async with _Silent(script=[None, fault]) as server:
        writer = Route53(route53_at(server.url))
        planned = plan(ZONE, [], WANTED)
        with pytest.raises(error, match=says):
            await writer.apply(planned)
        await writer.close()


def route53_at(url: str) -> Access:
    return Access(
        *("route53", "us-east-1", "AKIAEXAMPLE", "secret", url),
        connect_seconds=0.5,
        read_seconds=0.3,
        whole_seconds=1,
    )


class _Silent(ApiServer):
    def reply(self, request: Any) -> Reply:
        zone = (
            "<HostedZone><Id>/hostedzone/Z1</Id><Name>example.com.</Name>"
            "<CallerReference>1</CallerReference></HostedZone>"
        )
        kind = "ListHostedZonesByNameResponse"
        body = f"<{kind}><HostedZones>{zone}</HostedZones><IsTruncated>false</IsTruncated></{kind}>"
        return Reply(200, body.encode())


async def test_a_set_with_a_routing_policy_is_left_to_a_person(aws: str) -> None:
    async with opened("route53", aws) as there:
        assert isinstance(there, AtRoute53)
        weighted = {
            "Name": "example.com.",
            "Type": "MX",
            "TTL": 60,
            "SetIdentifier": "blue",
            "Weight": 1,
            "ResourceRecords": [{"Value": "10 mx.ours.example."}],
        }
        there.client.change_resource_record_sets(
            HostedZoneId=there.id,
            ChangeBatch={"Changes": [{"Action": "CREATE", "ResourceRecordSet": weighted}]},
        )
        planned = await look(there.writer, ZONE, WANTED[:1], confirmed=["example.com MX"])
        (step,) = planned.conflicts
        assert "a set with a routing policy" in step.why


@pytest.mark.parametrize(
    ("to", "token"),
    [
        *(("route53", one) for one in ("AKIA", "AKIA:", ":secret", "a:b:c:d")),
        *(("cloudflare", one) for one in ("", "two words", "line\nbreak", "clé")),
        ("bind", "x"),
    ],
)
def test_a_token_of_no_form_is_refused_before_anything_is_asked(to: str, token: str) -> None:
    with pytest.raises(Malformed) as refused:
        open_writer(to, token, Settings())
    assert not token or token not in str(refused.value) or to == "bind"


# --- the command ------------------------------------------------------------------------------


async def run(there: AtCloudflare, *words: str, token: str = TOKEN, as_json: bool = False) -> Any:
    """The command in a thread, with the token on standard input."""
    shell = Shell({"CLOUDFLARE_BASE_URL": f"{there.server.url}/client/v4"})
    shell.json = as_json
    app = typer.Typer()
    app.command()(command(lambda _, domain, __: Wanted(domain, WANTED)))
    arguments = [ZONE, "--to", "cloudflare", *words]
    runner = CliRunner()
    return await asyncio.to_thread(runner.invoke, app, arguments, input=f"{token}\n", obj=shell)


async def test_the_command_shows_its_plan_and_writes_only_when_told(
    at_cloudflare: AtCloudflare,
) -> None:
    shown = await run(at_cloudflare, "--plan")
    assert shown.exit_code == 0
    assert "+  create  example.com" in shown.stdout
    assert at_cloudflare.standing() == {}
    unasked = await run(at_cloudflare)
    assert isinstance(unasked.exception, Malformed)
    assert "--yes: is missing" in str(unasked.exception)
    assert at_cloudflare.standing() == {}

    done = json.loads((await run(at_cloudflare, "--yes", as_json=True)).stdout)
    assert (done["zone"], done["written"]) == (ZONE, True)
    assert {one["action"] for one in done["steps"]} == {"create"}
    again = json.loads((await run(at_cloudflare, "--yes", as_json=True)).stdout)
    assert (again["written"], {one["action"] for one in again["steps"]}) == (False, {"leave"})


async def test_the_command_asks_for_a_foreign_mx_to_be_named(at_cloudflare: AtCloudflare) -> None:
    at_cloudflare.put("MX", ZONE, "1 aspmx.l.google.com")
    refused = await run(at_cloudflare, "--yes")
    assert isinstance(refused.exception, Conflict)
    assert "confirm it as example.com MX" in str(refused.exception)
    done = await run(at_cloudflare, "--yes", "--replace", "example.com MX")
    assert done.exit_code == 0
    assert at_cloudflare.standing()["example.com", "MX"] == ["10 mx.ours.example"]


@pytest.mark.parametrize("fails", [False, True])
async def test_a_token_is_in_no_output_no_error_and_no_log_line(
    at_cloudflare: AtCloudflare, fails: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = TOKEN if not fails else "another-token-that-is-refused"
    with capture_logs() as lines:
        result = await run(at_cloudflare, "--yes", token=token)
    told: Sequence[object] = (result.stdout, result.stderr, result.exception, lines)
    assert (result.exit_code != 0) is fails
    assert caplog.records  # httpx says at least which requests it made
    assert token not in "\n".join([*map(repr, told), caplog.text])

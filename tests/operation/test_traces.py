"""One mail is one trace, whichever process and hour a step of it ran in."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from backend.tracing import open_traces
from mailagent.errors import Misconfigured
from mailagent.settings import Settings
from tests.end_to_end.system import running


class Collector(ThreadingHTTPServer):
    """Takes spans by OTLP/HTTP, as any collector does."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans: list[Span] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.path == "/v1/traces"
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                self.server.spans += scope.spans
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def _words(span: Span) -> str:
    """A span without its ids: eight octets drawn by chance may well be an @."""
    told = Span()
    told.CopyFrom(span)
    for field in ("trace_id", "span_id", "parent_span_id"):
        told.ClearField(field)
    for link in told.links:
        link.ClearField("trace_id")
        link.ClearField("span_id")
    return str(told)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def test_the_steps_of_a_mail_are_spans_of_its_trace(collector: Collector, tmp_path: Path) -> None:
    with running(tmp_path, "--demo", OTEL_EXPORTER_OTLP_ENDPOINT=collector.address) as system:
        system.command("demo")
        (first, *_) = system.result("inbox", "hello@demo.aexy.email")
        assert system.stop() == 0

    spans = [one for one in collector.spans if one.trace_id.hex() == first["id"][4:]]
    by_name = {one.name: one for one in spans}
    assert set(by_name) == {"accept", "read", "route", "think", "decide", "reply", "send"}
    accept = by_name["accept"]
    assert accept.parent_span_id == b""
    for step in ("read", "think", "send"):
        assert by_name[step].parent_span_id == accept.span_id
    assert by_name["route"].parent_span_id == by_name["read"].span_id
    assert by_name["decide"].parent_span_id == by_name["think"].span_id
    starts = [by_name[one].start_time_unix_nano for one in ("accept", "read", "think", "send")]
    assert starts == sorted(starts)
    told = "\n".join(_words(one) for one in collector.spans)
    assert first["id"] in told
    for word in ("Saturday", "@", first["subject"]):
        assert word not in told


def test_without_a_collector_nothing_that_makes_traces_is_imported() -> None:
    serve = "import sys, backend.running; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", serve], capture_output=True, text=True, check=True)
    assert "backend.tracing" in done.stdout.split()
    # FastAPI imports the interface by itself where it is installed; what works is ours to import.
    works = ("opentelemetry.sdk", "opentelemetry.exporter", "backend.traces")
    assert [one for one in done.stdout.split() if one.startswith(works)] == []
    assert open_traces(Settings()) is None


def test_without_the_extra_one_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "backend.traces", None)
    with pytest.raises(Misconfigured, match=r"extra is not installed: pip install 'mailagent\[ot"):
        open_traces(Settings(otel_exporter_otlp_endpoint="http://127.0.0.1:4318"))
    with pytest.raises(Misconfigured, match="must begin with http"):
        open_traces(Settings(otel_exporter_otlp_endpoint="127.0.0.1:4318"))

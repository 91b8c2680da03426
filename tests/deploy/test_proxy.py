"""The proxy: a real Caddy with our Caddyfile; only its issuer is one of this machine."""

from __future__ import annotations

import http.server
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path

import pytest

from mailagent.doors.smtp_tls import Certificate
from mailagent.doors.webhook_body import MOST_BYTES
from tests.end_to_end.system import free_port

pytestmark = pytest.mark.service("caddy")

CADDYFILE = Path(__file__).parents[2] / "deploy" / "proxy" / "Caddyfile"
NAMES = ("mx.agents.example", "mailagent.agents.example", "api.agents.example")


class _Upstream(http.server.BaseHTTPRequestHandler):
    """Says its server's name and how long the body was."""

    def do_GET(self) -> None:
        left = int(self.headers.get("Content-Length") or 0)
        length = left
        while left:
            left -= len(self.rfile.read(min(left, 1 << 20)))
        words = f"{self.server.said} {length} {self.headers['Host']}".encode()  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", str(len(words)))
        self.end_headers()
        self.wfile.write(words)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def _upstream(name: str) -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Upstream)
    server.said = name  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass(frozen=True)
class Proxy:
    port: int
    storage: Path

    def ask(self, name: str, path: str, body: bytes | None = None) -> list[str]:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as plain:
            connection = HTTPSConnection(name, timeout=60)
            connection.sock = context.wrap_socket(plain, server_hostname=name)
            try:
                connection.request("POST" if body else "GET", path, body)
                answer = connection.getresponse()
                return [str(answer.status), *answer.read().decode().split()]
            finally:
                connection.close()


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("proxy")
    text, issuers = re.subn(
        r"cert_issuer acme \{[^}]*\}", "cert_issuer internal", CADDYFILE.read_text()
    )
    assert issuers == 1
    port = free_port()
    ports = f"https_port {port}\n\thttp_port {free_port()}\n\tadmin off\n\tskip_install_trust"
    file = folder / "Caddyfile"
    file.write_text(text.replace("{\n", f"{{\n\t{ports}\n", 1))
    with _upstream("backend") as backend, _upstream("mailagent") as engine:
        environment = {
            "PATH": "/usr/bin:/bin",
            "PROXY_SITES": ", ".join(NAMES),
            "BACKEND": f"127.0.0.1:{backend}",
            "MAILAGENT": f"127.0.0.1:{engine}",
            "XDG_DATA_HOME": str(folder / "certificates"),
            "XDG_CONFIG_HOME": str(folder),
            "HOME": str(folder),
        }
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                ["caddy", "run", "--config", str(file), "--adapter", "caddyfile"],
                env=environment,
                stdout=log,
                stderr=log,
            )
        try:
            made = Proxy(port, folder / "certificates")
            end = time.monotonic() + 30
            while not _ready(made):
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < end, (folder / "log").read_text()
                time.sleep(0.1)
            yield made
        finally:
            process.terminate()
            process.wait(20)


def _ready(proxy: Proxy) -> bool:
    try:
        return all(proxy.ask(name, "/")[0] == "200" for name in NAMES)
    except (OSError, ssl.SSLError):
        return False


@pytest.mark.parametrize(
    ("name", "path", "upstream"),
    [
        ("mx.agents.example", "/", "backend"),
        ("mx.agents.example", "/api/v1/workspaces", "backend"),
        ("mx.agents.example", "/webhook/mailgun/secret/mime", "mailagent"),
        ("mx.agents.example", "/webhooks/email/postmark", "mailagent"),
        ("api.agents.example", "/health", "backend"),
        ("api.agents.example", "/webhook/ses", "mailagent"),
        ("mailagent.agents.example", "/health", "mailagent"),
        ("mailagent.agents.example", "/webhook/ses/", "mailagent"),
    ],
)
def test_each_name_and_path_leads_where_the_guide_says(
    proxy: Proxy, name: str, path: str, upstream: str
) -> None:
    assert proxy.ask(name, path) == ["200", upstream, "0", name]


def test_a_webhook_as_long_as_our_own_limit_goes_through(proxy: Proxy) -> None:
    body = bytes(MOST_BYTES)
    assert proxy.ask(NAMES[0], "/webhook/sendgrid", body)[:3] == [
        "200",
        "mailagent",
        str(len(body)),
    ]


def test_the_smtp_door_can_use_the_certificate_where_compose_says_that_it_is(
    proxy: Proxy, tmp_path: Path
) -> None:
    # `local` is the folder of the internal issuer, as acme-v02.api… is of the other one.
    folder = proxy.storage / "caddy" / "certificates" / "local" / NAMES[0]
    pair = [folder / f"{NAMES[0]}.{kind}" for kind in ("crt", "key")]
    used = Certificate(*pair, hostname=NAMES[0], folder=tmp_path)
    assert used.problem is None

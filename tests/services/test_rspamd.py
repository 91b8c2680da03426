"""A real rspamd on the other end: what it says of a mail is what we understand."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import httpx
import pytest

from mailagent.screening import NotScreened, Rspamd, Screened, Stranger

pytestmark = pytest.mark.service("rspamd")

STRANGER = Stranger("192.0.2.1", "mx.customer.example", "ann@customer.example", "a@b.example", "d1")
# Two halves, so that no filter on the way to a reader of this file takes it for the test mail.
GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*" + b"GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
_HEADER = b"From: ann@customer.example\r\nTo: a@b.example\r\nSubject: hello\r\n\r\n"
# No module and no network: the test string alone is known. Compiling for Hyperscan takes longer
# than all else.
_SETTINGS = """\
options {{
  pidfile = "{folder}/pid"; tempdir = "{folder}"; control_socket = "{folder}/control mode=0600";
  url_tld = "/usr/share/rspamd/effective_tld_names.dat"; filters = ""; disable_hyperscan = true;
  dns {{ nameserver = ["127.0.0.1:1:1"]; timeout = 0.1; retransmits = 1; }}
}}
logging {{ type = "console"; level = "notice"; }}
metric {{ name = "default"; actions {{ reject = 15; "add header" = 6; greylist = 4; }} }}
worker "normal" {{ bind_socket = "127.0.0.1:{port}"; count = 1; }}
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    program = shutil.which("rspamd", path="/usr/bin:/usr/local/bin")
    assert program is not None
    folder = Path(tempfile.mkdtemp(prefix="mailagent-rspamd-"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "rspamd.conf").write_text(_SETTINGS.format(folder=folder, port=port))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "-f", "--insecure", "-c", str(folder / "rspamd.conf")],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/ping", process, folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(folder)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = monotonic() + 60
    while monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(url, trust_env=False).text.startswith("pong"):
                return
        except httpx.HTTPError:
            sleep(0.05)
    raise AssertionError(f"rspamd does not answer:\n{log.read_text()}")


async def _screened(url: str, body: bytes) -> Screened | NotScreened:
    rspamd = Rspamd(url)
    try:
        return await rspamd.screen(_HEADER + body + b"\r\n", STRANGER)
    finally:
        await rspamd.close()


async def test_a_real_rspamd_takes_the_test_string_for_spam(url: str) -> None:
    screened = await _screened(url, GTUBE)
    assert isinstance(screened, Screened)
    assert (screened.action, screened.verdict, screened.score) == ("reject", "spam", 15.0)
    assert str(screened) == "15 of 15: GTUBE (+0)"


async def test_a_real_rspamd_has_nothing_against_a_plain_mail(url: str) -> None:
    screened = await _screened(url, b"When are you open?")
    assert isinstance(screened, Screened)
    assert (screened.action, screened.verdict) == ("no action", "none")

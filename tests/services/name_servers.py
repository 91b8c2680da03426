"""An NSD and an Unbound of one's own: on loopback, in a folder of their own, gone after the test.

NSD copies a zone from a primary (AXFR and NOTIFY with TSIG), as it does in compose; Unbound asks
NSD for that zone and keeps no answer.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import dns.exception
import dns.message
import dns.query
import dns.rcode

__all__ = ["ask", "ask_until", "program", "running_nsd", "running_unbound"]

_NSD = """\
server:
  ip-address: 127.0.0.1@{port}
  username: ""
  server-count: 1
  rrl-ratelimit: 0
  zonesdir: "{folder}"
  database: ""
  pidfile: ""
  xfrdfile: "{folder}/xfrd.state"
  zonelistfile: "{folder}/zone.list"
  xfrdir: "{folder}"
  logfile: "{folder}/log"
remote-control:
  control-enable: no
key:
  name: "{key}"
  algorithm: {algorithm}
  secret: "{secret}"
zone:
  name: {zone}
  zonefile: "zone"
  allow-notify: 127.0.0.1 {key}
  request-xfr: 127.0.0.1@{primary} {key}
"""

_UNBOUND = """\
server:
  interface: 127.0.0.1@{port}
  username: ""
  chroot: ""
  directory: "{folder}"
  pidfile: ""
  use-syslog: no
  logfile: "{folder}/log"
  num-threads: 1
  module-config: "iterator"
  do-not-query-localhost: no
  cache-max-ttl: 0
  cache-max-negative-ttl: 0
remote-control:
  control-enable: no
stub-zone:
  name: {zone}
  stub-addr: 127.0.0.1@{authority}
"""


def program(name: str) -> str:
    """The path of a system's program."""
    found = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/usr/local/sbin:/usr/local/bin")
    assert found is not None
    return found


def ask(port: int, name: str, type_: str) -> dns.message.Message:
    """One answer of the server on a loopback port."""
    query = dns.message.make_query(name, type_)
    answer, _ = dns.query.udp_with_fallback(query, "127.0.0.1", timeout=10, port=port)
    return answer


def ask_until(
    port: int, name: str, type_: str, *, holds: str, within_seconds: float = 60
) -> dns.message.Message:
    """Ask until the answer's text holds something."""
    deadline = monotonic() + within_seconds
    while True:
        said = "no answer"
        try:
            answer = ask(port, name, type_)
            said = answer.to_text()
            if holds in said:
                return answer
        except (dns.exception.Timeout, OSError):
            pass
        if monotonic() > deadline:
            raise AssertionError(f"{name} {type_} never held {holds!r}: {said}")
        sleep(0.05)


@contextmanager
def running_nsd(port: int, zone: str, *, primary: int, tsig: str) -> Iterator[None]:
    """An NSD that copies `zone` from the primary's port."""
    algorithm, key, secret = tsig.split(":")
    settings = _NSD.format(
        port=port,
        zone=zone,
        primary=primary,
        key=key,
        algorithm=algorithm,
        secret=secret,
        folder="{folder}",
    )
    with _running(["nsd", "-d", "-c"], settings):
        yield


@contextmanager
def running_unbound(port: int, zone: str, *, authority: int) -> Iterator[None]:
    """An Unbound that asks the authority's port for `zone`."""
    settings = _UNBOUND.format(port=port, zone=zone, authority=authority, folder="{folder}")
    with _running(["unbound", "-d", "-c"], settings):
        yield


@contextmanager
def _running(command: list[str], settings: str) -> Iterator[None]:
    folder = Path(tempfile.mkdtemp(prefix=f"mailagent-{command[0]}-"))
    file = folder / "conf"
    file.write_text(settings.replace("{folder}", str(folder)))
    process = subprocess.Popen(
        [program(command[0]), *command[1:], str(file)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(folder)

"""A Postfix of one's own: on loopback, in a folder of its own, gone after the test.

It takes mail for anybody at `customer.example` (only `nobody@` is unknown) and delivers it to a
maildir; STARTTLS is offered. Postfix starts as root only.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

__all__ = ["Postfix", "running_postfix"]

_SETTINGS = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log/mail.log
maillog_file_prefixes = {folder}
myhostname = mx.customer.example
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtp_host_lookup = native
virtual_mailbox_domains = customer.example
virtual_mailbox_maps = texthash:{folder}/mailboxes
virtual_mailbox_base = {folder}/mail
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
smtpd_tls_chain_files = {folder}/chain.pem
smtpd_tls_security_level = may
"""

_SERVICES = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup    unix n - n 60  1 pickup
cleanup   unix n - n -   0 cleanup
qmgr      unix n - n 300 1 qmgr
tlsmgr    unix - - n -   1 tlsmgr
rewrite   unix - - n -   - trivial-rewrite
bounce    unix - - n -   0 bounce
defer     unix - - n -   0 bounce
proxymap  unix - - n -   - proxymap
anvil     unix - - n -   1 anvil
scache    unix - - n -   1 scache
virtual   unix - n n -   - virtual
error     unix - - n -   - error
smtp      unix - - n -   - smtp
showq     unix n - n -   - showq
postlog   unix-dgram n - n - 1 postlogd
"""


@dataclass(frozen=True, slots=True)
class Postfix:
    """A running Postfix."""

    port: int
    folder: Path

    def delivered(self, *, count: int, within_seconds: float = 20) -> list[bytes]:
        """The mails in the maildir, once there are `count`, as Postfix wrote them (LF lines)."""
        deadline = monotonic() + within_seconds
        while len(found := sorted(self.folder.glob("mail/inbox/new/*"))) < count:
            if monotonic() > deadline:
                raise AssertionError(f"{len(found)} of {count} mails came:\n{self.log()}")
            sleep(0.02)
        return [path.read_bytes() for path in found]

    def log(self) -> str:
        """What Postfix had to say."""
        path = self.folder / "log" / "mail.log"
        return path.read_text() if path.exists() else "(no log)"


@contextmanager
def running_postfix(chain: Path) -> Iterator[Postfix]:
    """A Postfix that answers, with key and certificate from the PEM file `chain`."""
    folder = Path(tempfile.mkdtemp(prefix="mailagent-postfix-"))
    folder.chmod(0o755)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    postfix = Postfix(port, folder)
    try:
        _configure(postfix, chain)
        _postfix(folder, "start")
        try:
            _wait_for_banner(postfix)
            yield postfix
        finally:
            _postfix(folder, "stop")
    finally:
        shutil.rmtree(folder)


def _configure(postfix: Postfix, chain: Path) -> None:
    folder = postfix.folder
    for name in ("queue", "data", "mail", "log", "etc"):
        (folder / name).mkdir()
    shutil.chown(folder / "data", "postfix")
    shutil.chown(folder / "mail", 65534, 65534)
    shutil.copyfile(chain, folder / "chain.pem")
    (folder / "chain.pem").chmod(0o600)
    (folder / "mailboxes").write_text("@customer.example inbox/\n")
    (folder / "etc" / "main.cf").write_text(
        _SETTINGS.format(folder=folder)
        + "smtpd_recipient_restrictions = check_recipient_access inline:{"
        + "{nobody@customer.example = 550 5.1.1 no such mailbox}}, reject_unauth_destination\n"
    )
    (folder / "etc" / "master.cf").write_text(_SERVICES.format(port=postfix.port))


def _postfix(folder: Path, command: str) -> None:
    program = shutil.which("postfix", path="/usr/sbin:/sbin:/usr/local/sbin")
    assert program is not None
    done = subprocess.run(
        [program, "-c", str(folder / "etc"), command],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"postfix {command} failed:\n{done.stdout}{done.stderr}")


def _wait_for_banner(postfix: Postfix) -> None:
    deadline = monotonic() + 20
    while True:
        try:
            with socket.create_connection(("127.0.0.1", postfix.port), timeout=5) as connection:
                if connection.recv(3) == b"220":
                    return
        except OSError:
            pass
        if monotonic() > deadline:
            raise RuntimeError(f"Postfix does not answer:\n{postfix.log()}")
        sleep(0.02)

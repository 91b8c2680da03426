"""Does a rolling upgrade from an older version lose, double or refuse a mail?

    python -m bench.upgrade --from REVISION [--seconds N] [--report FOLDER]

Two nodes of the older version (any commit of this repository) run on one PostgreSQL behind a
balancer, writers send through it. Then the steps of docs/how-to/upgrade.md: this version migrates
under load, the old nodes go on for a while on the new tables, and one after the other is restarted
with this version. All that was acknowledged is looked for. Exit code 1 when a promise was broken.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tarfile
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import create_engine, update

from bench.node import ROOT, UNCAPPED, Node
from bench.smtp_targets import free_port
from mailagent.store import migrations
from mailagent.store.engine import driver_url
from mailagent.store.tables import workspaces
from tests.databases import PostgresServer
from tests.faults.evidence import Evidence, Verdict, judge
from tests.faults.peers import SinkProcess, Writers, aside
from tests.nodes.balancer import Balancer

_SETTLE_SECONDS = 120.0
_THREADS = 2
_PREPARE = (
    "import sys; from mailagent.store.migrations import upgrade; from bench.node import furnish;"
    " upgrade(sys.argv[1]); furnish(sys.argv[1])"
)


def older_tree(revision: str, folder: Path) -> Path:
    """The files of a commit, without its history."""
    archive = subprocess.run(
        ["git", "archive", "--format=tar", revision], cwd=ROOT, check=True, capture_output=True
    ).stdout
    tree = folder / "older"
    tree.mkdir()
    with tempfile.TemporaryFile() as file:
        file.write(archive)
        file.seek(0)
        with tarfile.open(fileobj=file) as tar:
            tar.extractall(tree, filter="data")
    return tree


def _lift_caps(url: str) -> None:
    """Those that the older version does not know, too: the run is longer than a day of replies."""
    engine = create_engine(driver_url(url))
    with engine.begin() as connection:
        connection.execute(update(workspaces).values(settings=dict(UNCAPPED)))
    engine.dispose()


class _Timeline:
    """What happened when, and how many mails had been acknowledged by then."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._begin = time.monotonic()
        self._last = 0

    def add(self, what: str, acknowledged: int) -> None:
        seconds = time.monotonic() - self._begin
        self.lines.append(f"| {seconds:.1f} s | {what} | {acknowledged - self._last} |")
        self._last = acknowledged
        print(self.lines[-1], flush=True)


def run(revision: str, folder: Path, seconds: float) -> tuple[list[str], Verdict, dict[int, int]]:
    """The timeline, what became of every mail, and the refusals by their SMTP code."""
    tree = older_tree(revision, folder)
    with ExitStack() as stack:
        server = PostgresServer()
        server.start()
        stack.callback(server.remove)
        subprocess.run([sys.executable, "-c", _PREPARE, server.url], cwd=tree, check=True)
        _lift_caps(server.url)
        sinks = [stack.enter_context(SinkProcess(folder / f"{n}.log")) for n in range(2)]
        nodes: list[Node] = []
        for number, sink in enumerate(sinks):
            home = folder / f"node-{number}"
            home.mkdir()
            node = Node(
                home,
                server.url,
                smtp_port=free_port(),
                relay_port=sink.port,
                settings={"MAILAGENT_PROXY_NETWORKS": "127.0.0.0/8"},
                tree=tree,
            )
            nodes.append(stack.enter_context(node))
        balancer = stack.enter_context(aside(Balancer([node.port for node in nodes])))
        timeline = _Timeline()
        with Writers(balancer.port, _THREADS) as writers:

            def then(what: str) -> None:
                time.sleep(seconds)
                timeline.add(what, len(writers.acknowledged))

            then(f"two nodes of {revision}")
            before = migrations.standing(server.url)
            migrations.upgrade(server.url)
            then(f"tables migrated from {before.at} to {before.needs}; the old nodes go on")
            for number, node in enumerate(nodes, 1):
                node.stop()
                node.tree = ROOT
                node.start()
                then(f"node {number} restarted with this version")
        evidence = Evidence(server.url)
        evidence.wait_until_settled(_SETTLE_SECONDS)
        taken = folder / "taken.log"
        taken.write_text("".join(sink.log.read_text() for sink in sinks if sink.log.exists()))
        verdict = judge(evidence, writers.acknowledged, taken)
        return timeline.lines, verdict, dict(writers.refusals)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--from", dest="revision", required=True, help="a commit to upgrade from")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each stage")
    parser.add_argument("--report", type=Path, help="a folder for the run as Markdown")
    chosen = parser.parse_args()
    head = ["| at | what | acknowledged since |", "|---|---|---|"]
    print("\n".join(head))
    with tempfile.TemporaryDirectory(prefix="bench-upgrade-") as name:
        lines, verdict, refusals = run(chosen.revision, Path(name), chosen.seconds)
    counts = verdict.counts
    found = [
        f"\n- {counts.acknowledged} mails acknowledged, {counts.answered} answered",
        f"- **{counts.lost} lost, {counts.doubled} doubled**, {counts.unknown} unknown",
        f"- told to come again: {refusals or 'none'} (421: the node stops, 451: it migrates)",
        *(f"- broken: {promise}" for promise in verdict.broken),
    ]
    print("\n".join(found))
    if chosen.report is not None:
        told = [
            f"# A rolling upgrade, {datetime.now(UTC):%d %B %Y}\n",
            f"`python -m bench.upgrade --from {chosen.revision}` repeats it.\n",
            *head,
            *lines,
            *found,
        ]
        file = chosen.report / f"{datetime.now(UTC):%Y-%m-%d}-rolling-upgrade.md"
        file.write_text("\n".join(told) + "\n")
    kept = not verdict.broken and set(refusals) <= {421, 451}
    raise SystemExit(0 if kept else 1)


if __name__ == "__main__":
    main()

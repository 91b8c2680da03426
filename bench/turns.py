"""How many turns a second does our part of a turn bear, and what does it add to the model's time?

    python -m bench.turns [--quick] [--wait SECONDS] [--database sqlite|postgresql] [--report FILE]

A model's server of ours answers at once, so what is left is our own: claim, case, prompt, SDK, each
answer and what it cost made durable, decision, frozen reply. The peer, in the same run, is the bare
anthropic SDK that puts the same questions to the same server and keeps nothing: the least that any
program pays for this conversation, so the ratio is the price of what we promise beyond it. Then
`bench.long_turns`: 200 turns in flight, of --wait seconds each (30). Loopback only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench import long_turns
from bench.long_turns import SlowModel
from bench.node import DOMAIN, ROOT, SECRET_KEY, furnish
from bench.report import Report
from mailagent.store.migrations import upgrade
from tests.databases import DATABASES, PostgresDatabases, PostgresServer
from tests.model_server import stream

AT_ONCE = 16
"""What one claim of the worker begins at the most."""
TURNS_AT_ONCE, TURNS_ALONE = 320, 80
QUICK_AT_ONCE, QUICK_ALONE = 160, 30
_LONGEST = 240
_HEADINGS = (
    "conversation",
    "at once",
    "turns/s, ours and SDK",
    "ratio",
    "p50 ms, ours and SDK",
    "added, p50",
    "p99 ms, ours",
    "CPU ms a turn, ours and SDK",
)
_DECISION = {
    "action": "reply",
    "text": "From nine to five.",
    "intent": "opening hours",
    "sentiment": "neutral",
    "urgency": "normal",
    "topics": ["opening hours"],
    "summary": "Asks when the shop is open on Monday.",
    "confidence": 0.9,
    "reasoning": "The document says so.",
}


def _streamed(name: str, given: Mapping[str, Any]) -> bytes:
    """One use of a tool as the service streams it."""
    usage = {"input_tokens": 1_200, "output_tokens": 1}
    head = {"id": "msg_01", "type": "message", "role": "assistant", "model": "claude-sonnet-5-5"}
    use = {"type": "tool_use", "id": f"toolu_{name}", "name": name, "input": {}}
    words = json.dumps(given)
    pieces = [words[start : start + 40] for start in range(0, len(words), 40)]
    return stream(
        {
            "type": "message_start",
            "message": {**head, "content": [], "stop_reason": None, "usage": usage},
        },
        {"type": "content_block_start", "index": 0, "content_block": use},
        *(
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "input_json_delta", "partial_json": piece},
            }
            for piece in pieces
        ),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use", "stop_sequence": None},
            "usage": {"output_tokens": 150},
        },
        {"type": "message_stop"},
    ).body


class QuickModel(SlowModel):
    """Streams its answer at once: a decision, where asked for after a look into the documents."""

    def __init__(self, *, looks_up: bool) -> None:
        super().__init__(0.0)
        self._looks_up = looks_up
        self._search = _framed(_streamed("search_documents", {"query": "opening hours Monday"}))
        self._decision = _framed(_streamed("decide", _DECISION))
        self.questions: dict[bool, Mapping[str, Any]] = {}
        """The last question of each kind, by whether it brought a tool's result."""

    async def _answer(self, body: str, writer: asyncio.StreamWriter) -> None:
        second = '"tool_result"' in body
        if second not in self.questions:
            self.questions[second] = json.loads(body)
        writer.write(self._search if self._looks_up and not second else self._decision)
        await writer.drain()


def _framed(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def _side(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """What one side measured, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.turn_sides", json.dumps(asked)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        timeout=_LONGEST,
        check=True,
    )
    told: Mapping[str, Any] = json.loads(done.stdout)
    if told.get("failed"):
        raise SystemExit(f"{told['failed']} turns did not end well")
    return told


def _pair(
    url: str, folder: Path, *, looks_up: bool, at_once: int, turns: int
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Ours, then the SDK with the questions that we asked."""
    upgrade(url)
    furnish(url, processor="claude")
    folder.mkdir()
    with QuickModel(looks_up=looks_up) as model:
        same = {"model": model.url, "at_once": at_once, "turns": turns}
        settings = {
            "MAILAGENT_DATA": str(folder),
            "MAILAGENT_SECRET_KEY": SECRET_KEY,
            "DATABASE_URL": url,
            "DEFAULT_EMAIL_DOMAIN": DOMAIN,
            "LLM_PROVIDER": "claude",
            "ANTHROPIC_API_KEY": "no-key-at-all",
            "ANTHROPIC_BASE_URL": model.url,
        }
        ours = _side({"side": "ours", "settings": settings, **same})
        asked = [model.questions[second] for second in sorted(model.questions)]
        # The helper says itself that it streams.
        questions = [{k: v for k, v in one.items() if k != "stream"} for one in asked]
        return ours, _side({"side": "sdk", "questions": questions, **same})


def measure(urls: Iterator[str], folder: Path, *, quick: bool) -> list[str]:
    """The table of one database kind; each line has a database of its own."""
    crowd, alone = (QUICK_AT_ONCE, QUICK_ALONE) if quick else (TURNS_AT_ONCE, TURNS_ALONE)
    lines = [f"| {' | '.join(_HEADINGS)} |", "|---" * len(_HEADINGS) + "|"]
    for looks_up in (False, True):
        for at_once, turns in ((1, alone), (AT_ONCE, crowd)):
            place = folder / f"{looks_up}-{at_once}"
            ours, sdk = _pair(next(urls), place, looks_up=looks_up, at_once=at_once, turns=turns)
            p50, peer50 = (statistics.median(one["seconds"]) * 1000 for one in (ours, sdk))
            p99 = statistics.quantiles(ours["seconds"], n=100)[98] * 1000
            cells = [
                "looks up, decides" if looks_up else "decides at once",
                f"{at_once}",
                f"{ours['rate']:.0f}, {sdk['rate']:.0f}",
                f"{ours['rate'] / sdk['rate']:.2f}",
                f"{p50:.1f}, {peer50:.1f}",
                f"{p50 - peer50:.1f} ms",
                f"{p99:.1f}",
                f"{ours['cpu_ms']:.1f}, {sdk['cpu_ms']:.1f}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


@contextmanager
def _databases(kind: str, folder: Path) -> Iterator[Iterator[str]]:
    """Addresses of empty databases of one kind."""
    with ExitStack() as stack:
        if kind == "sqlite":
            yield (f"sqlite:///{folder / f'{number}.db'}" for number in range(100))
            return
        server = PostgresServer()
        stack.callback(server.remove)
        server.start()
        databases = PostgresDatabases(server.url, upgrade)
        yield (stack.enter_context(databases.create_empty()) for _ in range(100))


def options(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="half of the turns")
    parser.add_argument("--wait", type=float, default=30.0, help="seconds of a long turn's answer")
    parser.add_argument("--no-long", action="store_true", help="without the long turns")
    parser.add_argument("--database", choices=DATABASES, action="append", help="default: both")
    parser.add_argument("--report", type=Path, help="write the tables there, as Markdown")
    return parser.parse_args(given)


def main() -> None:
    """The command."""
    chosen = options()
    with Report("Turns", "bench.turns", chosen.report) as report:
        for kind in chosen.database or DATABASES:
            with (
                tempfile.TemporaryDirectory(prefix="bench-turns-") as name,
                _databases(kind, Path(name)) as urls,
            ):
                report.add([f"## {kind}: a model that answers at once", ""])
                report.add(measure(urls, Path(name), quick=chosen.quick))
                if not chosen.no_long:
                    heading = f"## {kind}: {long_turns.TURNS} turns of {chosen.wait:g} s in flight"
                    report.add([heading, "", "| | | |", "|---|---|---|"])
                    both = [next(urls), next(urls)]
                    report.add(long_turns.measure(both, Path(name), chosen.wait))


if __name__ == "__main__":
    main()

"""An MCP server of protocol 2025-06-18 over stdio, which tells in a call that its tools changed.

`python -m tests.mcp_old_server`; writes a line into the file `LISTED` each time it lists its tools.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

__all__ = ["main"]

_INFO = {
    "protocolVersion": "2025-06-18",
    "capabilities": {"tools": {"listChanged": True}},
    "serverInfo": {"name": "old", "version": "1"},
}
_TOOL = {"name": "learn", "description": "Learn.", "inputSchema": {"type": "object"}}


def _say(**message: Any) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Answer until standard input ends."""
    for line in sys.stdin:
        asked = json.loads(line)
        if "id" not in asked:
            continue
        match asked["method"]:
            case "initialize":
                _say(id=asked["id"], result=_INFO)
            case "tools/list":
                with Path(os.environ["LISTED"]).open("a") as log:
                    log.write("listed\n")
                _say(id=asked["id"], result={"tools": [_TOOL]})
            case "tools/call":
                _say(method="notifications/tools/list_changed")
                _say(id=asked["id"], result={"content": [{"type": "text", "text": "Learned."}]})
            case _:
                _say(id=asked["id"], error={"code": -32601, "message": "Method not found"})


if __name__ == "__main__":
    main()

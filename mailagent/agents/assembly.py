"""Which message do the events of a stream make? The same JSON as an answer in one piece.

Source: platform.claude.com "Streaming messages" (read November 2026). Blocks and fields that we do
not know are kept as they came; a change to a block that we do not know makes the stream useless,
because the block could not go back unchanged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mailagent.errors import Malformed

__all__ = ["Assembly"]

_ADDED = {"text_delta": "text", "thinking_delta": "thinking"}
_MOST_BLOCKS = 200


class Assembly:
    """One message that is being streamed."""

    def __init__(self) -> None:
        self._message: dict[str, Any] | None = None
        self._inputs: dict[int, list[str]] = {}
        self._ended = False

    def add(self, event: Mapping[str, Any]) -> None:
        """Take the next event. Raises Malformed when it cannot follow what was before."""
        match event.get("type"):
            case "message_start" if isinstance(event.get("message"), Mapping):
                self._message = {**event["message"], "content": []}
            case "content_block_start" if isinstance(event.get("content_block"), Mapping):
                content = self._content()
                if event.get("index") != len(content) or len(content) >= _MOST_BLOCKS:
                    raise Malformed("answer", "has blocks out of order")
                content.append(dict(event["content_block"]))
            case "content_block_delta" if isinstance(event.get("delta"), Mapping):
                self._change(event.get("index"), event["delta"])
            case "content_block_stop":
                self._close(event.get("index"))
            case "message_delta":
                message = self._whole()
                message |= dict(event.get("delta") or {})
                told = {k: v for k, v in (event.get("usage") or {}).items() if v is not None}
                message["usage"] = {**(message.get("usage") or {}), **told}
            case "message_stop":
                self._ended = True
            case _:
                pass  # `ping`, and what is added later: a stream may hold events we do not know

    def message(self) -> Mapping[str, Any]:
        """The message, once it has ended. Raises Malformed before."""
        if not self._ended:
            raise Malformed("answer", "ended before it was whole")
        return self._whole()

    def _whole(self) -> dict[str, Any]:
        if self._message is None:
            raise Malformed("answer", "does not begin with its head")
        return self._message

    def _content(self) -> list[dict[str, Any]]:
        content: list[dict[str, Any]] = self._whole()["content"]
        return content

    def _block(self, index: object) -> dict[str, Any]:
        content = self._content()
        if not isinstance(index, int) or not 0 <= index < len(content):
            raise Malformed("answer", "changes a block that is not there")
        return content[index]

    def _change(self, index: object, delta: Mapping[str, Any]) -> None:
        block = self._block(index)
        assert isinstance(index, int)
        match delta.get("type"):
            case "text_delta" | "thinking_delta" as kind:
                name = _ADDED[kind]
                block[name] = str(block.get(name) or "") + str(delta.get(name) or "")
            case "input_json_delta":
                self._inputs.setdefault(index, []).append(str(delta.get("partial_json") or ""))
            case "signature_delta":
                block["signature"] = delta.get("signature")
            case "citations_delta":
                block["citations"] = [*(block.get("citations") or ()), delta.get("citation")]
            case other:
                raise Malformed("answer", f"changes a block by {other!r}")

    def _close(self, index: object) -> None:
        block = self._block(index)
        assert isinstance(index, int)
        written = "".join(self._inputs.pop(index, ()))
        if written:
            try:
                block["input"] = json.loads(written)
            except (ValueError, RecursionError) as error:
                raise Malformed("answer", "asks for a tool with broken JSON") from error

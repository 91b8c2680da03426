"""How does foreign text stand in a prompt, so that it can end nothing and begin nothing?"""

from __future__ import annotations

import json

from mailagent.agents.turn import JsonValue

__all__ = ["data_block"]


def data_block(name: str, value: JsonValue) -> str:
    """Foreign text as data inside a prompt: JSON between tags that cannot occur in it.

    A string inside JSON cannot end its quotes, and without `<` no tag can be opened or closed.
    """
    encoded = json.dumps(value, ensure_ascii=False, indent=1)
    return f"<{name}>\n{encoded.replace('<', chr(92) + 'u003c')}\n</{name}>"

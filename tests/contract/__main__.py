"""Print the contract's sentences, each with the providers that it is tried on."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path

import pytest

_FOLDER = Path(__file__).parent


class _Sentences:
    """Collects what pytest finds, by sentence."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, list[str]]] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            name, _, given = item.name.partition("[")
            of = self.found.setdefault(item.path.stem.removeprefix("test_"), {})
            sentence = name.removeprefix("test_").replace("_", " ")
            of.setdefault(sentence, []).extend(filter(None, [given.removesuffix("]")]))


def main() -> int:
    sentences, said = _Sentences(), io.StringIO()
    with contextlib.redirect_stdout(said):
        code = pytest.main(["--collect-only", "-q", str(_FOLDER)], plugins=[sentences])
    if code != pytest.ExitCode.OK:
        print(said.getvalue())
    for part, of in sorted(sentences.found.items()):
        print(f"\n{part}")
        for sentence, tried in of.items():
            print(f"  {sentence}" + (f"  [{', '.join(tried)}]" if tried else ""))
    return int(code)


if __name__ == "__main__":
    sys.exit(main())

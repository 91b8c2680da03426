"""What a process says of itself: events with fields, and never what a variable held."""

from __future__ import annotations

import subprocess
import sys

_FAILS = """
import structlog
from backend import logs
logs.configure()
def use(key):
    raise RuntimeError("it broke")
try:
    use("ma_the-secret-key")
except RuntimeError:
    structlog.get_logger().exception("api.failed", mail_id="dlv_1")
"""


def test_a_traceback_is_logged_without_the_values_of_variables() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FAILS], capture_output=True, text=True, check=True
    )
    assert "it broke" in done.stderr
    assert "dlv_1" in done.stderr
    assert "the-secret-key" not in done.stderr.replace('use("ma_the-secret-key")', "")

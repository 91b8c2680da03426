"""A test that did not run is never taken for one that passed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def _run(folder: Path, *, ci: bool) -> subprocess.CompletedProcess[str]:
    (folder / "test_one.py").write_text(
        "import pytest\n"
        "@pytest.mark.service('no-such-program')\n"
        "def test_a_service(): ...\n"
        "def test_another(): ...\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    environment |= {"CI": "true"} if ci else {}
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml")),
            *("-p", "tests.conftest", "-p", "no:cacheprovider", str(folder)),
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_missing_service_is_a_printed_skip(tmp_path: Path) -> None:
    done = _run(tmp_path, ci=False)
    assert done.returncode == 0
    assert "no-such-program is not installed: sh scripts/services.sh" in done.stdout
    assert "1 passed, 1 skipped" in done.stdout


def test_in_ci_a_skip_fails_the_run(tmp_path: Path) -> None:
    done = _run(tmp_path, ci=True)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "skipped tests fail this run" in done.stdout

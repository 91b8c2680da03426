"""The image of deploy/Dockerfile, built once for each test process that asks for it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.deploy.dockerfile import Image, build, parse

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Its steps, done in an empty folder with the packages that this machine has fetched."""
    found = subprocess.run(
        ["sh", "scripts/bootstrap.sh", "uv"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    uv = str((ROOT / found.stdout.strip()).absolute())
    instructions = parse((ROOT / "deploy" / "Dockerfile").read_text())
    return build(instructions, ROOT, tmp_path_factory.mktemp("image"), uv)

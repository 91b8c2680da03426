"""The compose files: each name, port, path and command in them is one that mailagent knows."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from dotenv import dotenv_values

from backend.app import PARTS
from backend.running import parts_named
from mailagent.errors import Misconfigured
from mailagent.settings import Settings
from mailagent.settings import load as load_settings
from tests.deploy.command_lines import complaint
from tests.deploy.compose import Missing, Service, load, services, variables

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
BASE, ONE_MACHINE, SEVERAL_NODES = (
    DEPLOY / f"docker-compose{kind}.yml" for kind in ("", ".one-machine", ".several-nodes")
)
KINDS = {
    "base": (BASE,),
    "one machine": (BASE, ONE_MACHINE),
    "several nodes": (BASE, SEVERAL_NODES),
    "with dns": (BASE,),
    "one machine with dns": (BASE, ONE_MACHINE),
}
FILLED = {
    "DEFAULT_EMAIL_DOMAIN": "agents.example",
    "MAILAGENT_HOSTNAME": "mx.agents.example",
    "NODE_ADDRESS": "10.0.0.11",
}
EXAMPLE = (DEPLOY / ".env.example").read_text()
NAMES = re.findall(r"^#?([A-Z0-9_]+)=", EXAMPLE, re.M)
SETTINGS = {name.upper() for name in Settings.model_fields}
# Which settings are the ports of which part.
PORTS_OF = {
    "smtp": ("MAILAGENT_SMTP_PORT", "MAILAGENT_SUBMISSION_PORT"),
    "webhooks": ("MAILAGENT_PORT",),
    "backend": ("BACKEND_PORT",),
    "worker": (),
}


def _services(kind: str) -> dict[str, Service]:
    profiles = ["dns"] if kind.endswith("dns") else []
    return services(load(*KINDS[kind]), FILLED, profiles)


def _ours(kind: str) -> list[Service]:
    return [one for one in _services(kind).values() if one.ours]


def _setting(name: str) -> str:
    return name.removesuffix("_FILE")


def _parts(service: Service) -> tuple[str, ...]:
    assert service.command[0] == "serve"
    named = service.command[service.command.index("--only") + 1]
    return parts_named(named)


def _listens(service: Service) -> set[int]:
    if service.command[:2] == ["dns", "serve"]:
        return {int(service.command[service.command.index("--port") + 1])}
    names = [name for part in _parts(service) for name in PORTS_OF[part]]
    return {int(service.environment[name]) for name in names}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def test_the_example_has_every_setting_once() -> None:
    assert sorted(set(NAMES)) == sorted(NAMES)
    assert SETTINGS - {_setting(name) for name in NAMES} == set(), "a line in deploy/.env.example"


def test_what_the_example_has_beside_settings_is_what_compose_takes_from_it() -> None:
    asked: set[str] = set()
    for files in KINDS.values():
        asked |= variables(load(*files))
    compose_alone = {name for name in NAMES if _setting(name) not in SETTINGS}
    assert compose_alone == (asked - SETTINGS) | {"COMPOSE_FILE", "COMPOSE_PROFILES"}
    assert asked <= {*NAMES}


def test_a_setting_in_a_file_is_one_that_may_stand_in_a_file(kind: str, tmp_path: Path) -> None:
    named = {*NAMES, *(name for one in _ours(kind) for name in one.environment)}
    files = {name for name in named if name.endswith("_FILE")} - {"COMPOSE_FILE"}
    assert len(files) > 5
    for name in sorted(files):
        with pytest.raises(Misconfigured, match=f"^{name}: cannot be read"):
            load_settings({name: str(tmp_path / "absent")}, env_file=None)


def test_every_variable_of_a_service_is_a_setting(kind: str) -> None:
    for service in _ours(kind):
        assert {_setting(name) for name in service.environment} <= SETTINGS
        given = {name: value for name, value in service.environment.items() if "_FILE" not in name}
        load_settings(given, env_file=None)


def test_nothing_starts_with_the_example_as_it_is() -> None:
    example = {name: value or "" for name, value in dotenv_values(DEPLOY / ".env.example").items()}
    for files in KINDS.values():
        with pytest.raises(Missing):
            services(load(*files), example)
    with pytest.raises(Misconfigured, match="MAILAGENT_SECRET_KEY"):
        load_settings(example, env_file=None).secret_keys()


def test_the_services_ports_and_names_are_those_of_the_guide() -> None:
    found = _services("base")
    assert {"postgres", "backend", "mailagent", "worker", "proxy"} <= found.keys()
    assert found["backend"].what["container_name"] == "aexy-backend"
    assert found["mailagent"].what["container_name"] == "aexy-mailagent"
    published = {port for one in found.values() for port in one.published}
    assert published == {25, 80, 443, 587}


def test_together_the_services_run_each_part(kind: str) -> None:
    serving = [one for one in _ours(kind) if one.command[0] == "serve"]
    assert {part for one in serving for part in _parts(one)} == set(PARTS)


def test_every_command_is_one_that_the_command_line_takes(kind: str) -> None:
    for service in _ours(kind):
        assert complaint(service.command) is None, service.name


def test_a_published_port_has_somebody_behind_it(kind: str) -> None:
    for service in _ours(kind):
        inner = set(service.published.values())
        assert not inner or inner <= _listens(service)


def test_a_healthcheck_asks_a_port_on_which_its_service_listens(kind: str) -> None:
    for service in _ours(kind):
        check = service.what.get("healthcheck")
        match check:
            case None:  # the image's own: tests/deploy/test_image.py
                assert 8001 in _listens(service)
            case {"disable": True}:
                assert service.name == "migrate"
            case {"test": ["CMD", "python", "healthcheck.py", port, *kind_of]}:
                assert int(port) in _listens(service)
                assert kind_of == (["dns"] if service.name == "dns" else [])
            case _:
                raise AssertionError(f"{service.name}: {check}")


def test_each_path_lies_on_a_mount_of_its_service(kind: str) -> None:
    for service in _ours(kind):
        targets = tuple(one.split(":")[1] for one in service.what["volumes"])
        paths = [value for value in service.environment.values() if value.startswith("/")]
        assert len(paths) >= 4
        assert [one for one in paths if not one.startswith(targets)] == []


def test_each_mount_is_a_volume_of_the_file_or_a_path_beside_it(kind: str) -> None:
    merged = load(*KINDS[kind])
    for service in _services(kind).values():
        for mount in service.what["volumes"]:
            source = mount.split(":")[0]
            if not source.startswith("./secrets") and source != "./certificates":
                assert source in merged["volumes"] or (DEPLOY / source).is_file(), mount


def test_the_proxy_s_certificate_is_where_the_smtp_door_looks_for_it() -> None:
    found = _services("base")
    shared = {one.split(":")[0]: one.split(":")[1] for one in found["mailagent"].what["volumes"]}
    proxy = {one.split(":")[0]: one.split(":")[1] for one in found["proxy"].what["volumes"]}
    assert shared["certificates"] == proxy["certificates"] == "/certificates"
    (issuer,) = re.findall(r"dir https://(\S+)", (DEPLOY / "proxy" / "Caddyfile").read_text())
    # How Caddy names the folder of an issuer and the files in it.
    folder = f"{found['proxy'].environment['XDG_DATA_HOME']}/caddy/certificates/"
    folder += f"{issuer.replace('/', '-')}/mx.agents.example"
    environment = found["mailagent"].environment
    assert environment["MAILAGENT_TLS_CERT"] == f"{folder}/mx.agents.example.crt"
    assert environment["MAILAGENT_TLS_KEY"] == f"{folder}/mx.agents.example.key"
    assert found["proxy"].what["user"] == "10001:10001"


def test_the_proxy_s_upstreams_are_services_that_listen_there() -> None:
    found = _services("base")
    for name in ("BACKEND", "MAILAGENT"):
        service, port = found["proxy"].environment[name].split(":")
        assert int(port) in _listens(found[service])
    caddyfile = (DEPLOY / "proxy" / "Caddyfile").read_text()
    assert set(re.findall(r"\{\$([A-Z_]+)\}", caddyfile)) <= found["proxy"].environment.keys()


def test_nsd_and_its_primary_know_each_other() -> None:
    found = _services("with dns")
    primary, nsd = found["dns"], found["nsd"]
    (network,) = nsd.what["networks"]
    places = [one.what["networks"][network]["ipv4_address"] for one in (primary, nsd)]
    assert primary.command[-1] == primary.environment["MAILAGENT_DNS_PORT"]
    assert nsd.environment["DNS_PRIMARY"] == f"{places[0]}@{primary.command[-1]}"
    _, port = nsd.environment["DNS_LISTEN"].split("@")
    settings = load_settings(
        {"MAILAGENT_DNS_SECONDARIES": primary.environment["MAILAGENT_DNS_SECONDARIES"]}
    )
    assert settings.dns_secondaries == ((places[1], int(port)),)
    assert nsd.published == {53: int(port)}
    assert primary.published == {}
    assert "default" in primary.what["networks"], "the way to the database"
    assert nsd.environment["DNS_TSIG_FILE"] == primary.environment["MAILAGENT_DNS_TSIG_FILE"]
    script = (DEPLOY / "nsd" / "nsd.sh").read_text()
    assert set(re.findall(r"DNS_[A-Z_]+", script)) == nsd.environment.keys()


def test_everything_restarts_rotates_its_log_and_gets_the_time_to_finish(kind: str) -> None:
    for service in _services(kind).values():
        what = service.what
        assert what["restart"] == ("no" if service.name == "migrate" else "unless-stopped")
        assert what["logging"]["options"] == {"max-size": "10m", "max-file": "5"}
        if service.ours:
            assert what["stop_grace_period"] == "30s"
            assert (what["read_only"], what["cap_drop"]) == (True, ["ALL"])
            assert what["security_opt"] == ["no-new-privileges:true"]


def test_migrations_run_once_before_the_others(kind: str) -> None:
    found = _services(kind)
    assert found["migrate"].command == ["migrate"]
    for service in _ours(kind):
        awaited = service.what["depends_on"]
        assert set(awaited) <= found.keys()
        if service.name != "migrate":
            assert awaited["migrate"] == {"condition": "service_completed_successfully"}
    if kind == "base":
        assert found["migrate"].what["depends_on"]["postgres"] == {"condition": "service_healthy"}


def test_one_machine_has_no_database_server_and_several_nodes_have_it_elsewhere() -> None:
    for service in _ours("one machine with dns"):
        no_files = {name: "" for name in service.environment if name.endswith("_FILE")}
        settings = load_settings(service.environment | no_files)
        assert settings.database == "sqlite:////data/mailagent.db"
    for kind in ("one machine", "one machine with dns", "several nodes"):
        assert "postgres" not in _services(kind)
    assert "proxy" not in _services("several nodes")


def test_images_of_others_are_official_ones() -> None:
    images = {one.what["image"].split(":")[0] for one in _services("base").values()}
    assert images == {"mailagent", "postgres", "caddy"}


def test_the_secrets_script_makes_what_the_files_name_and_keeps_what_is_there(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "secrets"
    first, made = _secrets_made(folder), _secrets_made(folder)
    assert made == first
    assert {oct(one.stat().st_mode & 0o777) for one in folder.iterdir()} == {"0o600"}
    named = {
        Path(value).name
        for service in _services("with dns").values()
        for name, value in service.environment.items()
        if name.endswith("_FILE")
    }
    assert made.keys() == named
    files = {
        "DATABASE_URL": "database_url",
        "MAILAGENT_SECRET_KEY": "secret_key",
        "MAILAGENT_DNS_TSIG": "dns_tsig",
    }
    settings = load_settings(
        {f"{name}_FILE": str(folder / file) for name, file in files.items()}, env_file=None
    )
    assert settings.secret_keys() == (made["secret_key"],)
    assert settings.database == (
        f"postgresql://mailagent:{made['postgres_password']}@postgres:5432/mailagent"
    )


def _secrets_made(folder: Path) -> dict[str, str]:
    script = str(DEPLOY / "make-secrets.sh")
    subprocess.run(["sh", script, str(folder)], capture_output=True, check=True)
    return {one.name: one.read_text() for one in folder.iterdir()}

"""A wrong setting ends the start with one sentence that names the variable and the mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailagent.errors import Misconfigured
from mailagent.settings import Settings, load

_KEY = "k" * 40


def loaded(**environ: str) -> Settings:
    return load(environ, env_file=None)


def test_nothing_set_is_a_working_installation_but_for_its_key() -> None:
    settings = loaded()
    assert settings.database.startswith("sqlite:///")
    assert settings.database.endswith("/var/mailagent.db")
    assert (settings.default_email_domain, settings.processor) == ("aexy.email", "builtin")
    assert (settings.mailagent_smtp_port, settings.mailagent_port) == (2525, 8001)
    with pytest.raises(Misconfigured, match=r"^MAILAGENT_SECRET_KEY: is not set: make one with"):
        settings.secret_keys()


def test_a_short_key_is_refused_with_the_command_that_makes_one() -> None:
    with pytest.raises(Misconfigured, match="has 5 characters, 32 are the least: make one with"):
        loaded(MAILAGENT_SECRET_KEY="abcde").secret_keys()


def test_several_keys_stand_between_commas_or_on_lines_the_newest_first(tmp_path: Path) -> None:
    older = "o" * 40
    assert loaded(MAILAGENT_SECRET_KEY=f"{_KEY}, {older}").secret_keys() == (_KEY, older)
    (tmp_path / "keys").write_text(f"{_KEY}\n{older}\n")
    in_file = loaded(MAILAGENT_SECRET_KEY_FILE=str(tmp_path / "keys"))
    assert in_file.secret_keys() == (_KEY, older)
    with pytest.raises(Misconfigured, match="key 2 of 2 has 5 characters"):
        loaded(MAILAGENT_SECRET_KEY=f"{_KEY},short").secret_keys()


@pytest.mark.parametrize(
    ("name", "value", "mend"),
    [
        ("MAILAGENT_PORT", "http", "integer"),
        ("MAILAGENT_SMTP_PORT", "70000", "65535"),
        ("BACKEND_PORT", "-1", "0"),
        ("DATABASE_URL", "mysql://x/y", "must begin with sqlite:/// or postgresql://"),
        ("SMTP_RELAY_URL", "relay.example:25", "smtp://user:password@host:587"),
        ("DEFAULT_EMAIL_DOMAIN", "not a domain", "write it like aexy.email"),
        ("DEFAULT_EMAIL_DOMAIN", "münchen.example", "write it like aexy.email"),
        ("MAILAGENT_HOSTNAME", "mx..example", "write it like aexy.email"),
        ("LLM_PROVIDER", "gpt", "'claude' or 'builtin'"),
        ("MAILGUN_REGION", "asia", "'us' or 'eu'"),
        ("MAILAGENT_PROXY_NETWORKS", "10.0.0.0/24, 10.0.0.1/8", "write it like 10.0.0.0/24"),
        ("MAILAGENT_ARC_SEALERS", "lists.example, .", "write it like aexy.email"),
        ("MAILAGENT_DNSBL", "https://zen.example.org", "write it like aexy.email"),
        ("MAILAGENT_RSPAMD_URL", "127.0.0.1:11333", "http://127.0.0.1:11333"),
        ("MAILAGENT_RSPAMD_URL", "http://[::1", "http://127.0.0.1:11333"),
        ("MAILAGENT_RSPAMD_AWAY", "bounce", "'accept' or 'wait'"),
        ("MAILAGENT_PUBLIC_IPS", "192.0.2.25, mx.example", "'mx.example' is no address"),
        ("MAILAGENT_DNS_NAME_SERVERS", "ns1.example=ns", "'ns' is no address"),
        ("MAILAGENT_DNS_NAME_SERVERS", "ns_1.example", "write it like aexy.email"),
        ("MAILAGENT_DNS_SECONDARIES", "ns1.example", "192.0.2.53 or 192.0.2.53:5300"),
        ("MAILAGENT_DNS_SECONDARIES", "192.0.2.53:70000", "192.0.2.53 or 192.0.2.53:5300"),
        ("MAILAGENT_DNS_TSIG", "mailagent:c2VjcmV0", "hmac-sha256:name:secret"),
        ("MAILAGENT_DNS_TSIG", "hmac-md5:mailagent:" + "A" * 44, "hmac-sha256:name:secret"),
        ("MAILAGENT_RAW_STORE", "bucket", "must look like s3://bucket/prefix"),
    ],
)
def test_a_wrong_value_names_the_variable_and_the_mend(name: str, value: str, mend: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        loaded(**{name: value})
    assert str(refused.value).startswith(f"{name}: ")
    assert mend in str(refused.value)
    assert "\n" not in str(refused.value)
    assert refused.value.setting == name


def test_the_servers_of_our_zone_have_addresses_and_ports() -> None:
    given = loaded(
        MAILAGENT_DNS_NAME_SERVERS=(
            "NS1.a.example=192.0.2.53, ns1.a.example=2001:db8::53 ns2.b.example."
        ),
        MAILAGENT_DNS_SECONDARIES="192.0.2.53 192.0.2.54:5300, 2001:db8::53 [2001:db8::54]:5300",
    )
    assert given.dns_name_servers == {
        "ns1.a.example": ("192.0.2.53", "2001:db8::53"),
        "ns2.b.example": (),
    }
    assert given.dns_secondaries == (
        ("192.0.2.53", 53),
        ("192.0.2.54", 5300),
        ("2001:db8::53", 53),
        ("2001:db8::54", 5300),
    )


def test_networks_stand_between_commas_or_spaces() -> None:
    found = loaded(MAILAGENT_PROXY_NETWORKS="10.0.0.0/24, 192.0.2.7 2001:db8::/32").proxy_networks
    assert [str(one) for one in found] == ["10.0.0.0/24", "192.0.2.7/32", "2001:db8::/32"]
    assert loaded().proxy_networks == ()


@pytest.mark.parametrize("value", ["changeme", "CHANGEME-NOW", "your-key-here", "<secret>", "xxxx"])
def test_a_placeholder_is_no_secret(value: str) -> None:
    with pytest.raises(Misconfigured, match="ANTHROPIC_API_KEY: still holds a placeholder"):
        loaded(ANTHROPIC_API_KEY=value)


def test_an_empty_value_counts_as_not_set() -> None:
    settings = loaded(MAILAGENT_PORT="", DATABASE_URL="", ANTHROPIC_API_KEY="")
    assert settings == loaded()


def test_a_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{_KEY}\n")
    assert loaded(MAILAGENT_SECRET_KEY_FILE=str(tmp_path / "key")).secret_keys() == (_KEY,)


def test_the_address_of_the_database_may_stand_in_a_file_for_its_password(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://mailagent:pass@db/mailagent\n")
    found = loaded(DATABASE_URL_FILE=str(tmp_path / "url"))
    assert found.database == "postgresql://mailagent:pass@db/mailagent"


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b" \n"])
def test_a_secret_file_that_says_nothing_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(Misconfigured, match=r"^MAILAGENT_SECRET_KEY_FILE: "):
        loaded(MAILAGENT_SECRET_KEY_FILE=str(tmp_path / "key"))


def test_only_secrets_may_stand_in_files(tmp_path: Path) -> None:
    (tmp_path / "port").write_text("99")
    assert loaded(MAILAGENT_PORT_FILE=str(tmp_path / "port")).mailagent_port == 8001


def test_the_environment_wins_over_the_file_of_settings(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "MAILAGENT_PORT=9001\nBACKEND_PORT=9000\nMAILAGENT_SECRET_KEY=a${b}c\nDATABASE_URL=\n"
    )
    settings = load({"MAILAGENT_PORT": "7001", "BACKEND_PORT": ""}, env_file=tmp_path / ".env")
    assert (settings.mailagent_port, settings.backend_port) == (7001, 9000)
    assert settings.mailagent_secret_key is not None
    assert settings.mailagent_secret_key.get_secret_value() == "a${b}c"


def test_a_file_of_settings_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"MAILAGENT_PORT=\xff\xfe")
    with pytest.raises(Misconfigured, match=r"\.env: cannot be read"):
        load({}, env_file=tmp_path / ".env")


def test_no_secret_is_printed() -> None:
    settings = loaded(
        MAILAGENT_SECRET_KEY=_KEY,
        ANTHROPIC_API_KEY=_KEY,
        SMTP_RELAY_URL=f"smtp://u:{_KEY}@relay.example",
    )
    assert _KEY not in repr(settings)
    assert _KEY not in str(settings)


def test_a_key_of_the_model_chooses_the_model_unless_told_otherwise() -> None:
    assert loaded(ANTHROPIC_API_KEY=_KEY).processor == "claude"
    assert loaded(ANTHROPIC_API_KEY=_KEY, LLM_PROVIDER="builtin").processor == "builtin"


def test_names_are_kept_in_the_form_they_are_compared_in() -> None:
    settings = loaded(DEFAULT_EMAIL_DOMAIN=" Mail.Example. ", MAILAGENT_HOSTNAME="MX.Example")
    assert (settings.default_email_domain, settings.mailagent_hostname) == (
        "mail.example",
        "mx.example",
    )

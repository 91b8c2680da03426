"""Which settings does an installation have, and is every one of them usable?

`load` reads the environment (and `.env`) once at start into one frozen value; nothing else in the
project reads the environment. The names are fixed by docs/reference/settings.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from mailagent.errors import Misconfigured

__all__ = ["Settings", "load"]

_MAKE_KEY = "make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"
_SHORTEST_KEY = 32
_ALSO_FROM_FILES = frozenset({"DATABASE_URL"})
"""Shown in part and therefore no SecretStr, but with a password in it."""
_RAW_STORE = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9!_.*'()/-]{0,100})?")
_PLACEHOLDERS = ("changeme", "change-me", "your-", "secret-here", "xxxx", "placeholder", "<")
_TSIG = re.compile(r"hmac-sha(?:256|384|512):[A-Za-z0-9_.-]{1,200}:[A-Za-z0-9+/]{20,}={0,2}")
"""As `dig -y` takes it."""

Port = Annotated[int, Field(ge=0, le=65535)]
Days = Annotated[int, Field(ge=0, le=36_500)]
Most = Annotated[int, Field(ge=0, le=10_000)]


class Settings(BaseModel):
    """Every setting, by its environment variable's name in lower case. Secrets never print."""

    model_config = ConfigDict(frozen=True, extra="ignore", str_strip_whitespace=True)

    mailagent_host: str = "0.0.0.0"  # noqa: S104 - a mail server listens to the world; --demo does not
    mailagent_port: Port = 8001
    mailagent_smtp_port: Port = 2525
    mailagent_submission_port: Port = 1587
    mailagent_submissions_port: Port | None = None
    backend_port: Port = 8000
    mailagent_data: Path = Path("var")
    mailagent_secret_key: SecretStr | None = None
    database_url: str = ""
    aexy_api_url: str = ""
    aexy_api_key: SecretStr | None = None
    default_email_domain: str = "aexy.email"
    mailagent_slug_alias_days: Days = 90
    mailagent_slug_blocked_days: Days = 365
    mailagent_url: str = "http://127.0.0.1:8001"
    public_url: str = "http://127.0.0.1:8000"
    webhook_public_url: str = ""
    default_email_provider: str = ""
    email_provider_type: str = ""
    aws_access_key_id: str = ""
    aws_secret_access_key: SecretStr | None = None
    aws_region: str = ""
    aws_ses_region: str = ""
    inbound_webhook_secret: SecretStr | None = None
    sendgrid_api_key: SecretStr | None = None
    sendgrid_webhook_public_key: str = ""
    mailgun_api_key: SecretStr | None = None
    mailgun_region: Literal["", "us", "eu"] = ""
    mailgun_webhook_signing_key: SecretStr | None = None
    mailgun_domain: str = ""
    mailgun_tags: str = ""
    mailgun_base_url: str = ""
    postmark_server_token: SecretStr | None = None
    postmark_account_token: SecretStr | None = None
    postmark_webhook_user: str = ""
    postmark_webhook_password: SecretStr | None = None
    mailagent_open_webhooks: str = ""
    ses_sns_topic_arns: str = ""
    ses_s3_buckets: str = ""
    ses_configuration_set: str = ""
    ses_email_tags: str = ""
    ses_base_url: str = ""
    aws_endpoint_url_s3: str = ""
    route53_base_url: str = ""
    cloudflare_base_url: str = ""
    smtp_relay_url: SecretStr | None = None
    llm_provider: Literal["", "claude", "builtin"] = ""
    anthropic_api_key: SecretStr | None = None
    anthropic_base_url: str = ""
    anthropic_model: str = ""
    anthropic_price: str = ""
    mailagent_internal_hosts: str = ""
    mailagent_mcp_servers: str = ""
    mailagent_hostname: str = "localhost"
    mailagent_public_ips: str = ""
    mailagent_tls_cert: Path | None = None
    mailagent_tls_key: Path | None = None
    mailagent_proxy_networks: str = ""
    mailagent_dns_port: Port = 5353
    mailagent_dns_name_servers: str = ""
    mailagent_dns_secondaries: str = ""
    mailagent_dns_mx: str = ""
    mailagent_dns_tsig: SecretStr | None = None
    mailagent_resolver: str = ""
    mailagent_raw_store: str = ""
    mailagent_warm_up_days: Literal["0", "7", "14", "21"] = "0"
    mailagent_domains_per_group: Most = 5
    mailagent_senders_per_domain: Most = 10
    mailagent_routes_per_domain: Most = 10
    mailagent_routes_to_loopback: bool = False
    mailagent_log_level: Literal["debug", "info", "warning"] = "info"
    otel_exporter_otlp_endpoint: str = ""
    mailagent_arc_sealers: str = ""
    mailagent_dnsbl: str = ""
    mailagent_rspamd_url: str = ""
    mailagent_rspamd_password: SecretStr | None = None
    mailagent_rspamd_away: Literal["accept", "wait"] = "accept"

    @field_validator("default_email_domain", "mailagent_hostname")
    @classmethod
    def _domain(cls, value: str) -> str:
        name = value.rstrip(".").lower()
        labels = name.split(".")
        if not name or len(name) > 253 or any(not 0 < len(label) <= 63 for label in labels):
            raise ValueError("is not a domain name: write it like aexy.email")
        if not all(label.replace("-", "").isalnum() and label.isascii() for label in labels):
            raise ValueError("is not a domain name in ASCII: write it like aexy.email")
        return name

    @field_validator("database_url")
    @classmethod
    def _database(cls, value: str) -> str:
        if value and not value.startswith(("sqlite:///", "postgresql://", "postgres://")):
            raise ValueError("must begin with sqlite:/// or postgresql://")
        return value

    @field_validator("smtp_relay_url")
    @classmethod
    def _relay(cls, value: SecretStr | None) -> SecretStr | None:
        if value and not value.get_secret_value().startswith(("smtp://", "smtps://")):
            raise ValueError("must look like smtp://user:password@host:587")
        return value

    @field_validator("mailagent_rspamd_url")
    @classmethod
    def _web_address(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            usable = False
        if value and not usable:
            raise ValueError("is no address: write it like http://127.0.0.1:11333")
        return value

    @field_validator("mailagent_raw_store")
    @classmethod
    def _raw_store(cls, value: str) -> str:
        if value and not _RAW_STORE.fullmatch(value):
            raise ValueError("must look like s3://bucket/prefix")
        return value

    @field_validator("mailagent_proxy_networks")
    @classmethod
    def _networks(cls, value: str) -> str:
        for word in _words(value):
            try:
                ip_network(word)
            except ValueError:
                raise ValueError(f"{word!r} is no network: write it like 10.0.0.0/24") from None
        return value

    @field_validator("mailagent_arc_sealers", "mailagent_dnsbl")
    @classmethod
    def _listed_domains(cls, value: str) -> str:
        return " ".join(map(cls._domain, _words(value)))

    @field_validator("mailagent_public_ips")
    @classmethod
    def _addresses(cls, value: str) -> str:
        return " ".join(_address(word) for word in _words(value))

    @field_validator("mailagent_dns_name_servers")
    @classmethod
    def _name_servers(cls, value: str) -> str:
        pairs = [word.partition("=") for word in _words(value)]
        return " ".join(
            f"{cls._domain(name)}={_address(address)}" if mark else cls._domain(name)
            for name, mark, address in pairs
        )

    @field_validator("mailagent_dns_secondaries")
    @classmethod
    def _secondaries(cls, value: str) -> str:
        for word in _words(value):
            _place(word)
        return value

    @field_validator("mailagent_dns_tsig")
    @classmethod
    def _tsig(cls, value: SecretStr | None) -> SecretStr | None:
        if value and not _TSIG.fullmatch(value.get_secret_value()):
            raise ValueError("must look like hmac-sha256:name:secret, the secret in Base64")
        return value

    @property
    def public_ips(self) -> tuple[str, ...]:
        """The addresses of the SMTP door as the world sees it."""
        return tuple(_words(self.mailagent_public_ips))

    @property
    def internal_hosts(self) -> frozenset[str]:
        """Hosts inside, as `name` or `name:port`, that addresses of users may lead to."""
        return frozenset(word.lower() for word in _words(self.mailagent_internal_hosts))

    @property
    def dns_name_servers(self) -> Mapping[str, tuple[str, ...]]:
        """The public servers of the zone of our own, and their addresses where they are given."""
        servers: dict[str, tuple[str, ...]] = {}
        for word in _words(self.mailagent_dns_name_servers):
            name, _, address = word.partition("=")
            servers[name] = (*servers.get(name, ()), *([address] if address else []))
        return servers

    @property
    def dns_secondaries(self) -> tuple[tuple[str, int], ...]:
        """(address, port) of the servers that copy the zone of our own."""
        return tuple(map(_place, _words(self.mailagent_dns_secondaries)))

    @property
    def arc_sealers(self) -> tuple[str, ...]:
        """Domains whose ARC seals count."""
        return tuple(_words(self.mailagent_arc_sealers))

    @property
    def dnsbl(self) -> tuple[str, ...]:
        """Zones of the public lists that the SMTP door asks about a client."""
        return tuple(_words(self.mailagent_dnsbl))

    @property
    def proxy_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """Who must begin an SMTP connection with a PROXY header; an address is a network of one."""
        return tuple(ip_network(word) for word in _words(self.mailagent_proxy_networks))

    @property
    def processor_settings(self) -> Mapping[str, str]:
        """What an agent's processor is made from, by its environment variables' names."""
        key = self.anthropic_api_key
        return {
            "ANTHROPIC_API_KEY": key.get_secret_value() if key else "",
            "ANTHROPIC_BASE_URL": self.anthropic_base_url,
            "ANTHROPIC_MODEL": self.anthropic_model,
            "ANTHROPIC_PRICE": self.anthropic_price,
            "MAILAGENT_INTERNAL_HOSTS": self.mailagent_internal_hosts,
        }

    @property
    def database(self) -> str:
        """`DATABASE_URL`, or the SQLite file in `MAILAGENT_DATA`."""
        return self.database_url or f"sqlite:///{self.mailagent_data.absolute()}/mailagent.db"

    @property
    def warm_up_days(self) -> int:
        """How many days a domain warms up that becomes verified for sending; 0 is not at all."""
        return int(self.mailagent_warm_up_days)

    @property
    def processor(self) -> Literal["claude", "builtin"]:
        """Which agent processor is used where an agent names none."""
        if self.llm_provider:
            return self.llm_provider
        return "claude" if self.anthropic_api_key else "builtin"

    def secret_keys(self) -> tuple[str, ...]:
        """The keys that tokens derive from, the one that makes new ones first.

        `MAILAGENT_SECRET_KEY` holds them between commas or on lines. Raises Misconfigured when
        there is none, or a short one.
        """
        if self.mailagent_secret_key is None:
            raise Misconfigured("MAILAGENT_SECRET_KEY", f"is not set: {_MAKE_KEY}")
        given = self.mailagent_secret_key.get_secret_value()
        keys = tuple(key.strip() for key in re.split(r"[,\r\n]+", given.strip(", \r\n")))
        for number, key in enumerate(keys, 1):
            if len(key) < _SHORTEST_KEY:
                which = f"key {number} of {len(keys)} " if len(keys) > 1 else ""
                raise Misconfigured(
                    "MAILAGENT_SECRET_KEY",
                    f"{which}has {len(key)} characters, {_SHORTEST_KEY} are the least: {_MAKE_KEY}",
                )
        return keys


def _words(value: str) -> list[str]:
    return value.replace(",", " ").split()


def _address(word: str) -> str:
    try:
        return str(ip_address(word))
    except ValueError:
        raise ValueError(f"{word!r} is no address: write it like 192.0.2.25") from None


def _place(word: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{word}" if word.count(":") < 2 or "[" in word else f"//[{word}]")
        return str(ip_address(parts.hostname or "")), parts.port or 53
    except ValueError:
        problem = f"{word!r} is no address: write it like 192.0.2.53 or 192.0.2.53:5300"
        raise ValueError(problem) from None


def _secret_names() -> frozenset[str]:
    return frozenset(
        name.upper()
        for name, field in Settings.model_fields.items()
        if field.annotation is SecretStr or SecretStr in get_args(field.annotation)
    )


def _read_env_file(path: Path) -> dict[str, str]:
    try:
        # As it stands: a `${` in a password is not ours to replace.
        values = dotenv_values(path, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(str(path), f"cannot be read: {error}") from error
    return {name: value for name, value in values.items() if value}


def load(environ: Mapping[str, str], *, env_file: Path | None = Path(".env")) -> Settings:
    """Read settings from `environ`, then from `env_file` for names that `environ` lacks.

    Any secret, and DATABASE_URL, may stand in a file named by `<NAME>_FILE`. An empty value counts
    as not set. Raises Misconfigured with one sentence that names the variable and the mend.
    """
    given: dict[str, str] = {}
    if env_file is not None and env_file.is_file():
        given |= _read_env_file(env_file)
    given |= {name: value for name, value in environ.items() if value}
    for name in _secret_names() | _ALSO_FROM_FILES:
        if path := given.get(f"{name}_FILE"):
            try:
                given[name] = Path(path).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise Misconfigured(f"{name}_FILE", f"cannot be read: {error}") from error
            if not given[name]:
                raise Misconfigured(f"{name}_FILE", f"{path} is empty: put the secret there")
        value = given.get(name, "").lower()
        if any(value.startswith(word) for word in _PLACEHOLDERS):
            raise Misconfigured(name, "still holds a placeholder: put the real value there")
    for url, port, default in (
        ("PUBLIC_URL", "BACKEND_PORT", 8000),
        ("MAILAGENT_URL", "MAILAGENT_PORT", 8001),
    ):
        given.setdefault(url, f"http://127.0.0.1:{given.get(port, default)}")
    try:
        return Settings.model_validate(
            {name: given[name.upper()] for name in Settings.model_fields if name.upper() in given}
        )
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).upper()
        problem = first["msg"].removeprefix("Value error, ")
        raise Misconfigured(name, problem[:1].lower() + problem[1:]) from error

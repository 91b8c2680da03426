"""What does the story of a mail use? Composed once at start and handed to every step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address

from mailagent.agents import Agent
from mailagent.agents.mcp_lists import McpLists
from mailagent.agents.mcp_servers import Program
from mailagent.egress import Egress
from mailagent.flow.directory import StoreDirectory
from mailagent.identity import Collects
from mailagent.inbound import Acceptor
from mailagent.outbound import AccountState
from mailagent.outgoing import Sends
from mailagent.providers import Recovers
from mailagent.providers.raw_store import RawStore
from mailagent.resolver import Resolver
from mailagent.sandbox import Sandbox
from mailagent.screening import Screens
from mailagent.store.engine import Store
from mailagent.tokens import Secrets

__all__ = ["FlowSettings", "Services"]


@dataclass(frozen=True)
class FlowSettings:
    """Limits and names of the installation. The caps are defaults: a workspace may set its own."""

    default_domain: str
    hostname: str
    ui_url: str
    trusted_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    """Mail from here is not judged and is answered: the demo's loopback, nothing else."""
    arc_sealers: tuple[str, ...] = ()
    """Domains whose ARC seals may turn a DMARC fail into a pass."""
    screening_waits: bool = False
    """Whether mail waits, up to an hour, for a spam filter that is away."""
    turn_deadline: timedelta = timedelta(minutes=5)
    send_expiry: timedelta = timedelta(hours=72)
    turns_per_sender_a_day: int = 50
    turns_per_workspace_a_day: int = 1_000
    replies_per_thread_an_hour: int = 10
    hops_before_loop: int = 3
    turns_at_once: int = 256
    """A turn mostly waits for a model, for half a minute or more, and costs little meanwhile."""
    turns_at_once_per_workspace: int = 64
    default_processor: str = "builtin"
    routes_to_loopback: bool = False
    """Whether routes may forward to this machine: for tests and a demo, nothing else."""

    def trusts(self, client_ip: str | None) -> bool:
        """Whether mail from this address is a local test."""
        if client_ip is None or not self.trusted_networks:
            return False
        try:
            address = ip_address(client_ip)
        except ValueError:
            return False
        return any(address in network for network in self.trusted_networks)


@dataclass(frozen=True)
class Services:
    """Everything a step may ask for."""

    store: Store
    sandbox: Sandbox
    resolver: Resolver
    directory: StoreDirectory
    acceptor: Acceptor
    secrets: Secrets
    settings: FlowSettings
    accounts: Mapping[str, Sends]
    """Provider accounts by name; `capture` is always there."""
    account_states: Sequence[AccountState]
    """The accounts that a person has set, in the order of preference, as they are now."""
    processor: Callable[[str], Agent]
    """The agent processor of a name. Raises Misconfigured when it cannot work."""
    fetch_stored: Callable[[str], Awaitable[bytes]]
    """A mail that a provider keeps for us, by `Origin.stored_at`. Raises TransientFailure, also
    while it is not there, and PermanentFailure for a place that may not be asked."""
    recovers: Mapping[str, Recovers] = field(default_factory=dict)
    """Who is asked for mail that an outage left behind, by the kind of provider."""
    raw_store: RawStore = field(default_factory=lambda: RawStore({}))
    """Where raw messages lie that the database does not hold."""
    screener: Screens | None = None
    """The operator's spam filter, where there is one."""
    egress: Egress = field(default_factory=Egress)
    """The one way out to addresses that users gave."""
    mcp_listing: Mapping[str, Program] = field(default_factory=dict)
    """The operator's MCP servers by name."""
    mcp_lists: McpLists = field(default_factory=McpLists)
    """What MCP servers said of their tools not long ago."""
    collectors: Callable[[], Sequence[tuple[str, AbstractAsyncContextManager[Collects]]]] = tuple
    """The accounts, by name, that must be told for which domains they bring mail."""

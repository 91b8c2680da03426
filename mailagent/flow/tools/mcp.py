"""Tools of MCP servers: known before a turn, called like any other.

By the official SDK (imported here alone: it takes a second and is an extra). Each use opens a
connection of its own; addresses of agents go through `Egress`, as every other of theirs. What a
server says of its tools is shown to the model and is no instruction to us; what they give is data.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import structlog

from mailagent.agents.mcp_lists import ListedTool
from mailagent.agents.mcp_servers import McpServer, Program, parse_servers
from mailagent.agents.tools import Tool, ToolResult, data_block
from mailagent.agents.trust import Standing
from mailagent.errors import MailagentError, Malformed, TransientFailure, UncertainDelivery
from mailagent.flow import agent_secrets
from mailagent.flow.services import Services
from mailagent.flow.tools.case import Case, Outside, Wish

if TYPE_CHECKING:
    from mcp.client import Client

__all__ = ["PREFIX", "caller", "tools_of"]

PREFIX = "mcp_"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
_MOST_TOOLS = 40
_DESCRIPTION_CHARACTERS = 2_000
_ANSWER_CHARACTERS = 20_000
_LIST_SECONDS = 10.0
_CALL_SECONDS = 60.0

log = structlog.get_logger()


async def tools_of(services: Services, case: Case) -> Mapping[str, Tool]:
    """The tools of all of an agent's servers; one that is away offers none, and is logged."""
    found: dict[str, Tool] = {}
    for server in servers_of(services, case):
        try:
            tools = await _listed(services, case, server)
        except MailagentError as error:
            log.warning("mcp.not_listed", server=server.name, reason=str(error))
            continue
        found |= {tool.name: tool for tool in tools}
    return found


def servers_of(services: Services, case: Case) -> Sequence[McpServer]:
    """An agent's servers; none for a setting that the operator's list no longer bears."""
    said = case.settings.get("mcp_servers") or []
    try:
        return parse_servers(
            "mcp_servers", said, listed=list(services.mcp_listing), egress=services.egress
        )
    except Malformed as error:
        log.warning("mcp.not_usable", agent=case.handle, reason=str(error))
        return ()


async def _listed(services: Services, case: Case, server: McpServer) -> Sequence[Tool]:
    listed = services.mcp_lists.get(*_place(case, server))
    if listed is None:
        async with _open(services, case, server, _LIST_SECONDS) as client:
            told = await client.list_tools()
        listed = [
            ListedTool(
                one.name,
                (one.description or one.name)[:_DESCRIPTION_CHARACTERS],
                dict(one.input_schema),
            )
            for one in told.tools[:_MOST_TOOLS]
            if _NAME.fullmatch(one.name)
        ]
        services.mcp_lists.keep(listed, *_place(case, server))
    return [_tool(server, one) for one in listed]


def _place(case: Case, server: McpServer) -> tuple[str, ...]:
    """What a list is kept under: an agent's secret may decide what a server shows to it."""
    return case.agent_id, server.name, server.url


def _tool(server: McpServer, listed: ListedTool) -> Tool:
    effect = server.effect(listed.name)
    return Tool(
        f"{PREFIX}{server.name}_{listed.name}",
        listed.description,
        listed.input_schema,
        effect,
        Standing.STRANGER if effect == "reads" else Standing.CORRESPONDENT,
        f"uses {listed.name} of the MCP server {server.name}",
    )


def caller(tool: Tool) -> Outside:
    """What does this tool."""
    _, called, name = tool.name.split("_", 2)

    async def call(services: Services, case: Case, key: str, wish: Wish) -> ToolResult:
        server = next((one for one in servers_of(services, case) if one.name == called), None)
        if server is None:
            raise Malformed(tool.name, "was taken away")
        sent = False
        try:
            async with _open(services, case, server, _CALL_SECONDS) as client:
                sent = True
                meta: Any = {"mailagent/key": key}
                answer = await client.call_tool(name, dict(wish), meta=meta)
        except _UnknownTool as error:
            services.mcp_lists.drop(*_place(case, server))
            raise Malformed(tool.name, f"is no longer a tool of {server.name}") from error
        except TransientFailure as error:
            if sent:
                raise UncertainDelivery(error.reason) from error
            raise
        said = [getattr(one, "text", f"({one.type})") for one in answer.content]
        text = "\n".join(said)[:_ANSWER_CHARACTERS].encode("utf-8", "replace").decode()
        if answer.is_error and "unknown tool" in text.lower():
            services.mcp_lists.drop(*_place(case, server))
        told: dict[str, Any] = {"text": text}
        return ToolResult(data_block("tool_result", told), is_error=bool(answer.is_error))

    return call


@asynccontextmanager
async def _open(
    services: Services, case: Case, server: McpServer, seconds: float
) -> AsyncIterator[Client]:
    """A connection to a server. Raises TransientFailure when it breaks, Malformed for an address
    that may not be called or a server that cannot be used here.
    """
    try:
        await asyncio.to_thread(_load)
    except ImportError as error:
        raise Malformed("mcp_servers", "need the extra mcp: pip install mailagent[mcp]") from error
    from mcp.client import Client
    from mcp.types import ToolListChangedNotification

    async def heard(message: object) -> None:
        if isinstance(message, ToolListChangedNotification):
            services.mcp_lists.drop(*_place(case, server))

    try:
        async with (
            asyncio.timeout(seconds),
            _transport(services, case, server) as transport,
            Client(transport, read_timeout_seconds=seconds, message_handler=heard) as client,
        ):
            yield client
    except MailagentError:
        raise
    except TimeoutError as error:
        raise TransientFailure(f"{server.name} did not answer in {seconds:g} seconds") from error
    except Exception as error:
        # What a server and its transport may raise has many names, often in a group.
        if (ours := _ours(error)) is not None:
            raise ours from error
        if _says_unknown(error):
            raise _UnknownTool from error
        reason = f"{server.name} cannot be used ({type(error).__name__})"
        raise TransientFailure(reason) from error


@asynccontextmanager
async def _transport(services: Services, case: Case, server: McpServer) -> AsyncIterator[Any]:
    from mcp import StdioServerParameters

    from mailagent.flow.tools.mcp_transport import pinned_client, streamable_http

    program = Program(url=server.url) if server.url else services.mcp_listing[server.name]
    if program.command:
        command, *arguments = program.command
        yield StdioServerParameters(
            command=command, args=arguments, env=dict(program.environment) or None
        )
        return
    secret = await services.store.read(
        case.workspace_id,
        agent_secrets.read,
        services.secrets,
        case.agent_id,
        f"mcp:{server.name}",
    )
    headers = dict(program.headers)
    if secret and server.url:
        headers["Authorization"] = f"Bearer {secret}"
    # The operator's own addresses may be inside: they are not a tenant's wish.
    egress = services.egress if server.url else None
    async with pinned_client(egress, headers) as http:
        yield streamable_http(program.url, http)


class _UnknownTool(Exception):
    """The server knows no tool of that name, so nothing was done."""


def _says_unknown(error: BaseException) -> bool:
    """Whether an error, or one of a group, is the protocol's own of a call that named no tool."""
    from mcp.shared.exceptions import MCPError

    if isinstance(error, BaseExceptionGroup):
        return any(_says_unknown(one) for one in error.exceptions)
    # MCP "Tools", error handling: -32602 for an unknown tool; its text tells it from bad arguments.
    return isinstance(error, MCPError) and "unknown tool" in str(error).lower()


def _load() -> None:
    """A second of work the first time: outside the loop."""
    import mcp  # noqa: F401


def _ours(error: BaseException) -> MailagentError | None:
    """An error of ours inside a group or chain of others."""
    if isinstance(error, MailagentError):
        return error
    inner = list(error.exceptions) if isinstance(error, BaseExceptionGroup) else []
    inner += [one for one in (error.__cause__, error.__context__) if one is not None]
    return next((found for one in inner if (found := _ours(one)) is not None), None)

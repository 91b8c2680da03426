"""Which sentence tells a step to a person who knows no table of ours?"""

from __future__ import annotations

from collections.abc import Mapping

from mailagent.flow import suppression
from mailagent.flow.states import RecipientState
from mailagent.store.transaction import AnyRow

__all__ = ["arrival", "hand_over", "kept", "recipient", "step", "turn"]

_DOORS = {
    "smtp": "by SMTP",
    "local": "from another address of this installation",
    "submission": "by SMTP submission",
}
_STEPS = {
    "read": "Read",
    "route": "Routed",
    "thread": "Conversation",
    "think": "Thinking",
    "decide": "Decided",
    "reply": "Answer",
    "send": "Sending",
    "track": "Report",
    "hand over": "Handed to a person",
    "archive": "Archive",
    "priority": "Priority",
    "replay": "Replay",
}
_RECIPIENT: Mapping[RecipientState, str] = {
    RecipientState.QUEUED: "it waits for its next attempt",
    RecipientState.SENDING: "it is being handed over at this moment",
    RecipientState.SENT: "their server took it; that is not yet the inbox",
    RecipientState.REFUSED: "it was refused for good and did not arrive",
    RecipientState.UNKNOWN: "nobody knows whether it was taken, so no machine sends it again",
    RecipientState.DELIVERED: "their side reported it as delivered",
    RecipientState.DELAYED: "their side still tries to deliver it",
    RecipientState.BOUNCED: "it came back and did not arrive",
    RecipientState.COMPLAINED: "the recipient called it spam; nothing more is sent to them",
    RecipientState.SUPPRESSED: "it was not sent, because nothing is sent to this address",
    RecipientState.CANCELLED: "a person cancelled it before it was sent",
    RecipientState.EXPIRED: "nobody took it in time; it did not arrive",
}


def arrival(row: AnyRow) -> str:
    """How a delivery came in, from whom and for whom."""
    origin = row.origin
    door = _DOORS.get(row.source, f"through {row.source}")
    peer = ""
    if origin.get("client_ip"):
        named = f" ({origin['helo']})" if origin.get("helo") else ""
        secured = origin.get("tls") or "without TLS"
        peer = f" from {origin['client_ip']}{named}, {secured}"
    if origin.get("authenticated_as") not in (None, "local"):
        peer += f", signed in as {origin['authenticated_as']}"
    return f"Arrived {door}{peer}, for {row.recipient}, envelope sender {_path(row.mail_from)}"


def kept(row: AnyRow) -> str:
    """What held before the door said yes."""
    return f"{row.size_bytes:,} octets, kept on disk before the sender was told yes"


def _path(mail_from: str | None) -> str:
    return mail_from if mail_from is not None else "<> (empty: a machine's report)"


def step(row: AnyRow) -> str:
    """A ledger line with the name that its step has for a person."""
    name = _STEPS.get(row.step, row.step.capitalize())
    return f"{name}: {row.what}" if row.what else name


def hand_over(row: AnyRow, attempt: AnyRow) -> tuple[str, str]:
    """A ledger line of an attempt, with the far side's own answer."""
    outcome = row.what.removeprefix(f"{attempt.account}: ")
    code = f"{attempt.code} " if attempt.code else ""
    answer = f"the far side said: {code}{attempt.response}" if attempt.response else ""
    parts = (answer, f"account {attempt.account}: {attempt.why_account}")
    return f"Handed over by {attempt.account}: {outcome}", "; ".join(part for part in parts if part)


def turn(row: AnyRow, thought: AnyRow) -> tuple[str, str]:
    """The line of a decision, with what the turn took and cost."""
    used = f"{thought.processor}"
    if thought.model:
        used += f", {thought.model}, {thought.input_tokens} + {thought.output_tokens} tokens"
    if thought.cost_usd is not None:
        used += f", {thought.cost_usd:.4f} USD"
    return f"Decided: {row.what}", f"{row.why} (the agent: {used})"


def recipient(row: AnyRow) -> tuple[str, str, tuple[str, ...]]:
    """State, its meaning, and what a person can do, for one recipient of an outbound mail."""
    state = RecipientState(row.state)
    means = _RECIPIENT[state]
    if state is RecipientState.SENT and row.account == "capture":
        means = "it was captured: kept and shown, never sent, because no provider account is set"
    match state:
        case RecipientState.UNKNOWN:
            steps: tuple[str, ...] = (
                f"it arrived: mailagent unknown sent {row.id}",
                f"it did not: mailagent unknown again {row.id}",
            )
        case RecipientState.SUPPRESSED:
            steps = (f"write to them again: {suppression.removing(row.address)}",)
        case RecipientState.QUEUED:
            steps = (f"stop it: mailagent outbound cancel {row.outbound_id}",)
        case _:
            steps = ()
    return str(state), means, steps

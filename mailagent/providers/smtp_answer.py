"""What does a reply of a relay mean, and whose fault is a no?

Pure: a stage of the mail transaction and a reply go in, an outcome or a failure comes out. Sources:
RFC 5321 §4.2 (reply codes), RFC 3463 and its registry (enhanced codes), RFC 7504 (521, 556).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from mailagent.errors import PermanentFailure, TransientFailure
from mailagent.outgoing import Fault, Later, Refused, Sent

__all__ = ["Answer", "Stage"]


class Stage(StrEnum):
    """Where in the conversation a reply came."""

    CONNECT = "connect"
    AUTH = "AUTH"
    MAIL = "MAIL FROM"
    RCPT = "RCPT TO"
    DATA = "DATA"
    CONTENT = "the content"


_MAIL_FAULTS: tuple[tuple[str, Fault], ...] = (
    (r"5\.1\.|5\.6\.|5\.3\.4|5\.2\.3|552|553", "message"),  # this sender, this size
    (r"", "account"),
)
_RCPT_FAULTS: tuple[tuple[str, Fault], ...] = (
    (r"5\.3\.4|5\.2\.3|552", "message"),  # too big, for the relay or for the mailbox
    (r"5\.1\.[78]", "message"),  # the sender's address, judged only now
    (r"5\.7\.|530|535", "account"),  # relaying denied, log in first
    (r"", "recipient"),
)
_CONTENT_FAULTS: tuple[tuple[str, Fault], ...] = (
    (r"5\.1\.[78]", "message"),
    (r"5\.1\.|5\.2\.[12]", "recipient"),  # some relays ask the mailbox only now
    (r"5\.7\.0|530|535", "account"),
    (r"", "message"),
)
_FAULTS: dict[Stage, tuple[tuple[str, Fault], ...]] = {
    Stage.CONNECT: ((r"", "account"),),
    Stage.AUTH: ((r"", "account"),),
    Stage.MAIL: _MAIL_FAULTS,
    Stage.RCPT: _RCPT_FAULTS,
    Stage.DATA: _CONTENT_FAULTS,
    Stage.CONTENT: _CONTENT_FAULTS,
}
"""First match on `<enhanced code>` if there is one, else on the reply code, decides."""

_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:\s|$)")
_NOT_PRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\U0010ffff]+")


@dataclass(frozen=True, slots=True)
class Answer:
    """One reply: its three-digit code (anything else is no SMTP) and its text."""

    stage: Stage
    code: int
    text: str

    @property
    def positive(self) -> bool:
        return 200 <= self.code < 300

    @property
    def final(self) -> bool:
        """It says yes, no, or not now."""
        return self.positive or 400 <= self.code < 600

    @property
    def enhanced(self) -> str | None:
        """RFC 3463 code `x.y.z`, when the text begins with one of the same class."""
        found = _ENHANCED.match(self.text)
        return found[1] if found and found[1][0] == str(self.code)[0] else None

    @property
    def fault(self) -> Fault:
        """Whose fault a 5xx is."""
        word = self.enhanced or str(self.code)
        return next(fault for start, fault in _FAULTS[self.stage] if re.match(start, word))

    def __str__(self) -> str:
        text = _NOT_PRINTABLE.sub(" ", self.text)[:500]
        return f"{self.code} {text}".strip()

    def outcome(self) -> Sent | Refused | Later:
        """What it means for the recipient: sent is only what was said yes to after the content."""
        if self.positive and self.stage is Stage.CONTENT:
            return Sent(provider_id=None, response=str(self))
        if 500 <= self.code < 600:
            return Refused(self._reason(), about=self.fault, code=self._code())
        return Later(self._reason(), code=self._code())

    def failure(self) -> TransientFailure | PermanentFailure:
        """What it means for the whole hand-over; for replies that are not positive."""
        if 500 <= self.code < 600:
            return PermanentFailure(self._reason(), code=self._code(), about=self.fault)
        return TransientFailure(self._reason(), code=self._code())

    def _reason(self) -> str:
        if not 200 <= self.code < 600:
            return f"the relay does not speak SMTP at {self.stage}"
        return f"the relay answered {self} to {self.stage}"

    def _code(self) -> str:
        return self.enhanced or str(self.code)

"""What does the SMTP door say? One table of every reply it gives.

A reply is its basic code (RFC 5321 §4.2.3), its enhanced code (RFC 3463, announced by RFC 2034),
a dull public sentence and the section that asks for it. Nothing else in the door writes a code.
RFC 2034 §4 wants no enhanced code in the banner and the answers to HELO and EHLO, and class 3
has none.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from mailagent.inbound import Known

__all__ = ["REFUSALS", "Reply"]


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply line; `{words}` in `text` are filled by `about`."""

    code: int
    enhanced: str
    """`class.subject.detail`, empty where RFC 2034 wants none."""
    text: str
    source: str
    """Where the reply is asked for, for the reader of this table."""
    line: bytes = field(init=False, repr=False, compare=False)
    """The octets for the wire, CRLF included."""

    def __post_init__(self) -> None:
        # Encoded once: the common replies are sent some times a millisecond.
        words = (str(self.code), self.enhanced, self.text)
        line = " ".join(w for w in words if w) if self.text else f"{self.code} "
        object.__setattr__(self, "line", line.encode() + b"\r\n")

    def about(self, **words: object) -> Reply:
        """The same reply with its `{words}` filled; they must be single-line ASCII of ours."""
        return replace(self, text=self.text.format(**words))


# Greeting and session
BANNER = Reply(220, "", "{hostname} ESMTP", "RFC 5321 §4.3.1")
HELO_OK = Reply(250, "", "{hostname}", "RFC 5321 §4.1.1.1")
BYE = Reply(221, "2.0.0", "Bye", "RFC 5321 §4.1.1.10")
NOOP_OK = Reply(250, "2.0.0", "Ok", "RFC 5321 §4.1.1.9")
RSET_OK = Reply(250, "2.0.0", "Ok, all forgotten", "RFC 5321 §4.1.1.5")
HELP = Reply(214, "2.0.0", "See RFC 5321; write to postmaster for a person", "RFC 5321 §4.1.1.8")
CANNOT_VERIFY = Reply(252, "2.0.0", "Not told here: send a mail and see", "RFC 5321 §7.3")
TLS_READY = Reply(220, "2.0.0", "Ready to start TLS", "RFC 3207 §4")

# Transaction
SENDER_OK = Reply(250, "2.1.0", "Sender ok", "RFC 5321 §4.1.1.2")
RECIPIENT_OK = Reply(250, "2.1.5", "Recipient ok", "RFC 5321 §4.1.1.3")
START_INPUT = Reply(354, "", "End data with <CR><LF>.<CR><LF>", "RFC 5321 §4.1.1.4")
QUEUED = Reply(250, "2.0.0", "Ok: queued as {id}", "RFC 5321 §4.1.1.4")

# Submission
AUTH_CHALLENGE = Reply(334, "", "{challenge}", "RFC 4954 §4")
AUTH_EMPTY_CHALLENGE = Reply(334, "", "", "RFC 4954 §4, RFC 4616 §2")
AUTH_OK = Reply(235, "2.7.0", "Logged in", "RFC 4954 §6")
AUTH_LATER = Reply(454, "4.7.0", "Cannot check that now, try again", "RFC 4954 §6")
TOO_MANY_LOGINS = Reply(
    421, "4.7.0", "Too many failed logins, try again in {minutes} minutes", "RFC 4954 §9"
)
AUTH_WRONG = Reply(535, "5.7.8", "Name or password is wrong", "RFC 4954 §6")
AUTH_CANCELLED = Reply(501, "5.7.0", "Login cancelled", "RFC 4954 §4")
AUTH_SYNTAX = Reply(501, "5.5.2", "Not what this way of logging in says", "RFC 4954 §4")
AUTH_TWICE = Reply(503, "5.5.1", "Logged in already", "RFC 4954 §4")
AUTH_IN_MAIL = Reply(503, "5.5.1", "Log in before MAIL", "RFC 4954 §4")
AUTH_UNKNOWN = Reply(504, "5.5.4", "Say AUTH PLAIN or AUTH LOGIN", "RFC 4954 §4")
TLS_FIRST = Reply(530, "5.7.0", "Say STARTTLS first", "RFC 3207 §4")
AUTH_FIRST = Reply(530, "5.7.0", "Log in first: AUTH PLAIN or LOGIN", "RFC 4954 §6")
TLS_BEFORE_AUTH = Reply(538, "5.7.11", "No password in the clear: STARTTLS first", "RFC 4954 §6")
NOT_YOURS = Reply(550, "5.7.1", "{mend}", "RFC 6409 §6.1")
UNFIT = Reply(550, "5.6.0", "{mend}", "RFC 6409 §8")

# Not now
CLOSING = Reply(421, "4.3.2", "{hostname} is shutting down, try again", "RFC 5321 §3.8")
TOO_MANY_CONNECTIONS = Reply(421, "4.7.0", "Too many connections, try later", "RFC 5321 §3.8")
TOO_MANY_FROM_YOU = Reply(
    421, "4.7.0", "Too many connections from your address, try later", "RFC 5321 §3.8"
)
TOO_MANY_ERRORS = Reply(421, "4.7.0", "Too many errors, closing", "RFC 5321 §4.3.2")
TOO_MANY_COMMANDS = Reply(421, "4.7.0", "Too many commands, closing", "RFC 5321 §4.3.2")
CONNECT_AGAIN = Reply(421, "4.7.0", "Enough for one connection, connect again", "RFC 5321 §3.8")
TIMED_OUT = Reply(421, "4.4.2", "Timed out, closing", "RFC 5321 §4.5.3.2.7")
TROUBLE = Reply(451, "4.3.0", "Local trouble, try again (trace {trace})", "RFC 5321 §4.2.2")
DIRECTORY_SILENT = Reply(451, "4.4.3", "Cannot look that up now, try again", "RFC 3463 §3.5")
NOT_KEPT = Reply(451, "4.3.1", "Cannot keep the mail now, try again", "RFC 3463 §3.4")
TOO_MANY_RECIPIENTS = Reply(
    452, "4.5.3", "Too many recipients, send again for the rest", "RFC 5321 §4.5.3.1.10"
)
NO_ROOM = Reply(452, "4.3.1", "Too much mail at this moment, try again", "RFC 5321 §4.2.2")
TLS_NOT_AVAILABLE = Reply(454, "4.7.0", "TLS is not available", "RFC 3207 §4")

# Never
UNKNOWN_COMMAND = Reply(500, "5.5.1", "Command not recognised", "RFC 5321 §4.2.4")
BAD_LINE = Reply(500, "5.5.2", "A command is one line of text ended by CRLF", "RFC 5321 §2.3.8")
LINE_TOO_LONG = Reply(500, "5.5.2", "Command line too long", "RFC 5321 §4.5.3.1.4")
NO_ARGUMENT_WANTED = Reply(501, "5.5.4", "This command takes no argument", "RFC 5321 §4.1.1")
HELO_SYNTAX = Reply(501, "5.5.4", "Syntax: HELO or EHLO, then your host name", "RFC 5321 §4.1.1.1")
MAIL_SYNTAX = Reply(501, "5.5.4", "Syntax: MAIL FROM:<address> [parameters]", "RFC 5321 §4.1.1.2")
RCPT_SYNTAX = Reply(501, "5.5.4", "Syntax: RCPT TO:<address> [parameters]", "RFC 5321 §4.1.1.3")
BAD_SENDER = Reply(501, "5.1.7", "Not an address this door can read", "RFC 3463 §3.2")
BAD_RECIPIENT = Reply(501, "5.1.3", "Not an address this door can read", "RFC 3463 §3.2")
BAD_PARAMETER = Reply(501, "5.5.4", "Bad value of parameter {name}", "RFC 5321 §4.1.1.11")
NOT_OFFERED = Reply(502, "5.5.1", "Not offered on this port", "RFC 5321 §4.2.4")
HELO_FIRST = Reply(503, "5.5.1", "Say EHLO first", "RFC 5321 §4.1.4")
NESTED_MAIL = Reply(503, "5.5.1", "A sender is given already", "RFC 5321 §4.1.4")
MAIL_FIRST = Reply(503, "5.5.1", "Say MAIL first", "RFC 5321 §4.1.4")
TLS_ALREADY = Reply(503, "5.5.1", "TLS is on already", "RFC 3207 §4.2")
NO_SUCH_ADDRESS = Reply(550, "5.1.1", "No such address here", "RFC 3463 §3.2")
NO_SUCH_DOMAIN = Reply(550, "5.1.2", "No such domain here", "RFC 3463 §3.2")
NOT_OURS = Reply(
    550, "5.7.1", "Not a domain of ours; this server does not relay", "RFC 5321 §3.6.2"
)
SWITCHED_OFF = Reply(550, "5.2.1", "This address takes no mail at present", "RFC 3463 §3.3")
SENDER_NEEDS_UTF8 = Reply(550, "5.6.7", "This address needs SMTPUTF8 at MAIL", "RFC 6531 §3.5")
RECIPIENT_NEEDS_UTF8 = Reply(553, "5.6.7", "This address needs SMTPUTF8 at MAIL", "RFC 6531 §3.5")
TOO_BIG = Reply(552, "5.3.4", "The mail is too big, at most {size_bytes} octets", "RFC 1870 §6")
LISTED = Reply(554, "5.7.1", "Your address is listed by {zone}", "RFC 5782 §2.1, RFC 3463 §3.8")
LINE_OF_MAIL_TOO_LONG = Reply(
    554,
    "5.6.0",
    "A line of the mail is too long, at most {line_bytes} octets",
    "RFC 5321 §4.5.3.1.6",
)
BARE_NEWLINE = Reply(
    554, "5.6.11", "The mail holds a bare CR or LF; lines end with CRLF", "RFC 5321 §2.3.8"
)
NO_VALID_RECIPIENTS = Reply(554, "5.5.1", "No valid recipients", "RFC 5321 §4.1.1.4")
NOT_A_WEB_SERVER = Reply(554, "5.5.1", "This is a mail server", "RFC 5321 §4.2.4")
UNKNOWN_PARAMETER = Reply(555, "5.5.4", "Parameter not recognised", "RFC 5321 §4.1.1.11")

REFUSALS: dict[Known, Reply] = {
    Known.NO_SUCH_ADDRESS: NO_SUCH_ADDRESS,
    Known.NO_SUCH_DOMAIN: NO_SUCH_DOMAIN,
    Known.NOT_OUR_DOMAIN: NOT_OURS,
    Known.OFF: SWITCHED_OFF,
    Known.UNKNOWN: DIRECTORY_SILENT,
}
"""What RCPT says to each of the directory's answers but yes."""

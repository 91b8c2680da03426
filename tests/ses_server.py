"""The SES API v2 as far as sending needs it: `async with SesServer() as server:`, `server.url`."""

from __future__ import annotations

from mailagent.providers.ses_access import Access
from tests.api_server import ApiServer, Reply, Request

__all__ = ["SES_ID", "SesServer", "access"]

SES_ID = "0102019a5b2c3d4e-1f2e3d4c-0000-4000-8000-00000000beef-000000"
_ACCOUNT = {
    "ProductionAccessEnabled": False,
    "SendingEnabled": True,
    "EnforcementStatus": "HEALTHY",
    "SendQuota": {"Max24HourSend": 200.0, "MaxSendRate": 1.0, "SentLast24Hours": 17.0},
}
_REPLIES = {
    ("POST", "/v2/email/outbound-emails"): Reply(200, {"MessageId": SES_ID}),
    ("GET", "/v2/email/account"): Reply(200, _ACCOUNT),
}


class SesServer(ApiServer):
    """An account in the sandbox."""

    def reply(self, request: Request) -> Reply:
        return _REPLIES.get((request.method, request.path), Reply(404, {"message": "no such call"}))


def access(url: str, *, read_seconds: float = 20, whole_seconds: float = 30) -> Access:
    """A way to the server."""
    return Access(
        *("sesv2", "eu-west-1", "AKIAEXAMPLE", "wJalrXUtnFEMI-K7MDENG-secret", url),
        connect_seconds=0.2,
        read_seconds=read_seconds,
        whole_seconds=whole_seconds,
    )

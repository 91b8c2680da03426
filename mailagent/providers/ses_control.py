"""How are AWS's control APIs asked: identities, receipt rules, topics, buckets?

Each call may be made again; the codes and their meaning are those of `ses_answer`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from mailagent.errors import PermanentFailure, TransientFailure, UncertainDelivery
from mailagent.providers.ses_access import Access
from mailagent.providers.ses_answer import Answer

__all__ = ["Aws"]

_READS = re.compile(r"(get|list|describe|head)_")
_DENIED = re.compile(r"AccessDenied.*|AuthorizationError.*|403|Forbidden")
_AT_ONCE = 4


def _now() -> datetime:
    return datetime.now(UTC)


class Aws:
    """One service of AWS over boto3, in threads of its own. `close` it."""

    def __init__(self, access: Access, *, now: Callable[[], datetime] = _now) -> None:
        self._access, self._now = access, now
        self._opening = asyncio.Lock()
        self._boto: Any = None
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix=access.service)

    @property
    def region(self) -> str:
        return self._access.region

    async def ask(
        self, operation: str, *, absent: Collection[str] = (), **request: Any
    ) -> Mapping[str, Any] | None:
        """The answer to one call of boto3's name; None for an error code in `absent`.

        Raises TransientFailure, PermanentFailure; UncertainDelivery for a change without an answer.
        """
        loop = asyncio.get_running_loop()
        async with self._opening:
            if self._boto is None:
                self._boto = await loop.run_in_executor(self._threads, self._access.client)
        asked = loop.run_in_executor(self._threads, self._ask, operation, request)
        try:
            async with asyncio.timeout(self._access.whole_seconds):
                return await asked
        except TimeoutError as error:
            raise self._silent(operation, "no end of an answer") from error
        except PermanentFailure as error:
            if error.code in absent:
                return None
            raise

    async def close(self) -> None:
        """Let go of the connections."""
        if self._boto is not None:
            self._boto.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _ask(self, operation: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        from botocore import exceptions as boto
        from botocore.parsers import ResponseParserError

        unreached = (
            *(boto.EndpointConnectionError, boto.ConnectTimeoutError, boto.SSLError),
            boto.ProxyConnectionError,
        )
        try:
            answer: Mapping[str, Any] = getattr(self._boto, operation)(**request)
        except boto.ClientError as error:
            raise self._failure(operation, error.response) from error
        except (boto.NoCredentialsError, boto.PartialCredentialsError) as error:
            reason = "no AWS keys are set, and this machine has no role of its own"
            raise PermanentFailure(reason, about="account", credentials=True) from error
        except boto.ParamValidationError as error:
            raise PermanentFailure(f"AWS takes no such {operation}", about="account") from error
        except unreached as error:
            reason = f"{self._access.service} could not be reached: {type(error).__name__}"
            raise TransientFailure(reason) from error
        except (boto.BotoCoreError, ResponseParserError, OSError) as error:
            # Also a gateway's page in AWS's place, which is no XML.
            raise self._silent(operation, type(error).__name__) from error
        return answer

    def _failure(
        self, operation: str, response: Mapping[str, Any]
    ) -> TransientFailure | PermanentFailure | UncertainDelivery:
        answer = Answer.of(response)
        code = answer.code or str(answer.status)
        if _DENIED.fullmatch(code):
            said = f"AWS does not let this key {operation}: {answer.text[:300]}"
            mend = "docs/providers/ses.md lists what the key of a set-up needs"
            return PermanentFailure(f"{said} ({mend})", code=code, about="account")
        failure = answer.failure(self._now())
        if isinstance(failure, UncertainDelivery) and _READS.match(operation):
            return TransientFailure(failure.reason, code=failure.code)
        return failure

    def _silent(self, operation: str, word: str) -> TransientFailure | UncertainDelivery:
        reason = f"{self._access.service} gave no answer to {operation}: {word}"
        return TransientFailure(reason) if _READS.match(operation) else UncertainDelivery(reason)

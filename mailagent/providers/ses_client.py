"""How is the SES API asked, so that a failure says whether the far side can have the request?"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from mailagent.errors import PermanentFailure, TransientFailure, UncertainDelivery
from mailagent.providers.ses_access import Access
from mailagent.providers.ses_answer import Answer

__all__ = ["Client"]


class Client:
    """SES's API over boto3, which does not say by itself whether a failed request was written."""

    def __init__(self, access: Access) -> None:
        self._boto = access.client()
        self._boto.meta.events.register("before-send.sesv2.SendEmail", self._watch)
        self._here = threading.local()

    def ask(
        self, operation: str, request: Mapping[str, Any], now: Callable[[], datetime]
    ) -> Mapping[str, Any]:
        """The answer to one call, from a thread. Raises as `Ses.send`."""
        from botocore import exceptions as boto

        self._here.body = None
        try:
            answer: Mapping[str, Any] = getattr(self._boto, operation)(**request)
        except boto.ClientError as error:
            raise Answer.of(error.response).failure(now()) from error
        except (boto.NoCredentialsError, boto.PartialCredentialsError) as error:
            reason = "no AWS keys are set, and this machine has no role of its own"
            raise PermanentFailure(reason, about="account", credentials=True) from error
        except boto.ParamValidationError as error:
            raise PermanentFailure("SES takes no such request", about="message") from error
        except (boto.BotoCoreError, OSError) as error:
            body: _Body | None = self._here.body
            word = type(error).__name__
            if body is not None and body.written:
                raise UncertainDelivery(
                    f"SES took the request and gave no answer: {word}"
                ) from error
            raise TransientFailure(f"SES could not be asked: {word}") from error
        return answer

    def close(self) -> None:
        self._boto.close()

    def _watch(self, request: Any, **_: object) -> None:
        """Just before a request is written, after it was signed."""
        if isinstance(request.body, bytes):
            request.body = self._here.body = _Body(request.body)


class _Body(io.BytesIO):
    """A request's body that knows whether its last octet was asked for.

    Until then the far side cannot have a whole request, whatever happened to the connection.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self._size = len(content)

    @property
    def written(self) -> bool:
        return self.tell() >= self._size

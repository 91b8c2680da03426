"""The cases of the generic door: any program that signs raw mail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from backend.simulating import Mail, Post
from backend.simulating.inbound import envelope, signed
from mailagent.providers.fetch import https_get
from tests.contract.cases import NOW, Named, changed_byte

__all__ = ["RECEIVES"]

_SECRET = "an-inbound-secret-of-the-contract-0000000000000000"


class _Receives:
    settings: ClassVar[Mapping[str, str]] = {"INBOUND_WEBHOOK_SECRET": _SECRET}
    refused_with = 401
    fetch = staticmethod(https_get)

    def posts(self, mail: Mail) -> Sequence[Post]:
        return [self._post(mail)]

    def forged(self, mail: Mail) -> Named:
        good = self._post(mail, **{"X-Mailagent-Id": "4711", "X-Mailagent-Client-Ip": "192.0.2.1"})
        for name, value in good.headers.items():
            if name.startswith("X-Mailagent-"):
                for at in range(len(value)):
                    changed = {**good.headers, name: changed_byte(value, at)}
                    yield name, replace(good, headers=changed)
        for at in range(len(mail.raw)):
            body = bytearray(mail.raw)
            body[at] ^= 1
            yield f"byte {at} of the body", replace(good, body=bytes(body))

    def malformed(self, mail: Mail) -> Named:
        headers = envelope(mail, NOW)
        yield "body", signed(_SECRET, headers, b"")
        without = {name: one for name, one in headers.items() if "Mail-From" not in name}
        yield "X-Mailagent-Mail-From", signed(_SECRET, without, mail.raw)
        without = {name: one for name, one in headers.items() if "Rcpt-To" not in name}
        yield "X-Mailagent-Rcpt-To", signed(_SECRET, without, mail.raw)
        for name, values in {
            "X-Mailagent-Mail-From": ("a b", "<", "a>b"),
            "X-Mailagent-Rcpt-To": ("", ",", "a b@shop.aexy.example", "<"),
            "X-Mailagent-Id": ("two words", "x" * 201, "ä"),
            "X-Mailagent-Client-Ip": ("here", "1.2.3.4.5", "ä"),
        }.items():
            for value in values:
                yield name, self._post(mail, **{name: value})

    def _post(self, mail: Mail, **headers: str) -> Post:
        return signed(_SECRET, {**envelope(mail, NOW), **headers}, mail.raw)


RECEIVES = _Receives()

"""A mail that Mailgun brings, raw, in parts or by its place, ends as the same mail, and once."""

from __future__ import annotations

from typing import Any

import httpx

from mailagent.providers.mailgun_inbound import MailgunReceiver
from mailagent.store import tables as t
from tests.flow.house import House, Space, keep_house
from tests.parsed_forms import BOUNDARY, mailgun
from tests.providers.mailgun_posts import DATA, KEY, Fields, multipart, signed, urlencoded
from tests.providers.webhook_port import serving

RAW = (DATA / "inbound-raw.eml").read_bytes()
SENDER = "dana@customer.example"
PLACE = "https://sw.api.mailgun.net/v3/domains/aexy.email/messages/BAABAAUx5f0c"


def envelope(space: Space) -> Fields:
    return [("recipient", space.address), ("sender", SENDER)]


def fresh(house: House, token: str) -> Fields:
    return signed(str(int(house.store.now().timestamp())), token * 50)


def in_parts(space: Space, signature: Fields) -> tuple[bytes, str]:
    body, content_type = mailgun(RAW, mail_from=SENDER, rcpt_to=space.address)
    on_top = multipart(signature, boundary=BOUNDARY)[0]
    return on_top.removesuffix(f"--{BOUNDARY}--\r\n".encode()) + body, content_type


async def what_was_read(space: Space) -> dict[str, Any]:
    """What the one mail of a workspace says, once it was read."""
    (delivery,) = await space.rows(t.deliveries)
    await space.delivery(delivery.id, "quarantined")  # DMARC: nobody vouches for it
    (message,) = await space.rows(t.messages)
    said = ("message_id", "from_address", "from_name", "subject", "written", "kind")
    return {name: getattr(message, name) for name in said}


async def test_however_mailgun_brings_a_mail_it_is_the_same_and_comes_once(sqlite_url: str) -> None:
    async with keep_house(sqlite_url) as house, httpx.AsyncClient() as client:
        whole, parted, stored = [await house.workspace() for _ in range(3)]
        house.stored[PLACE] = RAW
        raw: Fields = [("body-mime", RAW)]
        notice: Fields = [("message-url", PLACE)]

        async with serving(house, "mailgun", MailgunReceiver(KEY), "") as url:

            async def post(path: str, form: tuple[bytes, str]) -> int:
                headers = {"Content-Type": form[1]}
                said = await client.post(url + path, content=form[0], headers=headers)
                return said.status_code

            for token in ("a", "b"):  # Mailgun's second try, signed anew
                signature = fresh(house, token)
                assert await post("/mime/", urlencoded(envelope(whole) + raw + signature)) == 200
                signature = fresh(house, f"{token}1")
                assert await post("/", in_parts(parted, signature)) == 200
                signature = fresh(house, f"{token}2")
                assert await post("", urlencoded(envelope(stored) + notice + signature)) == 200
            copied: Fields = [("body-mime", RAW + b"and more"), *fresh(house, "a")]
            assert await post("/mime", urlencoded(envelope(whole) + copied)) == 406
            forged = signed("1795250000", "c" * 50, key="another")
            assert await post("/mime", urlencoded(envelope(whole) + raw + forged)) == 401

        read = [await what_was_read(space) for space in (whole, parted, stored)]
        octets = [(await space.rows(t.raw_messages))[0].content for space in (whole, stored)]
    assert read[0] == read[1] == read[2]
    assert read[0]["subject"] == "Rechnung für März"
    assert octets == [RAW, RAW]

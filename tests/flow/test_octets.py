"""Raw messages move to S3-compatible storage, are read from there, and none is lost on the way."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from backend.inboxes import contents, handling
from mailagent.errors import TransientFailure
from mailagent.flow import octets, retention
from mailagent.flow.purge import Person, Whole, purge
from mailagent.outgoing import Silence
from mailagent.providers.raw_store import RawStore
from mailagent.store import tables as t
from mailagent.store.transaction import AnyRow
from tests.aws import aws, s3
from tests.databases import DATABASES, PostgresDatabases, SqliteDatabases
from tests.flow.house import House, Space, keep_house, mail

pytestmark = pytest.mark.asyncio(loop_scope="module")

_BUCKET = "raw-messages"
_SOON = timedelta(minutes=16)


class Killed(BaseException):
    """The process died."""


class Mortal(RawStore):
    """Storage whose process dies before (`put`) or after (`written`) an object of one workspace is
    put, or after it is `deleted`.
    """

    dies_at = ("", "")

    async def put(self, place: str, octets: bytes) -> None:
        self._die("put", place)
        await super().put(place, octets)
        self._die("written", place)

    async def delete(self, place: str) -> None:
        await super().delete(place)
        self._die("deleted", place)

    def _die(self, point: str, place: str) -> None:
        if self.dies_at[0] == point and self.dies_at[1] in place:
            self.dies_at = ("", "")
            raise Killed


@pytest.fixture(scope="module")
def s3_settings() -> Iterator[Mapping[str, str]]:
    with aws(_BUCKET) as settings:
        yield {**settings, "MAILAGENT_RAW_STORE": f"s3://{_BUCKET}/mail"}


@pytest.fixture(scope="module")
def storage(s3_settings: Mapping[str, str]) -> Mortal:
    return Mortal(s3_settings)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=DATABASES)
async def house(
    request: pytest.FixtureRequest, storage: Mortal, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[House]:
    if request.param == "sqlite":
        sqlite: SqliteDatabases = request.getfixturevalue("sqlite_databases")
        url = sqlite.create(tmp_path_factory.mktemp("octets"))
        async with keep_house(url, raw_store=storage) as house:
            yield house
        return
    postgres: PostgresDatabases = request.getfixturevalue("postgres_databases")
    with postgres.create() as url:
        async with keep_house(url, raw_store=storage) as house:
            yield house


def _keys(client: Any, space: Space) -> list[str]:
    found = client.list_objects_v2(Bucket=_BUCKET, Prefix=f"mail/{space.id}/")
    return [one["Key"] for one in found.get("Contents", ())]


@pytest.fixture
def bucket(s3_settings: Mapping[str, str]) -> Iterator[Any]:
    with s3(s3_settings) as client:
        yield client


async def raw_row(space: Space) -> AnyRow:
    (row,) = await space.rows(t.raw_messages)
    return row


async def kept(house: House, raw: bytes | None = None, **more: Any) -> tuple[Space, str]:
    """A workspace with one answered mail that is old enough to move, and its delivery."""
    space = await house.workspace(**more)
    delivery_id = await space.receive(raw or mail(to=space.address))
    await space.delivery(delivery_id, "answered", "silent")
    await house.later(timedelta(hours=2))
    return space, delivery_id


async def move(house: House) -> None:
    await octets.keep_outside(house.services)


async def test_a_mail_moves_compressed_and_is_read_from_there(house: House, bucket: Any) -> None:
    raw = mail("A word that is said often. " * 400) + bytes(range(0x80, 0x100))
    space, delivery_id = await kept(house, raw)
    await move(house)
    row = await raw_row(space)
    assert (row.content, row.size_bytes) == (None, len(raw))
    assert row.kept_at == f"s3://{_BUCKET}/mail/{space.id}/{row.id}.gz"
    body = bucket.get_object(Bucket=_BUCKET, Key=_keys(bucket, space)[0])["Body"].read()
    assert len(body) < len(raw) / 5
    assert zlib.decompress(body, wbits=31) == raw
    assert (await contents.raw(house.services, space.id, delivery_id)).content == raw


async def test_what_is_fresh_or_not_read_stays(house: House, bucket: Any) -> None:
    space = await house.workspace()
    delivery_id = await space.receive(mail(to=space.address))
    await space.delivery(delivery_id, "answered")
    await move(house)
    stays = f"s3://elsewhere/{space.id}"
    await house.accept(b"{}", space.address, source="ses", body_format="stored", stored_at=stays)
    await house.later(timedelta(hours=2))
    await move(house)
    rows = await space.rows(t.raw_messages)
    assert sorted(row.kept_at is None for row in rows) == [False, True]
    assert len(_keys(bucket, space)) == 1


@pytest.mark.parametrize("point", ["put", "written"])
async def test_a_kill_between_the_steps_loses_nothing_and_the_next_start_goes_on(
    house: House, storage: Mortal, bucket: Any, point: str
) -> None:
    raw = mail("Do not lose me.")
    space, delivery_id = await kept(house, raw)
    storage.dies_at = (point, space.id)
    with pytest.raises(Killed):
        await move(house)
    row = await raw_row(space)
    assert row.content == raw
    assert row.kept_at is not None, "whatever is there, a row names it"
    assert (await contents.raw(house.services, space.id, delivery_id)).content == raw
    await move(house)
    assert (await raw_row(space)).content is None
    assert (await contents.raw(house.services, space.id, delivery_id)).content == raw
    assert len(_keys(bucket, space)) == 1


async def test_what_comes_back_otherwise_than_it_went_stays_in_the_database(
    house: House, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = mail()
    space, _ = await kept(house, raw)
    monkeypatch.setattr(
        "mailagent.providers.raw_store._packed", lambda _: zlib.compress(b"", wbits=31)
    )
    await move(house)
    assert (await raw_row(space)).content == raw


async def test_a_mail_is_driven_again_and_its_files_are_had_from_there(house: House) -> None:
    with_file = (
        b"From: ann@customer.example\r\nSubject: A file\r\nMessage-ID: <f1@customer.example>\r\n"
        b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
        b"Content-Type: text/plain\r\n\r\nHere it is.\r\n--b\r\nContent-Type: text/plain\r\n"
        b"Content-Disposition: attachment; filename=a.txt\r\n\r\nthe file\r\n--b--\r\n"
    )
    space, delivery_id = await kept(house, with_file, mind=lambda _: Silence("not now"))
    await move(house)
    detail = await house.store.read(space.id, contents.detail, delivery_id)
    assert detail.content is not None
    (file,) = detail.content.attachments
    found = await contents.attachment(house.services, space.id, delivery_id, file.part)
    assert found.content.strip() == b"the file"
    house._agents.minds[space.domain] = lambda _: Silence("again")
    await space.write(lambda tx: handling.replay(tx, delivery_id, actor="cli"))
    row = await space.delivery(delivery_id, "silent")
    assert "again" in row.reason
    assert (await raw_row(space)).content is None


async def test_a_storage_that_is_away_is_later_for_a_reader_and_costs_a_replay_no_attempt(
    house: House, storage: Mortal
) -> None:
    space, delivery_id = await kept(house, mind=lambda _: Silence("not now"))
    await move(house)
    there, storage._settings = storage._settings, {**storage._settings, "AWS_REGION": ""}
    with pytest.raises(TransientFailure):
        await contents.raw(house.services, space.id, delivery_id)
    await space.write(lambda tx: handling.replay(tx, delivery_id, actor="cli"))

    async def waits() -> bool:
        return "waits to be fetched" in await space.story(delivery_id)

    await house.until(waits)
    storage._settings = there
    await house.later(timedelta(minutes=31))
    await space.delivery(delivery_id, "silent")


@pytest.mark.parametrize("point", ["", "deleted"])
async def test_a_purge_deletes_the_object_also_when_it_is_killed_meanwhile(
    house: House, storage: Mortal, bucket: Any, point: str
) -> None:
    space, _ = await kept(house)
    await move(house)
    await purge(house.store, space.id, Whole(), actor="cli", raw_store=storage)
    assert (await raw_row(space)).kept_at is None
    assert len(_keys(bucket, space)) == len(await space.rows(t.removed_objects)) == 1
    await house.later(_SOON)
    storage.dies_at = (point, space.id)
    if point:
        with pytest.raises(Killed):
            await move(house)
    await move(house)
    assert _keys(bucket, space) == []
    assert await space.rows(t.removed_objects) == []


async def test_a_purge_while_the_object_is_written_leaves_none(
    house: House, storage: Mortal, bucket: Any
) -> None:
    space, _ = await kept(house)
    storage.dies_at = ("written", space.id)
    with pytest.raises(Killed):
        await move(house)
    await purge(house.store, space.id, Whole(), actor="cli", raw_store=storage)
    await house.later(_SOON)
    await move(house)
    assert _keys(bucket, space) == []


async def test_a_person_is_found_in_octets_that_have_moved(house: House, bucket: Any) -> None:
    hidden = mail(headers={"X-Seen-By": "joan@hidden.example"})
    space, _ = await kept(house, hidden)
    other = await space.receive(mail(headers={"X-Seen-By": "joann@hidden.example"}))
    await space.delivery(other, "answered")
    await house.later(timedelta(hours=2))
    await move(house)
    assert len(_keys(bucket, space)) == 2
    of = house.services
    person = Person("joan@hidden.example")
    done = await purge(of.store, space.id, person, actor="cli", raw_store=of.raw_store)
    assert done.received == 1
    await house.later(_SOON)
    await move(house)
    assert len(_keys(bucket, space)) == 1


async def test_what_retention_ends_is_deleted_there_too(house: House, bucket: Any) -> None:
    space, _ = await kept(house)
    await move(house)
    await house.later(timedelta(days=31))
    assert await retention.keep(house.store, space.id, timedelta(days=30)) >= 1
    await house.later(_SOON)
    await move(house)
    assert _keys(bucket, space) == []


async def test_without_the_setting_nothing_moves_and_what_has_is_still_read(
    house: House, storage: Mortal
) -> None:
    raw = mail()
    space, delivery_id = await kept(house, raw)
    await move(house)
    later = await space.receive(mail())
    await space.delivery(later, "answered")
    await house.later(timedelta(hours=2))
    root, storage.root = storage.root, ""
    await move(house)
    storage.root = root
    rows = await space.rows(t.raw_messages)
    assert sorted(row.kept_at is None for row in rows) == [False, True]
    assert (await contents.raw(house.services, space.id, delivery_id)).content == raw

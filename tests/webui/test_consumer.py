from __future__ import annotations

import asyncio
import gzip
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from channels.db import database_sync_to_async
from channels.layers import get_channel_layer
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client

from tests import factories
from webui import consumers, hub, live, onlookers, queries
from webui.actions import servers
from webui.asgi import application
from webui.deltas import Counted, View
from webui.models import DirectorCounters, Installation, Server
from webui.narrow import EVERYTHING

pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE = 30  # seconds; what is waited for comes much earlier, unless the machine has other things to do

COUNTERS: live.CountersEvent = {
    "type": "live.counters",
    "director": "director1",
    "taken_at": "2026-01-01T00:00:00+00:00",
    "payload": {"vservers": {"1": {"packets": 7}}},
}


class Browser:
    """The browser's end of a websocket; ``channels.testing`` would do, but its package imports daphne."""

    def __init__(self, headers: list[tuple[bytes, bytes]], path: str = "/ws/live/") -> None:
        path, _mark, query = path.partition("?")
        scope = {
            "type": "websocket",
            "path": path,
            "query_string": query.encode(),
            "headers": headers,
            "subprotocols": [],
        }
        communicator: Any = ApplicationCommunicator  # asgiref leaves it without types
        self.wire = communicator(application, scope)

    async def connect(self) -> int:
        """0 when the server accepts; otherwise its close code."""
        await self.wire.send_input({"type": "websocket.connect"})
        answer = await self.wire.receive_output(PATIENCE)
        return 0 if answer["type"] == "websocket.accept" else int(answer.get("code", 1000))

    async def message(self) -> Any:
        """The next message."""
        output = await self.wire.receive_output(PATIENCE)
        assert output["type"] == "websocket.send", output
        return json.loads(output.get("text") or gzip.decompress(output["bytes"]))

    async def disconnect(self) -> None:
        """Close the tab."""
        await self.wire.send_input({"type": "websocket.disconnect", "code": 1001})
        await self.wire.wait(PATIENCE)


@database_sync_to_async
def _session_of(make_user: Any) -> str:
    client = Client()
    client.force_login(make_user())
    return client.cookies[settings.SESSION_COOKIE_NAME].value


def _browser(session: str = "", origin: bytes = b"http://127.0.0.1", path: str = "/ws/live/") -> Browser:
    headers = [(b"origin", origin), (b"host", b"127.0.0.1")]
    if session:
        headers.append((b"cookie", f"{settings.SESSION_COOKIE_NAME}={session}".encode()))
    return Browser(headers, path)


async def _connected(make_user: Any = factories.outsider, query: str = "") -> Browser:
    browser = _browser(await _session_of(make_user), path=f"/ws/live/?{query}")
    assert await browser.connect() == 0
    return browser


async def _refusal(browser: Browser) -> int:
    """The close code that a browser gets instead of a message."""
    assert await browser.connect() == 0
    output = await browser.wire.receive_output(PATIENCE)
    assert output["type"] == "websocket.close", output
    return int(output["code"])


async def test_someone_not_logged_in_is_refused() -> None:
    assert await _refusal(_browser()) == consumers.NOT_LOGGED_IN


async def test_a_made_up_session_is_refused() -> None:
    assert await _refusal(_browser("0123456789abcdefghijklmnopqrstuv")) == consumers.NOT_LOGGED_IN


async def test_another_sites_page_is_refused_though_the_cookie_is_right() -> None:
    session = await _session_of(factories.owner)
    browser = _browser(session, origin=b"https://evil.example")
    assert await browser.connect() != 0


async def test_the_first_message_is_a_snapshot_of_what_is_there() -> None:
    await database_sync_to_async(factories.server)()
    browser = await _connected()
    message = await browser.message()
    assert (message["type"], message["seq"]) == ("snapshot", 1)
    assert [row["name"] for row in message["servers"]] == ["Server1"]
    await browser.disconnect()


async def test_no_message_holds_a_secret() -> None:
    await database_sync_to_async(factories.owner)()
    browser = await _connected()
    text = str(await browser.message())
    installation = await database_sync_to_async(Installation.objects.get)()
    password = await database_sync_to_async(lambda: User.objects.get(username="owner").password)()
    for secret in (installation.hash_key, password, settings.SECRET_KEY):
        assert len(secret) > 10
        assert secret not in text
    await browser.disconnect()


async def test_counters_are_passed_on_and_messages_are_numbered() -> None:
    browser = await _connected()
    assert (await browser.message())["seq"] == 1
    await live.apublish(COUNTERS)
    message = await browser.message()
    assert (message["type"], message["seq"]) == ("delta", 2)
    (counters,) = message["counters"]
    assert (counters["director"], counters["payload"]) == ("director1", COUNTERS["payload"])
    await browser.disconnect()


async def test_many_changes_at_once_make_one_fresh_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    browser = await _connected()
    await browser.message()
    await database_sync_to_async(factories.server)()
    for _event in range(20):
        await live.apublish({"type": "live.changed", "what": "health"})
    message = await browser.message()
    assert [row["name"] for row in message["rows"]["servers"]["changed"]] == ["Server1"]
    assert await browser.wire.receive_nothing(timeout=1)
    await browser.disconnect()


async def test_browsers_share_the_reading_of_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    browsers = [await _connected()]
    session = await _session_of(factories.owner)
    for _number in range(4):
        browser = _browser(session)
        assert await browser.connect() == 0
        browsers.append(browser)
    for browser in browsers:
        await browser.message()
    await asyncio.sleep(hub.COALESCE_SECONDS + 0.2)  # all of them wait for a change now
    read: list[int] = []
    overview = queries.overview

    def counted() -> Any:
        read.append(1)
        return overview()

    monkeypatch.setattr(queries, "overview", counted)
    await live.apublish({"type": "live.changed", "what": "health"})
    for browser in browsers:
        assert (await browser.message())["type"] == "delta"
    assert 1 <= len(read) <= 2, "one, and one for those who came, if the machine was late with it"
    for browser in browsers:
        await browser.disconnect()


async def test_a_snapshot_comes_even_when_every_event_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "REFRESH_SECONDS", 0.7)
    browser = await _connected()
    await browser.message()
    await database_sync_to_async(factories.server)()  # without its event: conftest's Redis does not exist
    message = await browser.message()
    assert [row["name"] for row in message["rows"]["servers"]["changed"]] == ["Server1"]
    await browser.disconnect()


async def _is_closed(browser: Browser) -> bool:
    await live.apublish(COUNTERS)
    output = await browser.wire.receive_output(PATIENCE)
    return bool(output == {"type": "websocket.close", "code": consumers.NOT_LOGGED_IN})


@pytest.mark.parametrize(
    "ending",
    [
        lambda: Session.objects.all().delete(),
        lambda: User.objects.update(is_active=False),
        lambda: User.objects.update(password="changed elsewhere"),
    ],
    ids=["logged out", "deactivated", "password changed"],
)
async def test_messages_stop_when_the_session_ends(ending: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "SESSION_SECONDS", 0.0)
    browser = await _connected()
    assert (await browser.message())["type"] == "snapshot"
    await database_sync_to_async(ending)()
    assert await _is_closed(browser)


async def test_what_a_browser_sends_is_ignored() -> None:
    browser = await _connected()
    await browser.message()
    await browser.wire.send_input({"type": "websocket.receive", "text": "{not json"})
    await live.apublish(COUNTERS)
    assert (await browser.message())["counters"][0]["director"] == "director1"
    await browser.disconnect()


async def test_a_database_that_fails_once_does_not_end_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import OperationalError  # noqa: PLC0415

    monkeypatch.setattr(hub, "REFRESH_SECONDS", 0.7)
    overview, failures = queries.overview, [OperationalError("database is locked")]

    def fail_once() -> Any:
        if failures:
            raise failures.pop()
        return overview()

    monkeypatch.setattr(queries, "overview", fail_once)
    browser = await _connected()
    assert (await browser.message())["type"] == "snapshot"
    assert failures == []
    await browser.disconnect()


# Numbers, snapshots and browsers that show the same


async def test_a_browser_that_missed_something_gets_a_snapshot_when_it_asks() -> None:
    taken_at = datetime(2025, 12, 31, tzinfo=UTC)
    await DirectorCounters.objects.acreate(director="director1", taken_at=taken_at, payload={})
    browser = await _connected()
    first = await browser.message()
    await live.apublish(COUNTERS)
    assert (await browser.message())["seq"] == first["seq"] + 1
    await browser.wire.send_input({"type": "websocket.receive", "text": consumers.AGAIN})
    again = await browser.message()
    assert (again["type"], again["view"]) == ("snapshot", first["view"])
    assert again["counters"][0]["payload"]["vservers"] == COUNTERS["payload"]["vservers"]
    await live.apublish(COUNTERS | {"taken_at": "2026-01-01T00:00:01+00:00"})
    assert (await browser.message())["seq"] == again["seq"] + 1
    await browser.disconnect()


async def _packed(browser: Browser) -> bytes:
    """The next large message; browsers that come make small ones for those that are there."""
    while True:
        output = await browser.wire.receive_output(PATIENCE)
        if output.get("bytes"):
            found: bytes = output["bytes"]
            return found


async def test_browsers_that_show_the_same_get_the_same_bytes() -> None:
    session = await _session_of(factories.outsider)
    browsers = []
    for query in ("servers=*", "servers=*", "services=~3"):
        browser = _browser(session, path=f"/ws/live/?{query}")
        assert await browser.connect() == 0
        await browser.message()
        browsers.append(browser)
    for number in range(45):
        await database_sync_to_async(factories.server)(number)
    await live.apublish({"type": "live.changed", "what": "configuration"})
    outputs = [await _packed(browser) for browser in browsers[:2]]
    assert outputs[0] is outputs[1]
    assert "rows" not in await browsers[2].message(), "servers are not what it shows"
    for browser in browsers:
        await browser.disconnect()


async def test_a_snapshot_holds_what_was_committed_before_the_browser_came() -> None:
    first = await _connected()
    await first.message()
    await database_sync_to_async(factories.server)()  # nobody tells of it
    second = _browser(await _session_of(factories.owner))
    assert await second.connect() == 0
    assert [row["name"] for row in (await second.message())["servers"]] == ["Server1"]
    assert [row["name"] for row in (await first.message())["rows"]["servers"]["changed"]] == ["Server1"]
    await first.disconnect()
    await second.disconnect()


async def test_only_the_first_rows_are_sent_to_who_shows_only_those() -> None:
    for number in range(1, 4):
        await database_sync_to_async(factories.server)(number)
    browser = await _connected(query="servers=~2")
    message = await browser.message()
    assert [row["name"] for row in message["servers"]] == ["Server1", "Server2"]
    assert message["totals"] == {"servers": 3}
    await database_sync_to_async(lambda: servers.delete(factories.SYSTEM, Server.objects.get(name="Server1")))()
    await live.apublish({"type": "live.changed", "what": "configuration"})
    delta = await browser.message()
    assert [row["name"] for row in delta["rows"]["servers"]["changed"]] == ["Server3"]
    assert len(delta["rows"]["servers"]["order"]) == delta["totals"]["servers"] == 2
    await browser.disconnect()


async def test_a_browser_is_told_when_the_rows_cannot_be_read_and_since_when_they_stand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from django.db import OperationalError  # noqa: PLC0415

    browser = await _connected()
    read_at = (await browser.message())["read_at"]
    overview, away = queries.overview, [True]

    def fails() -> Any:
        if away:
            raise OperationalError("database is locked")
        return overview()

    monkeypatch.setattr(queries, "overview", fails)
    await live.apublish({"type": "live.changed", "what": "health"})
    message = await browser.message()
    assert (message["type"], message["since"], message["why"]) == ("stale", read_at, "the database does not answer")
    away.clear()
    assert (await browser.message())["read_at"] > read_at
    await browser.disconnect()


async def test_a_slow_browser_gets_a_snapshot_instead_of_all_that_it_missed() -> None:
    session = await _session_of(factories.outsider)
    facts = await database_sync_to_async(onlookers.look)(session)
    assert isinstance(facts, onlookers.Facts)
    member = hub.Member(session, facts)
    member.view = View("v", EVERYTHING, 10.0)
    counted = Counted()
    for second in range(3 * hub.MOST_WAITING):
        counted.take("d", f"{second:03}", {"services": {"1": {"packets": second}}})
        frame = member.view.after(None, counted, "2026-01-01T00:00:00+00:00")
        member.give(frame if second else None)
    message = json.loads(await member.next())
    assert (message["type"], message["seq"]) == ("snapshot", 3 * hub.MOST_WAITING)
    assert message["counters"][0]["payload"]["services"]["1"]["packets"] == 3 * hub.MOST_WAITING - 1
    member.give(member.view.stale("why", "2026-01-01T00:00:00+00:00"))
    assert json.loads(await member.next())["seq"] == message["seq"] + 1


async def test_all_browsers_of_a_process_are_one_listener() -> None:
    layer: Any = get_channel_layer()
    browsers = [await _connected()]
    second = _browser(await _session_of(factories.owner))
    assert await second.connect() == 0
    browsers.append(second)
    for browser in browsers:
        await browser.message()
    assert len(layer.groups[live.GROUP]) == 1
    for browser in browsers:
        await browser.disconnect()
    await asyncio.sleep(0)
    assert live.GROUP not in layer.groups, "nobody listens for nobody"

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client

from tests import factories
from webui import consumers, hub, live, queries
from webui.asgi import application
from webui.models import Installation

pytestmark = pytest.mark.django_db(transaction=True)

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
        answer = await self.wire.receive_output(5)
        return 0 if answer["type"] == "websocket.accept" else int(answer.get("code", 1000))

    async def message(self) -> Any:
        """The next message."""
        output = await self.wire.receive_output(3)
        assert output["type"] == "websocket.send", output
        return json.loads(output.get("text") or gzip.decompress(output["bytes"]))

    async def disconnect(self) -> None:
        """Close the tab."""
        await self.wire.send_input({"type": "websocket.disconnect", "code": 1001})
        await self.wire.wait(3)


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


async def test_someone_not_logged_in_is_refused() -> None:
    browser = _browser()
    assert await browser.connect() == consumers.NOT_LOGGED_IN


async def test_a_made_up_session_is_refused() -> None:
    browser = _browser("0123456789abcdefghijklmnopqrstuv")
    assert await browser.connect() == consumers.NOT_LOGGED_IN


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
    assert len(read) == 1
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
    output = await browser.wire.receive_output(3)
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

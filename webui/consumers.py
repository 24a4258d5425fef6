"""The websocket: authenticate, send a snapshot, then what changes.

The channel layer delivers at most once (Channels, "Channel layer specification"), so an event is only a hint to read
the rows again; a snapshot also goes out without one every :data:`REFRESH_SECONDS`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

import redis
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.db import Error
from django.utils import timezone

from webui import editions, live, queries, roles
from webui.access import Standing, standing
from webui.narrow import Wish, wish_of
from webui.payloads import CountersMessage, FlowsMessage, Overview, SnapshotMessage

COALESCE_SECONDS = 0.5  # at most one snapshot in this time
REFRESH_SECONDS = 10.0  # a snapshot is sent this often when nothing happens
SESSION_SECONDS = 5.0  # how long an answer to "still logged in?" is believed while the edition of access stays

NOT_LOGGED_IN = 4401  # application code of RFC 6455, section 7.4.2, after HTTP's 401
NOT_ALLOWED = 4403  # as above, after HTTP's 403
TRY_AGAIN = 1013  # IANA's registry of close codes

T = TypeVar("T")

log = logging.getLogger(__name__)


class Shared(Generic[T]):
    """Reads something once for all browsers that ask for it at about the same time."""

    def __init__(self, read: Callable[[], T]) -> None:
        self._read = read
        self._lock = asyncio.Lock()
        self._read_at = float("-inf")
        self._found: T | None = None

    async def read_since(self, moment: float) -> T:
        """What a reading found that began after ``moment`` (of ``time.monotonic``). Raises ``django.db.Error``."""
        async with self._lock:
            if self._found is None or self._read_at <= moment:
                read_at = time.monotonic()
                self._found = await database_sync_to_async(self._read)()
                self._read_at = read_at
            return self._found


class SharedReads:
    """What the browsers of one event loop share."""

    def __init__(self) -> None:
        # Looked up when it is read: tests count and replace it.
        self.overview: Shared[Overview] = Shared(lambda: queries.overview())  # noqa: PLW0108 - as above
        self.edition: Shared[int] = Shared(editions.read)


_shared: WeakKeyDictionary[asyncio.AbstractEventLoop, SharedReads] = WeakKeyDictionary()


def _shared_reads() -> SharedReads:
    return _shared.setdefault(asyncio.get_running_loop(), SharedReads())


class LiveConsumer(AsyncJsonWebsocketConsumer):
    """One browser. Its query string, and later its messages, say what of the snapshot it wants (see ``narrow.py``).

    Whatever else it sends is ignored: changes are made by forms. While Redis is away nobody would tell of changes, so
    the connection ends with :data:`TRY_AGAIN`, as it does without the database, and the browser tries again.
    """

    permission = roles.VIEW_STATUS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._seq = 0
        self._sending = asyncio.Lock()
        self._changed = asyncio.Event()
        self._changed_at = time.monotonic()
        self._checked_at = float("-inf")
        self._edition = -1
        self._standing = Standing(logged_in=False)
        self._pump: asyncio.Task[None] | None = None
        self._wish: Wish | None = None
        self._accepted = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one browser; a Redis or a database that is away is no fault of this program."""
        try:
            await super().__call__(scope, receive, send)
        except (redis.RedisError, Error) as error:
            away = "Redis" if isinstance(error, redis.RedisError) else "the database"
            log.warning("Live updates of one browser end, since %s is away; it will try again: %s", away, error)
            if self._pump is not None:
                self._pump.cancel()
            with suppress(OSError):  # the browser has gone meanwhile
                if not self._accepted:
                    await send({"type": "websocket.accept"})  # or it would not be told the code
                await send({"type": "websocket.close", "code": TRY_AGAIN})

    async def accept(self, *args: Any, **kwargs: Any) -> None:
        """Remember that it was done."""
        await super().accept(*args, **kwargs)
        self._accepted = True

    async def connect(self) -> None:
        """Refuse who may not look; otherwise join before reading, so that no change falls between the two."""
        if not await self._may_stay():
            return
        self._wish = wish_of(self.scope.get("query_string", b"").decode("ascii", "replace"))
        await self.channel_layer.group_add(live.GROUP, self.channel_name)
        await self.channel_layer.group_add(live.ACCESS_GROUP, self.channel_name)
        await self.accept()
        self._pump = asyncio.create_task(self._send_snapshots())

    async def disconnect(self, _code: int) -> None:
        """Stop sending."""
        if self._pump is not None:
            self._pump.cancel()
            await self.channel_layer.group_discard(live.GROUP, self.channel_name)
        await self.channel_layer.group_discard(live.ACCESS_GROUP, self.channel_name)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None, **_more: Any) -> None:
        """Other rows are wanted; anything else is ignored."""
        wish = wish_of(text_data or "") if bytes_data is None else None
        if wish is not None:
            self._wish = wish
            self._changed.set()

    async def live_access(self, _event: dict[str, Any]) -> None:
        """Users, roles or sessions changed: whoever may not stay is told at once, not with the next message."""
        async with self._sending:
            await self._may_stay()

    async def live_changed(self, _event: dict[str, Any]) -> None:
        """Rows changed: a fresh snapshot is due."""
        self._changed_at = time.monotonic()
        self._changed.set()

    async def live_counters(self, event: dict[str, Any]) -> None:
        """Counters are replaced every second, so they travel in the event itself."""
        payload = event["payload"]
        await self._send(
            CountersMessage(
                type="counters",
                seq=0,
                now=timezone.now().isoformat(),
                director=event["director"],
                taken_at=event["taken_at"],
                payload=payload if self._wish is None else self._wish.counters(payload),
            )
        )

    async def _send_snapshots(self) -> None:
        shared = _shared_reads().overview
        while True:
            self._changed.clear()
            try:
                overview = await shared.read_since(self._changed_at)
                message = SnapshotMessage(type="snapshot", seq=0, problem_count=len(overview["problems"]), **overview)
                await self._send(message if self._wish is None else self._wish.snapshot(message))
            except Error as error:
                log.warning("A live snapshot could not be read, the next one is tried: %s", error)
            except Exception:
                log.exception("Live updates of one browser end; it will connect again.")
                await self.close(code=1011)
                raise
            await asyncio.sleep(COALESCE_SECONDS)
            try:
                await asyncio.wait_for(self._changed.wait(), REFRESH_SECONDS - COALESCE_SECONDS)
            except TimeoutError:
                self._changed_at = time.monotonic()

    async def _send(self, message: SnapshotMessage | CountersMessage | FlowsMessage | dict[str, Any]) -> None:
        async with self._sending:
            if not await self._may_stay():
                return
            if not self._standing.sees_audit and message["type"] == "snapshot":
                message |= {"changes": []}
            self._seq += 1
            message["seq"] = self._seq
            await self.send_json(message)

    async def _may_stay(self) -> bool:
        """Asked before each message; closes the connection of whoever may not have it.

        The edition of access is read each time, session, user and permissions when it moved, and every
        :data:`SESSION_SECONDS` for what changes by itself (a session expires) or behind our back.
        """
        now = time.monotonic()
        edition = await _shared_reads().edition.read_since(now)
        if edition != self._edition or now - self._checked_at >= SESSION_SECONDS:
            session = self.scope.get("session")
            key = session.session_key if session else None
            self._standing = await database_sync_to_async(standing)(key, self.permission)
            self._checked_at, self._edition = now, edition
        if not self._standing.logged_in or not self._standing.allowed:
            self._edition = -1  # whatever comes until it is closed is asked anew
            await self.close(code=NOT_ALLOWED if self._standing.logged_in else NOT_LOGGED_IN)
            return False
        return True


class FlowConsumer(LiveConsumer):
    """A browser that shows one virtual server's flows. That somebody looks, its page says by a POST, not this."""

    permission = "webui.watch_vserver"

    async def connect(self) -> None:
        """Refuse who may not watch flows."""
        if not await self._may_stay():
            return
        await self.channel_layer.group_add(self._group, self.channel_name)
        await self.channel_layer.group_add(live.ACCESS_GROUP, self.channel_name)
        await self.accept()

    async def disconnect(self, _code: int) -> None:
        """Stop sending."""
        await self.channel_layer.group_discard(self._group, self.channel_name)
        await self.channel_layer.group_discard(live.ACCESS_GROUP, self.channel_name)

    @property
    def _group(self) -> str:
        return live.flow_group(self.scope["url_route"]["kwargs"]["pk"])

    async def live_flows(self, event: dict[str, Any]) -> None:
        """What a director has sampled since the last."""
        await self._send(
            FlowsMessage(
                type="flows",
                seq=0,
                now=timezone.now().isoformat(),
                director=event["director"],
                rows=event["rows"],
                withheld=event["withheld"],
            )
        )

"""One for all browsers of a process: hears of changes, reads the rows once, and tells each what it does not know yet.

Of browsers that show the same, one message is made, compressed once, and sent to all (:mod:`webui.deltas`). Only this
listens to the channel layer, whatever the number of browsers.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final
from weakref import WeakKeyDictionary

import redis
from channels.db import database_sync_to_async
from channels.layers import get_channel_layer
from django.db import Error
from django.utils import timezone

from webui import editions, live, queries
from webui.deltas import Counted, Frame, Read, View
from webui.narrow import EVERYTHING, Wish
from webui.onlookers import Facts, Sessions

COALESCE_SECONDS: Final = 0.5  # rows are read at most once in this time,
SHARE: Final = 4  # and after a rest of so many times as long as it took
REFRESH_SECONDS = 10.0  # rows are read this often when nothing happens
RETRY_SECONDS: Final = 1.0  # after a failure
COUNTERS_SECONDS: Final = 0.9  # counters are sent at most once in this time, however many directors there are
SESSION_SECONDS = 5.0  # how long an answer to "still logged in?" is believed
MOST_WAITING: Final = 20  # messages that a slow browser may be behind; then it gets a snapshot instead

log = logging.getLogger(__name__)


class Ended(Exception):  # noqa: N818 - no error of this program: a reason to tell a browser
    """The link of a browser ends; ``reason`` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


LOGGED_OUT: Final = "logged out"
NOT_ALLOWED: Final = "not allowed"
FAILED: Final = "failed"


def away(error: BaseException) -> str:
    """Which of the two servers is away."""
    return "Redis" if isinstance(error, redis.RedisError | OSError) else "the database"


def _read() -> Read:
    return Read.of(queries.overview())


@dataclass(eq=False)
class Member:
    """One browser: what it waits for, and the messages that are on their way to it."""

    session_key: str
    facts: Facts
    view: View | None = None
    wish: Wish | None = None  # to be met by the next reading
    asked_at: float = 0.0
    queue: asyncio.Queue[tuple[View, int, Frame | None] | BaseException] = field(default_factory=asyncio.Queue)
    _from: tuple[View | None, int] = (None, 0)  # the latest snapshot

    def give(self, frame: Frame | None) -> None:
        """A message of its view; None stands for a snapshot as it is when there is room for it."""
        assert self.view is not None  # noqa: S101 - only members of a view get its messages
        if self.queue.qsize() >= MOST_WAITING:
            while not self.queue.empty():
                self.queue.get_nowait()
            frame = None
        self.queue.put_nowait((self.view, self.view.seq, frame))

    async def next(self) -> Frame:
        """The next message. Raises what :meth:`Hub.leave` is to be called after."""
        while True:
            found = await self.queue.get()
            if isinstance(found, BaseException):
                raise found
            view, seq, frame = found
            if frame is None:
                self._from = (view, view.seq)
                return view.snapshot(timezone.now().isoformat())
            # A snapshot that was made late holds what had been waiting behind it.
            if self._from[0] is view and seq > self._from[1]:
                return frame


class Hub:
    """See the module. Works while it has members; ends by itself after the last."""

    def __init__(self) -> None:
        self._members: set[Member] = set()
        self._views: dict[str, View] = {}
        self._counted = Counted()
        self._sessions = Sessions()
        self._checked_at = float("-inf")
        self._edition = -1
        self._wanted = asyncio.Event()
        self._moved = asyncio.Event()
        self._sending = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._name = secrets.token_hex(4)
        self._made = 0
        self._stale = False

    async def join(self, member: Member, wish: Wish | None) -> None:
        """Take a browser in. What it gets first was read after this moment. Raises redis.RedisError, OSError."""
        if not self._tasks:
            await self._start()
        self._members.add(member)
        self._sessions.known[member.session_key] = member.facts
        self.ask(member, wish)

    def ask(self, member: Member, wish: Wish | None = None) -> None:
        """A snapshot is due: of other rows, or of the same where ``wish`` is None."""
        member.wish = wish or member.wish or (member.view.wish if member.view else EVERYTHING)
        member.asked_at = time.monotonic()
        self._wanted.set()

    def leave(self, member: Member) -> None:
        """The browser has gone."""
        if member not in self._members:
            return
        self._members.discard(member)
        self._forget_views()
        if not any(one.session_key == member.session_key for one in self._members):
            self._sessions.known.pop(member.session_key, None)
        if not self._members:
            self._stop()

    async def _start(self) -> None:
        layer: Any = get_channel_layer()
        tasks: list[asyncio.Task[None]] = []
        self._tasks = tasks
        try:
            channel = await layer.new_channel()
            await self._add(layer, channel)
        except BaseException:
            self._tasks = []
            raise
        for work in (self._listen(layer, channel), self._refresh(layer, channel), self._pass_on()):
            task = asyncio.create_task(work)
            task.add_done_callback(self._done)
            tasks.append(task)

    @staticmethod
    async def _add(layer: Any, channel: str) -> None:
        for group in (live.GROUP, live.ACCESS_GROUP):
            await layer.group_add(group, channel)

    def _stop(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        self._counted, self._stale = Counted(), False

    def _done(self, task: asyncio.Task[None]) -> None:
        """All browsers are told when something is away, or fails; they come back, and with them this begins anew."""
        error = None if task.cancelled() else task.exception()
        if error is None or task not in self._tasks:
            return
        if isinstance(error, redis.RedisError | OSError | Error):
            log.warning("Live updates of %d browsers end, since %s is away: %s", len(self._members), away(error), error)
        else:
            log.error("Live updates end; browsers will connect again.", exc_info=error)
            error = Ended(FAILED)
        self._end(self._members, error)
        self._stop()

    def _end(self, members: Collection[Member], error: BaseException) -> None:
        for member in list(members):
            self._members.discard(member)
            self._sessions.known.pop(member.session_key, None)
            member.queue.put_nowait(error)
        self._forget_views()

    def _forget_views(self) -> None:
        used = {member.view.name for member in self._members if member.view is not None}
        self._views = {text: view for text, view in self._views.items() if view.name in used}

    async def _listen(self, layer: Any, channel: str) -> None:
        try:
            while True:
                event = await layer.receive(channel)
                if event["type"] == "live.access":  # who may not stay is told at once
                    async with self._sending:
                        await self._part_with_those_who_may_not_look()
                elif event["type"] != "live.counters":
                    self._wanted.set()
                elif self._counted.take(event["director"], event["taken_at"], event["payload"]):
                    self._moved.set()
        finally:
            with suppress(redis.RedisError, OSError):
                for group in (live.GROUP, live.ACCESS_GROUP):
                    await layer.group_discard(group, channel)

    async def _pass_on(self) -> None:
        while True:
            await self._moved.wait()
            self._moved.clear()
            await self._tell(None)
            await asyncio.sleep(COUNTERS_SECONDS)

    async def _refresh(self, layer: Any, channel: str) -> None:
        while True:
            self._wanted.clear()
            began, rest = time.monotonic(), REFRESH_SECONDS
            try:
                read = await database_sync_to_async(_read)()
            except Error as error:
                log.warning("Rows could not be read for live updates, which is tried again: %s", error)
                await self._tell_stale()
                rest = RETRY_SECONDS
            else:
                self._counted.take_all(read.counters)
                self._stale = False
                await self._tell(read, began)
            # The layer forgets members after a day, and all of them when Redis starts anew.
            await self._add(layer, channel)
            took = time.monotonic() - began
            pause = max(COALESCE_SECONDS, SHARE * took)
            await asyncio.sleep(pause)
            try:
                await asyncio.wait_for(self._wanted.wait(), max(0.0, rest - pause))
            except TimeoutError:
                continue

    async def _tell(self, read: Read | None, began: float = 0.0) -> None:
        async with self._sending:
            await self._part_with_those_who_may_not_look()
            now = timezone.now().isoformat()
            frames = {view.name: view.after(read, self._counted, now) for view in self._views.values()}
            due = {one for one in self._members if read and one.wish is not None and one.asked_at <= began}
            for member in self._members - due:
                if member.view is not None and (frame := frames.get(member.view.name)) is not None:
                    member.give(frame)
            if read is not None:
                for member in due:
                    self._meet(member, read, now)
                self._forget_views()

    def _meet(self, member: Member, read: Read, now: str) -> None:
        """Give the browser the snapshot that it waits for."""
        wish, member.wish = member.wish, None
        assert wish is not None  # noqa: S101 - looked at by the only caller
        sees_audit = member.facts.sees_audit
        text = f"{wish.text}&audit" if sees_audit else wish.text
        view = self._views.get(text)
        if view is None:
            self._made += 1
            view = View(f"{self._name}-{self._made}", wish, REFRESH_SECONDS, sees_audit)
            view.after(read, self._counted, now)
            self._views[text] = view
        member.view = view
        member.give(None)

    async def _tell_stale(self) -> None:
        if self._stale:
            return
        self._stale = True
        async with self._sending:
            now = timezone.now().isoformat()
            frames = {view.name: view.stale("the database does not answer", now) for view in self._views.values()}
            for member in self._members:
                if member.view is not None:
                    member.give(frames[member.view.name])

    async def _part_with_those_who_may_not_look(self) -> None:
        """Before each message: the edition of access is read, and all sessions when it moved.

        Every :data:`SESSION_SECONDS` they are looked at anyway: a session expires, or is changed behind our back.
        """
        edition = await database_sync_to_async(editions.read)()
        if edition == self._edition and time.monotonic() - self._checked_at < SESSION_SECONDS:
            return
        self._checked_at, self._edition = time.monotonic(), edition
        changed = await database_sync_to_async(self._sessions.changed)()
        for member in list(self._members):
            found = changed.get(member.session_key)
            if isinstance(found, Facts):
                if found.sees_audit != member.facts.sees_audit:
                    self.ask(member)  # what it is shown is another view
                member.facts = found
            elif found is not None:
                self._end([member], Ended(NOT_ALLOWED if found.logged_in else LOGGED_OUT))


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def hub() -> Hub:
    """That of the running event loop."""
    return _hubs.setdefault(asyncio.get_running_loop(), Hub())

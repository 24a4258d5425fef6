"""The websocket: authenticate, and pass on what the hub has for the browser (see ``hub.py``).

The channel layer delivers at most once (Channels, "Channel layer specification"), so an event is only a hint to read
the rows again; they are read without one as well.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import Any, Final

import redis
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.db import Error
from django.utils import timezone

from webui import editions, live
from webui.access import Standing, standing
from webui.hub import FAILED, SESSION_SECONDS, Ended, Member, away, hub
from webui.hub import NOT_ALLOWED as FORBIDDEN
from webui.narrow import wish_of
from webui.onlookers import Facts, look
from webui.payloads import FlowsMessage

NOT_LOGGED_IN = 4401  # application code of RFC 6455, section 7.4.2, after HTTP's 401
NOT_ALLOWED = 4403  # as above, after HTTP's 403
TRY_AGAIN = 1013  # IANA's registry of close codes
WENT_WRONG = 1011  # RFC 6455, section 7.4.1
AGAIN: Final = "again"  # what a browser says that has missed something

log = logging.getLogger(__name__)


class GuardedConsumer(AsyncJsonWebsocketConsumer):
    """Serves who is logged in. While Redis or the database is away the connection ends with :data:`TRY_AGAIN`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._accepted = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one browser; a Redis or a database that is away is no fault of this program."""
        try:
            await super().__call__(scope, receive, send)
        except (redis.RedisError, Error) as error:
            log.warning("Live updates of one browser end, since %s is away; it will try again: %s", away(error), error)
            self.end()
            with suppress(OSError):  # the browser has gone meanwhile
                if not self._accepted:
                    await send({"type": "websocket.accept"})  # or it would not be told the code
                await send({"type": "websocket.close", "code": TRY_AGAIN})

    def end(self) -> None:
        """Nothing will be sent any more."""

    async def accept(self, *args: Any, **kwargs: Any) -> None:
        """Remember that it was done."""
        await super().accept(*args, **kwargs)
        self._accepted = True

    @property
    def session_key(self) -> str | None:
        """Of whom the browser says it is."""
        session = self.scope.get("session")
        return session.session_key if session else None


class LiveConsumer(GuardedConsumer):
    """One browser. Its query string, and later its messages, say what of the snapshot it wants (see ``narrow.py``).

    A message :data:`AGAIN` asks for a snapshot. Whatever else it sends is ignored: changes are made by forms.
    """

    channel_layer_alias = "none"  # the hub listens, once for all
    session_check = staticmethod(look)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._member: Member | None = None
        self._pump: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Refuse who may not look; by a close code, as browsers do not tell scripts of a status."""
        facts = await database_sync_to_async(self.session_check)(self.session_key)
        if not isinstance(facts, Facts) or self.session_key is None:
            await self.accept()
            is_known = isinstance(facts, Standing) and facts.logged_in
            await self.close(code=NOT_ALLOWED if is_known else NOT_LOGGED_IN)
            return
        wish = wish_of(self.scope.get("query_string", b"").decode("ascii", "replace"))
        self._member = Member(self.session_key, facts)
        await hub().join(self._member, wish)
        await self.accept()
        self._pump = asyncio.create_task(self._pass_on(self._member))

    async def disconnect(self, _code: int) -> None:
        """Stop sending."""
        self.end()

    def end(self) -> None:
        """Stop sending."""
        if self._pump is not None:
            self._pump.cancel()
        if self._member is not None:
            hub().leave(self._member)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None, **_more: Any) -> None:
        """Other rows are wanted, or the same again; anything else is ignored."""
        if self._member is None or bytes_data is not None:
            return
        wish = wish_of(text_data or "")
        if wish is not None or text_data == AGAIN:
            hub().ask(self._member, wish)

    async def _pass_on(self, member: Member) -> None:
        try:
            while True:
                frame = await member.next()
                if isinstance(frame, str):
                    await self.send(text_data=frame)
                else:
                    await self.send(bytes_data=frame)
        except Ended as ended:
            codes = {FAILED: WENT_WRONG, FORBIDDEN: NOT_ALLOWED}
            await self.close(code=codes.get(ended.reason, NOT_LOGGED_IN))
        except (redis.RedisError, Error):
            await self.close(code=TRY_AGAIN)
        except OSError:  # the browser has gone; the server tells so by the next message
            log.debug("A browser went while it was sent something.")


class FlowConsumer(GuardedConsumer):
    """A browser that shows one virtual server's flows. That somebody looks, its page says by a POST, not this."""

    permission = "webui.watch_vserver"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._seq = 0
        self._sending = asyncio.Lock()
        self._checked_at = float("-inf")
        self._edition = -1
        self._standing = Standing(logged_in=False)

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

    async def live_access(self, _event: dict[str, Any]) -> None:
        """Users, roles or sessions changed: whoever may not stay is told at once, not with the next message."""
        async with self._sending:
            await self._may_stay()

    async def live_flows(self, event: dict[str, Any]) -> None:
        """What a director has sampled since the last."""
        async with self._sending:
            if not await self._may_stay():
                return
            self._seq += 1
            await self.send_json(
                FlowsMessage(
                    type="flows",
                    seq=self._seq,
                    now=timezone.now().isoformat(),
                    director=event["director"],
                    rows=event["rows"],
                    withheld=event["withheld"],
                )
            )

    async def _may_stay(self) -> bool:
        """Asked before each message, as the hub does; closes the connection of whoever may not have it."""
        now = time.monotonic()
        edition = await database_sync_to_async(editions.read)()
        if edition != self._edition or now - self._checked_at >= SESSION_SECONDS:
            self._standing = await database_sync_to_async(standing)(self.session_key, self.permission)
            self._checked_at, self._edition = now, edition
        if self._standing.allowed:
            return True
        self._edition = -1  # whatever comes until it is closed is asked anew
        await self.close(code=NOT_ALLOWED if self._standing.logged_in else NOT_LOGGED_IN)
        return False

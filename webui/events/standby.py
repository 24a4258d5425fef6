"""A thread of the web process that stands in while no worker runs.

That the checks stall because no worker runs is what the workers cannot notice, nor tell. This thread looks for alarms,
sends events that have waited for a while, and ends trials of the configuration that nobody confirmed. All of it is
claimed in the database, so any number of processes may do it beside the workers.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final

from django.db import DatabaseError, InterfaceError, close_old_connections

from webui.actions import revisions
from webui.events.deliver import Couriers
from webui.watch import watch

PERIOD: Final = 5.0  # seconds
GRACE: Final = timedelta(seconds=15)  # that a worker has before this process sends its events

log = logging.getLogger(__name__)

_started = threading.Lock()


async def lifespan(
    _scope: Any, receive: Callable[[], Awaitable[dict[str, Any]]], send: Callable[[dict[str, Any]], Awaitable[None]]
) -> None:
    """Start the thread with the server (ASGI, lifespan protocol); nothing is to be done when it ends."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            start()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def start() -> None:
    """Start the thread, once in a process."""
    if _started.acquire(blocking=False):
        threading.Thread(target=_run, name="events-standby", daemon=True).start()


def _run() -> None:
    couriers, never = Couriers(), threading.Event()
    while not never.wait(PERIOD):
        round_once(couriers)


def round_once(couriers: Couriers) -> None:
    """Look for alarms, for a trial that is over, and for events that nobody sends; each whatever the others do."""
    close_old_connections()
    for what, step in (
        ("look for alarms", lambda: watch("console")),
        ("look for the end of a trial", revisions.expire),
        ("send events", lambda: couriers.tick(GRACE)),
    ):
        try:
            step()
        except (DatabaseError, InterfaceError) as error:
            log.warning("The console could not %s (%s); it tries again.", what, error)
        except Exception:
            log.exception("The console could not %s; it tries again.", what)

"""Live events: their types, their groups, and the only writer to the channel layer.

An event is a hint; the rows are the truth. A browser gets a snapshot when it connects, and a new one when
configuration or health changed; counters travel in the event itself, since they are replaced every second.
"""

from __future__ import annotations

import logging
from typing import Any, Literal, TypedDict

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer

GROUP = "live"

log = logging.getLogger(__name__)


class ChangedEvent(TypedDict):
    """Rows changed: configuration (actions), health (checks), the director's report (dataplane), what events did."""

    type: Literal["live.changed"]
    what: Literal["configuration", "health", "director", "events"]


class CountersEvent(TypedDict):
    """New counters of a director; ``payload`` as in :class:`webui.models.DirectorCounters`."""

    type: Literal["live.counters"]
    director: str
    taken_at: str
    payload: dict[str, Any]


Event = ChangedEvent | CountersEvent


def publish(event: Event) -> None:
    """Send an event to every connected browser; when Redis is away, log it and go on.

    Must not be called from a running event loop (use :func:`apublish` there).
    """
    async_to_sync(apublish)(event)


async def apublish(event: Event) -> None:
    """Send an event to every connected browser; when Redis is away, log it and go on."""
    layer = get_channel_layer()
    if layer is None:
        return
    try:
        await layer.group_send(GROUP, dict(event))
    except Exception as error:  # noqa: BLE001 - redis, socket and time-out errors alike: an event is only a hint
        log.warning("Live event %s was not sent: %s", event["type"], error)

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
ACCESS_GROUP = "access"  # every websocket, whatever it shows

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


class FlowsEvent(TypedDict):
    """Sampled flows of a vserver (its row), for those who look at them; ``withheld`` more came too fast.

    ``rows`` as in :class:`dataplane.flow_view.FlowRow`.
    """

    type: Literal["live.flows"]
    director: str
    vserver: int
    rows: list[dict[str, Any]]
    withheld: int


class AccessEvent(TypedDict):
    """Users, roles or sessions changed: every open websocket is asked again whether it may stay."""

    type: Literal["live.access"]


Event = ChangedEvent | CountersEvent | FlowsEvent | AccessEvent


def flow_group(vserver: int) -> str:
    """The group of those who look at a vserver's flows."""
    return f"flows.{vserver}"


def publish(event: Event) -> None:
    """Send an event to every browser that it concerns; when Redis is away, log it and go on.

    Must not be called from a running event loop (use :func:`apublish` there).
    """
    async_to_sync(apublish)(event)


async def apublish(event: Event) -> None:
    """Send an event to every browser that it concerns; when Redis is away, log it and go on."""
    layer = get_channel_layer()
    if layer is None:
        return
    try:
        await layer.group_send(_group(event), dict(event))
    except Exception as error:  # noqa: BLE001 - redis, socket and time-out errors alike: an event is only a hint
        log.warning("Live event %s was not sent: %s", event["type"], error)


def _group(event: Event) -> str:
    if event["type"] == "live.flows":
        return flow_group(event["vserver"])
    return ACCESS_GROUP if event["type"] == "live.access" else GROUP

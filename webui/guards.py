"""Counters that stand still in a healthy network. When one moves, somebody must look."""

from __future__ import annotations

from datetime import datetime, timedelta

from webui.choices import State
from webui.payloads import ProblemRow
from webui.world import World, is_stale

RECENTLY = timedelta(minutes=1)

# Names of dataplane.tables.Reason, and what their moving means.
GUARDS = {
    "DROP_LOOP": "frames come back from the server that they were sent to, or from this director: there is a loop, or "
    "a server is a director itself",
    "DROP_OWN_MAC": "the neighbour table gives a server one of the director's own MAC addresses: two machines have one "
    "address, or something answers ARP for others",
    "DROP_SYN_RATE": "a virtual server gets more new connections than its SYN limit: a flood, or the limit is too low",
    "DROP_SYN_SOURCE": "one source network makes more new connections than it may: a flood, or the limit is too low",
    "DROP_TABLE": "a table of the forwarder lacks an entry, which is a fault of Halfpipe",
}


# These drop what they are told to; the others mean that something is broken.
FILTERS = frozenset({"DROP_SYN_RATE", "DROP_SYN_SOURCE"})


def last_moved(world: World, name: str) -> datetime | None:
    """When a reason's counter last moved on any director that reports; None: not since their workers started."""
    moments = [
        datetime.fromisoformat(row.payload["reasons"][name]["moved_at"])
        for row in world.counters
        if not is_stale(row.taken_at, world.now) and row.payload.get("reasons", {}).get(name, {}).get("moved_at")
    ]
    return max(moments, default=None)


def guard_problems(world: World) -> list[ProblemRow]:
    """A problem for each guard that moved within the last minute, by director."""
    found = []
    for row in world.counters:
        if is_stale(row.taken_at, world.now):
            continue
        for name, meaning in GUARDS.items():
            reason = row.payload.get("reasons", {}).get(name, {})
            moved_at = reason.get("moved_at")
            if moved_at and world.now - datetime.fromisoformat(moved_at) <= RECENTLY:
                text = f"{meaning}. {reason['packets']} frames dropped so far, {name}"
                found.append(
                    ProblemRow(
                        key=f"guard-{row.pk}-{name}",
                        severity=State.UNKNOWN if name in FILTERS else State.DOWN,
                        what=f"director {row.director}",
                        url="",
                        text=text,
                    )
                )
    return found

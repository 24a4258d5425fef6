"""What the worker tells the console: status rows, and events as hints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.utils import timezone

from dataplane.desired import DesiredState, Path
from dataplane.forwarding import Forwarding
from dataplane.ports import Interface
from dataplane.tables import Count, Counters, IPAddress, Reason, Tables
from webui import live
from webui.models import DataplaneStatus, DirectorCounters, DirectorEvent, ServerPath


def save_status(director: str, **values: Any) -> None:
    """Write the director's status row. Raises django.db.Error when the database is away."""
    DataplaneStatus.objects.update_or_create(director=director, defaults={**values, "heartbeat_at": timezone.now()})


def interface_rows(
    interfaces: tuple[Interface, ...], attached: frozenset[int], forwarding: Mapping[int, Forwarding]
) -> list[dict[str, Any]]:
    """Interfaces in the JSON form of :class:`webui.models.DataplaneStatus`."""
    return [
        {
            "ifindex": item.ifindex,
            "name": item.name,
            "mac": item.mac.hex(":"),
            "up": item.up,
            "addresses": [str(entry) for entry in item.addresses],
            "attached": item.ifindex in attached,
        }
        | (_mode(forwarding[item.ifindex]) if item.ifindex in attached and item.ifindex in forwarding else {})
        for item in interfaces
    ]


def _mode(found: Forwarding) -> dict[str, Any]:
    return {"mode": str(found.mode), "mode_reason": found.reason, "mode_refused": found.refused}


def save_paths(
    director: str, servers: Mapping[int, IPAddress], paths: Mapping[IPAddress, Path], interfaces: tuple[Interface, ...]
) -> bool:
    """Write how each server is reached; only rows that differ are touched. Returns whether any was."""
    names = {item.ifindex: item.name for item in interfaces}
    present = {row.server_id: row for row in ServerPath.objects.filter(director=director)}
    changed = False
    for server_id, address in servers.items():
        path = paths.get(address)
        if path is None:  # added after the round began: the next one will know
            continue
        wanted = {
            "eligible": path.usable,
            "reason": path.reason[:255],
            "mac": path.mac.hex(":") if path.usable else "",
            "interface": names.get(path.ifindex, "") if path.usable else "",
        }
        row = present.get(server_id)
        if row is None or any(getattr(row, name) != value for name, value in wanted.items()):
            ServerPath.objects.update_or_create(director=director, server_id=server_id, defaults=wanted)
            changed = True
    return changed


# So long without a dropped SYN, and the flood is over.
QUIET_SECONDS = 10.0


@dataclass(slots=True)
class SynWatch:
    """Tells when the SYN filter begins to drop and when it has stopped."""

    began: float | None = None
    last: float = 0.0
    dropped: int = 0

    def step(self, dropped: int, now: float) -> str:
        """Take how many SYNs were dropped since the last call, at a monotonic time; an event in words, or nothing."""
        if dropped:
            self.last = now
            if self.began is None:
                self.began, self.dropped = now, dropped
                return f"The SYN filter began to drop: {dropped} SYNs at first."
            self.dropped += dropped
        elif self.began is not None and now - self.last >= QUIET_SECONDS:
            seconds, self.began = self.last - self.began, None
            return f"The SYN filter ended: {self.dropped} SYNs dropped within {seconds:.0f} s."
        return ""


def save_event(director: str, text: str) -> None:
    """Record an event and tell the browsers. Raises django.db.Error when the database is away."""
    DirectorEvent.objects.create(director=director, text=text[:255])
    live.publish({"type": "live.changed", "what": "director"})


@dataclass(slots=True)
class Rates:
    """Per-second figures from two readings of the counters."""

    previous: Counters | None = None
    previous_at: float = 0.0
    config_ids: dict[str, dict[int, int]] = field(default_factory=dict)
    syn: SynWatch = field(default_factory=SynWatch)
    events: list[str] = field(default_factory=list)  # for whoever takes them away
    moved_at: dict[Reason, str] = field(default_factory=dict)  # ISO 8601; not those that never moved while we looked

    def payload(
        self, counters: Counters, tables: Tables, now: float, flows: Mapping[tuple[int, int], int] | None = None
    ) -> dict[str, Any]:
        """JSON form of :class:`webui.models.DirectorCounters`; ``now`` is a monotonic time in seconds.

        ``flows`` are those remembered, by rows of vserver and service; None: unknown, or none are kept.
        """
        seconds = now - self.previous_at
        before = self.previous
        self._note_moves(counters, now)
        vservers = {entry.vserver_id: entry.config_id for entry in tables.vservers.values()}
        services = {kernel_id: entry.config_id for kernel_id, entry in tables.services.items()}
        # A kernel id that has passed to another object starts anew: no rate from the former one's count.
        known = self.config_ids
        self.previous, self.previous_at = counters, now
        self.config_ids = {"vservers": vservers, "services": services}
        payload: dict[str, Any] = {
            "vservers": _rates(
                counters.vservers, before.vservers if before else {}, vservers, known.get("vservers", {}), seconds
            ),
            "services": _rates(
                counters.services, before.services if before else {}, services, known.get("services", {}), seconds
            ),
            "reasons": {
                reason.name: {
                    "packets": count.packets,
                    "packets_per_second": _per_second(
                        count.packets, before.reasons.get(reason, Count()).packets if before else None, seconds
                    ),
                }
                | ({"moved_at": self.moved_at[reason]} if reason in self.moved_at else {})
                for reason, count in counters.reasons.items()
            },
        }
        same = [number for number, row in vservers.items() if known.get("vservers", {}).get(number) == row]
        dropped = {number: before.drops.get(number, {}) for number in same} if before else {}
        _add_drops(payload["vservers"], counters.drops, dropped, vservers, seconds)
        for kind, rows, begun, old in (
            ("vservers", vservers, counters.vserver_flows, before.vserver_flows if before else {}),
            ("services", services, counters.service_flows, before.service_flows if before else {}),
        ):
            kept = {number: old[number] for number in old if known.get(kind, {}).get(number) == rows.get(number)}
            _add_new_flows(payload[kind], begun, kept, rows, seconds)
        for (vserver, service), number in (flows or {}).items():
            for kind, row in (("vservers", vserver), ("services", service)):
                entry = payload[kind].setdefault(str(row), {})
                entry["flows"] = entry.get("flows", 0) + number
        return payload

    def _note_moves(self, counters: Counters, now: float) -> None:
        """Remember when counters moved that should stand still, and what of it is an event."""
        if self.previous is None:
            return
        for reason in _AT_REST:
            if self._new(reason, counters) > 0:
                self.moved_at[reason] = timezone.now().isoformat()
        dropped = sum(max(0, self._new(reason, counters)) for reason in _SYN_FILTER)
        if event := self.syn.step(dropped, now):
            self.events.append(event)

    def _new(self, reason: Reason, counters: Counters) -> int:
        before = self.previous.reasons if self.previous else {}
        return counters.reasons.get(reason, Count()).packets - before.get(reason, Count()).packets


_SYN_FILTER = frozenset({Reason.DROP_SYN_RATE, Reason.DROP_SYN_SOURCE})
# See webui/guards.py
_AT_REST = _SYN_FILTER | {Reason.DROP_LOOP, Reason.DROP_OWN_MAC, Reason.DROP_TABLE}


def _rates(
    now: Mapping[int, Count],
    before: Mapping[int, Count],
    config_ids: Mapping[int, int],
    known: Mapping[int, int],
    seconds: float,
) -> dict[str, dict[str, Any]]:
    result: dict[str, dict[str, Any]] = {}
    for kernel_id, config_id in config_ids.items():
        count = now.get(kernel_id, Count())
        old = before.get(kernel_id) if known.get(kernel_id) == config_id else None
        result[str(config_id)] = {
            "packets": count.packets,
            "bytes": count.bytes,
            "packets_per_second": _per_second(count.packets, old.packets if old else None, seconds),
            "bits_per_second": _per_second(count.bytes * 8, old.bytes * 8 if old else None, seconds),
        }
    return result


def _add_drops(
    payload: dict[str, dict[str, Any]],
    now: Mapping[int, Mapping[Reason, int]],
    before: Mapping[int, Mapping[Reason, int]],
    config_ids: Mapping[int, int],
    seconds: float,
) -> None:
    """Of each vserver: packets dropped, by reason and altogether. ``before`` has those it was known of."""
    for kernel_id, config_id in config_ids.items():
        drops = now.get(kernel_id, {})
        total = sum(drops.values())
        old = sum(before[kernel_id].values()) if kernel_id in before else None
        entry = payload[str(config_id)]
        entry |= {"dropped": total, "dropped_per_second": _per_second(total, old, seconds)}
        if drops:
            entry["drops"] = {reason.name: packets for reason, packets in drops.items()}


def _add_new_flows(
    payload: dict[str, dict[str, Any]],
    now: Mapping[int, int],
    before: Mapping[int, int],
    config_ids: Mapping[int, int],
    seconds: float,
) -> None:
    """Flows that began. Where packets came and never a flow nobody counts them: neither TCP nor remembered."""
    for kernel_id, config_id in config_ids.items():
        begun, entry = now.get(kernel_id), payload[str(config_id)]
        if begun is None or (begun == 0 and entry["packets"]):
            continue
        entry |= {
            "new_flows": begun,
            "new_flows_per_second": _per_second(begun, before.get(kernel_id), seconds),
        }


def _per_second(value: int, before: int | None, seconds: float) -> float:
    if before is None or seconds <= 0 or value < before:
        return 0.0
    return round((value - before) / seconds, 1)


def save_counters(director: str, payload: dict[str, Any]) -> None:
    """Write the counters row and tell the browsers. Raises django.db.Error when the database is away."""
    now: datetime = timezone.now()
    DirectorCounters.objects.update_or_create(director=director, defaults={"taken_at": now, "payload": payload})
    DataplaneStatus.objects.filter(director=director).update(heartbeat_at=now)
    live.publish({"type": "live.counters", "director": director, "taken_at": now.isoformat(), "payload": payload})


def eligible_count(state: DesiredState) -> tuple[int, int]:
    """Bindings that get traffic, and all bindings."""
    services = [service for vserver in state.vservers for service in vserver.services]
    return sum(service.eligible for service in services), len(services)

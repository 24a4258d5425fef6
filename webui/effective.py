"""From checks to the state of a service at a VIP; pure, and the same for the console and the data plane.

Rules: NetScaler's "set monitor threshold" page and command reference (see docs/concepts.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from webui.choices import AdminState, OnOff, State

if TYPE_CHECKING:
    from webui.models import HealthState, Server, Service, ServiceMonitorBinding, VServer

_AT_ONCE = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Check:
    """One bound monitor's state; ``counted`` is False when the binding or the monitor is disabled."""

    monitor: str
    state: str
    weight: int
    counted: bool
    response: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """State of a service at one VIP, with the reason in words; ``until`` is when its delay is over."""

    state: State
    reason: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Departure:
    """That a service is out of service, or will be ``at`` a moment; None: when its last flow has ended."""

    at: datetime | None
    reason: str
    graceful: bool = False

    def over(self, now: datetime, flows: int | None = None) -> bool:
        """Whether it serves nobody any more. ``flows`` are those that it has left, None when that is not known."""
        return (self.at is not None and self.at <= now) or (self.graceful and flows == 0)


def is_leaving(row: Server | Service, now: datetime) -> bool:
    """Whether the row itself is disabled and yet serves its clients on."""
    return row.state != AdminState.ENABLED and not _departure(row, "").over(now)


def departure_of(service: Service) -> Departure | None:
    """When a service stops, or None for one that is enabled on an enabled server. The earlier of the two counts."""
    found = [
        _departure(row, whose)
        for row, whose in ((service.server, "its server is"), (service, "it is"))
        if row.state != AdminState.ENABLED
    ]
    if not found:
        return None
    first = min(found, key=lambda one: (one.at is None, one.at or _AT_ONCE))
    return replace(first, graceful=any(one.graceful for one in found))


def _departure(row: Server | Service, whose: str) -> Departure:
    at = row.out_of_service_at or (None if row.graceful else _AT_ONCE)
    return Departure(at, f"{whose} disabled", row.graceful)


def verdict_of(
    service: Service,
    monitors: Iterable[ServiceMonitorBinding],
    health: Mapping[int, HealthState],
    now: datetime,
    flows: int | None = None,
) -> Verdict:
    """State of a service at one VIP; ``health`` has the rows of that service and VIP by monitor id.

    ``flows`` are those that the service has left, where some are kept and counted.
    """
    checks = [
        Check(
            monitor=bound.monitor.name,
            state=health[bound.monitor_id].state if bound.monitor_id in health else State.UNKNOWN,
            weight=bound.weight,
            counted=AdminState.DISABLED not in (bound.state, bound.monitor.state),
            response=health[bound.monitor_id].response if bound.monitor_id in health else "",
        )
        for bound in monitors
    ]
    found = _by_checks(service.health_monitor, service.mon_threshold, checks)
    departure = departure_of(service)
    return found if departure is None else _on_its_way(departure, found, now, flows)


def _on_its_way(departure: Departure, found: Verdict, now: datetime, flows: int | None) -> Verdict:
    if departure.at is not None and departure.at <= now:
        return Verdict(State.OUT_OF_SERVICE, departure.reason, departure.at if departure.at != _AT_ONCE else None)
    if departure.over(now, flows):
        return Verdict(State.OUT_OF_SERVICE, f"{departure.reason}; its last flow has ended")
    when = "when its last flow has ended" if departure.at is None else f"at {departure.at:%Y-%m-%d %H:%M:%S} UTC"
    reason = f"{departure.reason}; out of service {when}"
    if found.state == State.DOWN:
        return Verdict(State.DOWN_GOING_OUT, f"{found.reason}; {reason}", departure.at)
    return Verdict(State.GOING_OUT, reason, departure.at)


def sessionless(vserver: VServer) -> bool:
    """Whether the vserver keeps no flows."""
    return vserver.sessionless == OnOff.ENABLED


def takes_clients(verdict: Verdict, *, keeps_no_flows: bool) -> bool:
    """Whether a service is in the ring of a vserver.

    One that is going out of service gets no new clients. A sessionless vserver cannot tell new clients from others:
    there it keeps all that are its own until the delay is over.
    """
    if verdict.state == State.GOING_OUT:
        return keeps_no_flows and verdict.until is not None
    return verdict.state == State.UP


def flushes(verdict: Verdict, service: Service, vserver: VServer) -> bool:
    """Whether flows of a service that takes no new clients get another service at once instead of finishing.

    NetScaler's ``-downStateFlush``, which both can switch off. Flows of a service on its way out finish; when its delay
    is over they do not.
    """
    if verdict.state == State.GOING_OUT:
        return False
    if verdict.state == State.OUT_OF_SERVICE and verdict.until is not None:
        return True
    return service.down_state_flush == vserver.down_state_flush == OnOff.ENABLED


def _by_checks(health_monitor: bool, threshold: int, checks: Iterable[Check]) -> Verdict:
    """Threshold 0: every counted monitor must be UP. Otherwise the weights of those that are must reach it.

    A monitor whose server says that it is under maintenance counts as UP, and the service is then going out.
    """
    if not health_monitor:
        return Verdict(State.UP, "health monitoring is off for it")
    counted = [check for check in checks if check.counted]
    if not counted:
        return Verdict(State.UP, "no enabled monitor is bound to it")
    if threshold:
        return _by_threshold(counted, threshold)
    return _all_must_be_up(counted)


def _all_must_be_up(checks: list[Check]) -> Verdict:
    for wanted in (State.DOWN, State.UNKNOWN, State.GOING_OUT):
        for check in checks:
            if check.state == wanted:
                seen = check.response or "not checked yet"
                return Verdict(wanted, f"{check.monitor}: {seen}")
    return Verdict(State.UP, "every monitor is UP")


def _by_threshold(checks: list[Check], threshold: int) -> Verdict:
    leaving = [check for check in checks if check.state == State.GOING_OUT]
    weight_up = sum(check.weight for check in (*leaving, *(one for one in checks if one.state == State.UP)))
    if weight_up >= threshold and leaving:  # the server says so, whatever other monitors find
        return Verdict(State.GOING_OUT, f"{leaving[0].monitor}: {leaving[0].response}")
    if weight_up >= threshold:
        return Verdict(State.UP, f"UP monitors weigh {weight_up}, threshold {threshold}")
    weight_unknown = sum(check.weight for check in checks if check.state == State.UNKNOWN)
    if weight_up + weight_unknown >= threshold:
        return Verdict(State.UNKNOWN, f"UP monitors weigh {weight_up} of {threshold}; others are not checked yet")
    down = "; ".join(f"{check.monitor}: {check.response}" for check in checks if check.state == State.DOWN)
    return Verdict(State.DOWN, f"UP monitors weigh {weight_up}, below the threshold {threshold} ({down})")


def vserver_state(*, enabled: bool, services: Iterable[Verdict], keeps_no_flows: bool) -> State:
    """UP while any service takes clients; UNKNOWN while none does but one may; otherwise DOWN."""
    if not enabled:
        return State.OUT_OF_SERVICE
    verdicts = list(services)
    if any(takes_clients(verdict, keeps_no_flows=keeps_no_flows) for verdict in verdicts):
        return State.UP
    return State.UNKNOWN if any(verdict.state == State.UNKNOWN for verdict in verdicts) else State.DOWN

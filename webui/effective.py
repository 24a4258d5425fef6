"""From checks to the state of a service at a VIP; pure, and the same for the console and the data plane.

Rules: NetScaler's "set monitor threshold" page and command reference (see docs/concepts.md).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from webui.choices import SERVING, AdminState, OnOff, State

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
    since: datetime | None = None  # when its state last changed
    fell: bool = False  # whether that was from UP to DOWN
    span: timedelta = timedelta(0)  # its interval and response timeout


@dataclass(frozen=True, slots=True)
class Verdict:
    """State of a service at one VIP, with the reason in words; ``until`` is when its delay is over.

    ``span`` is the longest interval of the monitors that decided it, response timeout included; None without any.
    ``fell_at`` is when they took it from UP to DOWN; None unless it is DOWN by that.
    """

    state: State
    reason: str
    until: datetime | None = None
    span: timedelta | None = None
    fell_at: datetime | None = None


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


def verdict_of(  # noqa: PLR0913 - the last two by name
    service: Service,
    monitors: Iterable[ServiceMonitorBinding],
    health: Mapping[int, HealthState],
    now: datetime,
    *,
    flows: int | None = None,
    fallen: Container[int] = (),
) -> Verdict:
    """State of a service at one VIP by itself; ``health`` has the rows of that service and VIP by monitor id.

    ``flows`` are those that the service has left, where some are kept and counted. ``fallen`` has the keys of the
    health rows that are DOWN and were UP before (:func:`webui.fallen.fallen`); only :func:`with_fail_open` asks.
    """
    checks = [_check(bound, health.get(bound.monitor_id), fallen) for bound in monitors]
    found = _by_checks(service.health_monitor, service.mon_threshold, checks)
    departure = departure_of(service)
    return found if departure is None else _on_its_way(departure, found, now, flows)


def _check(bound: ServiceMonitorBinding, row: HealthState | None, fallen: Container[int]) -> Check:
    monitor = bound.monitor
    return Check(
        monitor=monitor.name,
        state=row.state if row else State.UNKNOWN,
        weight=bound.weight,
        counted=AdminState.DISABLED not in (bound.state, monitor.state),
        response=row.response if row else "",
        since=row.since if row else None,
        fell=row is not None and row.pk in fallen,
        span=timedelta(seconds=monitor.seconds("interval") + monitor.seconds("resp_timeout")),
    )


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
    return verdict.state in SERVING


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
    found = _by_threshold(counted, threshold) if threshold else _all_must_be_up(counted)
    fell_at = _fell_at(counted, threshold) if found.state == State.DOWN else None
    return replace(found, span=max(check.span for check in counted), fell_at=fell_at)


def _fell_at(checks: list[Check], threshold: int) -> datetime | None:
    """When checks that were UP made it DOWN; None when the one that decided had not been UP."""
    weight = sum(check.weight for check in checks)
    needed = threshold or weight
    failed = sorted((check for check in checks if check.state == State.DOWN), key=lambda one: one.since or _AT_ONCE)
    for check in failed:
        weight -= check.weight
        if weight < needed:
            return check.since if check.fell else None
    return None


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


# A check that fails for one service alone says something about that service.
FEWEST_TOGETHER: Final = 2


def with_fail_open(verdicts: Mapping[int, Verdict], percent: int) -> dict[int, Verdict]:
    """The verdicts on a vserver's services, those of failures that came together replaced by FAIL-OPEN.

    ``percent`` is the vserver's threshold, 0 for none. Services that fell from UP to DOWN within one span of each other
    (the longest interval of the vserver's monitors, response timeout included) failed together. Of the monitored
    services that were UP before (those that are UP now, and those that fell then or later), if more than ``percent``
    of a hundred failed together, and two at least, they stay in use.

    No clock and no memory: who reads the same rows comes to the same result. As services recover, or the failed ones
    become few, the others go DOWN.
    """
    together = _together(verdicts, percent) if percent else frozenset()
    return {key: _kept(verdict) if key in together else verdict for key, verdict in verdicts.items()}


def _together(verdicts: Mapping[int, Verdict], percent: int) -> frozenset[int]:
    fallen = sorted((verdict.fell_at, key) for key, verdict in verdicts.items() if verdict.fell_at is not None)
    if len(fallen) < FEWEST_TOGETHER:
        return frozenset()
    span = max(verdict.span for verdict in verdicts.values() if verdict.span is not None)
    still_up = sum(verdict.state == State.UP and verdict.span is not None for verdict in verdicts.values())
    kept: set[int] = set()
    end = 0
    for start, (first, _key) in enumerate(fallen):
        while end < len(fallen) and fallen[end][0] - first <= span:
            end += 1
        number, before = end - start, still_up + len(fallen) - start
        if number >= FEWEST_TOGETHER and number * 100 > percent * before:
            kept.update(key for _at, key in fallen[start:end])
    return frozenset(kept)


def _kept(verdict: Verdict) -> Verdict:
    return replace(verdict, state=State.FAIL_OPEN, reason=f"failing, kept by fail-open: {verdict.reason}")

"""From checks to the state of a service at a VIP; pure, and the same for the console and the data plane.

Rules: NetScaler's "set monitor threshold" page and command reference (see docs/concepts.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from webui.choices import AdminState, State

if TYPE_CHECKING:
    from webui.models import HealthState, Service, ServiceMonitorBinding


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
    """State of a service at one VIP, with the reason in words."""

    state: State
    reason: str


def verdict_of(
    service: Service, monitors: Iterable[ServiceMonitorBinding], health: Mapping[int, HealthState]
) -> Verdict:
    """State of a service at one VIP; ``health`` has the rows of that service and VIP by monitor id."""
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
    return service_verdict(
        service_enabled=service.state == AdminState.ENABLED,
        server_enabled=service.server.state == AdminState.ENABLED,
        health_monitor=service.health_monitor,
        threshold=service.mon_threshold,
        checks=checks,
    )


def service_verdict(
    *, service_enabled: bool, server_enabled: bool, health_monitor: bool, threshold: int, checks: Iterable[Check]
) -> Verdict:
    """State of a service at one VIP.

    Threshold 0: every counted monitor must be UP. Otherwise the weights of the UP monitors must reach the threshold.
    """
    if not server_enabled:
        return Verdict(State.OUT_OF_SERVICE, "its server is disabled")
    if not service_enabled:
        return Verdict(State.OUT_OF_SERVICE, "it is disabled")
    if not health_monitor:
        return Verdict(State.UP, "health monitoring is off for it")
    counted = [check for check in checks if check.counted]
    if not counted:
        return Verdict(State.UP, "no enabled monitor is bound to it")
    if threshold:
        return _by_threshold(counted, threshold)
    return _all_must_be_up(counted)


def _all_must_be_up(checks: list[Check]) -> Verdict:
    for wanted in (State.DOWN, State.UNKNOWN):
        for check in checks:
            if check.state == wanted:
                seen = check.response or "not checked yet"
                return Verdict(wanted, f"{check.monitor}: {seen}")
    return Verdict(State.UP, "every monitor is UP")


def _by_threshold(checks: list[Check], threshold: int) -> Verdict:
    weight_up = sum(check.weight for check in checks if check.state == State.UP)
    if weight_up >= threshold:
        return Verdict(State.UP, f"UP monitors weigh {weight_up}, threshold {threshold}")
    weight_unknown = sum(check.weight for check in checks if check.state == State.UNKNOWN)
    if weight_up + weight_unknown >= threshold:
        return Verdict(State.UNKNOWN, f"UP monitors weigh {weight_up} of {threshold}; others are not checked yet")
    down = "; ".join(f"{check.monitor}: {check.response}" for check in checks if check.state == State.DOWN)
    return Verdict(State.DOWN, f"UP monitors weigh {weight_up}, below the threshold {threshold} ({down})")


def vserver_state(*, enabled: bool, services: Iterable[State]) -> State:
    """UP while any service is UP; UNKNOWN while none is but one may be; otherwise DOWN."""
    if not enabled:
        return State.OUT_OF_SERVICE
    states = set(services)
    for state in (State.UP, State.UNKNOWN):
        if state in states:
            return state
    return State.DOWN

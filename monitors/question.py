"""From rows to what is asked: the spec of a probe, its timeout and the thresholds of its monitor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from monitors import machine
from monitors.kind import Kind
from monitors.registry import KINDS
from monitors.spec import Params, ProbeSpec
from webui.models import Monitor, ProbeTarget, Service
from webui.models.sealed import CannotOpenError, opened

# Share of the latest response time in the average, as TCP has it for its own (RFC 6298).
LEARNING: Final = 0.125


@dataclass(frozen=True, slots=True)
class Learning:
    """How a monitor goes by the response times that it has learned; all in seconds.

    ``deviation`` above the average is the response timeout, ``longest`` at most; 0: ``longest`` alone.
    """

    learns: bool
    deviation: float
    longest: float

    def after(self, average: float | None, duration: float) -> float | None:
        """The average with one more answer; None before the first, and for a monitor that does not learn."""
        if not self.learns:
            return None
        return duration if average is None else average + LEARNING * (duration - average)

    def timeout(self, average: float | None) -> float:
        """The response timeout of the next probe."""
        if not (self.learns and self.deviation) or average is None:
            return self.longest
        # In steps of 10 ms: rows that ask the same question of one server then still share a probe, as a rule.
        return min(self.longest, max(0.01, round(average + self.deviation, 2)))


@dataclass(frozen=True, slots=True)
class Asked:
    """The parameters of a monitor as its probes get them; secrets are decrypted, for this process's memory alone."""

    kind: Kind
    params: Params
    problem: str = ""


def asked_by(monitor: Monitor) -> Asked:
    """Raises KeyError for a type of monitor that does not exist."""
    kind = KINDS[monitor.monitor_type]
    secrets, problem = {}, ""
    try:
        secrets = opened(monitor.secrets)
    except CannotOpenError as error:
        problem = str(error)
    try:
        return Asked(kind, Params(monitor.params | secrets, secret=kind.secrets), problem)
    except TypeError:  # no check may stop the others, whatever is in its row
        return Asked(kind, Params(), "The stored parameters are damaged: save the monitor anew.")


def spec_of(
    monitor: Monitor,
    service: Service,
    target: ProbeTarget,
    average: float | None = None,
    asked: Asked | None = None,
) -> ProbeSpec:
    """What to ask of a service's VIP on its server; ``asked`` is what :func:`asked_by` found, if that is known.

    With a deviation, the learned ``average`` response time (seconds) and the deviation are the response timeout.
    Raises KeyError for a type of monitor that does not exist.
    """
    asked = asked or asked_by(monitor)
    kind = asked.kind
    secure = kind.is_secure(monitor.secure)
    return ProbeSpec(
        kind=kind.name,
        address=target.address,
        vip=target.vip,
        port=kind.port(
            wanted=monitor.dest_port,
            service_port=service.port,
            service_type=service.service_type,
            secure=secure,
        ),
        timeout=learning_of(monitor).timeout(average),
        params=asked.params,
        secure=secure,
        problem=asked.problem,
        server=str(service.server.address) if kind.looks_at_server else "",
    )


def learning_of(monitor: Monitor) -> Learning:
    """How the monitor learns response times."""
    return Learning(monitor.lrtm, monitor.seconds("deviation"), monitor.seconds("resp_timeout"))


def thresholds_of(monitor: Monitor) -> machine.Parameters:
    """What the state machine goes by."""
    return machine.Parameters(
        interval=monitor.seconds("interval"),
        retries=monitor.retries,
        failure_retries=monitor.failure_retries,
        success_retries=monitor.success_retries,
        down_time=monitor.seconds("down_time"),
        reverse=monitor.reverse,
        alert_retries=monitor.alert_retries,
        slow_after=monitor.seconds("resp_timeout") * monitor.resp_timeout_thresh / 100,
        retry_interval=monitor.seconds("retry_interval"),
    )

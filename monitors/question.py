"""From rows to what is asked: the spec of a probe, its timeout and the thresholds of its monitor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from monitors import machine
from monitors.registry import KINDS
from monitors.spec import Params, ProbeSpec
from webui.models import Monitor, ProbeTarget, Service
from webui.models.sealed import CannotOpenError, opened

# Share of the latest response time in the average, as TCP has it for its own (RFC 6298).
LEARNING: Final = 0.125


@dataclass(frozen=True, slots=True)
class Learned:
    """What a monitor that learns response times knows of one server: ``average`` in seconds, None before the first."""

    learns: bool = False
    average: float | None = None

    def after(self, duration: float) -> float | None:
        """The average with one more answer."""
        if not self.learns:
            return None
        return duration if self.average is None else self.average + LEARNING * (duration - self.average)


NOT_LEARNING: Final = Learned()


def spec_of(monitor: Monitor, service: Service, target: ProbeTarget, average: float | None = None) -> ProbeSpec:
    """What to ask of a service's VIP on its server; secrets are decrypted here, for this process's memory alone.

    With a deviation, the learned ``average`` response time (seconds) and the deviation are the response timeout.
    Raises KeyError for a type of monitor that does not exist.
    """
    kind = KINDS[monitor.monitor_type]
    secrets, problem = {}, ""
    try:
        secrets = opened(monitor.secrets)
    except CannotOpenError as error:
        problem = str(error)
    try:
        params = Params(monitor.params | secrets, secret=kind.secrets)
    except TypeError:  # no check may stop the others, whatever is in its row
        params, problem = Params(), "The stored parameters are damaged: save the monitor anew."
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
        timeout=_timeout(monitor, average),
        params=params,
        secure=secure,
        problem=problem,
        server=str(service.server.address) if kind.looks_at_server else "",
    )


def _timeout(monitor: Monitor, average: float | None) -> float:
    longest = monitor.seconds("resp_timeout")
    if not (monitor.lrtm and monitor.deviation) or average is None:
        return longest
    # In steps of 10 ms: rows that ask the same question of one server then still share a probe, as a rule.
    return min(longest, max(0.01, round(average + monitor.seconds("deviation"), 2)))


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
    )

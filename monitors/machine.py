"""From one result to the next state of a monitor; pure.

Rules: NetScaler's command reference 12.0 (``add lb monitor``) and CTX937:

* reverse inverts the outcome before everything else;
* DOWN after ``retries`` failures in a row, or, with ``failure_retries`` k > 0, after k failures among the last
  ``retries`` checks; the same rule leads from UNKNOWN to DOWN, since the reference names no other;
* UP after ``success_retries`` successes in a row, from DOWN and from UNKNOWN;
* checks are ``interval`` seconds apart, and ``down_time`` seconds while DOWN;
* the ``alert_retries``-th failure in a row is an alert (NetScaler's trap monProbeFailed) and changes no state.

Two points that the reference leaves open:

* While DOWN with a row of successes under way, checks are ``interval`` apart: otherwise coming back would take
  ``success_retries`` × ``down_time``, minutes at the defaults, on a server that answers.
* Coming UP starts the count of failures anew. Otherwise the failures that made it DOWN would still be among the last
  ``retries`` checks, and one more would be enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from monitors.spec import ProbeResult

# The values of webui.choices.State that a monitor can have; this module knows no Django.
UP: Final = "UP"
DOWN: Final = "DOWN"
UNKNOWN: Final = "UNKNOWN"
STATES: Final = frozenset({UP, DOWN, UNKNOWN})

PASSED: Final = "P"
FAILED: Final = "F"
RECENT_LIMIT: Final = 127  # results kept: the largest value of retries


@dataclass(frozen=True, slots=True)
class Parameters:
    """Thresholds and times of a monitor; ``interval`` and ``down_time`` are in seconds."""

    interval: int
    retries: int
    failure_retries: int
    success_retries: int
    down_time: int
    reverse: bool
    alert_retries: int = 0


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of state and its reason in words."""

    old: str
    new: str
    reason: str


@dataclass(frozen=True, slots=True)
class Step:
    """What a result led to; ``spacing`` is the time from this check to the next, in seconds."""

    state: str
    recent: str
    passed: bool
    response: str
    spacing: int
    transition: Transition | None
    alert: Transition | None = None


def step(state: str, recent: str, parameters: Parameters, result: ProbeResult) -> Step:
    """The step from ``state`` with the latest results ``recent`` (P and F, newest last).

    Raises ValueError when ``state`` is not one of STATES.
    """
    if state not in STATES:
        msg = f"State {state!r} is not one of {', '.join(sorted(STATES))}."
        raise ValueError(msg)
    passed = result.sent and result.success != parameters.reverse
    response = _response(result, parameters, passed=passed)
    recent = (recent + (PASSED if passed else FAILED))[-RECENT_LIMIT:]
    reason = _up_reason(recent, parameters) if passed else _down_reason(recent, parameters)
    new = state if reason is None else (UP if passed else DOWN)
    transition = None
    if reason is not None and new != state:
        transition = Transition(state, new, f"{reason}: {response}")
        if new == UP:
            recent = recent[-parameters.success_retries :]
    alert = None
    if not passed and parameters.alert_retries and _failures_in_a_row(recent) == parameters.alert_retries:
        alert = Transition(new, new, f"alert: {_alert_reason(parameters)}: {response}")
    return Step(new, recent, passed, response, _spacing(new, parameters, passed=passed), transition, alert)


def spacing_of(state: str, recent: str, parameters: Parameters) -> int:
    """The time from the last check to the next, in seconds."""
    return _spacing(state, parameters, passed=recent.endswith(PASSED))


def _failures_in_a_row(recent: str) -> int:
    return len(recent) - len(recent.rstrip(FAILED))


def _alert_reason(parameters: Parameters) -> str:
    number = parameters.alert_retries
    return "a check failed" if number == 1 else f"{number} checks in a row failed, the last"


def _response(result: ProbeResult, parameters: Parameters, *, passed: bool) -> str:
    if not parameters.reverse or not result.sent:
        return result.message
    return f"{result.message}, which {'passes' if passed else 'fails'} a reversed monitor"


def _up_reason(recent: str, parameters: Parameters) -> str | None:
    """Why the successes are enough, or None."""
    wanted = parameters.success_retries
    if not recent.endswith(PASSED * wanted):
        return None
    return "the check passed" if wanted == 1 else f"{wanted} checks in a row passed, the last"


def _down_reason(recent: str, parameters: Parameters) -> str | None:
    """Why the failures are enough, or None."""
    retries = parameters.retries
    # More failures than checks looked at can never come together: then all of them count.
    wanted = min(parameters.failure_retries or retries, retries)
    failures = recent[-retries:].count(FAILED)
    if failures < wanted:
        return None
    if retries == 1:
        return "the check failed"
    if wanted == retries:
        return f"{retries} checks in a row failed, the last"
    return f"{failures} of the last {min(retries, len(recent))} checks failed, the last"


def _spacing(state: str, parameters: Parameters, *, passed: bool) -> int:
    return parameters.down_time if state == DOWN and not passed else parameters.interval

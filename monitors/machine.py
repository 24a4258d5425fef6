"""From one result to the next state of a monitor; pure.

Rules: NetScaler's command reference 12.0 (``add lb monitor``) and CTX937:

* reverse inverts the outcome before everything else;
* DOWN after ``retries`` failures in a row, or, with ``failure_retries`` k > 0, after k failures among the last
  ``retries`` checks; the same rule leads from UNKNOWN to DOWN, since the reference names no other;
* UP after ``success_retries`` successes in a row, from DOWN and from UNKNOWN;
* checks are ``interval`` seconds apart, and ``down_time`` seconds while DOWN;
* with a ``retry_interval``, which NetScaler has not (HAProxy's ``fastinter``), checks are so far apart while a change
  of state is being confirmed: after a failure that has not made it DOWN yet, after a success that has not made it UP;
* the ``alert_retries``-th failure in a row is an alert (NetScaler's trap monProbeFailed) and changes no state;
* a check that takes longer than ``slow_after`` is an alert too, once, and so is the first that is faster again (traps
  monRespTimeoutAboveThresh and monRespTimeoutBelowThresh);
* an answer that says the server is under maintenance (``-trofsCode``, ``-trofsString``) makes it GOING OUT OF SERVICE.

Points that the reference leaves open:

* While DOWN with a row of successes under way, checks are ``interval`` apart: otherwise coming back would take
  ``success_retries`` × ``down_time``, minutes at the defaults, on a server that answers.
* Coming UP starts the count of failures anew. Otherwise the failures that made it DOWN would still be among the last
  ``retries`` checks, and one more would be enough.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from monitors.spec import ProbeResult

# The values of webui.choices.State that a monitor can have; this module knows no Django.
UP: Final = "UP"
DOWN: Final = "DOWN"
UNKNOWN: Final = "UNKNOWN"
LEAVING: Final = "GOING OUT OF SERVICE"
STATES: Final = frozenset({UP, DOWN, UNKNOWN, LEAVING})

# Letters of results; those of checks that were slow are small.
PASSED: Final = "P"
FAILED: Final = "F"
MAINTENANCE: Final = "T"
RECENT_LIMIT: Final = 127  # results kept: the largest value of retries


@dataclass(frozen=True, slots=True)
class Parameters:
    """Thresholds and times of a monitor.

    ``interval``, ``down_time``, ``slow_after`` (0: never) and ``retry_interval`` (0: the interval) are in seconds.
    """

    interval: float
    retries: int
    failure_retries: int
    success_retries: int
    down_time: float
    reverse: bool
    alert_retries: int = 0
    slow_after: float = 0.0
    retry_interval: float = 0.0


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of state and its reason in words."""

    old: str
    new: str
    reason: str


@dataclass(frozen=True, slots=True)
class Step:
    """What a result led to; ``spacing`` is the time from this check to the next, in seconds.

    ``hurried`` is whether that is the retry interval: the next check then follows out of its turn.
    ``alert`` and ``slow_alert`` go into the history; they change no state.
    """

    state: str
    recent: str
    passed: bool
    response: str
    spacing: float
    transition: Transition | None
    alert: Transition | None = None
    slow_alert: Transition | None = None
    hurried: bool = False


def step(state: str, recent: str, parameters: Parameters, result: ProbeResult) -> Step:
    """The step from ``state`` with the latest results ``recent`` (P, F and T, small when slow; newest last).

    Raises ValueError when ``state`` is not one of STATES.
    """
    if state not in STATES:
        msg = f"State {state!r} is not one of {', '.join(sorted(STATES))}."
        raise ValueError(msg)
    leaving = result.sent and result.leaving
    passed = leaving or (result.sent and result.success != parameters.reverse)
    was_slow = recent[-1:].islower()
    slow = _is_slow(result, parameters, was_slow=was_slow)
    letter = MAINTENANCE if leaving else PASSED if passed else FAILED
    recent = (recent + (letter.lower() if slow else letter))[-RECENT_LIMIT:]
    response = result.message if leaving else _response(result, parameters, passed=passed)
    new, reason = _verdict(state, recent.upper(), parameters)
    transition = None
    if new != state:
        transition = Transition(state, new, f"{reason}: {response}")
        recent = recent[-_kept(new, parameters) :]
    return Step(
        state=new,
        recent=recent,
        passed=passed,
        response=response,
        spacing=_spacing(new, parameters, passed=passed),
        hurried=_is_hurried(new, parameters, passed=passed),
        transition=transition,
        alert=_alert(new, recent.upper(), parameters, response),
        slow_alert=_slow_alert(new, parameters, result) if parameters.slow_after and slow != was_slow else None,
    )


def alone(parameters: Parameters, result: ProbeResult) -> tuple[str, str]:
    """What one result says by itself, as if no others were waited for: the state and the response in words."""
    at_once = replace(parameters, retries=1, failure_retries=0, success_retries=1)
    found = step(UNKNOWN, "", at_once, result)
    return found.state, found.response


def _verdict(state: str, recent: str, parameters: Parameters) -> tuple[str, str]:
    """The new state, and why it is another one; ``recent`` is in capitals."""
    if recent.endswith(MAINTENANCE):
        return LEAVING, "the server is under maintenance"
    if recent.endswith(PASSED):
        reason = _up_reason(recent, parameters)
        return (state, "") if reason is None else (UP, reason)
    reason = _down_reason(recent, parameters)
    return (state, "") if reason is None else (DOWN, reason)


def _kept(state: str, parameters: Parameters) -> int:
    """How many results count on after a change to a state."""
    return {UP: parameters.success_retries, LEAVING: 1}.get(state, RECENT_LIMIT)


def _alert(state: str, recent: str, parameters: Parameters, response: str) -> Transition | None:
    if not parameters.alert_retries or _failures_in_a_row(recent) != parameters.alert_retries:
        return None
    return Transition(state, state, f"alert: {_alert_reason(parameters)}: {response}")


def _is_slow(result: ProbeResult, parameters: Parameters, *, was_slow: bool) -> bool:
    if not parameters.slow_after:
        return False
    if result.sent and result.duration >= parameters.slow_after:
        return True
    return was_slow and not (result.sent and (result.success or result.leaving))


def _slow_alert(state: str, parameters: Parameters, result: ProbeResult) -> Transition:
    limit = f"{parameters.slow_after:g} s"
    if result.duration >= parameters.slow_after:
        text = f"the response time {result.duration:.3g} s has reached {limit}"
    else:
        text = f"the response time {result.duration:.3g} s is below {limit} again"
    return Transition(state, state, f"alert: {text}: {result.message}")


def spacing_of(state: str, recent: str, parameters: Parameters) -> float:
    """The time from the last check to the next, in seconds."""
    return _spacing(state, parameters, passed=recent[-1:].upper() in {PASSED, MAINTENANCE})


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


def _is_hurried(state: str, parameters: Parameters, *, passed: bool) -> bool:
    """Whether a change of state is being confirmed, and that is to go faster."""
    return parameters.retry_interval > 0 and passed == (state == DOWN)


def _spacing(state: str, parameters: Parameters, *, passed: bool) -> float:
    if _is_hurried(state, parameters, passed=passed):
        return parameters.retry_interval
    return parameters.down_time if state == DOWN and not passed else parameters.interval

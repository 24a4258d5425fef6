"""A check in the memory of the worker that runs it: what its row says, and what was found since."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from monitors import machine
from monitors.question import Learning
from monitors.spec import ProbeResult, ProbeSpec
from webui.freshness import Figures

WORDS_LIMIT = 255  # characters; HealthState.response and HealthTransition.reason


@dataclass(frozen=True, slots=True)
class Plan:
    """What the configuration says of one row. ``ends`` is when its service is out of service by the clock alone."""

    pk: int
    edition: int
    spec: ProbeSpec
    thresholds: machine.Parameters
    learning: Learning
    ends: datetime | None
    service_id: int
    service_name: str
    monitor_name: str


@dataclass(frozen=True, slots=True)
class Known:
    """Where a check stands: by its row, or by Redis when that is newer. ``checked_at`` None: never checked."""

    state: str
    recent: str
    average: float | None
    probes: int
    failures: int
    checked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A step that is to be written: to a row of which it is known how it was, and into the history."""

    check: Check
    plan: Plan
    step: machine.Step
    figures: Figures
    at: datetime

    def events(self) -> list[machine.Transition]:
        """What the history gets, if anything; an alert's old and new state are the same."""
        return [event for event in (self.step.transition, self.step.alert, self.step.slow_alert) if event is not None]


@dataclass(eq=False, slots=True)
class Check:
    """Of the thread that runs the probes, once it was handed over.

    ``due`` is on the monotonic clock. ``ticket`` is the number of its place in the queue, 0 while it has none.
    """

    plan: Plan
    known: Known
    due: float
    first: bool
    spec: ProbeSpec = field(init=False)
    ticket: int = 0
    gone: bool = False

    def __post_init__(self) -> None:
        self.spec = self._asked()

    def take(self, result: ProbeResult, at: datetime) -> tuple[machine.Step, Figures]:
        """Go on by one result."""
        plan, known = self.plan, self.known
        step = machine.step(known.state, known.recent, plan.thresholds, result)
        average = known.average
        if step.passed or not plan.learning.learns:  # a check that failed says nothing about response times
            average = plan.learning.after(average, result.duration)
        failures = known.failures + (not step.passed)
        self.known = Known(step.state, step.recent, average, known.probes + 1, failures, at)
        if plan.learning.deviation:
            self.spec = self._asked()
        words = step.response[:WORDS_LIMIT]
        figures = Figures(
            plan.edition, at, step.recent, words, result.duration, average, self.known.probes, self.known.failures
        )
        return step, figures

    def _asked(self) -> ProbeSpec:
        timeout = self.plan.learning.timeout(self.known.average)
        return self.plan.spec if timeout == self.plan.spec.timeout else replace(self.plan.spec, timeout=timeout)

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from monitors.machine import DOWN, LEAVING, STATES, UNKNOWN, UP, Parameters, Step, Transition, alone, step
from monitors.spec import ProbeResult
from webui.choices import CHECK_STATES

GOOD = ProbeResult(success=True, message="connected in 0.4 ms", duration=0.0004)
BAD = ProbeResult(success=False, message="connection refused", duration=0.0002)
MAINTENANCE = ProbeResult(success=False, message="HTTP 503, the maintenance code", duration=0.001, leaving=True)
UNSENT = ProbeResult(success=False, message="no route", duration=0.0, sent=False)


def parameters(
    *,
    interval: int = 5,
    retries: int = 3,
    failure_retries: int = 0,
    success_retries: int = 1,
    down_time: int = 30,
    reverse: bool = False,
) -> Parameters:
    return Parameters(interval, retries, failure_retries, success_retries, down_time, reverse)


def play(results: str, by: Parameters, state: str = UNKNOWN, recent: str = "") -> list[tuple[str, float]]:
    """State and spacing after each of the results, P or F."""
    seen = []
    for letter in results:
        done = step(state, recent, by, GOOD if letter == "P" else BAD)
        state, recent = done.state, done.recent
        seen.append((state, done.spacing))
    return seen


def states(results: str, by: Parameters, state: str = UNKNOWN) -> list[str]:
    return [state for state, _spacing in play(results, by, state)]


def test_the_states_are_those_of_the_console() -> None:
    assert {value for value, _label in CHECK_STATES} == STATES


def test_retries_failures_in_a_row_make_it_down() -> None:
    assert states("FFF", parameters(), UP) == [UP, UP, DOWN]
    assert states("FPFF", parameters(), UP) == [UP] * 4


def test_failure_retries_counts_failures_among_the_last_retries() -> None:
    assert states("FPPF", parameters(retries=4, failure_retries=2), UP) == [UP, UP, UP, DOWN]
    assert states("FPPPF", parameters(retries=4, failure_retries=2), UP) == [UP] * 5
    assert states("FF", parameters(retries=4, failure_retries=2), UP) == [UP, DOWN]


def test_more_failure_retries_than_retries_means_all_of_them() -> None:
    assert states("FFF", parameters(retries=3, failure_retries=32), UP) == [UP, UP, DOWN]


def test_a_new_one_goes_up_and_down_by_the_same_rules() -> None:
    assert states("PP", parameters(success_retries=2)) == [UNKNOWN, UP]
    assert states("PFFF", parameters(success_retries=2)) == [UNKNOWN, UNKNOWN, UNKNOWN, DOWN]


def test_failures_before_it_came_up_do_not_count_again() -> None:
    by = parameters(retries=5, failure_retries=2)
    assert states("FFPPF", by, UP) == [UP, DOWN, UP, UP, UP]


def test_spacing_is_down_time_while_down_and_interval_while_coming_up() -> None:
    assert play("FFFFPFPPP", parameters(success_retries=3), UP) == [
        (UP, 5),
        (UP, 5),
        (DOWN, 30),
        (DOWN, 30),
        (DOWN, 5),
        (DOWN, 30),
        (DOWN, 5),
        (DOWN, 5),
        (UP, 5),
    ]


def test_a_change_of_state_is_confirmed_at_the_retry_interval() -> None:
    by = replace(parameters(success_retries=2), retry_interval=1)
    assert play("PFPFFFFPFPP", by, UP) == [
        (UP, 5),
        (UP, 1),
        (UP, 5),
        (UP, 1),
        (UP, 1),
        (DOWN, 30),
        (DOWN, 30),
        (DOWN, 1),
        (DOWN, 30),
        (DOWN, 1),
        (UP, 5),
    ]


def test_reasons_are_in_words() -> None:
    assert step(UP, "FF", parameters(), BAD).transition == Transition(
        UP, DOWN, "3 checks in a row failed, the last: connection refused"
    )
    assert step(UP, "PFP", parameters(retries=4, failure_retries=2), BAD).transition == Transition(
        UP, DOWN, "2 of the last 4 checks failed, the last: connection refused"
    )
    assert step(UNKNOWN, "", parameters(retries=1), BAD).transition == Transition(
        UNKNOWN, DOWN, "the check failed: connection refused"
    )
    assert step(DOWN, "F", parameters(), GOOD).transition == Transition(
        DOWN, UP, "the check passed: connected in 0.4 ms"
    )
    assert step(DOWN, "FP", parameters(success_retries=2), GOOD).transition == Transition(
        DOWN, UP, "2 checks in a row passed, the last: connected in 0.4 ms"
    )


def test_one_result_alone_says_what_many_of_its_kind_would() -> None:
    patient = parameters(retries=3, failure_retries=2, success_retries=4)
    for result, state in (
        (ProbeResult(True, "seen", 0.1), UP),
        (ProbeResult(False, "seen", 0.1), DOWN),
        (ProbeResult(False, "seen", 0.1, leaving=True), LEAVING),
        (ProbeResult(False, "seen", 0.1, sent=False), DOWN),
    ):
        assert alone(patient, result) == (state, "seen")


def test_reverse_inverts_the_outcome_and_says_so() -> None:
    by = parameters(retries=1, reverse=True)
    assert step(UP, "", by, GOOD).transition == Transition(
        UP, DOWN, "the check failed: connected in 0.4 ms, which fails a reversed monitor"
    )
    assert step(DOWN, "F", by, BAD).response == "connection refused, which passes a reversed monitor"
    assert step(DOWN, "F", by, BAD).state == UP


def test_a_check_that_could_not_be_sent_fails_a_reversed_monitor_too() -> None:
    done = step(UP, "", parameters(retries=1, reverse=True), UNSENT)
    assert (done.state, done.response) == (DOWN, "no route")


def test_a_check_that_passed_never_makes_it_down() -> None:
    # An operator lowered failure_retries after the failures.
    assert step(UP, "FFPP", parameters(retries=5, failure_retries=2), GOOD).state == UP


def test_a_state_that_checks_do_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="'OUT OF SERVICE' is not one of DOWN, GOING OUT OF SERVICE, UNKNOWN, UP"):
        step("OUT OF SERVICE", "", parameters(), GOOD)


def test_one_answer_of_maintenance_is_enough_from_any_state() -> None:
    for state in STATES - {LEAVING}:
        done = step(state, "FFF", parameters(reverse=True), MAINTENANCE)
        assert done.transition == Transition(
            state, LEAVING, "the server is under maintenance: HTTP 503, the maintenance code"
        )
        assert (done.recent, done.passed, done.spacing) == ("T", True, 5)


def test_after_maintenance_it_comes_up_or_goes_down_by_the_usual_rules() -> None:
    by = parameters(success_retries=2)
    state, recent, seen = LEAVING, "T", []
    for result in (GOOD, MAINTENANCE, GOOD, GOOD, MAINTENANCE, BAD, BAD, BAD, MAINTENANCE):
        done = step(state, recent, by, result)
        state, recent = done.state, done.recent
        seen.append(state)
    assert seen == [LEAVING, LEAVING, LEAVING, UP, LEAVING, LEAVING, LEAVING, DOWN, LEAVING]


def slow(success: bool = True) -> ProbeResult:
    return ProbeResult(success=success, message="HTTP 200", duration=1.75)


def test_a_slow_answer_is_an_alert_once_and_so_is_the_first_fast_one() -> None:
    by = Parameters(5, 3, 0, 1, 30, False, slow_after=1.6)
    recent, told = "", []
    for result in (GOOD, slow(), slow(success=False), BAD, slow(), GOOD, GOOD):
        done = step(UP, recent, by, result)
        recent = done.recent
        told.append(done.slow_alert.reason if done.slow_alert else "")
    assert recent == "PpffpPP"
    begins = "alert: the response time 1.75 s has reached 1.6 s: HTTP 200"
    ends = "alert: the response time 0.0004 s is below 1.6 s again: connected in 0.4 ms"
    assert told == ["", begins, "", "", "", ends, ""]


def test_without_a_threshold_nothing_is_slow() -> None:
    done = step(UP, "p", parameters(), slow())
    assert (done.recent, done.slow_alert) == ("pP", None)


def test_alerts_change_no_state() -> None:
    by = Parameters(5, 3, 0, 1, 30, False, alert_retries=2, slow_after=1.0)
    done = step(UP, "F", by, slow(success=False))
    assert done.alert == Transition(UP, UP, "alert: 2 checks in a row failed, the last: HTTP 200")
    assert done.slow_alert is not None
    assert (done.state, done.transition) == (UP, None)


class Model:
    """The reference's rules a second time: counters instead of a string of results."""

    def __init__(self, state: str, by: Parameters) -> None:
        self.state = state
        self.by = by
        self.failed_at: list[int] = []  # numbers of the failed checks that count
        self.number = 0
        self.successes = 0
        self.failures = 0  # in a row
        self.slow = False

    def see(self, kind: str, duration: float) -> float:
        """The spacing after a result: good, bad, unsent or maintenance."""
        self.number += 1
        before = self.state
        if kind == "maintenance":
            self.successes = self.failures = 0
            self.state = LEAVING
        elif kind == "unsent" or (kind == "good") is self.by.reverse:
            self.failed_at.append(self.number)
            self.failures += 1
            self.successes = 0
            needed = self.by.failure_retries
            if needed == 0 or needed > self.by.retries:
                needed = self.by.retries
            if len([n for n in self.failed_at if n > self.number - self.by.retries]) >= needed:
                self.state = DOWN
        else:
            self.successes += 1
            self.failures = 0
            if self.successes >= self.by.success_retries:
                self.state = UP
        if before != self.state and self.state in {UP, LEAVING}:
            self.failed_at = []
        self._time(kind, duration)
        confirming = self.successes if self.state == DOWN else self.failures
        if confirming and self.by.retry_interval:
            return self.by.retry_interval
        return self.by.down_time if self.state == DOWN and self.successes == 0 else self.by.interval

    def _time(self, kind: str, duration: float) -> None:
        limit = self.by.slow_after
        if not limit:
            self.slow = False
        elif kind != "unsent" and duration >= limit:
            self.slow = True
        elif kind in {"good", "maintenance"}:
            self.slow = False


PARAMETERS = st.builds(
    Parameters,
    interval=st.sampled_from([0.2, 1, 5, 60]),
    retries=st.integers(1, 8) | st.integers(1, 127),
    failure_retries=st.integers(0, 9) | st.integers(0, 32),
    success_retries=st.integers(1, 4) | st.integers(1, 32),
    down_time=st.sampled_from([0.5, 30, 120]),
    reverse=st.booleans(),
    alert_retries=st.integers(0, 4) | st.integers(0, 32),
    slow_after=st.sampled_from([0.0, 0.5, 1.6]),
    retry_interval=st.sampled_from([0.0, 0.2, 60]),
)
KINDS = st.sampled_from(["good", "good", "bad", "bad", "bad", "unsent", "maintenance"])
DURATIONS = st.sampled_from([0.0, 0.4, 0.5, 1.0, 1.6, 2.0])


class Machine(RuleBasedStateMachine):
    """Any results one after the other, against the model."""

    @initialize(start=st.sampled_from(sorted(STATES)), by=PARAMETERS)
    def begin(self, start: str, by: Parameters) -> None:
        self.model = Model(start, by)
        self.state, self.recent = start, ""
        self.done: Step | None = None

    @rule(kind=KINDS, duration=DURATIONS, times=st.integers(1, 8))
    def see(self, kind: str, duration: float, times: int) -> None:
        result = ProbeResult(
            success=kind == "good",
            message=kind,
            duration=duration,
            sent=kind != "unsent",
            leaving=kind == "maintenance",
        )
        for _ in range(times):
            was_slow = self.model.slow
            spacing = self.model.see(kind, duration)
            done = step(self.state, self.recent, self.model.by, result)
            assert (done.state, done.spacing) == (self.model.state, spacing)
            assert (done.transition is None) == (done.state == self.state)
            assert (done.slow_alert is not None) == (self.model.slow != was_slow)
            assert (done.alert is not None) == (0 < self.model.by.alert_retries == self.model.failures)
            for event in (done.alert, done.slow_alert):
                assert event is None or event.old == event.new == done.state
            if done.transition is not None:
                assert (done.transition.old, done.transition.new) == (self.state, done.state)
            self.state, self.recent, self.done = done.state, done.recent, done

    @invariant()
    def results_fit_their_column(self) -> None:
        if getattr(self, "done", None) is not None:
            assert set(self.recent) <= set("PFTpft")
            assert 1 <= len(self.recent) <= 127
            assert self.recent[-1].islower() == self.model.slow


Machine.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestMachine = Machine.TestCase

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitors.machine import DOWN, STATES, UNKNOWN, UP, Parameters, Transition, step
from monitors.spec import ProbeResult
from webui.choices import State

GOOD = ProbeResult(success=True, message="connected in 0.4 ms", duration=0.0004)
BAD = ProbeResult(success=False, message="connection refused", duration=0.0002)
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


def play(results: str, by: Parameters, state: str = UNKNOWN, recent: str = "") -> list[tuple[str, int]]:
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
    assert {State.UP.value, State.DOWN.value, State.UNKNOWN.value} == STATES


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
    with pytest.raises(ValueError, match="'OUT OF SERVICE' is not one of DOWN, UNKNOWN, UP"):
        step("OUT OF SERVICE", "", parameters(), GOOD)


class Model:
    """The reference's rules a second time: counters instead of a string of results."""

    def __init__(self, state: str, by: Parameters) -> None:
        self.state = state
        self.by = by
        self.failed_at: list[int] = []  # numbers of the failed checks since it came up
        self.number = 0
        self.successes = 0

    def see(self, success: bool) -> int:
        self.number += 1
        if success is self.by.reverse:
            self.failed_at.append(self.number)
            self.successes = 0
            needed = self.by.failure_retries
            if needed == 0 or needed > self.by.retries:
                needed = self.by.retries
            if len([n for n in self.failed_at if n > self.number - self.by.retries]) >= needed:
                self.state = DOWN
        else:
            self.successes += 1
            if self.successes >= self.by.success_retries:
                if self.state != UP:
                    self.failed_at = []
                self.state = UP
        return self.by.down_time if self.state == DOWN and self.successes == 0 else self.by.interval


@given(
    start=st.sampled_from(sorted(STATES)),
    results=st.lists(st.booleans() | st.sampled_from([False, False, True]), max_size=200),
    by=st.builds(
        Parameters,
        interval=st.integers(1, 60),
        retries=st.integers(1, 8) | st.integers(1, 127),
        failure_retries=st.integers(0, 9) | st.integers(0, 32),
        success_retries=st.integers(1, 4) | st.integers(1, 32),
        down_time=st.integers(1, 120),
        reverse=st.booleans(),
    ),
)
def test_it_agrees_with_a_model_of_the_reference(start: str, results: list[bool], by: Parameters) -> None:
    model = Model(start, by)
    state, recent = start, ""
    for success in results:
        spacing = model.see(success)
        done = step(state, recent, by, GOOD if success else BAD)
        assert (done.state, done.spacing) == (model.state, spacing)
        if done.state == state:
            assert done.transition is None
        else:
            assert done.transition is not None
            assert (done.transition.old, done.transition.new) == (state, done.state)
        assert set(done.recent) <= {"P", "F"}
        assert 1 <= len(done.recent) <= 127
        assert done.recent[-1] == ("P" if done.passed else "F")
        state, recent = done.state, done.recent

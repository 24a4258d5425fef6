"""The cursor loses no row that appears late, and sends none twice while nothing fails."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from webui.events.cursor import LONGEST_BACK_OFF, MOST_REMEMBERED, SETTLED, Cursor, back_off

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def second(number: float) -> datetime:
    return NOON + timedelta(seconds=number)


def test_a_row_that_commits_below_one_that_was_sent_is_found() -> None:
    cursor = Cursor(5).after([(6, second(0)), (8, second(0))], [6, 8], second(1))
    assert cursor == Cursor(6, frozenset({8}))
    cursor = cursor.after([(7, second(0)), (8, second(0))], [7], second(2))
    assert cursor == Cursor(8)


def test_a_gap_that_stays_is_given_up_after_a_minute() -> None:
    rows = [(3, second(0))]
    assert Cursor(1).after(rows, [3], second(60)) == Cursor(1, frozenset({3}))
    assert Cursor(1).after(rows, [3], second(61)) == Cursor(3)


def test_a_row_that_was_not_sent_holds_the_cursor_whatever_its_age() -> None:
    assert Cursor(1).after([(2, second(0)), (3, second(0))], [3], second(9999)) == Cursor(1, frozenset({3}))


def test_what_is_remembered_beyond_a_gap_is_bounded() -> None:
    rows = [(key, second(0)) for key in range(3, MOST_REMEMBERED + 10)]
    assert Cursor(1).after(rows, [key for key, _at in rows], second(1)) == Cursor(MOST_REMEMBERED + 9)


# For each id in turn: seconds since the one before was given out, and until its commit (None: rolled back).
writers = st.lists(
    st.tuples(st.floats(0, 30), st.one_of(st.none(), st.floats(0, SETTLED.total_seconds() - 1))), max_size=20
)


@given(writers, st.lists(st.tuples(st.floats(0.1, 40), st.floats(0, 30), st.booleans()), max_size=40))
def test_every_row_that_is_committed_is_sent_and_sent_once_unless_a_delivery_failed(
    given_out: list[tuple[float, float | None]], readings: list[tuple[float, float, bool]]
) -> None:
    moment, commits = 0.0, {}
    for key, (after, commit) in enumerate(given_out, start=1):
        moment += after
        if commit is not None:
            commits[key] = (moment, moment + commit)
    cursor, sent, now = Cursor(), [], 0.0
    for after, takes, works in [*readings, *[(100.0, 0.0, True)] * 3]:
        now += after
        rows = [
            (key, second(at)) for key, (at, visible) in sorted(commits.items()) if visible <= now and key > cursor.upto
        ]
        todo = [key for key, _at in rows if key not in cursor.beyond]
        done = todo if works else todo[: len(todo) // 2]
        sent += done
        cursor = cursor.after(rows, done, second(now))
        now += takes
    moment_of_all = now + moment + 100
    rows = [(key, second(at)) for key, (at, _visible) in sorted(commits.items()) if key > cursor.upto]
    sent += [key for key, _at in rows if key not in cursor.beyond]
    cursor = cursor.after(rows, [key for key, _at in rows], second(moment_of_all))
    assert sorted(sent) == sorted(commits)
    assert cursor.upto == max(commits, default=0)


@given(st.integers(0, 10**6))
def test_the_back_off_doubles_with_jitter_up_to_ten_minutes(failures: int) -> None:
    seconds = back_off(failures).total_seconds()
    longest = min(LONGEST_BACK_OFF, 2.0 * 2 ** min(max(failures, 1) - 1, 20))
    assert longest / 2 <= seconds <= longest

from __future__ import annotations

import json

import pytest

from dataplane.bench.results import Figure, Goal, number, table


@pytest.mark.parametrize(
    ("goal", "value", "met"),
    [
        (Goal("≤", 2.0), 2.0, True),
        (Goal("≤", 2.0), 2.001, False),
        (Goal("≥", 1.0), 1.0, True),
        (Goal("≥", 1.0), 0.999, False),
    ],
)
def test_a_goal_is_met_on_its_side_and_at_its_limit(goal: Goal, value: float, met: bool) -> None:
    assert goal.met(value) is met


@pytest.mark.parametrize(("value", "text"), [(0.0123, "0.01"), (9.994, "9.99"), (12.34, "12.3"), (12345.6, "12,346")])
def test_numbers_are_shown_with_what_matters_of_them(value: float, text: str) -> None:
    assert number(value) == text


def test_the_table_names_the_verdict_beside_each_goal_and_groups_by_section() -> None:
    figures = [
        Figure("first", "quick", "× floor", 1.5, (1.4, 1.6), Goal("≤", 2), {"ns": 50.0}),
        Figure("first", "much too slow", "× floor", 12.0, goal=Goal("≤", 3)),
        Figure("second", "no goal", "MiB", 135.0),
    ]
    assert table(figures).splitlines() == [
        "first",
        "  quick          1.50 × floor  (1.40 to 1.60)  goal ≤ 2: met      ns 50.0",
        "  much too slow  12.0 × floor                  goal ≤ 3: NOT MET",
        "",
        "second",
        "  no goal  135 MiB",
    ]


def test_json_holds_value_goal_verdict_and_what_it_was_made_from() -> None:
    figure = Figure("s", "n", "ms", 21.0, (19.0, 30.0), Goal("≤", 20), {"apply ms": 7.0})
    assert json.loads(json.dumps(figure.as_json())) == {
        "section": "s",
        "name": "n",
        "unit": "ms",
        "value": 21.0,
        "spread": [19.0, 30.0],
        "goal": "≤ 20",
        "met": False,
        "raw": {"apply ms": 7.0},
    }


def test_json_of_a_figure_without_a_goal_says_nothing_about_one() -> None:
    assert Figure("s", "n", "MiB", 1.0).as_json() == {"section": "s", "name": "n", "unit": "MiB", "value": 1.0}

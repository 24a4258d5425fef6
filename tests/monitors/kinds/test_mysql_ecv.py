"""Rules of MYSQL-ECV: their grammar, and what they mean."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitors.kinds.mysql_ecv.rule import AbsentError, RuleError, parse
from monitors.registry import KINDS
from monitors.wire.mysql import Rows

ANSWER = Rows((("kettle", 3, None), (b"lamp", "4.5", "x")), 2)
ROW = "MYSQL.RES.ROW(0).TEXT_ELEM(0)"
ROWS = "MYSQL.RES.ATLEAST_ROWS_COUNT"


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        (f'{ROW}.EQ("kettle")', True),
        ('mysql.res.row(0) .text_elem(0).eq("Kettle")', False),
        (f'{ROW}.NE("lamp")', True),
        (f'{ROW}.CONTAINS("ett")', True),
        (f'{ROW}.STARTSWITH("ket") && {ROW}.ENDSWITH("tle")', True),
        (f'{ROW}.CONTAINS("\\"")', False),
        ('MYSQL.RES.ROW(1).TEXT_ELEM(0).EQ("lamp")', True),
        ("MYSQL.RES.ROW(0).NUM_ELEM(1).GE(3)", True),
        ("MYSQL.RES.ROW(1).DOUBLE_ELEM(1).GT(4.5)", False),
        ("MYSQL.RES.ROW(1).DOUBLE_ELEM(1).LE(-1)", False),
        ("MYSQL.RES.ROW(0).IS_NULL_ELEM(2)", True),
        (f"{ROWS}(2)", True),
        (f"!{ROWS}(3)", True),
        ("MYSQL.RES.OK.AFFECTED_ROWS.EQ(2)", True),
        (f"{ROWS}(3) || {ROWS}(9)", False),
        # And binds closer than or; parentheses decide otherwise.
        (f"{ROWS}(1) || {ROWS}(1) && {ROWS}(9)", True),
        (f"({ROWS}(1) || {ROWS}(1)) && {ROWS}(9)", False),
    ],
)
def test_a_rule_is_true_or_false_of_an_answer(text: str, holds: bool) -> None:
    assert parse(text)(ANSWER) is holds


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('MYSQL.RES.ROW(2).TEXT_ELEM(0).EQ("a")', "there is no row 2"),
        ("!MYSQL.RES.ROW(0).IS_NULL_ELEM(3)", "there is no column 3"),
        ('MYSQL.RES.ROW(0).TEXT_ELEM(2).EQ("a")', "row 0, column 2 is NULL"),
        ("MYSQL.RES.ROW(0).NUM_ELEM(0).EQ(1)", "row 0, column 0 is no number"),
    ],
)
def test_what_is_not_in_the_answer_is_named(text: str, what: str) -> None:
    with pytest.raises(AbsentError, match=what):
        parse(text)(ANSWER)


@pytest.mark.parametrize(
    "text",
    [
        "true",
        "MYSQL",
        "MYSQL.REQ.QUERY.TEXT",
        "MYSQL.RES.ROW(0)",
        "MYSQL.RES.ROW(-1).IS_NULL_ELEM(0)",
        "MYSQL.RES.ROW(1.5).IS_NULL_ELEM(0)",
        "MYSQL.RES.ROW(70000).IS_NULL_ELEM(0)",
        f"{ROW}.EQ(kettle)",
        f'{ROW}.GT("a")',
        f'{ROW}.EQ("a") {ROW}.EQ("b")',
        f'({ROW}.EQ("a")',
        f'{ROW}.EQ("a',
        "MYSQL.RES.ROW(0).NUM_ELEM(0).CONTAINS(1)",
        'MYSQL.RES.ROW(0).NUM_ELEM(0).EQ("1")',
        "!" * 60 + f"{ROWS}(1)",
        "(" * 60 + f"{ROWS}(1)" + ")" * 60,
    ],
)
def test_what_is_no_rule_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(RuleError, match=r"\.$"):
        parse(text)
    given: dict[str, Any] = {"user_name": "u", "eval_rule": text}
    assert KINDS["MYSQL-ECV"].clean(given)[1].keys() == {"eval_rule"}


LEAVES = st.integers(0, 4).map(lambda count: (f"{ROWS}({count})", count <= 2))
RULES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        inner.map(lambda one: (f"!({one[0]})", not one[1])),
        st.lists(inner, min_size=2, max_size=3).map(
            lambda many: ("(" + " && ".join(text for text, _ in many) + ")", all(holds for _, holds in many))
        ),
        st.lists(inner, min_size=2, max_size=3).map(
            lambda many: ("(" + "||".join(text for text, _ in many) + ")", any(holds for _, holds in many))
        ),
    ),
    max_leaves=8,
)


@given(rule=RULES)
def test_composed_rules_mean_what_they_say(rule: tuple[str, bool]) -> None:
    assert parse(rule[0])(ANSWER) is rule[1]


@given(text=st.text(alphabet='MYSQL.RESROW(0)TEXT_ELEM"&|! ', max_size=60) | st.text(max_size=30))
def test_any_text_is_a_rule_or_refused(text: str) -> None:
    try:
        parse(text)
    except RuleError as error:
        assert str(error)  # noqa: PT017 - not raising is fine too

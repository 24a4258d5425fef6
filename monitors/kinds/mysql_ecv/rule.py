"""Rules about the answer of a MySQL server: those of NetScaler's expressions that begin with ``MYSQL.RES``.

    MYSQL.RES.ROW(0).TEXT_ELEM(1).EQ("ready") && !MYSQL.RES.ROW(0).NUM_ELEM(2).GT(10)

As there, rows and columns are counted from 0, and words may be in capitals or not. Source: Citrix ADC 13, “Advanced
policy expressions: DataStream”.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from typing import Final

from monitors.wire.mysql import Rows

Rule = Callable[[Rows], bool]

_TOKEN: Final = re.compile(r'\s*("(?:[^"\\]|\\.)*"|&&|\|\||[!().]|-?\d+(?:\.\d+)?|[A-Za-z_]+)')
_DEPTH: Final = 50  # of parentheses and negations
_INDEX_LIMIT: Final = 65_535
_TEXTS: Final[dict[str, Callable[[str, str], bool]]] = {
    "EQ": operator.eq,
    "NE": operator.ne,
    "CONTAINS": operator.contains,
    "STARTSWITH": str.startswith,
    "ENDSWITH": str.endswith,
}
_NUMBERS: Final[dict[str, Callable[[float, float], bool]]] = {
    "EQ": operator.eq,
    "NE": operator.ne,
    "GT": operator.gt,
    "GE": operator.ge,
    "LT": operator.lt,
    "LE": operator.le,
}


class RuleError(ValueError):
    """A text that is no rule; says why."""


class AbsentError(LookupError):
    """The answer has not what the rule is about; says what."""


def parse(text: str) -> Rule:
    """The rule as a function of an answer, which raises AbsentError. Raises RuleError."""
    return _Parser(_tokens(text)).whole()


def _tokens(text: str) -> list[str]:
    found, position = [], 0
    text = text.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise RuleError(f"“{text[position : position + 20].strip()}” is no part of a rule.")
        found.append(match[1])
        position = match.end()
    return found


class _Parser:
    """Recursive descent; ``||`` binds least, then ``&&``, then ``!``."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._position = 0
        self._depth = 0

    def whole(self) -> Rule:
        rule = self._either()
        if self._position < len(self._tokens):
            raise RuleError(f"“{self._tokens[self._position]}” is not expected there.")
        return rule

    def _either(self) -> Rule:
        rules = [self._both()]
        while self._take("||"):
            rules.append(self._both())
        return rules[0] if len(rules) == 1 else lambda answer: any(rule(answer) for rule in rules)

    def _both(self) -> Rule:
        rules = [self._one()]
        while self._take("&&"):
            rules.append(self._one())
        return rules[0] if len(rules) == 1 else lambda answer: all(rule(answer) for rule in rules)

    def _one(self) -> Rule:
        self._depth += 1
        if self._depth > _DEPTH:
            raise RuleError(f"The rule is nested more than {_DEPTH} deep.")
        try:
            if self._take("!"):
                negated = self._one()
                return lambda answer: not negated(answer)
            if self._take("("):
                rule = self._either()
                self._need(")")
                return rule
            return self._test()
        finally:
            self._depth -= 1

    def _test(self) -> Rule:
        self._need("MYSQL")
        self._need(".")
        self._need("RES")
        self._need(".")
        word = self._word("ROW", "ATLEAST_ROWS_COUNT", "OK")
        if word == "ATLEAST_ROWS_COUNT":
            count = self._index()
            return lambda answer: len(answer.rows) >= count
        if word == "OK":
            self._need(".")
            self._need("AFFECTED_ROWS")
            return self._number_test(lambda answer: float(answer.affected))
        row = self._index()
        self._need(".")
        kind = self._word("TEXT_ELEM", "NUM_ELEM", "DOUBLE_ELEM", "IS_NULL_ELEM")
        column = self._index()
        if kind == "IS_NULL_ELEM":
            return lambda answer: _element(answer, row, column) is None
        if kind == "TEXT_ELEM":
            return self._text_test(row, column)
        return self._number_test(lambda answer: _number(answer, row, column))

    def _text_test(self, row: int, column: int) -> Rule:
        self._need(".")
        compare = _TEXTS[self._word(*_TEXTS)]
        self._need("(")
        token = self._next()
        if not token.startswith('"'):
            raise RuleError(f"“{token}” is no text in quotation marks.")
        self._need(")")
        wanted = re.sub(r"\\(.)", r"\1", token[1:-1])
        return lambda answer: compare(_text(answer, row, column), wanted)

    def _number_test(self, value: Callable[[Rows], float]) -> Rule:
        self._need(".")
        compare = _NUMBERS[self._word(*_NUMBERS)]
        self._need("(")
        token = self._next()
        try:
            wanted = float(token)
        except ValueError:
            raise RuleError(f"“{token}” is no number.") from None
        self._need(")")
        return lambda answer: compare(value(answer), wanted)

    def _index(self) -> int:
        self._need("(")
        token = self._next()
        if not token.isdecimal() or int(token[:6]) > _INDEX_LIMIT:
            raise RuleError(f"“{token}” is no number from 0 to {_INDEX_LIMIT}.")
        self._need(")")
        return int(token)

    def _next(self) -> str:
        if self._position >= len(self._tokens):
            raise RuleError("The rule is not complete.")
        self._position += 1
        return self._tokens[self._position - 1]

    def _take(self, token: str) -> bool:
        if self._position < len(self._tokens) and self._tokens[self._position] == token:
            self._position += 1
            return True
        return False

    def _need(self, token: str) -> None:
        found = self._next()
        if found.upper() != token:
            raise RuleError(f"“{found}” where {token} is expected.")

    def _word(self, *words: str) -> str:
        found = self._next().upper()
        if found not in words:
            raise RuleError(f"“{found}” is none of {', '.join(words)}.")
        return found


def _element(answer: Rows, row: int, column: int) -> object:
    if row >= len(answer.rows):
        raise AbsentError(f"there is no row {row} (the first is 0)")
    if column >= len(answer.rows[row]):
        raise AbsentError(f"there is no column {column} (the first is 0)")
    return answer.rows[row][column]


def _text(answer: Rows, row: int, column: int) -> str:
    found = _element(answer, row, column)
    if found is None:
        raise AbsentError(f"row {row}, column {column} is NULL")
    return found.decode(errors="replace") if isinstance(found, bytes) else str(found)


def _number(answer: Rows, row: int, column: int) -> float:
    text = _text(answer, row, column)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise AbsentError(f"row {row}, column {column} is no number")
    return number

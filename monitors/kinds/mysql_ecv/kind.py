"""MYSQL-ECV: a query of MySQL whose answer is judged by a rule."""

from __future__ import annotations

from dataclasses import dataclass

from monitors.kind import Kind, Secure
from monitors.kinds.mysql import kind as plain
from monitors.kinds.mysql_ecv.rule import RuleError, parse
from monitors.parameters import text


def _rule_problem(given: str) -> str:
    try:
        parse(given)
    except RuleError as error:
        return str(error)
    return ""


@dataclass(frozen=True, slots=True)
class Parameters(plain.Parameters):
    """NetScaler's."""

    eval_rule: str = text(
        "MYSQL.RES.ATLEAST_ROWS_COUNT(1)",
        required=True,
        limit=1024,
        check=_rule_problem,
        label="Rule",
        help='What must be true of the answer, as in MYSQL.RES.ROW(0).TEXT_ELEM(1).EQ("ready"); rows and columns are '
        "counted from 0.",
    )


KIND = Kind(
    name="MYSQL-ECV",
    label="MYSQL-ECV (login, query and rule)",
    success="The login and the query succeed, and the rule is true of the answer.",
    parameters_type=Parameters,
    default_port=3306,
    secure_port=3306,
    secure=Secure.OPTIONAL,
    command="mysql -h {address} -e 'SELECT 1'",
)

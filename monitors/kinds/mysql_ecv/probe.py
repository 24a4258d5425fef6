"""MYSQL-ECV: log in, run a query over the probe path, and apply the rule to its answer."""

from __future__ import annotations

from monitors.kinds.mysql.probe import ask, in_words
from monitors.kinds.mysql_ecv.kind import Parameters
from monitors.kinds.mysql_ecv.rule import AbsentError, parse
from monitors.parameters import read
from monitors.spec import ProbeResult, ProbeSpec
from monitors.wire.mysql import Rows
from monitors.wire.stream import WrongAnswer


async def probe(spec: ProbeSpec) -> ProbeResult:
    """Raises ValueError when ``spec.address`` is no IP address."""
    given = read(Parameters, spec)
    rule = parse(given.eval_rule)

    def judge(answer: Rows) -> str:
        words = in_words(answer)
        try:
            holds = rule(answer)
        except AbsentError as error:
            raise WrongAnswer(f"the rule cannot be applied, {error}: {words}") from error
        if not holds:
            raise WrongAnswer(f"the rule is not true of the answer: {words}")
        return f"the rule is true of {words}"

    return await ask(spec, given, judge)

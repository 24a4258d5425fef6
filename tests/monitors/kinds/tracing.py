"""Traced runs for the tests of kinds, and what must hold of every trace."""

from __future__ import annotations

import asyncio
from typing import Any

from monitors.masking import Mask
from monitors.registry import run
from monitors.spec import ProbeSpec
from monitors.trace import SHOWN_LIMIT, STEPS_LIMIT, VERDICT, Trace, as_text, traced
from tests.monitors.kinds.servers import spec


def trace(kind: str, port: int, timeout: float = 2.0, **given: Any) -> Trace:
    """Run one probe with a trace."""
    return trace_of(spec(kind, port, timeout, **given))


def trace_of(one: ProbeSpec) -> Trace:
    """Run one probe with a trace, and check what holds of all."""
    found = asyncio.run(traced(one, run))
    assert 0 < len(found.steps) <= STEPS_LIMIT
    assert found.steps[-1].what == VERDICT
    assert [step.at for step in found.steps] == sorted(step.at for step in found.steps)
    assert all(step.took >= 0 and len(step.text) <= 5 * SHOWN_LIMIT for step in found.steps)
    text = as_text(found) + found.message
    for secret in one.params.secret_values:
        assert secret not in text
    assert Mask(one.params.secret_values).spans(text.encode()) == [], text
    return found


def steps(found: Trace) -> list[str]:
    """Names of the steps in order."""
    return [step.what for step in found.steps]


def texts(found: Trace, what: str) -> list[str]:
    """Texts of the steps of that name."""
    return [step.text for step in found.steps if step.what == what]

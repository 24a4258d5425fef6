"""What must hold of the trace of every probe; all tests of kinds run theirs with one."""

from __future__ import annotations

import asyncio

from monitors.masking import Mask
from monitors.registry import run
from monitors.spec import ProbeSpec
from monitors.trace import SHOWN_LIMIT, STEPS_LIMIT, VERDICT, Trace, as_text, traced

SHORT = 5  # characters; shorter secrets are in ordinary words too


def traced_run(one: ProbeSpec) -> Trace:
    """Run one probe with a trace, and check what holds of all traces."""
    found = asyncio.run(traced(one, run))
    assert 0 < len(found.steps) <= STEPS_LIMIT
    assert found.steps[-1].what == VERDICT
    assert found.steps[-1].text.startswith("passed: " if found.result.success and found.result.sent else "failed: ")
    times = [step.at for step in found.steps]
    assert times == sorted(times)
    for step in found.steps:
        assert step.took >= 0
        assert len(step.text) <= 5 * SHOWN_LIMIT
        assert all(letter.isprintable() or letter == "\n" for letter in step.text)
    secrets = {secret for secret in one.params.secret_values if len(secret) >= SHORT}
    text = as_text(found) + found.message
    assert Mask(secrets).spans(text.encode()) == [], text
    return found


def steps(found: Trace) -> list[str]:
    """Names of the steps in order."""
    return [step.what for step in found.steps]


def texts(found: Trace, what: str) -> str:
    """Texts of the steps of that name, a line each."""
    return "\n".join(step.text for step in found.steps if step.what == what)

"""Carry out a plan; knows steps and ports, no kernel."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dataplane.plan import Step, subject
from dataplane.ports import Maps


@dataclass(frozen=True, slots=True)
class Applied:
    """How far a plan came: ``done`` steps took effect; ``failed`` and ``error`` are None when that is all of them."""

    done: int
    failed: Step | None = None
    error: str | None = None

    @property
    def complete(self) -> bool:
        """Whether every step took effect."""
        return self.failed is None


def apply(steps: Iterable[Step], maps: Maps) -> Applied:
    """Carry out the steps in order, up to the first that the kernel refuses.

    Later steps build on earlier ones, so none is tried after a failure. The plan is not continued either: the next
    round plans again from what the maps then hold, since a refused step may still have taken effect.
    Only OSError counts as a refusal; any other exception is a fault of ours and passes through.
    """
    done = 0
    for step in steps:
        try:
            maps.apply(step)
        except OSError as error:
            return Applied(done, step, f"{subject(step)}: {error.strerror or error}")
        done += 1
    return Applied(done)

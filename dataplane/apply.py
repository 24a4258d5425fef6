"""Carry out a plan; knows steps and ports, no kernel."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from dataplane.plan_text import subject
from dataplane.ports import Maps
from dataplane.steps import Put, Step, Table


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
    Puts of rings that follow each other go to the kernel together, in their order.
    Only OSError counts as a refusal; any other exception is a fault of ours and passes through.
    """
    done = 0
    for alike, run in groupby(steps, key=_puts_ring):
        batch = [*run]
        # One wait for readers instead of one for each ring. What this leaves goes alone, and says what is wrong.
        carried = maps.put_rings(batch) if alike and len(batch) > 1 else 0
        done += carried
        for step in batch[carried:]:
            try:
                maps.apply(step)
            except OSError as error:
                return Applied(done, step, f"{subject(step)}: {error.strerror or error}")
            done += 1
    return Applied(done)


def _puts_ring(step: Step) -> bool:
    return step.table is Table.RINGS and isinstance(step, Put)

"""Ends a command that runs until it is told to."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from dataplane.kernel.capture import Stop


@contextmanager
def stopped_by_signals() -> Iterator[Stop]:
    """SIGINT and SIGTERM ask to end during the block; before and after they do what they did."""
    stop = Stop()

    def ask(_signal: int, _frame: object) -> None:
        stop.asked = True

    former = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)

"""Beat's scheduler, for clocks that are set."""

from __future__ import annotations

import time
from typing import Any

from celery.beat import PersistentScheduler


class Scheduler(PersistentScheduler):  # type: ignore[misc]  # Celery has no types
    """Celery's own, but that a wall clock which is set back delays no task by more than its interval.

    Celery asks how long ago a task was sent last, by the wall clock: when that is set back by an hour, or was before
    this start, nothing would be sent for an hour.
    """

    _ticked_at = 0.0  # seconds since the epoch

    def tick(self, *args: Any, **options: Any) -> Any:
        """One round, which sends what is due; returns seconds until the next."""
        now = time.time()
        if now < self._ticked_at:
            self._heap = None  # of moments by the clock as it was: made anew
        self._ticked_at = now
        return super().tick(*args, **options)

    def populate_heap(self, *args: Any, **options: Any) -> None:
        """Put all tasks in the order in which they are due; what was sent in the future was sent now."""
        for entry in self.schedule.values():
            entry.last_run_at = min(entry.last_run_at, entry.default_now())
        super().populate_heap(*args, **options)

"""How far a target is in an append-only table; pure.

Row ids are given out before a transaction commits, so a row may appear below one that was sent already. A cursor
therefore stays before a gap in the ids until it is old enough to be one for good (a transaction that was rolled back),
and remembers what was sent beyond it.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

# From the moment in a row to the latest commit of one with a lower id; recordings are over within seconds.
SETTLED: Final = timedelta(seconds=60)
MOST_REMEMBERED: Final = 5000  # ids beyond a gap; with more, the gap is given up at once

FIRST_BACK_OFF: Final = 2.0  # seconds
LONGEST_BACK_OFF: Final = 600.0


@dataclass(frozen=True, slots=True)
class Cursor:
    """Rows up to ``upto`` are done, and those of ``beyond``."""

    upto: int = 0
    beyond: frozenset[int] = frozenset()

    def after(self, rows: Sequence[tuple[int, datetime]], done: Collection[int], read_at: datetime) -> Cursor:
        """The cursor with these ids done as well.

        ``rows`` are the first ids beyond ``upto``, in order, with their times, as they were read at ``read_at``.
        """
        all_done = self.beyond | frozenset(done)
        upto = self.upto
        crowded = len(all_done) > MOST_REMEMBERED
        for key, at in rows:
            is_next = key == upto + 1
            if key not in all_done or not (is_next or crowded or read_at - at > SETTLED):
                break
            upto = key
        return Cursor(upto, frozenset(key for key in all_done if key > upto))


def back_off(failures: int) -> timedelta:
    """How long to wait after so many failures in a row: twice as long each time, and up to half of it by chance.

    Targets that failed together so do not come back together.
    """
    longest = min(LONGEST_BACK_OFF, FIRST_BACK_OFF * 2 ** min(max(failures, 1) - 1, 16))
    return timedelta(seconds=random.uniform(longest / 2, longest))  # noqa: S311 - spreads load, keeps no secret

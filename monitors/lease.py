"""Which part of the checks this worker runs: leases of shards, taken and kept by conditional updates.

A worker counts its leases' ``beats`` on, every second. It may start and go on with probes for :data:`HELD` seconds
after it began to do so; others may take a lease that they saw unchanged for :data:`FREE` seconds. Each measures by its
own monotonic clock from its own side of the same update, so the holder has always stopped before another starts,
whatever becomes of anybody's clock, and HELD is the smaller by more than clocks differ in that time.

A worker that has less than its share asks the one that has most for some; it is handed over between two probes.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

from django.db.models import F
from django.utils import timezone

from webui.models import CheckLease
from webui.models.health import SHARDS

HELD: Final = 2.5  # seconds
FREE: Final = 3.0  # seconds


def new_owner() -> str:
    """A name for this run of this process; unlike any other's."""
    return f"{socket.gethostname()[:30]}:{os.getpid()}:{secrets.token_hex(6)}"


@dataclass(slots=True)
class Leases:
    """The leases as one worker sees them. Every method may raise django.db.DatabaseError, and nothing is then lost."""

    owner: str
    clock: Callable[[], float] = time.monotonic
    held: frozenset[int] = frozenset()
    until: float = 0.0  # on the clock: probes may run so long
    taken: frozenset[int] = frozenset()  # by the last renewal: somebody else may have run them before
    asked_for: frozenset[int] = frozenset()  # shards that another worker would like to have
    _seen: dict[int, tuple[tuple[str, int], float]] = field(default_factory=dict)  # owner and beats, and since when

    def renew(self) -> frozenset[int]:
        """Keep what is held, take what is free, ask for what is fair; returns the shards that are held now."""
        started = self.clock()
        mine = CheckLease.objects.filter(owner=self.owner)
        mine.update(beats=F("beats") + 1, renewed_at=timezone.now())
        rows = self._rows()
        self.taken = frozenset(row.shard for row in rows if self._is_free(row) and self._take(row))
        held = {row.shard for row in rows if row.owner == self.owner or row.shard in self.taken}
        self.asked_for = frozenset(
            row.shard for row in rows if row.owner == self.owner and row.wanted_by not in {"", self.owner}
        )
        self._ask(rows, held)
        self.held, self.until = frozenset(held), started + HELD
        return self.held

    def hand_over(self, shards: Collection[int]) -> None:
        """Give shards, whose probes have ended, to those who asked for them."""
        for row in CheckLease.objects.filter(shard__in=shards, owner=self.owner).exclude(wanted_by=""):
            CheckLease.objects.filter(shard=row.shard, owner=self.owner, wanted_by=row.wanted_by).update(
                owner=row.wanted_by, wanted_by="", beats=F("beats") + 1
            )
        self.held -= frozenset(shards)

    def release(self) -> None:
        """Give everything back at once, for a worker that ends."""
        CheckLease.objects.filter(owner=self.owner).update(owner="", wanted_by="", beats=F("beats") + 1)
        self.held, self.until = frozenset(), 0.0

    def _rows(self) -> list[CheckLease]:
        rows = list(CheckLease.objects.order_by("shard"))
        if len(rows) < SHARDS:
            CheckLease.objects.bulk_create([CheckLease(shard=n) for n in range(SHARDS)], ignore_conflicts=True)
            rows = list(CheckLease.objects.order_by("shard"))
        return [row for row in rows if row.shard < SHARDS]

    def _is_free(self, row: CheckLease) -> bool:
        if row.owner == self.owner:
            return False
        now, shown = self.clock(), (row.owner, row.beats)
        seen, since = self._seen.get(row.shard, (None, now))
        if seen != shown:
            self._seen[row.shard] = (shown, now)
            since = now
        return not row.owner or now - since >= FREE

    def _take(self, row: CheckLease) -> bool:
        """Whether it was still as it was seen, and is ours now."""
        unchanged = CheckLease.objects.filter(shard=row.shard, owner=row.owner, beats=row.beats)
        return unchanged.update(owner=self.owner, wanted_by="", beats=F("beats") + 1) == 1

    def _ask(self, rows: list[CheckLease], held: set[int]) -> None:
        """Ask the worker with most for what is missing to a fair share."""
        others = Counter(row.owner for row in rows if row.shard not in held and row.owner)
        fair = SHARDS // (len(others) + 1)
        asked = sum(row.wanted_by == self.owner for row in rows)
        for owner, count in others.most_common():
            spare = [row for row in rows if row.owner == owner and not row.wanted_by][: max(0, count - fair)]
            for row in spare[: max(0, fair - len(held) - asked)]:
                asked += CheckLease.objects.filter(shard=row.shard, owner=owner, wanted_by="").update(
                    wanted_by=self.owner
                )

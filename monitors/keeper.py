"""Keeps the checks of this worker in step with the rows: leases and configuration, verdicts, figures.

A sweep, once a second, renews the leases, takes what is free and reads what was changed. Celery's beat asks for it;
should it not (Redis is away, or the message went to another worker), a worker that has begun goes on by itself.

Three threads besides the runner's: whoever sweeps; one that writes verdicts, a few hundredths of a second after they
were found; one that puts figures into Redis, so that a Redis that hangs holds up nothing else.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Awaitable, Callable, Collection
from datetime import datetime
from typing import Final

import redis
from django.db import DatabaseError, InterfaceError, close_old_connections, connection
from django.utils import timezone

from monitors import machine, schedule, store
from monitors.check import Check, Known, Plan, Verdict
from monitors.lease import Leases, new_owner
from monitors.runner import Runner
from monitors.spec import ProbeResult, ProbeSpec
from webui import freshness
from webui.models.health import SHARDS

GATHER: Final = 0.02  # seconds in which verdicts are collected for one transaction
LOOK: Final = 0.3  # seconds between looks at whether somebody sweeps
LATE: Final = 1.3  # seconds after the last sweep when one is made without beat
RETRY: Final = 0.5  # seconds until a failed writing is tried again
FIGURES_EVERY: Final = 1.0  # seconds

log = logging.getLogger(__name__)


class Keeper:
    """The checks of one worker process. The first sweep starts its threads."""

    def __init__(self, run: Callable[[ProbeSpec], Awaitable[ProbeResult]], owner: str | None = None) -> None:
        self._verdicts: queue.SimpleQueue[Verdict] = queue.SimpleQueue()
        self.runner = Runner(run, self._verdicts.put)
        self.leases = Leases(owner or new_owner())
        self._sweeping = threading.Lock()  # guards what follows
        self._plans: dict[int, Plan] = {}
        self._shards: frozenset[int] = frozenset()
        self._revision: int | None = None  # of the configuration that the plans are of; None: read it anew
        self._good_until: datetime | None = None  # then a service is out by the clock alone
        self._swept_at = 0.0
        self._ending = threading.Event()
        self._threads: list[threading.Thread] = []

    def sweep(self) -> int:
        """Bring leases and checks up to date; returns the number of checks that this worker runs.

        A second one at the same time does nothing. When the database is away the next one tries again.
        """
        if not self._sweeping.acquire(blocking=False):
            return 0
        try:
            if self._ending.is_set():
                return 0
            self._start()
            self._swept_at = time.monotonic()
            self._sweep()
            return len(self._plans)
        except (DatabaseError, InterfaceError) as error:
            connection.close()
            log.warning("The leases of the checks were not renewed (%s); the next sweep tries again.", error)
            return 0
        finally:
            self._sweeping.release()

    def stop(self, patience: float = 0.0) -> None:
        """Wait up to ``patience`` seconds for running probes, write what they found, give the leases back."""
        with self._sweeping:
            self._ending.set()
        self.runner.stop(patience)
        for thread in self._threads:
            thread.join()
        self._store()
        try:
            self.leases.release()
        except (DatabaseError, InterfaceError) as error:
            log.warning("The leases were not given back (%s); they expire.", error)

    def _start(self) -> None:
        if not self._threads:
            self._threads = [
                threading.Thread(target=self._keep_writing, name="verdicts", daemon=True),
                threading.Thread(target=self._keep_storing, name="figures", daemon=True),
            ]
            for thread in self._threads:
                thread.start()

    # Sweeping, in whatever thread, one at a time

    def _sweep(self) -> None:
        held = self.leases.renew()
        # What somebody else may have run meanwhile is begun anew, by what is stored.
        self._drop((self._shards - held) | (self._shards & self.leases.taken))
        self.runner.lease(self.leases.until)
        if asked := self.leases.asked_for:
            self._drop(asked)
            self._store()
            self.leases.hand_over(asked)
            held = self.leases.held
        now, revision = timezone.now(), store.revision()
        out = self._good_until is not None and self._good_until <= now
        if held != self._shards or revision != self._revision or out:
            self._follow(held, revision, now)

    def _drop(self, shards: Collection[int]) -> None:
        """Run the checks of these shards no more."""
        gone = [pk for pk in self._plans if pk % SHARDS in shards] if shards else []
        self.runner.remove(gone)
        for pk in gone:
            del self._plans[pk]
        self._shards -= frozenset(shards)

    def _follow(self, held: frozenset[int], revision: int, now: datetime) -> None:
        """Read the configuration and tell the runner what is different."""
        loaded = store.load(held, now)
        new = {plan.pk: plan for plan, _known in loaded}
        old = self._plans
        begun = [(plan, known) for plan, known in loaded if plan.pk not in old or old[plan.pk].edition != plan.edition]
        stored = freshness.figures([plan.pk for plan, _known in begun])
        moment = time.monotonic()
        checks = [
            begin(plan, store.known_of(known, stored.get(plan.pk), plan.edition), now, moment, anew=plan.pk in old)
            for plan, known in begun
        ]
        gone = old.keys() - new.keys()
        self.runner.remove(gone)
        self.runner.put(checks)
        same = ((old[pk], plan) for pk, plan in new.items() if pk in old and old[pk].edition == plan.edition)
        self.runner.change([plan for before, plan in same if plan != before])
        tidy = (held - self._shards) | {pk % SHARDS for pk in gone}
        self._plans, self._shards, self._revision = new, held, revision
        self._good_until = min((plan.ends for plan in new.values() if plan.ends is not None), default=None)
        self._tidy(tidy)

    @staticmethod
    def _tidy(shards: Collection[int]) -> None:
        try:
            for shard in shards:
                freshness.keep_only(shard, store.rows_of(shard))
        except (redis.RedisError, OSError) as error:
            log.info("Redis is away (%s): figures of deleted checks stay there for now.", error)

    def _begin_anew(self, pks: Collection[int]) -> None:
        """Their rows are not what they were: let the next sweep read them again."""
        with self._sweeping:
            for pk in pks:
                self._plans.pop(pk, None)
            self._revision = None

    # Verdicts

    def _keep_writing(self) -> None:
        while True:
            batch = self._gather()
            while batch and not self._write(batch) and not self._ending.is_set():
                self._ending.wait(RETRY)
                self._sweep_unless_somebody_does()
            close_old_connections()
            if not batch and self._ending.is_set() and self.runner.stopped:
                break
            self._sweep_unless_somebody_does()
        connection.close()

    def _gather(self) -> list[Verdict]:
        """Verdicts that are there; the first is waited for, for a moment."""
        try:
            batch = [self._verdicts.get(timeout=LOOK)]
        except queue.Empty:
            return []
        time.sleep(GATHER)
        while not self._verdicts.empty():
            batch.append(self._verdicts.get())
        return batch

    def _write(self, batch: list[Verdict]) -> bool:
        """Whether this is done; False: try again."""
        written: list[Verdict] = []
        try:
            written = store.write(batch, self.leases.owner)
        except (DatabaseError, InterfaceError) as error:
            connection.close()
            log.warning("%d verdicts were not written (%s); trying again.", len(batch), error)
            return False
        except Exception:
            # The thread must live: without it no verdict of this process would ever be written again.
            log.exception("Writing is broken; %d checks are begun anew.", len(batch))
        if not self._ending.is_set():
            self.runner.written([verdict.check for verdict in written])
            if len(written) < len(batch):
                done = {verdict.plan.pk for verdict in written}
                self._begin_anew([verdict.plan.pk for verdict in batch if verdict.plan.pk not in done])
        return True

    def _sweep_unless_somebody_does(self) -> None:
        if time.monotonic() - self._swept_at <= LATE:
            return
        try:
            self.sweep()
        except Exception:
            log.exception("A sweep is broken; the next one tries again.")  # the thread must live
        close_old_connections()

    # Figures

    def _keep_storing(self) -> None:
        away = False
        while not self._ending.wait(FIGURES_EVERY):
            away = not self._store(quiet=away)

    def _store(self, *, quiet: bool = False) -> bool:
        """Put new figures into Redis; False when it is away, and then they are kept."""
        new = self.runner.collect()
        if not new:
            return True
        try:
            freshness.save(new)
        except (redis.RedisError, OSError) as error:
            self.runner.give_back(new)
            if not quiet:
                log.warning("Redis is away (%s): checks go on, what pages show of them is older.", error)
            return False
        return True


def begin(plan: Plan, known: Known, now: datetime, moment: float, *, anew: bool) -> Check:
    """A check that this worker has not run before, or (``anew``) whose results no longer count.

    ``now`` and ``moment`` are one moment, by the time of day and by the monotonic clock.
    """
    since = None if anew or known.checked_at is None else (now - known.checked_at).total_seconds()
    due = schedule.resumed_due(since, machine.spacing_of(known.state, known.recent, plan.thresholds), moment)
    return Check(plan, known, due, first=due == moment)
